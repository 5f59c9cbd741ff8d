"""Components of known mixtures, their canonical form, scores and stability."""

import warnings

import joblib
import numpy as np
import pytest
from scipy import integrate
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import FastICA

from skident.exceptions import IdentifiabilityWarning
from skident.metrics import match_components, mean_correlation_coefficient
from tests.decomposition._mixtures import SOURCES, mixture, post

# --- recovery ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=["laplace", "uniform"])
def exact(request):
    u, X = mixture(request.param, n=10_000, k=10)
    return request.param, u, X, post().fit(X)


def test_exact_mixtures_are_recovered(exact):
    kind, u, X, est = exact
    # Expected: 1 - angle^2 / 2 for standard errors of 0.030 and 0.022.
    wanted = {"laplace": 0.999, "uniform": 0.9995}[kind]
    Y = est.transform(X)
    assert mean_correlation_coefficient(u, Y) >= wanted
    assert est.converged_ and est.gradient_norm_ <= 1e-6
    assert np.abs(Y.T @ Y / len(Y) - np.eye(10)).max() <= 1e-8
    np.testing.assert_allclose(Y.mean(axis=0), 0, atol=1e-10)
    sign = {"laplace": 1, "uniform": -1}[kind]
    np.testing.assert_array_equal(est.density_sign_, np.full(10, sign))
    assert est.identified_mask_.all() and est.identifiability_.ok


def test_agreement_with_scikit_learn(exact):
    _, _, X, est = exact
    peer = FastICA(
        fun="logcosh", tol=1e-7, whiten="unit-variance", max_iter=500, random_state=0
    ).fit(X)
    match = match_components(est.transform(X), peer.transform(X))
    assert match.correlations.min() >= 0.999


def test_agreement_with_picard(exact):
    picard = pytest.importorskip("picard")
    _, _, X, est = exact
    found = picard.picard(X.T.copy(), ortho=True, tol=1e-7, random_state=0)[2]
    assert match_components(est.transform(X), found.T).correlations.min() >= 0.999


@pytest.mark.parametrize(
    ("algorithm", "fun"),
    [
        *[(a, "tanh") for a in ("picard-o", "fastica", "picard", "infomax")],
        *[(a, fun) for a in ("picard-o", "fastica") for fun in ("exp", "cube")],
    ],
)
def test_every_contrast_recovers_mixed_densities(algorithm, fun):
    rng = np.random.default_rng(1)
    u = np.c_[SOURCES["laplace"](rng, (4000, 2)), SOURCES["uniform"](rng, (4000, 2))]
    X = u @ rng.standard_normal((4, 4))
    est = post(algorithm=algorithm, fun=fun).fit(X)
    match = match_components(u, est.transform(X))
    # Three standard errors of the least efficient contrast are 0.2 rad.
    assert match.correlations.min() > 0.98
    signs = est.density_sign_[match.permutation]
    np.testing.assert_array_equal(signs, [1, 1, -1, -1])
    np.testing.assert_allclose(est.transform(X).std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(est.inverse_transform(est.transform(X)), X, atol=1e-8)


def test_the_error_falls_with_the_root_of_the_rows():
    errors = []
    for n in (1000, 16_000):
        u, X = mixture(n=n, k=6, seed=3)
        match = match_components(u, post().fit(X).transform(X))
        errors.append(np.mean(np.sqrt(2 * (1 - match.correlations))))
    # Sixteen times the rows: a quarter of the error. The mean over six components,
    # each a root of five squares, scatters by about a tenth in either run.
    assert 2.5 < errors[0] / errors[1] < 6


def test_bounded_sources_come_out_wrong_without_extended():
    u, X = mixture("uniform")
    scores = []
    for extended in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = post(extended=extended, max_iter=100).fit(X)
        scores.append(mean_correlation_coefficient(u, est.transform(X)))
        assert extended or (est.density_sign_ == 1).all()
    assert scores[0] > 0.999 > 0.95 > scores[1]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_cube_assumes_flat_densities_without_extended(method):
    _, X = mixture("uniform")
    extended, fixed = (
        getattr(post(fun="cube", extended=e), method)(X) for e in (True, False)
    )
    np.testing.assert_array_equal(fixed.density_sign_, np.full(4, -1))
    np.testing.assert_array_equal(extended.density_sign_, fixed.density_sign_)
    assert fixed.score(X) == pytest.approx(extended.score(X), abs=1e-6)


# --- equivariance and canonical form -----------------------------------------------


@pytest.mark.parametrize("kind", ["laplace", "uniform", "skewed"])
def test_linear_maps_of_the_data_change_nothing(kind):
    _, X = mixture(kind, n=5000, k=5)
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(2))
    A = left * np.geomspace(1, 100, 5) @ right
    one, two = post().fit(X), post(random_state=7).fit(X @ A - 11)
    match = match_components(one.transform(X), two.transform(X @ A - 11))
    assert match.correlations.min() >= 0.9999


