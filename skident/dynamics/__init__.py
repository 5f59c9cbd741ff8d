"""Governing equations of trajectories and fields, found by solving them in the loop."""

from skident.dynamics._pde_terms import PDETerm

__all__ = ["PDETerm"]
