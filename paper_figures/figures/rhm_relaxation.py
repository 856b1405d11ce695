"""U-turn chains on the Random Hierarchy Model: which level forgets first."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.measure import relaxation
from paper_figures.workspace import Workspace

ORDER = 40
TITLE = "U-turn chains: which level of a hierarchical language forgets first"
EXPECTED = (
    "At small noise a U-turn alters tokens and leaves what is above them; beyond a noise level the order inverts, and "
    "the root is forgotten first (Kang et al., arXiv 2605.27006)."
)
CAPTION = (
    "Chains of U-turns (noise to signal level alpha, then an exact joint posterior sample by belief propagation) on "
    "Random Hierarchy Models with {symbols} symbols, {rules} rules for each and depth {depth}. A, B: relaxation "
    "function C(k) of the symbols at each height above the tokens (0: tokens, {depth}: root), 1 at the start, 0 where "
    "a chain recalls its own start no better than that of another chain. C: relaxation time, the sum of C(k) over "
    "{turns} U-turns, which is its largest value. D: relaxation time of the root minus that of the tokens. It proves "
    "that the order of forgetting inverts, and where: root and tokens are equally slow where the line crosses zero. "
    "With chance taken as 1/v instead, C(k) would not fall to 0 and the crossing would move to larger alpha. Bands: "
    "Student's 95 % intervals over {grammars} grammars, {chains} chains in each."
)

tasks = relaxation.tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.relaxation
    facts = {"turns": settings.turns, "chains": settings.chains, "grammars": settings.grammars}
    return relaxation.measurements(ws).assign_attrs(**settings.grammar, **facts, shown=settings.shown)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.2, height=2.9)
    (first, second), (times, order) = axes
    heights = ds.height.values
    names = {heights[0]: "tokens", heights[-1]: "root"}
    for ax, alpha in zip((first, second), ds.attrs["shown"], strict=True):
        for height, colour in zip(heights, style.gradient(len(heights)), strict=True):
            values = ds.relaxation.sel(alpha=alpha, height=height)
            style.curve(ax, ds.step, values, color=colour, label=names.get(height, f"height {height}"))
        ax.axhline(0, color=style.GREY, linewidth=1)
        ax.set(xlabel="U-turns k", ylabel="relaxation C(k)", ylim=(-0.05, 1.02), xscale="log")
        ax.set_title(f"alpha = {alpha:g}", loc="left")
    for height, colour in zip(heights, style.gradient(len(heights)), strict=True):
        values = ds.relaxation_time.sel(height=height)
        style.curve(
            times, ds.alpha, values, color=colour, marker="o", markersize=3, label=names.get(height, f"{height}")
        )
    times.set(xlabel="signal level alpha", ylabel="relaxation time (U-turns)", yscale="log")
    times.legend(ncols=2)
    style.curve(order, ds.alpha, ds.versus_tokens.isel(height=-1), color=style.BLACK, marker="o", markersize=3)
    order.axhline(0, color=style.GREY, linewidth=1)
    order.set(xlabel="signal level alpha", ylabel="root minus tokens (U-turns)")
    order.set_yscale("symlog", linthresh=0.5)
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for alpha in ds.alpha.values:
        at = ds.sel(alpha=alpha)
        root, tokens = (style.interval(at.relaxation_time.isel(height=h)) for h in (-1, 0))
        difference = style.interval(at.versus_tokens.isel(height=-1))
        lines.append(
            f"alpha = {alpha:g}: relaxation time of the root {root}, of tokens {tokens}; difference {difference}"
        )
    return lines