def test_canonical_order_and_sign_need_no_matching():
    rng = np.random.default_rng(2)
    u = SOURCES["skewed"](rng, (5000, 4))
    directions = np.linalg.qr(rng.standard_normal((6, 4)))[0].T
    X = u * [4, 1, 3, 2] @ directions
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    one, two = post(n_components=4).fit(X), post(n_components=4, random_state=9)
    Y1, Y2 = one.transform(X), two.fit_transform(X @ turn + 5)
    np.testing.assert_allclose(Y1, Y2, atol=1e-4)
    # Energies are squared norms of the mixing columns, here 16, 9, 4 and 1.
    order = [0, 2, 3, 1]
    assert np.all(
        [np.corrcoef(Y1[:, i], u[:, order[i]])[0, 1] > 0.99 for i in range(4)]
    )
    np.testing.assert_allclose(one.component_energy_, [16, 9, 4, 1], rtol=0.15)
    total = X.var(axis=0).sum()
    np.testing.assert_allclose(one.component_energy_.sum(), total, rtol=1e-9)


def test_order_by_kurtosis_survives_any_linear_map():
    rng = np.random.default_rng(4)
    # Excess kurtosis 6 / shape: 20, 6 and 2.
    u = rng.gamma([0.3, 1.0, 3.0], size=(8000, 3))
    A, B = rng.standard_normal((2, 3, 3))
    fits = [post(order="kurtosis").fit(u @ M) for M in (A, B)]
    Y1, Y2 = (est.transform(u @ M) for est, M in zip(fits, (A, B), strict=True))
    np.testing.assert_allclose(Y1, Y2, atol=1e-4)
    size = np.abs(fits[0].kurtosis_)
    assert (np.diff(size) < 0).all()


def test_signs_make_third_moments_or_mixing_positive():
    _, X = mixture("skewed")
    skewed = post().fit(X)
    assert ((skewed.transform(X) ** 3).mean(axis=0) > 0).all()
    _, X = mixture("uniform")
    flat = post().fit(X)
    largest = np.abs(flat.mixing_).argmax(axis=0)
    assert (flat.mixing_[largest, np.arange(4)] > 0).all()


def test_no_canonical_form_on_request():
    _, X = mixture("skewed")
    canonical = post().fit(X)
    raw = post(order="none", sign="none").fit(X)
    match = match_components(canonical.transform(X), raw.transform(X))
    np.testing.assert_allclose(match.correlations, 1)
    assert (match.permutation != np.arange(4)).any() or (match.signs < 0).any()


# --- attributes --------------------------------------------------------------------


