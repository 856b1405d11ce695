"""Texts token by token."""

import html as entities
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from paper_figures import texts
from uddm.corpora import ByteTokenizer, CharacterTokenizer, bert_tokenizer, train_bpe

SENTENCES = ["the cat sat on the mat", "a dog ate the other cat", "on and on and on"]
pieces = st.lists(
    st.tuples(st.text(min_size=1, max_size=9), st.sampled_from(list(texts.LOOKS))), min_size=1, max_size=40
)


def test_pieces_together_are_the_text():
    for tokenizer in (CharacterTokenizer(), train_bpe(SENTENCES, 280)):
        for sentence in SENTENCES:
            ids = tokenizer.encode(sentence).tolist()
            found = texts.pieces(tokenizer, ids)
            assert len(found) == len(ids)
            assert "".join(found) == sentence


def test_one_piece_a_token_where_they_are_no_text_together(tmp_path):
    """Bytes of a letter cut in two, and word pieces, which a tokenizer joins."""
    cut = ByteTokenizer().encode("é").tolist()[:1] + ByteTokenizer().encode("a").tolist()
    assert len(texts.pieces(ByteTokenizer(), cut)) == 2
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    assert len(texts.pieces(bert_tokenizer(tmp_path / "vocab.txt"), [5, 6, 7, 0])) == 4


@given(pieces, st.integers(10, 40))
def test_lines_hold_every_piece_once_in_order_without_overlap(row, width):
    places = texts.lines(row, width)
    assert len(places) == len(row)
    end = (0, 0)
    for (text, _), (line, column) in zip(row, places, strict=True):
        assert (line, column) == end or (line, column) == (end[0] + 1, 0)
        assert column == 0 or column + len(text) <= width
        end = (line, column + len(text))


@given(pieces, st.integers(1, 60))
def test_what_is_cut_is_a_beginning(row, characters):
    cut = texts.cut(row, characters)
    assert cut == row[: len(cut)]
    assert sum(len(text) for text, _ in cut[:-1]) < characters
    assert len(cut) == len(row) or sum(len(text) for text, _ in cut) >= characters


@given(pieces)
def test_html_is_escaped_and_its_text_is_the_text(row):
    page = texts.html("<h>&", [row])
    body = page.split("\n", 1)[1]
    assert re.fullmatch(r'<p class="text">(<span class="\w+">[^<>]*</span>)+</p>', body, re.DOTALL)
    assert entities.unescape(re.sub(r"<[^<>]*>", "", body)) == "".join(text for text, _ in row)
    assert page.startswith("<h4>&lt;h&gt;&amp;</h4>")


def test_every_character_is_drawn_and_boxes_do_not_overlap():
    row = [("ab", "failed"), ("c", "unstable"), (" ", "recovered"), ("d", "stable")]
    ax = Figure(figsize=(4, 1)).subplots()
    texts.draw(ax, [row], 4)
    assert "".join(text.get_text() for text in ax.texts) == "abc·d"
    boxes = sorted((box.get_x(), box.get_x() + box.get_width()) for box in ax.patches)
    assert len(boxes) == 2
    assert np.all(np.diff(np.ravel(boxes)) > 0)
    assert texts.height([row, row], 4) == 2 * texts.height([row], 4) > 0
