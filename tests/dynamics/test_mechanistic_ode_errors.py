import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sklearn.exceptions import NotFittedError

from skident.dynamics import MechanisticODERegressor
from skident.exceptions import IdentifiabilityWarning
from skident.utils import _memory
from tests.dynamics._trajectories import PREY, jaccard, prey_and_predators


def model(**params):
    return MechanisticODERegressor(**({"order": 3, "dt": 0.05} | params))


def violated(estimator):
    return {a.name for a in estimator.identifiability_.violated}


# -- refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"degree": 400}, r"library has 80,\d{3} terms or more for 2 variables"),
        ({"library": []}, "library must have at least one term"),
        ({"library": ["splines"]}, "library must hold .*got 'splines'"),
        ({"library": {"f": 3}}, "library must name functions by strings"),
        (
            {"library": ["polynomial", {"x0": lambda X: X[:, 0]}]},
            r"library must name each term once, got \['x0'\] twice",
        ),
        ({"library": {"f": lambda X: X}}, r"'f' must return values of shape"),
        (
            {"library": {"f": lambda X: np.full(len(X), np.nan)}},
            "'f' is not finite on these rows",
        ),
        ({"n_controls": 2}, "n_controls=2 leaves no state"),
        ({"encoder": "mlp"}, 'encoder="mlp" is trained by fitter="neural"'),
        ({"degree": 0, "include_bias": False}, "at least one term"),
    ],
)
def test_parameters_that_do_not_go_together(params, message):
    with pytest.raises(ValueError, match=message):
        model(**params).fit(prey_and_predators(60))


@pytest.mark.parametrize(
    ("X", "side", "message"),
    [
        (np.ones((1, 2)), {}, "1 sample"),
        (np.ones((3, 2)), {"trajectories": [0, 1, 2]}, "1 sample"),
        (np.ones((3, 2)), {"times": [0, 1, 1]}, "times must be distinct"),
        (np.ones((3, 2)), {"times": [0, 1, np.nan]}, "times must be finite"),
        (np.ones((3, 2)), {"times": [0, 1]}, "times must be of shape"),
        ([[1.0, np.nan], [2.0, 3.0]], {}, "NaN"),
    ],
)
def test_data_that_cannot_be_used(X, side, message):
    with pytest.raises(ValueError, match=message):
        model().fit(X, **side)


def test_a_fit_that_memory_does_not_hold(monkeypatch):
    # 18,000 terms of 200 rows need gigabytes.
    X = prey_and_predators(200)
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**30)
    with pytest.raises(MemoryError, match=r"needs about .* GiB of memory"):
        model(degree=188).fit(X)


def test_what_simulate_and_scores_refuse():
    X = prey_and_predators()
    with pytest.raises(NotFittedError):
        model().equations()
    found = model().fit(X)
    with pytest.raises(ValueError, match=r"x0 must be of shape \(2,\)"):
        found.simulate([1.0], [0, 1])
    with pytest.raises(ValueError, match="times must be one-dimensional and grow"):
        found.simulate([1.0, 1.0], [0, 1, 1])
    with pytest.raises(ValueError, match=r"dX must be of shape \(400, 2\)"):
        found.score_derivative(X, X[:, :1])
    with pytest.raises(ValueError, match="1 sample"):
        found.score(X[:1])
    driven = model(n_controls=1).fit(X)
    for controls in (None, np.ones((3, 1))):
        with pytest.raises(ValueError, match="controls must be of shape"):
            driven.simulate([1.0], [0, 1], controls=controls)


def test_rows_without_their_times_are_told():
    X = prey_and_predators(200)
    found = model(dt=1.0).fit(X, times=0.05 * np.arange(200))
    with pytest.warns(UserWarning, match="taken as dt=1 apart, but those of fit were"):
        found.score(X)


def test_runs_without_labels_are_told_by_the_gap_between_them():
    X = np.concatenate([prey_and_predators(60), prey_and_predators(60, start=(1, 1))])
    times = 0.05 * np.arange(120) + 800 * (np.arange(120) >= 60)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = model(sparsifier="elimination").fit(X, times=times)
    said = [str(w.message) for w in caught]
    assert sum("is 1.6e+04 times as long as those around" in text for text in said) == 1
    # Once, for those of the windows, 24 rows every 4, that hold both runs.
    assert found.window_ == 24
    (ill,) = (text for text in said if "ill-conditioned" in text)
    assert ill.startswith("5 of 5 windows of uneven steps")


# -- simulations that end ----------------------------------------------------------


def grown(rate, x0=0.1, n=60, dt=0.05):
    """Rows of x' = rate(x) by small steps of Runge and Kutta, and of a still state."""
    rows, h = [x0], dt / 20
    for _ in range(n - 1):
        x = rows[-1]
        for _ in range(20):
            k1 = rate(x)
            k2 = rate(x + h / 2 * k1)
            k3 = rate(x + h / 2 * k2)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(x + h * k3))
        rows.append(x)
    return np.array(rows)[:, None]


