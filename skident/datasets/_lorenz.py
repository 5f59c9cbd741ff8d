"""The chaotic trajectories of Lorenz."""

import numpy as np
from scipy.integrate import solve_ivp
from sklearn.utils import check_random_state

from skident.datasets._series import (
    MEASUREMENT,
    POSITIVE,
    REAL,
    at_least,
    trajectory_data,
)
from skident.utils._sklearn import validate_parameter_constraints

_CONSTRAINTS = {
    "n_samples": at_least(2),
    "dt": POSITIVE,
    "x0": ["array-like"],
    "sigma": REAL,
    "rho": REAL,
    "beta": REAL,
    **MEASUREMENT,
}


def make_lorenz(
    n_samples=10000,
    dt=0.01,
    *,
    x0=(1.0, 1.0, 1.0),
    sigma=10.0,
    rho=28.0,
    beta=8.0 / 3.0,
    noise=0.0,
    random_state=None,
):
    """Trajectories of the Lorenz system, a chaotic one with seven coefficients.

    The states solve x' = σ(y - x), y' = x(ρ - z) - y, z' = xy - βz [1]_.

    Parameters
    ----------
    n_samples : int, default=10000
        Times of each trajectory, ``dt`` apart.
    dt : float, default=0.01
        Time step.
    x0 : array-like of shape (3,) or (n_trajectories, 3), default=(1, 1, 1)
        Start of each trajectory.
    sigma, rho, beta : float, default=10, 28, 8/3
        Coefficients.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the standard deviation of all states together.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_rows, 3)
            Measured states, trajectory after trajectory.
        X_true : ndarray of shape (n_rows, 3)
            The states themselves.
        derivatives : ndarray of shape (n_rows, 3)
            Their time derivatives.
        times : ndarray of shape (n_rows,)
            Time of each row, from 0 in each trajectory.
        trajectories : ndarray of int of shape (n_rows,)
            Trajectory of each row, from 0.
        dt : float
            Time step.
        coef : dict of dict
            ``coef[state][term]``, in which terms are written as ``"x z"``.
        feature_names : list of str
            ``["x", "y", "z"]``.
        noise_std : float
            Standard deviation of the noise, in units of the states.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    Steps of the integration have a relative error of 1e-10. Errors grow by a factor e
    in about one unit of time, so after some 25 of them the rounding of the machine
    decides which of the trajectories of the attractor this is.

    References
    ----------
    .. [1] Lorenz, "Deterministic nonperiodic flow", Journal of the Atmospheric Sciences
       20(2), 1963.

    Examples
    --------
    >>> from skident.datasets import make_lorenz
    >>> data = make_lorenz(200)
    >>> data.X.shape, data.coef["y"]
    ((200, 3), {'x': 28.0, 'x z': -1.0, 'y': -1.0})
    """
    parameters = dict(locals())
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="make_lorenz")
    starts = np.atleast_2d(np.asarray(x0, dtype=np.float64))
    if starts.ndim != 2 or starts.shape[1] != 3:
        raise ValueError(
            "x0 must be of shape (3,) or (n_trajectories, 3), got shape "
            f"{np.shape(x0)}."
        )

    def rate(t, state):
        x, y, z = state
        return np.array([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    times = dt * np.arange(n_samples)
    states = np.concatenate(
        [
            solve_ivp(
                rate,
                (0.0, times[-1]),
                start,
                t_eval=times,
                method="DOP853",
                rtol=1e-10,
                atol=1e-10,
            ).y.T
            for start in starts
        ]
    )
    data = trajectory_data(
        states,
        rate(0.0, states.T).T,
        np.tile(times, len(starts)),
        np.repeat(np.arange(len(starts)), n_samples),
        dt=float(dt),
        coef={
            "x": {"x": -float(sigma), "y": float(sigma)},
            "y": {"x": float(rho), "x z": -1.0, "y": -1.0},
            "z": {"x y": 1.0, "z": -float(beta)},
        },
        names=("x", "y", "z"),
        noise=noise,
        rng=check_random_state(random_state),
    )
    data.DESCR = (
        f"{len(starts)} trajectories of the Lorenz system with sigma {sigma:g}, rho "
        f"{rho:g} and beta {beta:g}, each of {n_samples} times {dt:g} apart, with "
        f"noise of {100 * noise:g} % of the standard deviation of the states."
    )
    return data
