"""Plots: what a fit found, and how far it can be believed."""

from skident.inspection._component_energy_display import ComponentEnergyDisplay
from skident.inspection._component_match_display import ComponentMatchDisplay
from skident.inspection._dictionary_display import DictionaryDisplay
from skident.inspection._stability_display import StabilityDisplay

__all__ = [
    "ComponentEnergyDisplay",
    "ComponentMatchDisplay",
    "DictionaryDisplay",
    "StabilityDisplay",
]