def test_a_blow_up_is_named():
    X = grown(lambda x: x * x, x0=0.2)
    found = model(threshold=0.5, window=16).fit(X)
    assert found.equations(2) == ["x0' = x0^2"]
    t = np.linspace(0, 4, 9)
    # The solution is 1 / (5 - t).
    np.testing.assert_allclose(found.simulate([0.2], t)[:, 0], 1 / (5 - t), rtol=1e-2)
    with pytest.raises(FloatingPointError, match=r"blows up: x0 is .* at t = (4\.9|5)"):
        found.simulate([0.2], [0, 10])


def test_stiff_equations_are_simulated():
    # Relaxation to a wave, ten thousand times faster than the wave.
    library = {
        "gap": lambda X: np.cos(X[:, 1]) - X[:, 0],
        "one": lambda X: np.ones(len(X)),
    }
    t = 0.05 * np.arange(200)
    X = np.column_stack([np.cos(t), t])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        found = model(library=library, threshold=None).fit(X)
    found.coef_ = np.array([[1e4, 0.0], [0.0, 1.0]])
    states = found.simulate([5.0, 0.0], [0, 1, 50])
    # Behind the wave by its slope over the rate.
    np.testing.assert_allclose(states[1:, 0], np.cos([1, 50]), atol=2e-4)


def test_a_singularity_is_named():
    library = {"root": lambda X: np.sqrt(X[:, 0]), "1": lambda X: np.ones(len(X))}
    X = grown(lambda x: -np.sqrt(x), x0=1.0, n=30)
    # All rows in one window leave no replicate for standard errors.
    found = model(library=library, window=10).fit(X)
    assert found.equations(2) == ["x0' = -root"]
    with pytest.raises(FloatingPointError, match=r"(blows up|failed|stalled).* t = "):
        found.simulate([1.0], [0, 1, 5])


# -- reported ----------------------------------------------------------------------


def test_a_circle_ties_terms():
    t = 0.05 * np.arange(300)
    X = np.column_stack([np.cos(t), np.sin(t)])
    with pytest.warns(IdentifiabilityWarning, match="smallest singular value"):
        found = model().fit(X)
    assert violated(found) >= {"terms differ on the visited states"}
    note = next(n for n in found.identifiability_.notes if "make up" in n)
    assert {"1", "x0^2", "x1^2"} == set(note.split(": ")[1].rstrip(".").split(", "))
    assert found.condition_number_ > 1e8
    # Without the constant the two squares are told apart again.
    free = model(include_bias=False, degree=1).fit(X)
    assert free.identifiability_.ok and free.condition_number_ < 10


def test_a_constant_state_is_tied_to_the_constant():
    X = np.column_stack([prey_and_predators()[:, 0], np.full(400, 2.0)])
    with pytest.warns(IdentifiabilityWarning, match="terms differ"):
        found = model(degree=1).fit(X)
    assert found.predict(X).shape == (400, 2)
    assert any("No term is left" in note for note in found.identifiability_.notes)


def test_one_short_trajectory():
    X = prey_and_predators(8)
    with pytest.warns(IdentifiabilityWarning, match="8, wanted at least 20"):
        found = model(window=20).fit(X)
    assert found.window_ == 8
    assert "A smaller window is used." in found.identifiability_.advice
    assert "the data are enough for the library" in violated(found)
    with pytest.warns(IdentifiabilityWarning, match="2, wanted at least 5"):
        tiny = model().fit(X[:2])
    assert np.isfinite(tiny.coef_).all() and not tiny.identifiability_.ok


def test_more_terms_than_rows():
    with pytest.warns(IdentifiabilityWarning, match="per candidate term"):
        found = model(degree=8).fit(prey_and_predators(30))
    assert np.isfinite(found.coef_).all()
    assert found.condition_number_ == np.inf or found.condition_number_ > 1e8


def test_noise_is_told_to_the_plain_fitter():
    X = prey_and_predators(400, noise=0.1)
    with pytest.warns(IdentifiabilityWarning, match='Try fitter="joint"'):
        found = model().fit(X)
    # Half of the degrees of freedom of a short cubic, at least, is noise: the estimate
    # comes from hundreds of rows.
    np.testing.assert_allclose(found.noise_std_ / X.std(axis=0), 0.1, rtol=0.2)
    joint = model(fitter="joint", window=20, sparsifier="elimination").fit(X)
    assert "noise is small enough for the fitter" not in violated(joint)


def test_steps_too_wide_for_the_dynamics():
    # About six rows a turn.
    X = prey_and_predators(200, dt=1.2)
    with pytest.warns(IdentifiabilityWarning, match="Try order=3, shorter windows"):
        found = model(dt=1.2, order=2).fit(X)
    assert "the sampling resolves the equations found" in violated(found)


