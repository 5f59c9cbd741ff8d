"""Regressions continued to where a rule hides an arm."""

from functools import partial

import numpy as np
import pytest

from skident.datasets import make_selection_bias
from skident.effects._polynomials import Box, choose_degree, design, logit, n_terms
from skident.effects._selection_extrapolate import bootstrap_effect, fit_extrapolate

TRUTH = 5.62


def ruled(seed, **settings):
    return make_selection_bias(nondeterministic=False, random_state=seed, **settings)


def fit(data, **settings):
    return fit_extrapolate(
        data.X,
        data.y,
        data.treatment,
        **{"support_mask": data.support_mask, **settings},
    )


def test_error_with_and_without_reference_and_without_weights():
    errors = []
    for seed in range(20):
        data = ruled(seed)
        alone, beside = fit(data), fit(data, x_reference=data.X_population)
        plain = alone.effect_at(data.X).mean()
        errors.append(np.array([alone.effect, beside.effect, plain]) - data.true_effect)
    rmse = np.sqrt(np.mean(np.square(errors), axis=0))
    # Measured over 40 seeds: 0.106, 0.016 and 1.245, with a spread of 0.01 at most
    # between halves.
    assert rmse[0] <= 0.16
    assert rmse[1] <= 0.06
    # Rows of the arm that is kept alone have to stand for those of the other.
    assert abs(np.mean(errors, axis=0)[2]) > 1.0


def test_standard_errors_cover():
    z, ratio = [], []
    for seed in range(40):
        data = ruled(seed)
        for settings in ({}, {"x_reference": data.X_population}):
            found = fit(data, **settings)
            z.append((found.effect - TRUTH) / found.stderr)
        ratio.append(found.stderr)
    # 40 of a chi-square variable: five standard errors either way.
    for column in np.reshape(z, (40, 2)).T:
        assert 0.3 < np.mean(column**2) < 2.2


def test_overlap_is_found_without_a_rule():
    data = ruled(0)
    found = fit(data, support_mask=None)
    given = fit(data)
    assert found.degree == given.degree == (1, 4)
    assert found.overlap["share"] == pytest.approx(given.overlap["share"], abs=0.03)
    assert abs(found.effect - given.effect) < found.stderr
    kept = found.selection_probability(np.array([[0.0], [2.5]]), 0)
    assert kept.tolist() == [1.0, 0.0]


def test_three_covariates():
    data = ruled(0, n_features=3)
    found = fit(data, x_reference=data.X_population)
    # Means are quartic, with no term of two covariates.
    assert abs(found.effect - data.true_effect) < 5 * found.stderr
    np.testing.assert_allclose(
        found.effect, found.effect_at(data.X_population).mean(), rtol=1e-10
    )


def test_what_is_reported():
    data = ruled(1)
    found = fit(data)
    outside = np.abs(data.X[:, 0]) > 1.5
    assert found.overlap["share"] == pytest.approx(1 - outside.mean())
    assert found.overlap["n_control"] == (data.treatment == 0).sum()
    assert found.weights.mean() == pytest.approx(1.0)
    assert np.ptp(found.weights[~outside]) == pytest.approx(0.0, abs=1e-12)
    # X is uniform on [-3, 3]: half of the population is outside of the band.
    assert found.extrapolation_share == pytest.approx(0.5, abs=0.05)
    assert found.extrapolation_distance == pytest.approx(2.0, abs=0.02)
    assert found.influence.mean() == pytest.approx(0.0, abs=1e-10)
    e = found.propensity(data.X_population)
    # Slope and constant have standard errors of about 0.05.
    assert np.abs(e - data.propensity).max() < 0.1


@pytest.mark.parametrize("with_reference", [False, True])
def test_units_rows_and_labels_do_not_matter(with_reference):
    data = ruled(2)
    R = data.X_population if with_reference else None

    def rule(X, t, a=0.0, b=1.0, flip=False):
        return data.support_mask((X - a) / b, 1 - t if flip else t)

    settings = {"support_mask": rule, "x_reference": R}
    base = fit(data, **settings)
    other = fit_extrapolate(data.X, 3.0 - 0.2 * data.y, data.treatment, **settings)
    assert other.effect == pytest.approx(-0.2 * base.effect, rel=1e-8)
    assert other.stderr == pytest.approx(0.2 * base.stderr, rel=1e-6)
    a, b = 100.0, -7.0
    moved = None if R is None else a + b * R
    other = fit_extrapolate(
        a + b * data.X,
        data.y,
        data.treatment,
        support_mask=partial(rule, a=a, b=b),
        x_reference=moved,
    )
    assert other.effect == pytest.approx(base.effect, rel=1e-8)
    order = np.random.default_rng(0).permutation(len(data.y))
    other = fit_extrapolate(
        data.X[order], data.y[order], data.treatment[order], **settings
    )
    assert other.effect == pytest.approx(base.effect, rel=1e-8)
    np.testing.assert_allclose(other.influence, base.influence[order], atol=1e-6)
    settings["support_mask"] = partial(rule, flip=True)
    other = fit_extrapolate(data.X, data.y, 1 - data.treatment, **settings)
    assert other.effect == pytest.approx(-base.effect, rel=1e-8)


