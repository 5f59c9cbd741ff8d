"""Equations of fields: what is found, and what the fitted estimator does with it."""

import functools
import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skident.datasets import make_burgers
from skident.dynamics import MechanisticPDERegressor, PDETerm
from skident.dynamics import _pde_paths as pde_paths
from skident.dynamics._pde_scores import explained
from skident.exceptions import IdentifiabilityWarning
from tests.dynamics._small_burgers import (
    GRID_ERROR,
    TRUTH,
    burgers,
    error,
    fitted,
    small,
)


def test_burgers_is_found():
    model = fitted()
    np.testing.assert_array_equal(model.support_, [TRUTH != 0])
    assert error(model.coef_[0]) < GRID_ERROR
    assert not model.coef_[~model.support_].any()
    assert model.identifiability_.ok
    assert model.solver_residual_ < 1e-8
    assert (model.stderr_[model.support_] > 0).all()
    assert np.isnan(model.stderr_[~model.support_]).all()


def test_the_path_ends_before_a_term_that_is_missed():
    (path,) = fitted().path_
    sizes = [step.support.sum() for step in path.steps]
    assert sizes == [4, 3, 2, 1]
    assert path.chosen == 2
    losses = [step.loss for step in path.steps]
    # All without the error of the grid: no removal can lower the loss.
    assert losses == sorted(losses)
    assert path.margin > 100


def test_equations_are_text(capsys):
    model = fitted()
    lines = model.equations(precision=2)
    assert lines == ["u_t = -1 u u_x + 0.1 u_xx"]
    model.print(precision=2)
    assert capsys.readouterr().out == lines[0] + "\n"


def test_rates_are_those_of_the_equation():
    data, model = burgers(), fitted()
    rate = model.predict(data.X)
    # The generator's own rates, by differences of fourth order in time.
    h, X = data.dt, data.X
    wanted = (X[:-4] - 8 * X[1:-3] + 8 * X[3:-1] - X[4:]) / (12 * h)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(rate[2:-2], wanted, atol=GRID_ERROR * scale)
    np.testing.assert_array_equal(model.predict(data.X[7:9]), rate[7:9])


def test_scores_are_near_one_and_fall_with_the_wrong_equation():
    data, model = burgers(), fitted()
    assert model.score(data.X) > 0.999
    assert model.score_derivative(data.X) > 0.99
    still = pickle.loads(pickle.dumps(model))
    still.support_ = np.zeros_like(model.support_)
    assert still.score(data.X) < model.score(data.X) - 0.01
    assert still.score_derivative(data.X) < 0.01


def test_scores_weigh_snapshots():
    rng = np.random.default_rng(0)
    wanted, found = rng.standard_normal((2, 6, 5, 2))
    wanted[1, 2, 0] = np.nan
    counts = np.array([0, 1, 3, 1, 2, 0])
    repeated = [[np.repeat(field, counts, axis=0)] for field in (wanted, found)]
    weighed = explained([wanted], [found], [counts.astype(float)])
    assert weighed == pytest.approx(explained(*repeated), rel=1e-12)
    X, model = burgers().X, fitted()
    alike = model.score(X, sample_weight=np.full(len(X), 2.0))
    assert alike == pytest.approx(model.score(X), rel=1e-12)


@pytest.mark.parametrize("method", ["auto", "mol"])
def test_simulation_stays_near_the_generator(method):
    data = burgers()
    times = data.times[:33]
    fields = fitted().simulate(data.X[0], times, method=method)
    gap = np.linalg.norm(fields - data.X[:33]) / np.linalg.norm(data.X[:33])
    # The coefficients' own error included; nothing happens at the ends of the axis.
    assert gap < 0.01
    np.testing.assert_array_equal(fitted().simulate(data.X[0], [3.0]), data.X[:1])


def test_ends_of_an_axis_that_does_not_close_are_given_or_kept():
    data, model = burgers(), fitted()
    times, ends = data.times[:9], data.X[:9] + 0.01 * data.times[:9, None]
    fields = model.simulate(data.X[0], times, boundary=ends, method="mol")
    np.testing.assert_allclose(fields[:, [0, -1]], ends[:, [0, -1]], atol=1e-9)
    kept = model.simulate(data.X[0], times)
    np.testing.assert_allclose(kept[:, 0], data.X[0, 0], atol=1e-9)