def test_advice_is_what_can_still_be_done():
    X = prey_and_predators(200, dt=1.2)
    with pytest.warns(IdentifiabilityWarning, match="Try shorter windows or more sam"):
        model(dt=1.2, order=3).fit(X)
    with pytest.warns(IdentifiabilityWarning, match="Try more samples a unit of time"):
        shortest = model(dt=1.2, order=3, window=5).fit(X)
    assert "order=3" not in shortest.identifiability_.advice
    # An elimination has no threshold to lower.
    with pytest.warns(IdentifiabilityWarning, match="smaller min_t_ratio or shorter"):
        model(sparsifier="elimination").fit(prey_and_predators()[:, :1])


def test_a_hidden_state_leaves_trajectories_unexplained():
    X = prey_and_predators()[:, :1]
    with pytest.warns(IdentifiabilityWarning, match="solved windows leave"):
        found = model().fit(X)
    assert found.score(X) < 0.9


def test_undecided_terms_are_named():
    X = prey_and_predators(120, noise=0.05)
    with pytest.warns(IdentifiabilityWarning, match="smallest coefficient"):
        found = model(fitter="joint", window=20, threshold=None).fit(X)
    note = next(n for n in found.identifiability_.notes if "do not decide" in n)
    assert "x0^2 in that of x1" in note or "x1^2 in that of x0" in note


def test_a_threshold_that_drops_what_is_missed():
    # The rotation hides that both states are damped, by 0.1.
    t = 0.05 * np.arange(400)
    X = np.exp(-0.1 * t)[:, None] * np.column_stack([np.cos(2 * t), -np.sin(2 * t)])
    with pytest.warns(IdentifiabilityWarning, match="dropped terms are not missed"):
        found = model().fit(X)
    assert found.support_.sum() == 2
    assert "Try a smaller threshold" in found.identifiability_.advice
    assert model(threshold=0.05).fit(X).identifiability_.ok


def test_a_threshold_that_leaves_nothing_names_the_unit_of_time():
    # In units of a row rates are a twentieth of those in time: none is above 0.1.
    with pytest.warns(IdentifiabilityWarning):
        found = model(dt=1.0).fit(prey_and_predators(400))
    assert not found.support_.any()
    assert any("rows are 1 apart" in note for note in found.identifiability_.notes)


@pytest.mark.parametrize(("unit", "artefact"), [(1e-6, "x0^2"), (1e6, "1")])
def test_units_in_which_a_threshold_keeps_what_does_not_matter(unit, artefact):
    X = 3 * unit * np.exp(-0.05 * np.arange(100))[:, None]
    plain = {"order": 2, "dt": 0.1, "window": 20}
    with pytest.warns(IdentifiabilityWarning, match="stand above the solver's error"):
        found = model(**plain).fit(X)
    assert found.support_[0, found.terms_.index(artefact)]
    relative = model(**plain, threshold=None, threshold_rel=0.01).fit(X)
    assert relative.identifiability_.ok and relative.support_.sum() == 1


def test_one_orbit_lets_terms_stand_in_for_each_other():
    # Energy ties the square of the speed to the angle: a cubic in both fits a pendulum
    # as well as one in the angle does.
    def rate(t, state):
        return [state[1], -np.sin(state[0])]

    times = 0.05 * np.arange(400)
    X = solve_ivp(rate, (0, 20), [1.0, 0.0], t_eval=times, rtol=1e-10, atol=1e-10).y.T
    with pytest.warns(IdentifiabilityWarning, match="stands in for a kept one"):
        found = model(order=2, degree=3).fit(X)
    note = next(n for n in found.identifiability_.notes if "in place of" in n)
    assert "equation of x1" in note and "x0^3" in note and "x0 x1^2" in note


def test_windows_that_all_overlap_have_no_standard_errors():
    t = 0.1 * np.arange(60)
    rng = np.random.default_rng(0)
    grown = 3 / (1 + 59 * np.exp(-2 * t))[:, None]
    X = grown + 0.02 * rng.standard_normal((60, 1))
    with pytest.warns(IdentifiabilityWarning, match="Take shorter windows"):
        found = model(dt=0.1, window=50).fit(X)
    assert np.isinf(found.stderr_[found.support_]).all()
    coefs, errors = [], []
    for _ in range(24):
        X = grown + 0.02 * rng.standard_normal((60, 1))
        short = model(dt=0.1, window=10, threshold=0.3).fit(X)
        assert short.identifiability_.ok
        coefs.append(short.coef_[0, 1:])
        errors.append(short.stderr_[0, 1:])
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(coefs, axis=0)
    # 1.5 over 60 draws: six windows side by side. The deviation of 24 coefficients is
    # known to 15 %.
    assert (ratio > 0.7).all() and (ratio < 2.5).all()


def test_no_report_of_a_good_fit_warns():
    found = model().fit(prey_and_predators())
    assert found.identifiability_.ok
    assert jaccard(found.support_, PREY) == 1
    assert {a.verdict for a in found.identifiability_.assumptions} == {
        "holds",
        "untestable",
    }
