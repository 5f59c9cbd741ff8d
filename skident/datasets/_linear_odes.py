"""Trajectories with closed forms: linear systems, a damped sine, logistic growth."""

from itertools import pairwise

import numpy as np
from scipy.linalg import expm
from sklearn.utils import Bunch, check_random_state

from skident.datasets._series import (
    MEASUREMENT,
    NON_NEGATIVE,
    POSITIVE,
    at_least,
    trajectory_data,
)
from skident.utils._sklearn import validate_parameter_constraints

# Systems A y' + B y = c, with their start.
_SYSTEMS = {
    "rc_charge": ([[2.31]], [[1 / 1.2]], [0.7], [10.0]),
    "growth": ([[-1.0]], [[0.23]], [0.0], [4.78]),
    "language_death": ([[1.0]], [[0.6]], [0.32], [0.14]),
    "harmonic": (np.eye(2), [[0.0, -1.0], [2.1, 0.0]], [0.0, 0.0], [0.4, -0.03]),
    "damped": (np.eye(2), [[0.0, -1.0], [4.5, 0.43]], [0.0, 0.0], [0.12, 0.043]),
    "third_order": (
        np.eye(3),
        [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 1.0]],
        [0.0, 0.0, 0.0],
        [0.0, -1.0, 1.0],
    ),
}
_LINEAR = {"duration": POSITIVE, "dt": POSITIVE, "order": at_least(1)}
_SINE = {"n_samples": at_least(2), "duration": POSITIVE, **MEASUREMENT}
_LOGISTIC = {
    "n_trajectories": at_least(1),
    "n_times": at_least(2),
    "duration": POSITIVE,
    "noise_std": NON_NEGATIVE,
    "random_state": ["random_state"],
}
_TRAIN_SHARE = 0.8


def make_linear_odes(duration=10.0, dt=0.01, *, order=2):
    """Six linear systems of differential equations with their exact solutions.

    The charge of a capacitor, growth, the death of a language, a harmonic and a damped
    oscillator, and a chain of third order, as arguments of
    :func:`~skident.solvers.solve_linear_ode` and as tables.

    Parameters
    ----------
    duration : float, default=10.0
        Length of the trajectories; a multiple of ``dt``, else the nearest one.
    dt : float, default=0.01
        Time step.
    order : int, default=2
        Highest derivative that the arguments and solutions hold.

    Returns
    -------
    data : Bunch
        With ``systems``, a dict by name of bunches, ``DESCR``, and in each bunch

        coefficients : ndarray of shape (1, n_states, n_states, order + 1)
            Factor of derivative r of state d in equation q, in ``[0, q, d, r]``.
        rhs : ndarray of shape (1, n_states)
            Right-hand sides.
        init : ndarray of shape (1, n_states, 1)
            The start.
        steps : ndarray of shape (1,)
            ``dt``.
        solution : ndarray of shape (n_times, n_states, order + 1)
            The exact states and their derivatives.
        X, derivatives : ndarrays of shape (n_times, n_states)
            The exact states, and their first derivatives.
        times, dt : ndarray of shape (n_times,), float
            Times from 0, and their step.
        coef : dict of dict
            ``coef[state][term]`` of the explicit form, with "1" for a constant.
        feature_names : list of str
            Names of the states.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skident.datasets import make_linear_odes
    >>> systems = make_linear_odes().systems
    >>> list(systems)  # doctest: +NORMALIZE_WHITESPACE
    ['rc_charge', 'growth', 'language_death', 'harmonic', 'damped', 'third_order']
    >>> systems["damped"].coef["v"]
    {'x': -4.5, 'v': -0.43}
    """
    parameters = dict(locals())
    validate_parameter_constraints(_LINEAR, parameters, caller_name="make_linear_odes")
    times = dt * np.arange(max(1, round(duration / dt)) + 1)
    systems = {
        name: _linear_system(*map(np.asarray, parts), times, dt, order)
        for name, parts in _SYSTEMS.items()
    }
    return Bunch(
        systems=systems,
        DESCR=(
            "Six linear systems of differential equations with exact solutions at "
            f"{len(times)} times {dt:g} apart."
        ),
    )


def _linear_system(mass, stiffness, constant, start, times, dt, order):
    n = len(start)
    rates = np.linalg.solve(mass, -stiffness)
    drift = np.linalg.solve(mass, constant)
    # The constant is a further state that does not change.
    extended = np.zeros((n + 1, n + 1))
    extended[:n, :n], extended[:n, n] = rates, drift
    step = expm(dt * extended)
    states = np.empty((len(times), n + 1))
    states[0] = [*start, 1.0]
    for now, after in pairwise(range(len(times))):
        states[after] = step @ states[now]
    solution = np.empty((len(times), n, order + 1))
    solution[..., 0] = states[:, :n]
    for r in range(1, order + 1):
        solution[..., r] = solution[..., r - 1] @ rates.T + (drift if r == 1 else 0.0)
    coefficients = np.zeros((1, n, n, order + 1))
    coefficients[0, :, :, 0], coefficients[0, :, :, 1] = stiffness, mass
    names = ["x", "v"] if n == 2 else ["x", "y", "z"][:n]
    coef = {}
    for i, name in enumerate(names):
        row = {
            other: float(value) for other, value in zip(names, rates[i], strict=True)
        }
        row["1"] = float(drift[i])
        coef[name] = {term: value for term, value in row.items() if value}
    return Bunch(
        coefficients=coefficients,
        rhs=np.array(constant, dtype=np.float64)[None],
        init=np.array(start, dtype=np.float64)[None, :, None],
        steps=np.array([dt], dtype=np.float64),
        solution=solution,
        X=solution[..., 0].copy(),
        derivatives=solution[..., 1].copy(),
        times=times,
        dt=float(dt),
        coef=coef,
        feature_names=names,
    )


