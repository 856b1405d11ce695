"""Text whose tokens are told apart by what became of them, by colour and by a mark: drawn, and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bridges.pieces import pieces as pieces
from paper_figures import style

CORRUPTED = "corrupted"
LOOKS: dict[str, dict[str, Any]] = {
    "stable": {"color": style.GREY},
    CORRUPTED: {"color": style.BLACK, "weight": "bold"},
    "recovered": {"color": style.GREEN, "weight": "bold"},
    "failed": {"color": style.ORANGE, "box": ":"},
    "unstable": {"color": style.VERMILION, "box": "-"},
}
"""Of `TOKEN_CLASSES` in what the dynamics made of a sequence, and of corrupted tokens before that."""
TOLD = (
    "corrupted and restored (bold green), corrupted and not restored (dotted orange box), intact but altered (vermilion"
    " box)"
)
_CHARACTER, _LINE = 0.08, 0.17  # inches

Row = Sequence[tuple[str, str]]
"""A sequence: the text of each token, and a key of `LOOKS`."""


def cut(row: Row, characters: int) -> Row:
    """The pieces that begin within so many characters."""
    begins = accumulate((len(text) for text, _ in row), initial=0)
    return [piece for piece, begin in zip(row, begins, strict=False) if begin < characters]


def lines(row: Row, width: int) -> list[tuple[int, int]]:
    """The line and the column of each piece of a sequence, in lines of so many characters."""
    found, line, column = [], 0, 0
    for text, _ in row:
        if column and column + len(text) > width:
            line, column = line + 1, 0
        found.append((line, column))
        column += len(text)
    return found


def draw(ax: Axes, rows: Sequence[Row], inches: float) -> None:
    """Rows of text in fixed-width letters, in axes of that width."""
    ax.set_axis_off()
    width, top = round(inches / _CHARACTER), 0
    for row in rows:
        places = lines(row, width)
        for (text, name), (line, column) in zip(row, places, strict=True):
            _piece(ax, text, LOOKS[name], column, -top - line)
        top += places[-1][0] + 1
    ax.set(xlim=(0, width), ylim=(-top + 0.4, 0.6))


def height(rows: Sequence[Row], inches: float) -> float:
    """Inches that the rows take in axes of that width."""
    return _LINE * sum(lines(row, round(inches / _CHARACTER))[-1][0] + 1 for row in rows)


def _piece(ax: Axes, text: str, look: dict[str, Any], column: int, y: float) -> None:
    text = "·" if text == " " else text
    box, font = look.get("box"), {name: value for name, value in look.items() if name != "box"}
    for place, character in enumerate(text):  # one by one, on a grid
        ax.text(column + place + 0.5, y, character, family="monospace", fontsize=7.5, ha="center", va="center", **font)
    if box and text:  # one of its own for each, so that neighbours do not overlap
        corner = (column + 0.06, y - 0.42)
        ax.add_patch(Rectangle(corner, len(text) - 0.12, 0.84, fill=False, ec=look["color"], ls=box, lw=0.9))


def html(heading: str, rows: Sequence[Row]) -> str:
    """The same as text that can be selected; everything in it is escaped."""
    parts = [Markup("<h4>{}</h4>").format(heading)]
    for row in rows:
        spans = Markup("").join(Markup('<span class="{}">{}</span>').format(name, text) for text, name in row)
        parts.append(Markup('<p class="text">{}</p>').format(spans))
    return "\n".join(parts)


def legend(ax: Axes, inches: float) -> None:
    """The looks, each on its name."""
    spaced = [piece for name in LOOKS for piece in ((name, name), ("  ", "stable"))]
    draw(ax, [spaced], inches)
