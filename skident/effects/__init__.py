"""Effects of a treatment, with what the data can and cannot say about them."""

from skident.effects._aipw import aipw_ate
from skident.effects._derm import DERMClassifier, DERMRegressor
from skident.effects._derm_weights import derm_weights
from skident.effects._expectile_bounds import selection_bounds
from skident.effects._selection_bias import SelectionBiasATE

__all__ = [
    "DERMClassifier",
    "DERMRegressor",
    "SelectionBiasATE",
    "aipw_ate",
    "derm_weights",
    "selection_bounds",
]
