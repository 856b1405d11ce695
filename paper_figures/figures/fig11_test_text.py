"""Figure 11: what becomes of the tokens of unseen sequences, in text."""

from __future__ import annotations

import xarray as xr

from paper_figures.figures import fig10_training_text
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 60
TITLE = "Recovery of unseen sequences, token by token (language model)"
EXPECTED = (
    "Models of few training sequences replace the tokens of unseen ones; with more training data intact tokens stay "
    "and corrupted ones come back as often as those of training sequences (arXiv 2604.26841, Fig. 11)."
)
CAPTION = fig10_training_text.CAPTION.replace("Training sequences", "Test sequences")

tasks = language.width_tasks
plot, html, findings = fig10_training_text.plot, fig10_training_text.html, fig10_training_text.findings


def compute(ws: Workspace) -> xr.Dataset:
    return fig10_training_text.examples(ws, "test")
