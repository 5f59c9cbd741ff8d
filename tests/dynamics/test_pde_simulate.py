"""Rates of fields and what they lead to: stencils, marching solves, blow-up."""

import functools

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_burgers, make_spiral_rd
from skident.dynamics._pde_rates import FieldEquations, line_derivatives
from skident.dynamics._pde_simulate import Boundary, by_lines, by_patches
from skident.dynamics._pde_terms import PDETerm

BURGERS = [PDETerm("u_x", (1,)), PDETerm("u_xx")]


def distance(one, two):
    return np.linalg.norm(one - two) / np.linalg.norm(two)


def test_derivatives_are_exact_up_to_degree_four():
    nodes = np.array([0.0, 0.7, 1.1, 2.0, 2.4, 3.3, 4.0])
    first, second = line_derivatives(nodes, False)
    for k in range(5):
        np.testing.assert_allclose(
            first @ nodes**k, k * nodes ** max(k - 1, 0), atol=1e-9
        )
        bent = k * (k - 1) * nodes ** max(k - 2, 0)
        np.testing.assert_allclose(second @ nodes**k, bent, atol=1e-9)


def test_periodic_derivatives_close_the_axis():
    n = 64
    nodes = 2 * np.pi * np.arange(n) / n
    first, second = line_derivatives(nodes, True)
    # Five-point errors: h^4 / 30 and h^4 / 90 times the fifth and sixth derivative.
    h = nodes[1]
    assert np.abs(first @ np.sin(nodes) - np.cos(nodes)).max() < 1.01 * h**4 / 30
    assert np.abs(second @ np.sin(nodes) + np.sin(nodes)).max() < 1.01 * h**4 / 90


def test_rates_of_two_fields_in_the_plane():
    x, y = 0.1 * np.arange(12), 0.2 * np.arange(9)
    X, Y = np.meshgrid(x, y, indexing="ij")
    u, v = X**2 * Y, X + Y**3
    terms = [PDETerm("u_yy", (1,)), PDETerm("u_x", (0, 1)), PDETerm("source", (0, 2))]
    coef = np.array([[0.0, 2.0, 3.0], [-1.0, 0.0, 0.0]])
    rate = FieldEquations(terms, coef, [x, y], False).rate(np.stack([u, v], axis=-1))
    np.testing.assert_allclose(rate[..., 0], 2 * v * 2 * X * Y + 3 * v**2, atol=1e-9)
    np.testing.assert_allclose(rate[..., 1], -v * 6 * Y, atol=1e-9)


def test_missing_values_are_missing_where_they_are_taken():
    nodes = np.arange(12.0)
    fields = np.sin(nodes)[:, None]
    fields[5] = np.nan
    equations = FieldEquations([PDETerm("u_x")], np.ones((1, 1)), [nodes], False)
    missing = np.flatnonzero(np.isnan(equations.rate(fields)[:, 0]))
    np.testing.assert_array_equal(missing, [3, 4, 5, 6, 7])
    reaction = FieldEquations(
        [PDETerm("source", np.log, "log")], np.ones((1, 1)), [nodes], False
    )
    rate = reaction.rate(2 + fields)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(rate[:, 0])), [5])


def test_an_equation_without_terms_stands_still():
    nodes = np.arange(6.0)
    equations = FieldEquations(BURGERS, np.zeros((1, 2)), [nodes], False)
    assert not equations.rate(np.sin(nodes)[:, None]).any()


@pytest.mark.parametrize("method", ["mol", "picard"])
def test_burgers_stays_near_its_generator(method):
    # n_t x n_x of the half: the solver's own error is largest for few nodes a front.
    data = make_burgers(n_x=128, n_t=64, dt=0.05)
    space = [data.coordinates[0] - data.coordinates[0][0]]
    equations = FieldEquations(BURGERS, np.array([[-1.0, 0.1]]), space, True)
    start, held = data.X[0][:, None], None
    held = Boundary(start, data.times, True)
    if method == "mol":
        fields = by_lines(equations, start, data.times, held)
    else:
        fields = by_patches(equations, start, data.times, held, step=data.dt)
    assert distance(fields[..., 0], data.X_true) < 0.01


