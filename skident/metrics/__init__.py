"""Scores of representations, dictionaries and codes."""

from skident.metrics._arip import AripReport, arip, arip_report, arip_statistics
from skident.metrics._arip_supports import top_supports
from skident.metrics._matching import (
    AtomMatch,
    dictionary_cosine_similarity,
    match_atoms,
)
from skident.metrics._stability import code_stability, sae_stability

__all__ = [
    "AripReport",
    "AtomMatch",
    "arip",
    "arip_report",
    "arip_statistics",
    "code_stability",
    "dictionary_cosine_similarity",
    "match_atoms",
    "sae_stability",
    "top_supports",
]
