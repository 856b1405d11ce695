"""The Random Hierarchy Model as a corpus; its rooms are in `uddm.hierarchy`."""

from uddm.hierarchy.clustering import LatentClusters as LatentClusters
from uddm.hierarchy.clustering import cluster_latents as cluster_latents
from uddm.hierarchy.grammar import RandomHierarchy as RandomHierarchy
