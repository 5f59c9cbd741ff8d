"""Governing equations of trajectories and fields, found by solving them in the loop."""

from skident.dynamics._mechanistic_ode import MechanisticODERegressor
from skident.dynamics._mechanistic_pde import MechanisticPDERegressor
from skident.dynamics._pde_terms import PDETerm
from skident.dynamics._scalable_mnn import ScalableMNNRegressor

__all__ = [
    "MechanisticODERegressor",
    "MechanisticPDERegressor",
    "PDETerm",
    "ScalableMNNRegressor",
]
