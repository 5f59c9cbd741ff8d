"""Scores of representations, dictionaries and codes."""

from skident.metrics._alignment import (
    alignment_errors,
    ica_efficiency,
    near_identifiability_score,
)
from skident.metrics._arip import AripReport, arip, arip_report, arip_statistics
from skident.metrics._arip_supports import top_supports
from skident.metrics._components import (
    ComponentMatch,
    match_components,
    mean_correlation_coefficient,
)
from skident.metrics._matching import (
    AtomMatch,
    dictionary_cosine_similarity,
    match_atoms,
)
from skident.metrics._stability import code_stability, sae_stability

__all__ = [
    "AripReport",
    "AtomMatch",
    "ComponentMatch",
    "alignment_errors",
    "arip",
    "arip_report",
    "arip_statistics",
    "code_stability",
    "dictionary_cosine_similarity",
    "ica_efficiency",
    "match_atoms",
    "match_components",
    "mean_correlation_coefficient",
    "near_identifiability_score",
    "sae_stability",
    "top_supports",
]
