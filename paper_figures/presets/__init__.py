"""Named scales of the same figures, one a file; loads no torch."""

from paper_figures.presets.gpu import GPU
from paper_figures.presets.laptop import LAPTOP
from paper_figures.presets.paper import PAPER as PAPER
from paper_figures.presets.schema import OURS as OURS
from paper_figures.presets.schema import PUBLISHED as PUBLISHED
from paper_figures.presets.schema import Hierarchy as Hierarchy
from paper_figures.presets.schema import Language as Language
from paper_figures.presets.schema import Margins as Margins
from paper_figures.presets.schema import Memories as Memories
from paper_figures.presets.schema import Noises as Noises
from paper_figures.presets.schema import Preset as Preset
from paper_figures.presets.schema import Protocol as Protocol
from paper_figures.presets.schema import Published as Published
from paper_figures.presets.schema import Recipe as Recipe
from paper_figures.presets.schema import Relaxation as Relaxation
from paper_figures.presets.schema import Theory as Theory
from paper_figures.presets.smoke import SMOKE as SMOKE
from paper_figures.presets.workstation import WORKSTATION

PRESETS: dict[str, Preset] = {
    "smoke": SMOKE,
    "laptop": LAPTOP,
    "workstation": WORKSTATION,
    "gpu": GPU,
    "paper": PAPER,
}


def named(name: str) -> Preset:
    """The preset of that name; ValueError if there is none."""
    if name not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
