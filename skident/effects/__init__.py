"""Effects of a treatment, with what the data can and cannot say about them."""

from skident.effects._aipw import aipw_ate
from skident.effects._derm import DERMClassifier, DERMRegressor
from skident.effects._derm_weights import derm_weights
from skident.effects._expectile_bounds import selection_bounds
from skident.effects._invariant_risk import IRMClassifier, VRExClassifier
from skident.effects._score_matching import ScoreMatchingSelectionATE
from skident.effects._selection_bias import SelectionBiasATE
from skident.effects._weighted_head import mlp_head

__all__ = [
    "DERMClassifier",
    "DERMRegressor",
    "IRMClassifier",
    "ScoreMatchingSelectionATE",
    "SelectionBiasATE",
    "VRExClassifier",
    "aipw_ate",
    "derm_weights",
    "mlp_head",
    "selection_bounds",
]
