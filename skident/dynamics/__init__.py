"""Governing equations of trajectories and fields, found by solving them in the loop."""

__all__ = []
