"""Coefficients through solutions: derivatives, exact fields, units, standard errors."""

from dataclasses import replace

import numpy as np
import pytest
from joblib import parallel_config

from skident.dynamics._pde_lm import fit_pde_terms, patch_weights
from skident.dynamics._pde_solve import patch_residuals, solve_patch
from skident.dynamics._pde_terms import PDETerm, block_library
from tests.dynamics._heat import cut, heat_field


def random_patches(n_fields=2, n_axes=2, seed=0, missing=0.2):
    rng = np.random.default_rng(seed)
    shape = (7, 8) if n_axes == 1 else (5, 6, 7)
    axes = [np.arange(n) + rng.uniform(-0.3, 0.3, n) for n in shape]
    field = 1.0 + 0.3 * rng.standard_normal((*shape, n_fields))
    noisy = field + 0.1 * rng.standard_normal(field.shape)
    noisy[rng.random(field.shape) < missing] = np.nan
    return cut(field, axes, noisy)


@pytest.mark.parametrize("n_axes", [1, 2])
@pytest.mark.parametrize("field", [0, 1])
def test_derivatives_by_coefficients_match_central_differences(n_axes, field):
    (patch,) = random_patches(n_axes=n_axes)
    terms = [
        PDETerm("u", (0, 1)),
        PDETerm("u_x", (1,)),
        PDETerm("u_xx"),
        PDETerm("source", (1, 1)),
        PDETerm("u_x", lambda u, v: np.tanh(u * v), name="tanh"),
    ]
    terms += [PDETerm("u_y", (1,)), PDETerm("u_yy", (0, 2))] if n_axes == 2 else []
    rng = np.random.default_rng(1)
    theta, support = rng.uniform(0.2, 0.5, len(terms)), np.ones(len(terms), bool)
    support[3:4] = n_axes == 2
    theta[~support] = 0.0
    found = patch_residuals(patch, terms, theta, support, field=field)
    jacobian = found[3]
    step = 1e-5
    for column, j in enumerate(np.flatnonzero(support)):
        ends = [
            patch_residuals(
                patch, terms, theta + s * step * np.eye(len(terms))[j], support,
                field=field,
            )[2]
            for s in (1, -1)
        ]  # fmt: skip
        numeric = (ends[0] - ends[1]) / (2 * step)
        # Central differences err by step^2 and by rounding over step.
        np.testing.assert_allclose(
            jacobian[:, column], numeric, atol=1e-6 * np.abs(numeric).max()
        )


def test_the_equation_of_heat_gives_its_conductivity():
    field, coordinates = heat_field()
    patches = cut(field, coordinates, patch_size=16)
    terms = [PDETerm("u_xx"), PDETerm("u_x"), PDETerm("u")]
    fit = fit_pde_terms(patches, terms)
    assert fit.converged
    # Modes up to 3 on nodes 0.1 apart: Taylor rows err by (0.3)^3 / 6 of a slope.
    np.testing.assert_allclose(fit.theta, [0.3, 0.0, 0.0], atol=0.005)
    assert fit.loss < 1e-7
    assert fit.solver_residual < 1e-10


def test_the_error_of_coefficients_falls_with_the_grid():
    def error(n):
        field, coordinates = heat_field(n, n)
        fit = fit_pde_terms(cut(field, coordinates, patch_size=n), [PDETerm("u_xx")])
        return abs(fit.theta[0] - 0.3)

    # Of second order at least, 4 per halving, to the share of higher ones.
    assert error(24) / error(48) > 3.0


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_units_of_time_space_and_field_follow_the_chain_rule(noise):
    field, (t, x) = heat_field()
    rng = np.random.default_rng(2)
    noisy = field + noise * rng.standard_normal(field.shape)
    terms = block_library(1, 1, 1, ["u_x", "u_xx", "source"])
    one = fit_pde_terms(cut(field, [t, x], noisy, patch_size=16), terms)
    # t -> 2 t, x -> 3 x - 7, u -> u / 5.
    scaled = cut(field / 5, [2 * t, 3 * x - 7], noisy / 5, patch_size=16)
    other = fit_pde_terms(scaled, terms)
    power = {"u_x": 3, "u_xx": 9, "source": 1}
    chain = np.array(
        [
            power[term.block] / 2 * 5.0 ** (sum(term.expression) - term.is_source)
            for term in terms
        ]
    )
    # To the tolerance of the fits, which stop where a step promises 1e-6 of the loss.
    scale = np.abs(one.theta) + one.stderr
    error = (other.theta / chain - one.theta) / scale
    np.testing.assert_allclose(error, 0.0, atol=1e-6)
    np.testing.assert_allclose(other.stderr / chain, one.stderr, rtol=1e-6)
    assert other.loss * 25 == pytest.approx(one.loss, rel=1e-6)