def test_given_ends_are_kept_to():
    data = make_burgers(n_x=128, n_t=40, dt=0.05)
    cut = slice(50, 90)  # the pulse runs out of this window
    x, truth = data.coordinates[0][cut], data.X_true[:, cut]
    equations = FieldEquations(BURGERS, np.array([[-1.0, 0.1]]), [x], False)
    held = Boundary(truth[0][:, None], data.times, False, truth[..., None])
    for fields in (
        by_lines(equations, truth[0][:, None], data.times, held),
        by_patches(equations, truth[0][:, None], data.times, held, step=data.dt),
    ):
        assert distance(fields[..., 0], truth) < 0.01
        np.testing.assert_allclose(fields[:, [0, -1], 0], truth[:, [0, -1]], atol=1e-12)


def test_both_methods_agree_on_two_fields_in_the_plane():
    data = make_spiral_rd(n_t=5)
    window = data.X_true.reshape(5, 64, 64, 2)[:, 20:29, 30:38]
    terms = [
        *[PDETerm("u", e) for e in ((), (2,), (0, 2))],
        *[PDETerm("u_xx"), PDETerm("u_yy")],
        *[PDETerm("source", e) for e in ((0, 1), (2, 1), (0, 3))],
    ]
    # The sources of u are v, u^2 v and v^3; beta (u^2 + v^2) v is the last two.
    coef = np.array([[1, -1, -1, 0.1, 0.1, 0, 1, 1], [1, -1, -1, 0.1, 0.1, 0, -1, -1]])
    space = [data.spacing[0] * np.arange(n) for n in (9, 8)]
    equations = FieldEquations(terms, coef, space, False)
    held = Boundary(window[0], data.times, False, window)
    lines = by_lines(equations, window[0], data.times, held)
    patches = by_patches(equations, window[0], data.times, held, step=data.dt)
    assert distance(lines, window) < 0.01
    assert distance(patches, window) < 0.01


def test_subdivided_times_lead_to_the_same_fields():
    data = make_burgers(n_x=96, n_t=33, dt=0.05)
    space = [data.coordinates[0] - data.coordinates[0][0]]
    equations = FieldEquations(BURGERS, np.array([[-1.0, 0.1]]), space, True)
    start = data.X[0][:, None]
    held = Boundary(start, data.times, True)
    fine = by_patches(equations, start, data.times, held, step=0.05)
    coarse = by_patches(equations, start, data.times[::16], held, step=0.05)
    # Windows of 16 steps are the same windows.
    np.testing.assert_allclose(coarse, fine[::16], atol=1e-8)


def test_a_stiff_right_side_is_no_obstacle():
    # Relaxation within 1e-6 of a time unit, over one unit: an explicit method would
    # need some hundred thousand steps.
    x = np.linspace(0, 1, 10)
    terms = [PDETerm("u"), PDETerm("source")]
    equations = FieldEquations(terms, np.array([[-1e6, 2e6]]), [x], False)
    start = (2 + np.sin(np.pi * x))[:, None]
    held = Boundary(start, np.array([0.0, 1.0]), False)
    fields = by_lines(equations, start, np.array([0.0, 1.0]), held)
    np.testing.assert_allclose(fields[-1, 1:-1], 2.0, atol=1e-5)


@pytest.mark.parametrize(
    "simulate",
    [by_lines, functools.partial(by_patches, step=0.05)],
    ids=["mol", "picard"],
)
def test_blow_up_is_caught_and_named(simulate):
    x = np.linspace(0, 1, 6)
    equations = FieldEquations([PDETerm("u", (1,))], np.ones((1, 1)), [x], False)
    start, times = np.ones((6, 1)), np.linspace(0, 1.5, 31)  # inside, u = 1 / (1 - t)
    held = Boundary(start, times, False)
    with pytest.raises(FloatingPointError, match=r"blows up at time (0\.[89]|1)"):
        simulate(equations, start, times, held)


def test_sweeps_that_do_not_settle_are_said():
    data = make_burgers(n_x=64, n_t=17, dt=0.05)
    space = [data.coordinates[0] - data.coordinates[0][0]]
    equations = FieldEquations(BURGERS, np.array([[-1.0, 0.1]]), space, True)
    start = data.X[0][:, None]
    held = Boundary(start, data.times, True)
    with pytest.warns(ConvergenceWarning, match="1 sweeps still change the fields by"):
        by_patches(equations, start, data.times, held, step=0.05, max_sweeps=1)
