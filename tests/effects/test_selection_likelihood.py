"""The likelihood of a selected sample: gradient, normaliser, information."""

import numpy as np
import pytest
from scipy.special import expit

from skident.effects._selection_families import FAMILIES, make_family
from skident.effects._selection_likelihood import SelectionLikelihood

CASES = [
    (name, noise)
    for name in FAMILIES
    for noise in ("additive", "multiplicative")
    if noise == "additive" or name not in ("lognormal", "pareto")
]


def make_model(name="normal", noise="additive", form="logistic", n=60, **settings):
    """A model of random rows in two covariates, and parameters inside its domain."""
    rng = np.random.default_rng(0)
    U = rng.uniform(-1, 1, (n, 2))
    y = U[:, 0] + rng.normal(size=n)
    if name in ("lognormal", "pareto"):
        y = np.exp(0.3 * y)
    mask = np.ones((50, 2), dtype=bool)
    mask[:20, 1] = False
    settings = {
        "depends_on": ("X", "T", "Y"),
        "degree": (1, 2),
        "propensity_degree": 1,
        "density_degree": 2,
        "points": rng.uniform(-1, 1, (50, 2)),
        "log_volume": np.full(50, -np.log(50.0)),
        "mask": mask,
    } | settings
    model = SelectionLikelihood(
        U,
        y,
        rng.integers(0, 2, n),
        rng.uniform(0.5, 1.5, n),
        family=make_family(name, y, noise=noise, n_quad=12),
        form=form,
        **settings,
    )
    theta = 0.2 * rng.normal(size=model.n_params)
    for arm in (0, 1):
        if noise == "multiplicative":
            theta[model.slices[f"b{arm}"].start] = 2.0
        # A support that begins below all outcomes.
        if name == "lognormal_noise":
            theta[model.slices[f"s{arm}"]] = [2.5, 0.1]
        if name == "lomax_noise":
            theta[model.slices[f"s{arm}"]] = [3.5, 0.5]
    return model, theta


def differences(model, theta, step=1e-6):
    steps = step * np.eye(len(theta))
    values = [model.value(theta + h) - model.value(theta - h) for h in steps]
    return np.array(values) / (2 * step)


@pytest.mark.parametrize(("name", "noise"), CASES)
@pytest.mark.parametrize("form", ["logistic", "probit"])
def test_gradient_is_that_of_the_likelihood(name, noise, form):
    model, theta = make_model(name, noise, form)
    assert np.isfinite(model.value(theta))
    gradient = model.gradient(theta)
    error = np.abs(gradient - differences(model, theta)).max()
    assert error <= 1e-6 * np.abs(gradient).max()


@pytest.mark.parametrize("depends_on", [(), ("X",), ("Y",), ("X", "T"), ("T", "Y")])
def test_gradient_under_each_declared_dependence(depends_on):
    model, theta = make_model(depends_on=depends_on)
    gradient = model.gradient(theta)
    error = np.abs(gradient - differences(model, theta)).max()
    assert error <= 1e-6 * np.abs(gradient).max()


def test_gradient_of_the_log_distance_from_the_support():
    model, theta = make_model("lomax_noise")
    value, gradient, _ = model.log_support(theta)
    steps = 1e-6 * np.eye(len(theta))
    numeric = [
        (model.log_support(theta + h)[0] - model.log_support(theta - h)[0]) / 2e-6
        for h in steps
    ]
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, numeric, atol=1e-6 * np.abs(gradient).max())


def test_small_chances_are_summed_on_the_logarithmic_scale():
    model, theta = make_model()
    theta[model.slices["g"].start] = -800.0
    gradient = model.gradient(theta)
    assert np.isfinite(model.value(theta))
    # The penalised constant aside, an exponential's constant cancels.
    theta[model.slices["g"].start] = -900.0
    np.testing.assert_allclose(model.gradient(theta), gradient, rtol=1e-8, atol=1e-8)