def test_swapping_the_axes_of_space_swaps_their_blocks():
    (patch,) = random_patches(n_fields=1)
    swapped = replace(
        patch,
        coordinates=[patch.coordinates[i] for i in (0, 2, 1)],
        encoded=patch.encoded.swapaxes(1, 2),
        data=patch.data.swapaxes(1, 2),
    )
    terms = [PDETerm(b) for b in ("u_x", "u_y", "u_xx", "u_yy")]
    one, other = fit_pde_terms([patch], terms), fit_pde_terms([swapped], terms)
    np.testing.assert_allclose(other.theta[[1, 0, 3, 2]], one.theta, atol=1e-8)


def test_fields_swap_their_equations():
    (patch,) = random_patches(n_axes=1)
    swapped = replace(
        patch, encoded=patch.encoded[..., ::-1], data=patch.data[..., ::-1]
    )
    terms = [PDETerm("u", (0, 1)), PDETerm("source", (0, 2)), PDETerm("u_xx", (1,))]
    one = fit_pde_terms([patch], terms, field=0)
    other = fit_pde_terms([swapped], terms, field=1)
    np.testing.assert_array_equal(one.theta, other.theta)


def test_a_source_and_a_rate_of_decay_are_found():
    # u_t = -0.5 u + 2 v with v = cos x: u = exp(-t/2) sin x + 4 (1 - exp(-t/2)) cos x.
    t, x = np.linspace(0, 2, 16), np.linspace(0, 3, 16)
    decay = np.exp(-t / 2)[:, None]
    u = decay * np.sin(x) + 4 * (1 - decay) * np.cos(x)
    fields = np.stack([u, np.tile(np.cos(x), (16, 1))], axis=-1)
    terms = [PDETerm("u"), PDETerm("source", (0, 1)), PDETerm("source")]
    fit = fit_pde_terms(cut(fields, [t, x]), terms)
    # Steps of 0.13 in a rate of 0.5: Taylor rows err by 0.07^3 / 6 = 5e-5 of u_t.
    np.testing.assert_allclose(fit.theta, [-0.5, 2.0, 0.0], atol=2e-3)


def test_standard_errors_cover_at_their_level():
    field, coordinates = heat_field(16, 20)
    rng = np.random.default_rng(3)
    terms = [PDETerm("u_xx")]
    truth = fit_pde_terms(cut(field, coordinates, patch_size=10), terms).theta[0]
    scores = []
    for _ in range(40):
        noisy = field + 0.05 * rng.standard_normal(field.shape)
        patches = cut(field, coordinates, noisy, patch_size=10)
        fit = fit_pde_terms(patches, terms, theta0=[truth], tol=1e-3)
        scores.append((fit.theta[0] - truth) / fit.stderr[0])
    # Nodes lie in up to three patches, and errors are the larger of two estimates, so
    # they are at least as large as the spread: its own error is 11 % with 40 draws.
    assert 0.4 < np.std(scores) < 1.33
    assert abs(np.mean(scores)) < 3 / np.sqrt(40)


def test_standard_errors_fall_with_the_root_of_the_number_of_fields():
    field, coordinates = heat_field(16, 16)
    rng = np.random.default_rng(4)

    def stderr(n):
        patches = []
        for i in range(n):
            noisy = field + 0.05 * rng.standard_normal(field.shape)
            patches += cut(field, coordinates, noisy, experiment=i)
        return fit_pde_terms(patches, [PDETerm("u_xx")]).stderr[0]

    # Scores of 16 fields have a spread of 1 / sqrt(32) = 18 %.
    assert stderr(4) / stderr(16) == pytest.approx(2.0, rel=0.6)


