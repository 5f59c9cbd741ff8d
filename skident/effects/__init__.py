"""Effects of a treatment, with what the data can and cannot say about them."""

from skident.effects._aipw import aipw_ate
from skident.effects._derm_weights import derm_weights
from skident.effects._expectile_bounds import selection_bounds

__all__ = ["aipw_ate", "derm_weights", "selection_bounds"]
