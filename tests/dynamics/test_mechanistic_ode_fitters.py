import pickle

import numpy as np
import pytest
from scipy.optimize import least_squares
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_lorenz
from skident.dynamics import MechanisticODERegressor
from skident.dynamics._block_triangles import BlockLayout
from skident.dynamics._libraries import make_library
from skident.dynamics._ode_joint import JointFit
from skident.dynamics._ode_operators import solve_groups
from skident.dynamics._windows import cut_windows, order_series
from skident.exceptions import IdentifiabilityWarning
from tests.dynamics._trajectories import (
    PREY,
    jaccard,
    largest_error,
    lorenz_coef,
    prey_and_predators,
)


def model(**params):
    settings = {"order": 3, "dt": 0.05, "device": "cpu", "random_state": 0}
    return MechanisticODERegressor(**(settings | params))


def joint_fit(X, window, weight=1.0, scales=(1.0, 1.0), n_controls=0):
    n_states = X.shape[1] - n_controls
    series = order_series(X, None, None, 0.1)
    solved = solve_groups(cut_windows(series, window, window), 2, 1)
    library = make_library("polynomial", ["x", "y"], 2, True)
    layout = BlockLayout(series, window, 13)
    data = X[:, :n_states]
    return JointFit(
        solved, data, X, data, library, layout, weight, np.array(scales[:n_states])
    )


def test_windows_of_short_series_leave_some_apart():
    data = make_lorenz(100, dt=0.02)
    short = model(dt=data.dt, sparsifier="elimination").fit(data.X)
    assert short.window_ == 20
    truth = lorenz_coef(data, short.terms_)
    assert jaccard(short.support_, truth) == 1
    # Two windows of 50 rows do not tell the terms apart.
    with pytest.warns(IdentifiabilityWarning):
        long = model(dt=data.dt, sparsifier="elimination", window=50).fit(data.X)
    assert jaccard(long.support_, truth) < 0.8


# -- joint -------------------------------------------------------------------------


