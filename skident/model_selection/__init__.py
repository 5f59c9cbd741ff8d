"""Splitters for rows that come from several environments."""

from skident.model_selection._environment_splits import (
    EnvironmentKFold,
    EnvironmentShuffleSplit,
)

__all__ = ["EnvironmentKFold", "EnvironmentShuffleSplit"]