def test_attributes_belong_together():
    _, X = mixture(n_features=6)
    est = post(n_components=4).fit(X)
    assert est.components_.shape == (4, 6) and est.mixing_.shape == (6, 4)
    eye = np.eye(4)
    np.testing.assert_allclose(est.rotation_ @ est.rotation_.T, eye, atol=1e-12)
    np.testing.assert_allclose(est.components_, est.rotation_ @ est.whitening_)
    pseudo = np.linalg.pinv(est.components_)
    np.testing.assert_allclose(est.mixing_, pseudo, atol=1e-10)
    Y = est.transform(X)
    np.testing.assert_allclose(Y, (X - X.mean(axis=0)) @ est.components_.T, atol=1e-9)
    np.testing.assert_allclose(est.inverse_transform(Y), X, atol=1e-9)
    np.testing.assert_allclose(est.fit_transform(X), Y)
    np.testing.assert_allclose(est.kurtosis_, (Y**4).mean(axis=0) - 3, atol=1e-4)
    variance = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    np.testing.assert_allclose(est.explained_variance_, variance[:4], rtol=1e-9)
    assert est.condition_number_ == pytest.approx(variance[0] / variance[3])
    assert est.n_samples_seen_ == len(X)
    assert len(est.history_["gradient_norm"]) >= est.n_iter_ > 0
    assert est.history_["gradient_norm"][-1] <= est.tol


def test_one_component():
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(500, 1)) * 3 - 7
    est = post().fit(x)
    y = (x - x.mean()) / x.std()
    np.testing.assert_allclose(est.transform(x), y, atol=1e-12)
    assert est.identified_mask_.all() and est.identifiability_.ok
    assert est.stability(x) == pytest.approx(1)


@pytest.mark.parametrize("n_components", [None, 3, 0.9999, "mp"])
def test_rank_rules(n_components):
    u, X = mixture(k=3, n_features=8)
    if n_components != "mp":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            est = post(n_components=n_components).fit(X)
    else:
        X = X + 0.05 * np.random.default_rng(1).standard_normal(X.shape)
        est = post(n_components="mp").fit(X)
    assert est.n_components_ == 3
    assert mean_correlation_coefficient(u, est.transform(X)) > 0.99


@pytest.mark.parametrize("solver", ["eigh", "svd", "randomized"])
def test_whitening_solvers_agree(solver):
    _, X = mixture(n_features=4)
    wanted = post(n_components=4).fit(X).transform(X)
    found = post(n_components=4, whiten_solver=solver).fit(X).transform(X)
    # Both optima are exact to the tolerance of the gradient over the curvature.
    np.testing.assert_allclose(found, wanted, atol=1e-4)


# --- controls, score, stability ----------------------------------------------------


def test_controls_whiten_only():
    u, X = mixture(k=6, n=3000)
    found = {r: post(rotation=r).fit(X) for r in ("ica", "none", "random")}
    for name, est in found.items():
        Y = est.transform(X)
        np.testing.assert_allclose(Y.T @ Y / len(Y), np.eye(6), atol=1e-8)
        assert est.identified_mask_.all() == (name == "ica")
    for name in ("none", "random"):
        est = found[name]
        assert est.gradient_norm_ > 1e-3 and est.n_iter_ == 0
        assert est.identifiability_.up_to == "orthogonal map"
        assert "control" in str(est.identifiability_)
    none = found["none"]
    principal = none.explained_variance_
    np.testing.assert_allclose(none.component_energy_, principal, rtol=1e-9)
    scores = {
        n: mean_correlation_coefficient(u, e.transform(X)) for n, e in found.items()
    }
    assert scores["ica"] > 0.998 > 0.95 > max(scores["none"], scores["random"])
    again = post(rotation="random").fit(X)
    np.testing.assert_array_equal(again.rotation_, found["random"].rotation_)
    other = post(rotation="random", random_state=1).fit(X)
    assert mean_correlation_coefficient(other.transform(X), again.transform(X)) < 0.95