def test_repeated_patches_do_not_make_data():
    field, coordinates = heat_field(16, 16)
    rng = np.random.default_rng(5)
    noisy = field + 0.05 * rng.standard_normal(field.shape)
    patches = cut(field, coordinates, noisy, patch_size=8, patch_stride=8)
    one = fit_pde_terms(patches, [PDETerm("u_xx")])
    twice = fit_pde_terms(patches + patches, [PDETerm("u_xx")])
    np.testing.assert_allclose(twice.theta, one.theta, rtol=1e-6)
    np.testing.assert_allclose(twice.stderr, one.stderr, rtol=1e-6)


def test_missing_data_drop_out_of_the_loss():
    field, coordinates = heat_field(16, 16)
    gaps = field.copy()
    gaps[::3] = np.nan
    gaps[:, 5] = np.nan
    patches = cut(field, coordinates, gaps)
    fit = fit_pde_terms(patches, [PDETerm("u_xx")])
    assert fit.n_residuals == np.isfinite(gaps).sum()
    assert fit.theta[0] == pytest.approx(0.3, abs=0.005)


def test_a_start_at_the_optimum_takes_no_step_and_an_empty_model_none():
    field, coordinates = heat_field(16, 16)
    patches = cut(field, coordinates)
    terms = [PDETerm("u_xx"), PDETerm("u")]
    first = fit_pde_terms(patches, terms)
    again = fit_pde_terms(patches, terms, theta0=first.theta)
    assert again.n_iter == 0
    empty = fit_pde_terms(patches, terms, [False, False])
    assert empty.converged
    assert empty.n_iter == 0
    assert not empty.theta.any()
    assert empty.loss > 10 * first.loss
    # Without terms nothing changes: u_t = 0.
    still = solve_patch(patches[0], terms, np.zeros(2))
    assert np.array_equal(still.values[:, 0].reshape(16, 16), empty.solutions[0])


def test_terms_that_nothing_moves_stay_at_zero():
    field, coordinates = heat_field(16, 16)
    both = np.concatenate([field, np.zeros_like(field)], axis=-1)
    terms = [PDETerm("u_xx"), PDETerm("u_x", (0, 1))]
    fit = fit_pde_terms(cut(both, coordinates), terms)
    assert fit.theta[1] == 0.0
    assert fit.theta[0] == pytest.approx(0.3, abs=0.005)


def test_workers_change_nothing():
    field, coordinates = heat_field()
    patches = cut(field, coordinates, patch_size=12)
    terms = [PDETerm("u_xx"), PDETerm("u_x")]
    one = fit_pde_terms(patches, terms)
    with parallel_config(backend="threading"):
        two = fit_pde_terms(patches, terms, n_jobs=2)
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.stderr, two.stderr)


def test_patches_that_the_grid_does_not_resolve_count_less():
    field, coordinates = heat_field(16, 48)
    rough = field.copy()
    # A front that heat would smear at once, in the last of five patches.
    rough[:, 40:] += 1.0
    options = {"patch_size": (16, 10), "patch_stride": (16, 10)}
    patches = cut(rough, coordinates, **options)
    terms = [PDETerm("u_xx"), PDETerm("u_x")]
    first = fit_pde_terms(patches, terms)
    weights, fit = np.ones(5), first
    for _ in range(2):
        weights = patch_weights(fit, 1e-6)
        fit = fit_pde_terms(patches, terms, weights=weights)
    assert np.argmin(weights) == 4
    assert weights[4] < 0.05
    assert abs(fit.theta[0] - 0.3) < 0.3 * abs(first.theta[0] - 0.3)


def test_noise_alone_leaves_every_patch_its_weight():
    field, coordinates = heat_field(16, 32)
    rng = np.random.default_rng(6)
    noisy = field + 0.1 * rng.standard_normal(field.shape)
    patches = cut(field, coordinates, noisy, patch_size=16)
    # Losses of 256 nodes have a spread of 9 %, and one counts less from 50 % on.
    weights = patch_weights(fit_pde_terms(patches, [PDETerm("u_xx")]), 1e-6)
    assert (weights == 1.0).all()
