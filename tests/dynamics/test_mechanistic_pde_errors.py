"""Fields of which no equation can be found, and what is said of them."""

import copy
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skident.dynamics import MechanisticPDERegressor, PDETerm
from skident.exceptions import IdentifiabilityWarning
from skident.utils import _memory
from tests.dynamics._small_burgers import burgers, fitted, small


def noise(n=24, width=12, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width))


def wave():
    """A pulse that keeps its shape, at speed 1."""
    t, x = 0.1 * np.arange(24)[:, None], 0.2 * np.arange(60)
    return np.exp(-(((x - 5.0 - t) / 1.8) ** 2))


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        (noise(1), {}, r"1 sample\(s\)"),
        (noise(24, 1), {}, r"1 feature\(s\)"),
        (noise(24, 12), {"grid_shape": (1, 12)}, "at least 2 nodes on every spatial"),
        (noise(24, 12), {"grid_shape": (5, 2)}, "make 10 columns"),
        (noise(24, 12), {"n_fields": 5}, "cannot hold n_fields = 5"),
        (noise(24, 12), {"spacing": -0.1}, "spacing must be positive"),
        (noise(24, 12), {"spacing": np.zeros(12)}, "must be finite and increase"),
        (np.tile(noise(1), (24, 1)), {}, "constant in time and carries no information"),
        (np.tile(noise(24, 1), 12), {}, "constant in space and carries no information"),
        (np.full((24, 12), np.nan), {}, "no observed entry"),
        (noise(3, 3), {"degree": 4}, "9 observed entries, fewer than the library's 16"),
        (noise(), {"encoder": "conv"}, 'needs fitter="adam"'),
        (noise(), {"terms": [PDETerm("u_yy")]}, "needs a second spatial axis"),
        (noise(), {"blocks": ("u_xy",)}, "mixed derivatives"),
        (noise(), {"patch_size": (8, 8, 8)}, "patch_size must have one entry"),
        (noise(), {"patch_size": (1, 8)}, "at least 2 nodes"),
    ],
)
def test_what_holds_no_equation_is_refused(X, params, message):
    with pytest.raises(ValueError, match=message):
        MechanisticPDERegressor(**params).fit(X)


def test_one_row_a_trajectory_is_refused_and_lone_rows_are_left_out():
    with pytest.raises(ValueError, match="Every trajectory has 1 sample"):
        small().fit(burgers().X, trajectories=np.arange(48))
    labels = np.r_[np.zeros(47), 1.0]
    model = small().fit(burgers().X, trajectories=labels)
    assert "1 rows that are alone in their trajectory" in str(model.identifiability_)
    assert np.isnan(model.encoded_[-1]).all()


