"""Scores of representations, dictionaries, codes, graphs and effects."""

from skident.metrics._alignment import (
    alignment_errors,
    ica_efficiency,
    near_identifiability_score,
)
from skident.metrics._arip import AripReport, arip, arip_report, arip_statistics
from skident.metrics._arip_supports import top_supports
from skident.metrics._bilipschitz import (
    BilipschitzConstants,
    bilipschitz_constants,
)
from skident.metrics._components import (
    ComponentMatch,
    match_components,
    mean_correlation_coefficient,
)
from skident.metrics._dci import dci_scores
from skident.metrics._graphs import (
    orientation_scores,
    structural_hamming_distance,
    topological_divergence,
)
from skident.metrics._infomec import infomec_scores
from skident.metrics._intervention_distance import structural_intervention_distance
from skident.metrics._linear_r2 import linear_r2_score
from skident.metrics._matching import (
    AtomMatch,
    dictionary_cosine_similarity,
    match_atoms,
)
from skident.metrics._scorers import make_representation_scorer
from skident.metrics._shifted_nodes import shifted_node_scores
from skident.metrics._sparsity import hoyer_sparsity, signal_concentration
from skident.metrics._stability import code_stability, sae_stability
from skident.metrics._treatment_effect_bias import (
    best_above_accuracy_floor,
    neg_abs_teb_scorer,
    treatment_effect_bias,
)

__all__ = [
    "AripReport",
    "AtomMatch",
    "BilipschitzConstants",
    "ComponentMatch",
    "alignment_errors",
    "arip",
    "arip_report",
    "arip_statistics",
    "best_above_accuracy_floor",
    "bilipschitz_constants",
    "code_stability",
    "dci_scores",
    "dictionary_cosine_similarity",
    "hoyer_sparsity",
    "ica_efficiency",
    "infomec_scores",
    "linear_r2_score",
    "make_representation_scorer",
    "match_atoms",
    "match_components",
    "mean_correlation_coefficient",
    "near_identifiability_score",
    "neg_abs_teb_scorer",
    "orientation_scores",
    "sae_stability",
    "shifted_node_scores",
    "signal_concentration",
    "structural_hamming_distance",
    "structural_intervention_distance",
    "top_supports",
    "topological_divergence",
    "treatment_effect_bias",
]
