"""The selection of the other sign that leaves the same rows."""

import numpy as np
import pytest

from skident.effects import SelectionBiasATE
from skident.effects._selection_families import make_family
from skident.effects._selection_joint import fit_joint
from skident.effects._selection_likelihood import SelectionLikelihood
from skident.effects._selection_mirror import fit_mirror, has_mirror, mirrored
from skident.exceptions import IdentifiabilityWarning

DECLARED = {"degree": 1, "x_density": 2, "n_starts": 2}


def sample(seed, n=3000):
    """Selected rows, and the population's covariates; the average effect is 2."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 1))
    t = (rng.random(n) < 1 / (1 + np.exp(-0.7 * X[:, 0]))).astype(int)
    y = 1 + X[:, 0] + t * (2 + X[:, 0]) + rng.standard_normal(n)
    s = rng.random(n) < 1 / (1 + np.exp(2 - 1.2 * y))
    return X[s], y[s], t[s], X


def likelihood(depends_on=("X", "T", "Y"), form="logistic", family="normal", **options):
    rng = np.random.default_rng(0)
    U, t = rng.uniform(-1, 1, (200, 1)), rng.integers(0, 2, 200)
    y = rng.standard_normal(200)
    return SelectionLikelihood(
        U,
        y,
        t,
        np.ones(200),
        family=make_family(family, y, n_quad=64, **options),
        form=form,
        depends_on=depends_on,
        degree=(1, 1),
        propensity_degree=1,
        density_degree=2,
        points=np.linspace(-1, 1, 64)[:, None],
        log_volume=np.full(64, -np.log(64)),
        mask=np.ones((64, 2), dtype=bool),
    )


def test_the_mirror_leaves_the_same_law_of_the_rows():
    # A randomised treatment whose effect is the same everywhere: all that is left over
    # has the form of the propensity and of the density, and the mirror is exact.
    model = likelihood()
    parts = {"b0": np.array([0.3, 0.5]), "b1": np.array([0.9, 0.5])}
    parts |= {"s0": np.array([-0.2]), "s1": np.array([0.1])}
    parts |= {"c": np.array([0.2, 0.0]), "k": np.array([0.1, -0.4])}
    parts |= {"g": np.array([-0.5, 0.3, 0.2]), "gy": np.array([1.1])}
    theta = model.join(**parts)
    other = mirrored(model, theta)
    assert model.parts(other)["gy"][0] == -1.1
    # 64 nodes integrate a logistic curve of this slope to 1e-8; rows' laws agree.
    here, there = model.log_density(theta), model.log_density(other)
    np.testing.assert_allclose(here, there, atol=1e-6)
    np.testing.assert_allclose(mirrored(model, other), theta, atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        {"depends_on": ("X", "T")},
        {"form": "probit"},
        {"family": "laplace"},
        {"noise": "multiplicative"},
    ],
)
def test_other_likelihoods_have_none(change):
    model = likelihood(**change)
    assert not has_mirror(model)
    assert fit_mirror(model, np.zeros(model.n_params)) == (None, -np.inf)


@pytest.mark.parametrize("seed", [0, 1])
def test_selected_rows_alone_do_not_tell_the_sign(seed):
    X, y, t, population = sample(seed)
    alone = fit_joint(X, y, t, depends_on=("Y",), rng=0, **DECLARED)
    assert alone.refusal[0] == "mirrored_selection"
    assert np.isnan(alone.effect)
    beside = fit_joint(
        X, y, t, depends_on=("Y",), x_reference=population[:800], rng=0, **DECLARED
    )
    assert beside.refusal is None
    assert abs(beside.effect - 2) < 4 * beside.stderr


def test_the_estimator_refuses_and_says_what_helps():
    X, y, t, _ = sample(0)
    model = SelectionBiasATE(
        selection_depends_on=("Y",),
        selection_form="logistic",
        outcome_family="normal",
        **DECLARED,
        random_state=0,
    )
    with pytest.warns(IdentifiabilityWarning, match="x_reference"):
        model.fit(X, y, treatment=t)
    assert model.identification_.code == "mirrored_selection"
    assert np.isnan(model.effect_)