def test_rows_at_another_step_than_those_of_fit_are_said():
    # The equation holds per unit of time: at fifteen times the step it explains less.
    data = burgers()
    model = copy.deepcopy(fitted()).set_params(dt=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = model.score(data.X, times=data.times)
    with pytest.warns(UserWarning, match="dt=1 apart, but those of fit were 0.06667"):
        wrong = model.score(data.X)
    assert wrong < right


def test_a_time_twice_is_refused():
    times = np.r_[burgers().times[:-1], 0.0]
    with pytest.raises(ValueError, match="times must be distinct"):
        small().fit(burgers().X, times=times)


def test_memory_that_is_not_there_is_refused_before(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 1000)
    monkeypatch.setattr(_memory, "_SMALL", 0)
    with pytest.raises(MemoryError, match="patches of 256 nodes"):
        small().fit(burgers().X)


def test_bursts_of_missing_values_and_uneven_times_are_no_obstacle():
    rng = np.random.default_rng(0)
    data = burgers()
    X = data.X.copy()
    X[10:14, 30:60] = np.nan
    X[rng.random(X.shape) < 0.05] = np.nan
    kept = np.delete(np.arange(48), [3, 21, 22, 40])
    times = data.times + 0.003 * np.sin(np.arange(48))  # steps vary
    model = small(terms=[PDETerm("u_x", (1,)), PDETerm("u_xx")], encoder="dct")
    model.fit(X[kept], times=times[kept])
    # Times are read a little wrong on purpose: as much as the field moves in them.
    np.testing.assert_allclose(model.coef_, [[-1.0, 0.1]], rtol=0.1)
    assert np.isfinite(model.encoded_).all()


def test_too_few_nodes_for_the_stencils_are_said():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MechanisticPDERegressor(degree=0, max_iter=3).fit(noise(12, 4))
    said = [str(w.message) for w in caught if w.category is IdentifiabilityWarning]
    assert any("the grid has nodes enough" in message for message in said)
    assert not model.identifiability_.ok
    assert np.isfinite(model.coef_).all()


def test_without_inner_nodes_the_equation_is_empty():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MechanisticPDERegressor(degree=0, max_iter=3).fit(noise(12, 2))
    assert model.equations() == ["u_t = 0"]
    assert not model.identifiability_.ok


def test_a_travelling_wave_is_named():
    # u_t = -u_x, and as well any equation that has this pulse for a solution.
    model = MechanisticPDERegressor(
        spacing=0.2, dt=0.1, degree=1, blocks=("u_x", "u_xx"), encoder="identity"
    )
    with pytest.warns(IdentifiabilityWarning, match="more than move along"):
        model.fit(wave())
    names = [a.name for a in model.identifiability_.violated]
    assert names == ["the fields do more than move along"]


def test_terms_that_the_field_ties_are_named():
    # One wave number: u_xx = -4 u, everywhere.
    t, x = 0.1 * np.arange(20)[:, None], 0.1 * np.arange(40)
    X = np.exp(-0.4 * t) * np.sin(2 * x + 0.3)
    model = MechanisticPDERegressor(
        spacing=0.1, dt=0.1, degree=0, blocks=("u", "u_xx"), encoder="identity"
    )
    with pytest.warns(IdentifiabilityWarning, match="grow or decay as a whole"):
        model.fit(X)
    assert not model.identifiability_.ok
    # The stencils' own error, (2 h)^4 / 90, is all that keeps the two apart.
    assert model.condition_number_[0] > 100


def test_a_term_that_is_zero_is_named():
    terms = [
        PDETerm("u_x", (1,)),
        PDETerm("u_xx"),
        PDETerm("u_xx", np.zeros_like, name="nothing"),
    ]
    model = small(terms=terms)
    with pytest.warns(IdentifiabilityWarning, match="nothing u_xx is zero on these"):
        model.fit(burgers().X)
    assert np.isinf(model.condition_number_).all()


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_a_fit_that_is_stopped_early_is_said():
    with pytest.warns(ConvergenceWarning, match="not converged after max_iter=1 steps"):
        small(max_iter=1, sparsifier="threshold").fit(noise(32, 32))


@pytest.mark.parametrize(
    ("x0", "times", "options", "message"),
    [
        (np.ones(5), [0.0, 1.0], {}, r"x0 must be of shape \(96,\)"),
        (np.full(96, np.nan), [0.0, 1.0], {}, "x0 must be finite: fill gaps by"),
        (np.ones(96), [0.0, 1.0, 0.5], {}, "times must increase"),
        (np.ones(96), [], {}, r"times must be of shape \(n_times,\)"),
        (np.ones(96), [0.0, 1.0], {"method": "euler"}, "method must be"),
        (
            np.ones(96),
            [0.0, 1.0],
            {"boundary": np.ones((3, 96))},
            r"boundary must be of shape \(2, 96\)",
        ),
    ],
)
def test_wrong_starts_of_simulations_are_refused(x0, times, options, message):
    with pytest.raises(ValueError, match=message):
        fitted().simulate(x0, times, **options)


def test_methods_want_a_fit_first():
    model = small()
    for call in (model.equations, model.print):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(NotFittedError):
        model.simulate(np.ones(96), [0.0, 1.0])
    with pytest.raises(NotFittedError):
        model.score(burgers().X)
