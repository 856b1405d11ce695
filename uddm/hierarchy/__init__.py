"""The Random Hierarchy Model: its strings (`RandomHierarchy`), exact inference on a grammar (`belief`), and how much of
one can be found from strings alone (`clustering`, as `uddm.corpora.cluster_latents`)."""

from uddm.hierarchy import belief
from uddm.hierarchy.grammar import RandomHierarchy

__all__ = ["RandomHierarchy", "belief"]
