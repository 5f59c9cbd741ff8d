"""Fixtures and hooks shared by the test suite and the docstring examples."""

import os

# A figure window must never open, whatever the machine offers.
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _numpy_in_docstrings(doctest_namespace):
    """Let docstring examples use ``np`` without an import line."""
    doctest_namespace["np"] = np


def pytest_collection_modifyitems(items):
    """Skip the tests marked ``gpu`` where there is no CUDA device."""
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not needs_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needs_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