def test_weights_count_rows():
    data = ruled(3, n_samples=600)
    count = np.random.default_rng(0).integers(0, 3, len(data.y))
    rows = np.repeat(np.arange(len(data.y)), count)
    settings = {"degree": (1, 4), "support_mask": data.support_mask}
    kept = count > 0
    weighted = fit_extrapolate(
        data.X[kept],
        data.y[kept],
        data.treatment[kept],
        sample_weight=count[kept].astype(float),
        **settings,
    )
    repeated = fit_extrapolate(
        data.X[rows], data.y[rows], data.treatment[rows], **settings
    )
    assert weighted.effect == pytest.approx(repeated.effect, rel=1e-9)


def test_bootstrap_agrees_with_the_standard_error():
    data = ruled(4)
    refit = partial(fit_extrapolate, support_mask=data.support_mask)
    arrays = data.X, data.y, data.treatment
    draws = bootstrap_effect(refit, arrays, n_boot=40, rng=0)
    again = bootstrap_effect(refit, arrays, n_boot=40, rng=0)
    np.testing.assert_array_equal(draws, again)
    # The relative error of 40 draws' spread is 0.11; degrees hardly vary here.
    assert draws.std() == pytest.approx(fit(data).stderr, rel=0.5)
    beside = bootstrap_effect(
        refit, arrays, n_boot=5, rng=0, x_reference=data.X_population
    )
    assert np.isfinite(beside).all()


def test_bootstrap_counts_draws_that_cannot_be_fitted():
    data = ruled(5, n_samples=60)
    rows = np.r_[
        np.flatnonzero(data.treatment == 0)[:2], np.flatnonzero(data.treatment == 1)
    ]
    refit = partial(fit_extrapolate, support_mask=data.support_mask, degree=1)
    arrays = data.X[rows], data.y[rows], data.treatment[rows], None

    def with_weight(X, y, t, w):
        return refit(X, y, t, sample_weight=w).effect

    draws = bootstrap_effect(with_weight, arrays, n_boot=40, rng=0)
    # Two rows of an arm are both missed, or one drawn, about half of the time.
    assert 0 < np.isnan(draws).sum() < 40


def test_rows_that_the_rule_excludes_are_refused():
    data = ruled(6)
    with pytest.raises(ValueError, match="support_mask must be true of every selected"):
        fit(data, support_mask=lambda X, t: np.abs(X[:, 0]) < 1.0)


def test_an_arm_without_rows_in_the_overlap_is_refused():
    data = ruled(7)
    treated = data.treatment == 1
    with pytest.raises(ValueError, match="got 0 of arm 0"):
        fit_extrapolate(
            data.X[treated],
            data.y[treated],
            data.treatment[treated],
            support_mask=data.support_mask,
        )


def test_basis_is_sorted_by_degree_and_complete():
    rng = np.random.default_rng(0)
    U = rng.uniform(-1, 1, (200, 3))
    B = design(U, 4)
    assert B.shape[1] == n_terms(3, 4) == 35
    np.testing.assert_array_equal(design(U, 2), B[:, : n_terms(3, 2)])
    target = U[:, 0] ** 2 * U[:, 1] * U[:, 2] + U[:, 2] ** 4
    rest = target - B @ np.linalg.lstsq(B, target, rcond=None)[0]
    assert np.abs(rest).max() < 1e-12
    assert choose_degree(U, target, np.ones(200), 6) == 4


def test_box_of_a_constant_column():
    box = Box.around(np.array([[1.0, 5.0], [3.0, 5.0]]))
    scaled = box.scale(np.array([[1.0, 5.0], [3.0, 5.0]]))
    np.testing.assert_array_equal(scaled, [[-1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(box.unscale(scaled)[:, 0], [1.0, 3.0])


def test_logit_of_separated_arms_is_finite():
    x = np.linspace(-1, 1, 50)
    coef, _ = logit(design(x[:, None], 1), (x > 0).astype(float), np.ones(50))
    assert np.isfinite(coef).all() and coef[1] > 5