def make_noisy_sine(n_samples=500, duration=50.0, *, noise=0.5, random_state=None):
    """A damped sine with noise that decays along with it.

    The series is (sin 2t + noise ε) exp(-t/10), with ε standard normal; without noise
    it solves x'' = -0.2 x' - 4.01 x.

    Parameters
    ----------
    n_samples : int, default=500
        Number of times, from 0 to ``duration``.
    duration : float, default=50.0
        The last time.
    noise : float, default=0.5
        Standard deviation of the noise at time 0; the sine's amplitude there is 1.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise.

    Returns
    -------
    data : Bunch
        With ``X`` and ``X_true`` (n_samples, 1), ``derivatives`` (n_samples, 1),
        ``times``, ``trajectories``, ``dt``, ``coef`` (terms of x'' by name; "x_t" is
        the first derivative), ``feature_names``, ``noise_std`` at time 0, and
        ``DESCR``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skident.datasets import make_noisy_sine
    >>> make_noisy_sine(random_state=0).coef
    {'x': {'x': -4.01, 'x_t': -0.2}}
    """
    parameters = dict(locals())
    validate_parameter_constraints(_SINE, parameters, caller_name="make_noisy_sine")
    rng = check_random_state(random_state)
    times = np.linspace(0.0, duration, n_samples)
    decay = np.exp(-0.1 * times)
    truth = (np.sin(2 * times) * decay)[:, None]
    rate = ((2 * np.cos(2 * times) - 0.1 * np.sin(2 * times)) * decay)[:, None]
    data = trajectory_data(
        truth,
        rate,
        times,
        np.zeros(n_samples, dtype=np.int64),
        dt=float(times[1]),
        coef={"x": {"x": -4.01, "x_t": -0.2}},
        names=("x",),
        noise=0.0,
        rng=rng,
        DESCR=(
            f"A damped sine at {n_samples} times up to {duration:g}, with noise of "
            f"standard deviation {noise:g} exp(-t/10)."
        ),
    )
    data.X = truth + (noise * rng.standard_normal(n_samples) * decay)[:, None]
    data.noise_std = float(noise)
    return data


def make_logistic_family(
    n_trajectories=5000,
    n_times=60,
    duration=3.0,
    *,
    noise_std=1e-3,
    random_state=None,
):
    """Logistic growth, with a rate and a capacity of its own in each trajectory.

    Each trajectory solves x' = r x - (r/K) x². Rates r and capacities K are normal with
    mean 3 and standard deviation 0.5, starts are normal with mean and standard
    deviation 0.05; all three are drawn anew until they are positive, since what starts
    below 0 escapes to minus infinity.

    Parameters
    ----------
    n_trajectories : int, default=5000
        Number of trajectories.
    n_times : int, default=60
        Times of each one, from 0 to ``duration``.
    duration : float, default=3.0
        The last time.
    noise_std : float, default=1e-3
        Standard deviation of the measurement noise.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With ``X``, ``X_true`` and ``derivatives`` (n_trajectories * n_times, 1),
        trajectory after trajectory, ``times``, ``trajectories``, ``dt``,
        ``coefficients`` (n_trajectories, 3), those of 1, x and x² in each trajectory,
        ``rates``, ``capacities``, ``starts`` and ``train`` (n_trajectories,), the
        latter True for the first four fifths, ``coef`` (a list of dicts, one a
        trajectory), ``feature_names``, ``noise_std`` and ``DESCR``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skident.datasets import make_logistic_family
    >>> data = make_logistic_family(10, random_state=0)
    >>> data.X.shape, int(data.train.sum())
    ((600, 1), 8)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _LOGISTIC, parameters, caller_name="make_logistic_family"
    )
    rng = check_random_state(random_state)
    rates = _positive_normal(3.0, 0.5, n_trajectories, rng)
    capacities = _positive_normal(3.0, 0.5, n_trajectories, rng)
    starts = _positive_normal(0.05, 0.05, n_trajectories, rng)
    times = np.linspace(0.0, duration, n_times)
    r, k = rates[:, None], capacities[:, None]
    states = k / (1.0 + (k / starts[:, None] - 1.0) * np.exp(-r * times))
    data = trajectory_data(
        states.reshape(-1, 1),
        (r * states * (1.0 - states / k)).reshape(-1, 1),
        np.tile(times, n_trajectories),
        np.repeat(np.arange(n_trajectories), n_times),
        dt=float(times[1]),
        coef=[
            {"x": {"x": float(a), "x^2": float(-a / b)}}
            for a, b in zip(rates, capacities, strict=True)
        ],
        names=("x",),
        noise=0.0,
        rng=rng,
        coefficients=np.column_stack(
            [np.zeros_like(rates), rates, -rates / capacities]
        ),
        rates=rates,
        capacities=capacities,
        starts=starts,
        train=np.arange(n_trajectories) < _TRAIN_SHARE * n_trajectories,
        DESCR=(
            f"{n_trajectories} trajectories of logistic growth at {n_times} times up "
            f"to {duration:g}, with noise of standard deviation {noise_std:g}."
        ),
    )
    data.X = data.X_true + noise_std * rng.standard_normal(data.X_true.shape)
    data.noise_std = float(noise_std)
    return data


def _positive_normal(mean, std, n, rng):
    found = mean + std * rng.standard_normal(n)
    while (found <= 0).any():
        again = np.flatnonzero(found <= 0)
        found[again] = mean + std * rng.standard_normal(len(again))
    return found
