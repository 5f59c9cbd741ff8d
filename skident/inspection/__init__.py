"""Plots: what a fit found, and how far it can be believed."""

from skident.inspection._component_energy_display import ComponentEnergyDisplay
from skident.inspection._component_match_display import ComponentMatchDisplay
from skident.inspection._dictionary_display import DictionaryDisplay
from skident.inspection._effect_display import EffectDisplay
from skident.inspection._equation_path_display import EquationPathDisplay
from skident.inspection._field_display import FieldDisplay
from skident.inspection._graph_display import GraphDisplay
from skident.inspection._phase_portrait_display import PhasePortraitDisplay
from skident.inspection._shift_display import ShiftDisplay
from skident.inspection._stability_display import StabilityDisplay

__all__ = [
    "ComponentEnergyDisplay",
    "ComponentMatchDisplay",
    "DictionaryDisplay",
    "EffectDisplay",
    "EquationPathDisplay",
    "FieldDisplay",
    "GraphDisplay",
    "PhasePortraitDisplay",
    "ShiftDisplay",
    "StabilityDisplay",
]