def draws(theta, model, n, rng):
    """Covariates, arms, outcomes and chances of selection of a population."""
    p = model.parts(theta)
    x = rng.uniform(-1, 1, n)
    U = x[:, None]
    t = (rng.random(n) < expit(p["c"][0] + p["c"][1] * x)).astype(int)
    mean = np.where(
        t == 1,
        np.polynomial.legendre.legval(x, p["b1"]),
        np.polynomial.legendre.legval(x, p["b0"]),
    )
    sd = np.exp(np.where(t == 1, p["s1"][0], p["s0"][0]))
    y = mean + sd * rng.normal(size=n)
    eta = p["g"][0] + p["g"][1] * x + p["g"][2] * (t - 0.5) + p["gy"][0] * y
    kept = (t == 1) | (np.abs(x) < 0.5)
    return U, t, y, expit(eta) * kept


def one_covariate(U, y, t, weight=None):
    """The model of ``draws``, with the integral cut where the rule cuts."""
    u, w = np.polynomial.legendre.leggauss(40)
    pieces = [(-1.0, -0.5), (-0.5, 0.5), (0.5, 1.0)]
    points = np.concatenate([a + 0.5 * (b - a) * (1 + u) for a, b in pieces])
    volume = np.concatenate([0.25 * (b - a) * w for a, b in pieces])
    return SelectionLikelihood(
        U,
        y,
        t,
        np.ones(len(y)) if weight is None else weight,
        family=make_family("normal", y, n_quad=32),
        form="logistic",
        depends_on=("X", "T", "Y"),
        degree=(1, 2),
        propensity_degree=1,
        density_degree=0,
        points=points[:, None],
        log_volume=np.log(volume),
        mask=np.column_stack([np.abs(points) < 0.5, np.ones(len(points), bool)]),
        penalty=0.0,
    )


THETA = np.array(
    # b0, s0, b1, s1, c, g (1, x, t), gy
    [0.2, 1.0, -0.6, 1.0, 1.0, 0.8, -0.4, 0.3, 0.5, -0.5, 0.4, 0.3, 1.5]
)


def test_normaliser_is_the_share_that_is_selected():
    rng = np.random.default_rng(1)
    two = np.array([[0.0], [0.1]]), np.array([0.0, 1.0]), np.array([0, 1])
    model = one_covariate(two[0], two[1], two[2])
    chance = draws(THETA, model, 10**6, rng)[3]
    error = chance.std() / np.sqrt(len(chance))
    assert np.exp(model.normaliser(THETA)[0]) == pytest.approx(
        chance.mean(), abs=3 * error
    )


def test_information_is_the_covariance_of_the_scores():
    rng = np.random.default_rng(2)
    two = np.array([[0.0], [0.1]]), np.array([0.0, 1.0]), np.array([0, 1])
    U, t, y, chance = draws(THETA, one_covariate(*two[:2], two[2]), 40_000, rng)
    some = rng.random(len(y)) < chance
    model = one_covariate(U[some], y[some], t[some])
    n = some.sum()
    scores = model.scores(THETA)
    information = model.information(THETA) / n
    root = np.sqrt(np.diag(information))
    # At the truth scores have mean zero and that covariance, up to their own standard
    # errors; 13 means and 91 products are within 5 of them but for 1 in 10,000 seeds.
    assert (np.abs(scores.mean(axis=0)) < 5 * root / np.sqrt(n)).all()
    products = scores[:, :, None] * scores[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    # Arms are apart: some products vanish row by row.
    gap = np.abs(products.mean(axis=0) - information)
    assert (gap <= 5 * error + 1e-3 * np.outer(root, root)).all()
    # So is minus the second derivative, whose terms are of the size of the products.
    observed = model.observed_information(THETA, model.information(THETA)) / n
    assert (np.abs(observed - information) <= 5 * error.max()).all()


def test_weights_count_rows():
    rng = np.random.default_rng(3)
    U, y, t = rng.uniform(-1, 1, (30, 1)), rng.normal(size=30), rng.integers(0, 2, 30)
    count = rng.integers(1, 4, 30)
    weighted = one_covariate(U, y, t, count.astype(float))
    rows = np.repeat(np.arange(30), count)
    repeated = one_covariate(U[rows], y[rows], t[rows])
    assert weighted.value(THETA) == pytest.approx(repeated.value(THETA), rel=1e-12)
    np.testing.assert_allclose(weighted.gradient(THETA), repeated.gradient(THETA))
    np.testing.assert_allclose(
        weighted.information(THETA), repeated.information(THETA), rtol=1e-10
    )