@pytest.mark.parametrize("kind", ["laplace", "uniform"])
def test_score_is_a_normalised_log_density(kind):
    _, X = mixture(kind, k=1, n=2000)
    est = post().fit(X)
    assert est.density_sign_[0] == {"laplace": 1, "uniform": -1}[kind]
    middle, width = X.mean(), 40 * X.std()
    mass = integrate.quad(
        lambda x: np.exp(est.score(np.array([[x]]))),
        middle - width,
        middle + width,
        points=[middle],
        limit=200,
    )[0]
    assert mass == pytest.approx(1, abs=1e-7)


def test_score_is_the_mean_over_rows_and_knows_units():
    _, X = mixture()
    est = post().fit(X)
    each = [est.score(row[None]) for row in X[:50]]
    assert est.score(X[:50]) == pytest.approx(np.mean(each))
    # The density of 10 x is a tenth of that of x, in each of four dimensions.
    scaled = post().fit(10 * X)
    wanted = est.score(X) - 4 * np.log(10)
    assert scaled.score(10 * X) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["laplace", "uniform"])
def test_held_out_score_prefers_ica_to_its_controls(kind):
    _, X = mixture(kind)
    scores = [
        post(rotation=r).fit(X[::2]).score(X[1::2]) for r in ("ica", "none", "random")
    ]
    assert scores[0] > max(scores[1:]) + 0.01


def test_stability_is_what_the_standard_errors_promise():
    _, X = mixture(n=6000, k=5)
    est = post().fit(X)
    lost = []
    for seed in range(12):
        est.set_params(random_state=seed)
        lost.append(1 - est.stability(X))
    # Two halves, each with twice the variance of the whole, and their difference. That
    # is a sum of ten squared angles, one for each pair of components, which scatters by
    # sqrt(2 / 10); cuts into halves are as good as independent of each other, so that
    # the mean of twelve scatters by 13 %.
    promised = 2 * np.mean(est.angle_stderr_**2)
    assert np.mean(lost) == pytest.approx(promised, rel=4 * 0.13)


def test_stability_in_parts_and_for_each_component():
    _, X = mixture(n=6000, k=5)
    est = post().fit(X)
    found = est.stability(X)
    each = est.stability(X, n_splits=3, per_component=True)
    assert each.shape == (5,) and (each > 0.98).all()
    assert est.stability(X, n_splits=2) == found
    with pytest.raises(ValueError, match="n_splits must be at least 2, got 1"):
        est.stability(X, n_splits=1)


def test_parts_that_lack_directions():
    # The last feature moves in one row alone: only one of the parts has it.
    _, X = mixture(n=3000, k=3)
    X = np.c_[X, np.eye(len(X))[0]]
    with pytest.warns(IdentifiabilityWarning):
        est = post().fit(X)
    each = est.stability(X, per_component=True)
    spike = est.kurtosis_.argmax()
    # It agrees with itself in that part, and with nothing in the other.
    assert each[spike] == pytest.approx(0.5, abs=0.05)
    assert np.delete(each, spike).min() > 0.98
    assert est.stability(X) == pytest.approx(0.75, abs=0.02)
    with pytest.raises(ValueError, match=r"parts of 3 rows, too few for 4 components"):
        est.stability(X[:6])


def test_digits_have_pixels_that_few_rows_light():
    X = load_digits().data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = post(max_iter=5).fit(X)
    assert est.n_components_ == 61
    assert 0 < est.stability(X) < 1
    each = est.stability(X, per_component=True)
    assert each.shape == (61,) and (each >= 0).all()


def test_parts_are_fitted_in_any_number_of_jobs():
    _, X = mixture(n=1000)
    est = post().fit(X)
    with joblib.parallel_config(backend="threading"):
        found = clone(est).set_params(n_jobs=2).fit(X).stability(X, n_splits=3)
    assert found == est.stability(X, n_splits=3)


def test_unstable_components_are_seen_to_be_so():
    X = np.random.default_rng(0).standard_normal((2000, 4))
    with pytest.warns(IdentifiabilityWarning):
        est = post().fit(X)
    assert est.stability(X) < 0.9