def test_order_and_gaps_of_rows_are_read_from_their_times():
    data = burgers()
    absent = np.array([5, 6, 20])
    holes = data.X.copy()
    holes[absent] = np.nan
    one = small().fit(holes)
    rows = np.random.default_rng(0).permutation(np.delete(np.arange(48), absent))
    two = small().fit(data.X[rows], times=data.times[rows] + 3.0)
    np.testing.assert_allclose(two.coef_, one.coef_, rtol=1e-6)
    np.testing.assert_allclose(two.encoded_, one.encoded_[rows], atol=1e-9)
    assert error(one.coef_[0]) < 2 * GRID_ERROR
    assert "6.25 % of the values are missing" in str(one.identifiability_)


def test_several_experiments_share_one_equation():
    data = burgers()
    other = make_burgers(
        n_x=96, n_t=24, dt=1 / 15, u0=lambda x: -0.7 / np.cosh(x / 1.5)
    )
    X = np.concatenate([data.X, other.X])
    labels = np.repeat(["a", "b"], [48, 24])
    model = small(max_patches=8).fit(X, trajectories=labels)
    np.testing.assert_array_equal(model.support_, [TRUTH != 0])
    assert error(model.coef_[0]) < GRID_ERROR
    alone = model.denoise(other.X)
    both = model.denoise(X, trajectories=labels)
    np.testing.assert_allclose(both[48:], alone, atol=1e-12)


@functools.cache
def noisy():
    """The estimator fitted to the field with a tenth of noise; not to be changed."""
    return small(encoder="dct").fit(burgers(noise=0.1).X)


def test_noise_is_estimated_and_smoothed_away():
    data, model = burgers(noise=0.1), noisy()
    np.testing.assert_allclose(model.noise_, data.noise_std, rtol=0.1)
    np.testing.assert_allclose(model.noise_ratio_, 1.0, atol=0.1)
    noise = np.std(data.X - data.X_true)
    assert np.std(model.encoded_ - data.X_true) < 0.3 * noise
    there = np.isfinite(model.reconstruction_)
    assert there.mean() > 0.1
    assert np.std((model.reconstruction_ - data.X_true)[there]) < 0.3 * noise
    np.testing.assert_allclose(model.denoise(data.X), model.encoded_)
    rows = model.transform(data.X)
    assert np.std(rows - data.X_true) < 0.7 * noise
    np.testing.assert_array_equal(rows[3:4], model.transform(data.X[3:4]))
    whole = model.reconstruct(data.X)
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("sparsifier", ["elimination", "threshold"])
def test_the_tolerance_comes_from_the_data(sparsifier):
    model = small(encoder="dct", sparsifier=sparsifier)
    (path,) = model.fit(burgers(noise=0.1).X).path_
    # By chance a term explains 10.8 of the 6 patches' 1536 values, or somewhat more
    # where errors hang together.
    assert 0.99 * 10.83 / 1536 < path.tol < 0.1
    np.testing.assert_array_equal(model.support_, [TRUTH != 0])
    model.set_params(elimination_tol=0.004).fit(burgers().X)
    assert model.path_[0].tol == 0.004


@pytest.mark.parametrize(("tol", "jump"), [(None, 2.0), (0.004, 5.0)])
def test_multiples_of_what_chance_allows_take_no_term(monkeypatch, tol, jump):
    told = []

    whole = pde_paths.eliminate

    def eliminate(*args, **kwargs):
        told.append(kwargs["jump"])
        return whole(*args, **kwargs)

    monkeypatch.setattr(pde_paths, "eliminate", eliminate)
    small(elimination_tol=tol).fit(burgers().X)
    assert told and set(told) == {jump}


@pytest.mark.parametrize("sparsifier", ["threshold", "l1"])
def test_thresholds_find_it_without_noise(sparsifier):
    # The two coefficients are 1 and 0.1, the others rounding and the grid's error.
    model = small(sparsifier=sparsifier).fit(burgers().X)
    np.testing.assert_array_equal(model.support_, [TRUTH != 0])
    assert error(model.coef_[0]) < GRID_ERROR


def test_a_penalty_that_outweighs_the_data_leaves_nothing():
    model = small(sparsifier="l1", alpha_l1=1e3)
    with pytest.warns(IdentifiabilityWarning, match="may not be identified"):
        model.fit(burgers().X)
    assert model.equations() == ["u_t = 0"]


