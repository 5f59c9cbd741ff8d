"""Derivative weights against textbooks and polynomials."""

import numpy as np
import pytest

from skident.solvers._pde_stencils import AxisStencil


def test_textbook_weights_on_even_nodes():
    axis = AxisStencil(0.25 * np.arange(9))
    middle, first, last = axis.weights[4], axis.weights[0], axis.weights[8]
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(middle[0] * 12, [1, -8, 0, 8, -1], **close)
    np.testing.assert_allclose(middle[1] * 12, [-1, 16, -30, 16, -1], **close)
    np.testing.assert_allclose(first[0] * 12, [-25, 48, -36, 16, -3], **close)
    np.testing.assert_allclose(first[1] * 12, [35, -104, 114, -56, 11], **close)
    np.testing.assert_allclose(last[0] * 12, [3, -16, 36, -48, 25], **close)
    np.testing.assert_allclose(last[1] * 12, [11, -56, 114, -104, 35], **close)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 12])
def test_exact_on_polynomials_at_any_spacing(n):
    rng = np.random.default_rng(n)
    x = 3.0 + 0.1 * np.cumsum(rng.uniform(0.5, 1.5, n))
    axis = AxisStencil(x)
    k = min(5, n)
    assert axis.columns.shape == (n, k)
    assert (abs(axis.columns - np.arange(n)[:, None]).min(axis=1) == 0).all()
    powers = rng.standard_normal(k)
    polynomial = np.polynomial.Polynomial(powers)
    field = polynomial(axis.nodes)
    for order in (1, 2):
        if order < k:
            found = (axis.weights[:, order - 1] * field[axis.columns]).sum(axis=1)
            truth = polynomial.deriv(order)(axis.nodes)
            # Conditioning of the stencils: weights reach some hundreds.
            np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9)
        else:
            assert (axis.weights[:, order - 1] == 0).all()


def test_lengths_are_in_mean_steps():
    x = np.array([1.0, 1.5, 2.5, 3.0, 5.0, 6.0])
    one, other = AxisStencil(x), AxisStencil(7.0 * x - 2.0)
    assert one.mean_step == 1.0
    assert other.mean_step == pytest.approx(7.0)
    np.testing.assert_allclose(one.step, [0.5, 0.75, 0.75, 1.25, 1.5, 1.0])
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-12)
    np.testing.assert_allclose(one.step, other.step, rtol=1e-14)


def test_every_adjacent_pair_comes_in_both_directions():
    node, other = AxisStencil(np.arange(6.0)).neighbours()
    pairs = set(zip(node.tolist(), other.tolist(), strict=True))
    assert pairs == {(i, j) for i in range(6) for j in range(6) if abs(i - j) == 1}
