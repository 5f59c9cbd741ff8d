"""Representations as codes on a dictionary: ``X`` -> codes, dictionary."""

from skident.decomposition._autoencoder import AutoencoderTransformer
from skident.decomposition._ica import ICAPostProcessor
from skident.decomposition._identifiable_sae import IdentifiableSAE
from skident.decomposition._sae_stability import SAEStability

__all__ = [
    "AutoencoderTransformer",
    "ICAPostProcessor",
    "IdentifiableSAE",
    "SAEStability",
]
