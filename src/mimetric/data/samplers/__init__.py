"""Which rows make a batch.  No Python loop over rows or classes.

Functions draw batches in one go from a generator of yours (``drawn.py``).  Samplers (``passes.py`` and those built on
it) go over the data pass by pass, for a `DataLoader` or a loop of your own: each pass comes from a seed and its
number, each process takes its share of every batch, and a pass can be taken up again at any batch.
"""

from mimetric.data.samplers.drawn import Batches, class_balanced_batches, random_batches
from mimetric.data.samplers.hard import HardClassSampler
from mimetric.data.samplers.hierarchical import HierarchicalSampler
from mimetric.data.samplers.m_per_class import MPerClassSampler
from mimetric.data.samplers.passes import ClassBalancedSampler, PassSampler, RandomRowSampler, share

__all__ = [
    "Batches",
    "ClassBalancedSampler",
    "HardClassSampler",
    "HierarchicalSampler",
    "MPerClassSampler",
    "PassSampler",
    "RandomRowSampler",
    "class_balanced_batches",
    "random_batches",
    "share",
]
