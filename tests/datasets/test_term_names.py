"""Coefficients are keyed by the names that the candidate terms have."""

import numpy as np
import pytest

from skident.datasets import (
    make_burgers,
    make_diffusion,
    make_ginzburg_landau,
    make_navier_stokes_vorticity,
    make_spiral_rd,
)
from skident.dynamics import PDETerm

_MONOMIALS = [(), (1,), (2,), (0, 1), (0, 2), (1, 1), (3,), (0, 3), (0, 0, 1)]
_BLOCKS = ("u", "u_x", "u_y", "u_xx", "u_yy", "source")


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (make_burgers, {"n_x": 32, "n_t": 3}),
        (make_diffusion, {"n_x": 16, "n_t": 3, "n_dims": 2}),
        (make_spiral_rd, {"n_x": 16, "n_t": 3}),
        (make_ginzburg_landau, {"n_x": 16, "n_t": 3}),
        (make_navier_stokes_vorticity, {"nu": 0.1, "n_x": 16, "n_t": 3}),
    ],
)
def test_fields_are_keyed_by_labels(make, options):
    data = make(**options)
    for name, coef in data.coef.items():
        # In the equation of a field, that field stands first.
        own = [name, *(other for other in data.field_names if other != name)]
        labels = {
            PDETerm(block, powers[: len(own)]).label(own)
            for block in _BLOCKS
            for powers in _MONOMIALS
            if not np.any(powers[len(own) :])
        }
        assert set(coef) <= labels
