r"""Both views of what an objective does: its two sides, and the information it leaves between embedding and label.

.. math:: I(Z; Y) = H(Z) - H(Z|Y) = H(Y) - H(Y|Z)

An objective lowers H(Z|Y) by its tightness and raises H(Z) by its contrast (the generative view); the same
information is what a classifier can tell of the label (the discriminative view).
"""

from .inequalities import Bounds, Inequality, bounds
from .record import Information, drawn_rows, information
from .sides import decompose

__all__ = ["Bounds", "Inequality", "Information", "bounds", "decompose", "drawn_rows", "information"]