def test_refinement_reports_both():
    plain, data = noisy(), burgers(noise=0.1)
    refined = clone(plain).set_params(refine=True).fit(data.X)
    assert plain.coef_encoded_ is None
    np.testing.assert_allclose(refined.coef_encoded_, plain.coef_)
    assert not np.allclose(refined.coef_, plain.coef_)
    np.testing.assert_array_equal(refined.support_, plain.support_)
    assert error(refined.coef_[0]) < 0.12


def test_named_terms_and_functions_may_be_candidates():
    terms = [PDETerm("u_x", np.sin, "sin(u)"), PDETerm("u_x", (1,)), PDETerm("u_xx")]
    model = small(terms=terms).fit(burgers().X)
    assert model.terms_ == terms
    assert model.equations(2) == ["u_t = -1 u u_x + 0.1 u_xx"]


def test_jobs_do_not_change_the_numbers():
    with joblib.parallel_config(backend="threading"):
        two = small(n_jobs=2).fit(burgers().X)
    np.testing.assert_array_equal(two.coef_, fitted().coef_)


def test_single_precision_is_kept_outside_and_not_inside():
    X = burgers().X.astype(np.float32)
    model = small().fit(X)
    assert model.coef_.dtype == np.float32
    for method in (model.predict, model.transform, model.denoise, model.reconstruct):
        assert method(X).dtype == np.float32
    assert model.encoded_.dtype == np.float32
    # Inputs are rounded to 6e-8; the fit amplifies that by its condition, of 1e2.
    np.testing.assert_allclose(model.coef_, fitted().coef_, atol=1e-4)


def test_pickles_predict_the_same():
    model = fitted()
    copy = pickle.loads(pickle.dumps(model))
    X = burgers().X[:5]
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    np.testing.assert_array_equal(copy.transform(X), model.transform(X))


def test_trajectories_split_by_an_alias():
    data = burgers()
    X = np.concatenate([data.X, -data.X[:, ::-1]])  # a symmetry of the equation
    labels = np.repeat([0, 1], 48)
    with sklearn.config_context(enable_metadata_routing=True):
        model = small(sparsifier="threshold", max_patches=4)
        model.set_fit_request(trajectories="groups")
        model.set_score_request(trajectories="groups")
        found = cross_validate(
            model,
            X,
            params={"groups": labels, "times": np.tile(data.times, 2)},
            cv=GroupKFold(2),
            return_estimator=True,
        )
    assert (found["test_score"] > 0.99).all()
    for estimator in found["estimator"]:
        assert error(estimator.coef_[0]) < 2 * GRID_ERROR


def _less_one(X):
    return X - 1


def test_a_search_in_a_pipeline_holds_experiments_out():
    data = burgers()
    X = np.concatenate([data.X, -data.X[:, ::-1]])
    labels, name = np.repeat([0, 1], 48), "mechanisticpderegressor__threshold"
    with sklearn.config_context(enable_metadata_routing=True):
        model = small(sparsifier="threshold", max_patches=4)
        model.set_fit_request(trajectories="groups")
        model.set_score_request(trajectories="groups")
        pipe = make_pipeline(FunctionTransformer(_less_one), model)
        search = GridSearchCV(pipe, {name: [0.05, 0.5]}, cv=GroupKFold(2))
        with warnings.catch_warnings():
            # Above 0.1 there is no diffusion, and the report says so.
            warnings.simplefilter("ignore", IdentifiabilityWarning)
            search.fit(X + 1, groups=labels, times=np.tile(data.times, 2))
    assert search.best_params_ == {name: 0.05}
    assert error(search.best_estimator_[-1].coef_[0]) < 2 * GRID_ERROR


def test_fields_with_letters_and_their_libraries():
    rng = np.random.default_rng(0)
    model = MechanisticPDERegressor(
        n_fields=2, degree=0, max_patches=1, sparsifier="threshold"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no equation of noise
        model.fit(rng.standard_normal((12, 20)))
    assert model.grid_shape_ == (10,)
    assert model.coef_.shape == (2, len(model.terms_))
    assert [line[:3] for line in model.equations()] == ["u_t", "v_t"]