@pytest.mark.parametrize("n_controls", [0, 1])
def test_joint_steps_end_where_a_general_solver_does(n_controls):
    X = prey_and_predators(12, dt=0.1, noise=0.1, seed=3)
    weight, scales = 0.7, np.array([1.0, 2.0])[: 2 - n_controls]
    fit = joint_fit(X, 6, weight, scales, n_controls)
    n_states = len(scales)
    support = np.zeros((n_states, 6), bool)
    support[:, [1, 4]] = True
    coef = np.zeros((n_states, 6))
    for _ in range(30):
        triangles = fit.linearised(coef, support)
        new = np.zeros(coef.shape)
        new[support] = triangles.solve(np.arange(support.sum()))[0]
        coef, loss = fit.advance(coef, support, new)

    (group,) = fit.solved
    data = X[group.group.rows][..., :n_states]
    controls = X[group.group.rows][..., n_states:]

    def rows(unknowns):
        guess = np.zeros(coef.shape)
        guess[support] = unknowns[: support.sum()]
        states = unknowns[support.sum() :].reshape(data.shape)
        terms = fit.library.evaluate(np.concatenate([states, controls], axis=-1))
        S = group.S * group.group.step[0]
        solved = S @ (terms @ guess.T) + group.s @ states[:, :1]
        parts = (solved - data) / scales, np.sqrt(weight) * (states - data) / scales
        return np.concatenate([part.ravel() for part in parts])

    start = np.concatenate([np.zeros(support.sum()), data.ravel()])
    best = least_squares(rows, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert loss == pytest.approx(2 * best.cost, rel=1e-9)
    np.testing.assert_allclose(coef[support], best.x[: support.sum()], atol=1e-5)
    # At the optimum the linear model has the loss of the problem itself.
    triangles = fit.linearised(coef, support)
    assert triangles.solve(np.arange(support.sum()))[1] == pytest.approx(loss, rel=1e-9)


def test_joint_steps_do_not_depend_on_what_memory_keeps(monkeypatch):
    X = prey_and_predators(40, dt=0.1, noise=0.05)
    support = np.ones((2, 6), bool)
    found = []
    for kept in (2**29, 0):
        monkeypatch.setattr("skident.dynamics._ode_joint._KEPT_BYTES", kept)
        fit = joint_fit(X, 10)
        coef = np.zeros((2, 6))
        new = fit.linearised(coef, support).solve(np.arange(12))[0].reshape(2, 6)
        found.append(fit.step(coef, support, new))
    np.testing.assert_array_equal(found[0], found[1])


def test_fitters_agree_on_clean_data():
    X = prey_and_predators(300)
    plain = model().fit(X)
    joint = model(fitter="joint", window=20).fit(X)
    np.testing.assert_array_equal(joint.support_, plain.support_)
    # Both are left with errors of the solver, of about 1e-4.
    np.testing.assert_allclose(joint.coef_, plain.coef_, atol=1e-3)
    assert set(joint.history_) == {"total", "solution", "smoothing"}
    total = joint.history_["solution"] + joint.history_["smoothing"]
    np.testing.assert_allclose(joint.history_["total"], total)


@pytest.mark.parametrize(
    "params",
    [{"fitter": "joint"}, {"fitter": "joint", "n_init_steps": 3}, {"n_init_steps": 3}],
)
def test_steps_that_vary_and_several_first_states(params):
    kept = np.sort(np.random.default_rng(0).choice(450, 300, replace=False))
    X = prey_and_predators(450, dt=0.03, noise=0.02)[kept]
    with pytest.warns(UserWarning, match="Steps vary"):
        found = model(window=20, sparsifier="elimination", **params).fit(
            X, times=0.03 * kept
        )
    assert jaccard(found.support_, PREY) == 1
    # 0.001 to 0.007 over five draws of the noise.
    assert largest_error(found.coef_, PREY) < 0.03


def test_joint_says_when_its_steps_do_not_end(monkeypatch):
    X = prey_and_predators(200, noise=0.02)
    monkeypatch.setattr("skident.dynamics._ode_fit._ROUNDS", 1)
    with pytest.warns(ConvergenceWarning, match="where tol=1e-05. Take a shorter"):
        model(fitter="joint", window=20).fit(X)


def test_joint_bears_noise_that_biases_others():
    X = prey_and_predators(500, noise=0.1, seed=1)
    params = {"sparsifier": "elimination", "window": 20}
    joint = model(fitter="joint", **params).fit(X)
    assert jaccard(joint.support_, PREY) == 1
    assert largest_error(joint.coef_, PREY) < 0.1


# Terms that are not in the equations are not told from zero, all being kept.
@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_standardized_errors_have_no_units():
    X = prey_and_predators(200, noise=0.02)
    scale = np.array([1.0, 1000.0])
    params = {"fitter": "joint", "window": 20, "standardize": True, "threshold": None}
    one = model(**params).fit(X)
    two = model(**params).fit(X * scale)
    terms = np.array([1, 1, 1e3, 1, 1e3, 1e6])
    back = two.coef_ * terms / scale[:, None]
    # The steps stop at a relative change of the loss of 1e-5.
    np.testing.assert_allclose(back, one.coef_, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_joint_finds_noisy_lorenz_where_differences_do_not():
    tpr, error, tpr_fd, error_fd = [], [], [], []
    for seed in range(3):
        data = make_lorenz(5000, noise=0.05, random_state=seed)
        found = model(fitter="joint", sparsifier="elimination", dt=data.dt).fit(data.X)
        truth = lorenz_coef(data, found.terms_)
        tpr.append(jaccard(found.support_, truth))
        error.append(largest_error(found.coef_, truth))
        coef = differences(found.transform(data.X), data.X, data.dt, threshold=0.1)
        tpr_fd.append(jaccard(coef != 0, truth))
        error_fd.append(largest_error(coef, truth))
    assert np.mean(tpr) >= 0.95 and np.mean(tpr_fd) < 0.95
    assert max(error) < 0.1 < min(error_fd)


def differences(terms, X, dt, threshold):
    """Thresholded least squares on central differences."""
    rates = np.gradient(X, dt, axis=0, edge_order=2)
    coef = np.zeros((X.shape[1], terms.shape[1]))
    for d, row in enumerate(coef):
        kept = np.ones(len(row), bool)
        for _ in range(10):
            row[:] = 0
            row[kept] = np.linalg.lstsq(terms[:, kept], rates[:, d], rcond=None)[0]
            kept = np.abs(row) > threshold
        row[~kept] = 0
    return coef


# -- neural ------------------------------------------------------------------------


@pytest.mark.slow
def test_networks_find_the_terms():
    X = prey_and_predators(200)
    found = model(
        fitter="neural",
        window=10,
        stride=2,
        hidden=16,
        max_epochs=60,
        batch_size=32,
        n_cycles=3,
        learning_rate=3e-3,
    ).fit(X)
    assert jaccard(found.support_, PREY) == 1
    assert largest_error(found.coef_, PREY) < 0.1
    assert found.score(X) > 0.999
    assert len(found.history_["total"]) == 60 * found.n_cycles_run_
    assert found.history_["total"][-1] < 0.01 * found.history_["total"][0]
    for d, path in enumerate(found.path_):
        np.testing.assert_array_equal(path.support[path.chosen], found.support_[d])
        assert (path.support[1:] <= path.support[:-1]).all()


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_networks_pickle_without_torch_objects():
    X = prey_and_predators(40)
    found = model(
        fitter="neural", hidden=4, max_epochs=3, n_cycles=1, window=8, stride=4
    ).fit(X)
    assert len(found.history_["total"]) == found.n_epochs_ == 3
    assert "module_" not in found.__getstate__()
    twin = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(twin.reconstruct(X), found.reconstruct(X))
    # Windows that the network does not know pass as they are.
    assert np.isfinite(found.reconstruct(X[:7])).all()


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_windows_held_out_choose_the_epoch():
    X = prey_and_predators(60)
    params = {"fitter": "neural", "hidden": 4, "n_cycles": 1, "window": 8, "stride": 4}
    params |= {"learning_rate": 0.3, "threshold": 0.0, "validation_fraction": 0.25}
    found = model(max_epochs=40, **params).fit(X)
    held = found.history_["validation"]
    assert len(held) == len(found.history_["total"]) == found.n_epochs_
    # At this rate the loss trembles: the best epoch is not the last, and ten without a
    # better one end the training.
    best = int(np.argmin(held))
    assert found.n_epochs_ == best + 11 < 40
    again = model(max_epochs=best + 1, **params).fit(X)
    np.testing.assert_array_equal(again.history_["validation"], held[: best + 1])
    np.testing.assert_array_equal(again.coef_, found.coef_)


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.filterwarnings("ignore:Steps vary")
@pytest.mark.parametrize(
    "params",
    [
        {"encoder": "savgol"},
        {"encoder": "identity", "sparsifier": "elimination"},
        {
            "n_controls": 1,
            "library": ["fourier", {"product": lambda X: X[:, 0] * X[:, 1]}],
        },
        {"net_params": {"module__skip": False}},
        {"n_cycles": 1, "threshold": 0.5, "times": True},
    ],
)
def test_networks_take_every_setting(params):
    times = np.sqrt(np.arange(40)) if params.pop("times", None) else None
    X = prey_and_predators(40)
    found = model(fitter="neural", hidden=4, max_epochs=2, window=8, stride=4, **params)
    found.fit(X, times=times)
    assert np.isfinite(found.coef_).all()
    assert np.isfinite(found.reconstruct(X, times=times)).all()
    assert not found.coef_[~found.support_].any()
    if times is not None:
        # What the last cycle drops is dropped.
        assert (np.abs(found.coef_[found.support_]) > 0.5).all()


def test_gradients_of_the_loss():
    torch = pytest.importorskip("torch")
    from skident.dynamics._mechanistic_ode_net import SolvedWindows, evaluate

    parts = ["polynomial", "fourier", {"f": lambda X: X[:, 0] ** 2 * np.sin(X[:, 1])}]
    library = make_library(parts, ["x", "y"], 3, True)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 5, 2))
    terms = evaluate(library, torch.tensor(X)).numpy()
    np.testing.assert_allclose(terms, library.evaluate(X), rtol=1e-13)
    series = order_series(X[0], None, None, 0.1)
    (group,) = solve_groups(cut_windows(series, 5, 5), 2, 1)
    loss = SolvedWindows(library, group.S, group.s, 0.5, [1.0, 2.0])
    batch = {
        "data": torch.tensor(X),
        "controls": torch.zeros(2, 5, 0, dtype=torch.float64),
        "step": torch.tensor([0.1, 0.2], dtype=torch.float64),
    }
    states = torch.tensor(X + 0.1, requires_grad=True)
    coef = torch.tensor(rng.normal(size=(2, len(library))), requires_grad=True)
    # The function's slopes are numerical, with errors of about 1e-10.
    assert torch.autograd.gradcheck(
        lambda *output: loss(output, batch), (states, coef), rtol=1e-5, atol=1e-7
    )


@pytest.mark.slow
def test_networks_reach_the_loss_of_least_squares():
    from skorch.callbacks import LRScheduler

    data = make_lorenz(2000)
    plain = model(order=2, dt=data.dt).fit(data.X)
    # A constant rate leaves a network trembling about the data, by some 0.05.
    falling = LRScheduler("CosineAnnealingLR", T_max=30)
    found = model(
        order=2,
        dt=data.dt,
        fitter="neural",
        stride=20,
        hidden=128,
        max_epochs=30,
        batch_size=4,
        n_cycles=3,
        learning_rate=2e-3,
        net_params={"callbacks": [falling]},
    ).fit(data.X)
    np.testing.assert_array_equal(found.support_, plain.support_)
    assert found.reconstruction_mse_ < 10 * plain.reconstruction_mse_
