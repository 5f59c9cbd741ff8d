"""Waves that steepen: the equation of Burgers, with and without viscosity."""

import numpy as np

from skident.datasets._series import (
    FIELD_MEASUREMENT,
    NON_NEGATIVE,
    POSITIVE,
    at_least,
    describe_gaps,
    field_data,
)
from skident.datasets._spectral import PeriodicGrid, evolve
from skident.utils._sklearn import validate_parameter_constraints

_CONSTRAINTS = {
    "nu": NON_NEGATIVE,
    "n_x": at_least(8),
    "n_t": at_least(2),
    "length": POSITIVE,
    "dt": POSITIVE,
    "u0": [callable, None],
    **FIELD_MEASUREMENT,
}
# Modes of a front between states that differ by J decay as exp(-2 pi k nu / J). With
# nodes this share of nu / J apart, the last of the kept two thirds is below 1e-7.
_SHARE = 0.8
_MAX_NODES = 32768
# Nodes of the search for the minimum, between two nodes of the grid.
_FINE = 16


def make_burgers(
    nu=0.1,
    n_x=256,
    n_t=128,
    *,
    length=20.0,
    dt=0.025,
    u0=None,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """A field u that solves u_t = -u u_x + ν u_xx on a periodic line.

    Parameters
    ----------
    nu : float, default=0.1
        Viscosity ν, in squared units of length per unit of time. 0 is the inviscid
        equation: its entropy solution, with shocks (from time 2 on for the default
        start).
    n_x, n_t : int, default=256, 128
        Nodes in space and in time.
    length : float, default=20.0
        Period; the first node is at minus half of it.
    dt : float, default=0.025
        Time step.
    u0 : callable or None, default=None
        Start, a function of an ndarray of positions; None is ``1 / cosh(x)``.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of the field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed of noise and gaps.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_t, n_x)
            Measured field, one snapshot a row; missing snapshots are rows of NaN.
        X_true : ndarray of shape (n_t, n_x)
            The field itself.
        observed : ndarray of bool of shape (n_t,)
            Which snapshots are not missing.
        times : ndarray of shape (n_t,)
            Times, from 0.
        trajectories : ndarray of int of shape (n_t,)
            Zeros: there is one experiment.
        grid_shape : tuple of int
            ``(n_x,)``.
        n_fields : int
            1.
        spacing, dt : float
            Steps in space and time.
        coordinates : tuple of one ndarray
            Positions of the nodes.
        coef : dict of dict
            ``coef["u"]``: terms of the right-hand side of u_t, with their coefficients.
        field_names : list of str
            ``["u"]``.
        noise_std : ndarray of shape (1,)
            Standard deviation of the noise, in units of the field.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or ``nu`` is so small that its fronts need
        more than 32768 nodes; then take 0.

    Notes
    -----
    With viscosity: Fourier modes, on as fine a grid as the fronts ask for, and steps in
    time with a relative error of 1e-9. Without: the value at (x, t) is (x - y) / t with
    y the minimiser of the integral of u0 up to y plus (x - y)² / (2t) (the formula of
    Lax and Oleinik), which is exact but for the position of shocks, known to a
    sixteenth of the step in space.

    Examples
    --------
    >>> from skident.datasets import make_burgers
    >>> data = make_burgers()
    >>> data.X.shape, data.coef["u"]
    ((128, 256), {'u u_x': -1.0, 'u_xx': 0.1})
    """
    parameters = dict(locals())
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="make_burgers")
    times = dt * np.arange(n_t)
    start = _sech if u0 is None else u0
    nodes = PeriodicGrid((n_x,), (length,)).coordinates[0]
    at_nodes = np.asarray(start(nodes), dtype=np.float64)
    if at_nodes.shape != nodes.shape or not np.isfinite(at_nodes).all():
        raise ValueError(
            "u0 must return one finite value for each of the positions it is given."
        )
    if nu > 0:
        fields = _viscous(start, nu, n_x, length, times, np.ptp(at_nodes))
    else:
        fields = np.array([entropy_solution(start, nodes, length, t) for t in times])
    coef = {"u": {"u u_x": -1.0, **({"u_xx": float(nu)} if nu > 0 else {})}}
    data = field_data(
        fields[:, :, None],
        times,
        (nodes,),
        coef=coef,
        names=("u",),
        noise=noise,
        frame_drop=frame_drop,
        random_state=random_state,
    )
    data.DESCR = (
        f"The equation of Burgers with viscosity {nu:g} on {n_x} nodes of a periodic "
        f"line of length {length:g}, at {n_t} times {dt:g} apart. "
        + describe_gaps(data, noise)
    )
    return data


def _sech(x):
    return 1.0 / np.cosh(x)


def _viscous(start, nu, n_x, length, times, height):
    """Fields of shape (n_times, n_x) by Fourier modes."""
    wanted = length * height / (_SHARE * nu)
    factor = max(1, int(np.ceil(wanted / n_x)))
    if factor * n_x > _MAX_NODES:
        raise ValueError(
            f"nu={nu:g} makes fronts that need {wanted:.0f} nodes in a length of "
            f"{length:g}, more than {_MAX_NODES}; take nu=0, or a larger one."
        )
    grid = PeriodicGrid((factor * n_x,), (length,))
    along = 0.5j * grid.waves[0] * grid.kept

    def rate(t, u):
        return grid.backward(
            nu * grid.laplacian * grid.forward(u) - along * grid.forward(u * u)
        )

    return evolve(rate, start(grid.coordinates[0]), times)[:, ::factor]


def entropy_solution(start, nodes, length, time):
    """The inviscid field at one time, by the formula of Lax and Oleinik.

    Parameters
    ----------
    start : callable
        Field at time 0.
    nodes : ndarray of shape (n_x,)
        Equally spaced positions over one period.
    length : float
        The period.
    time : float
        Time, >= 0.

    Returns
    -------
    field : ndarray of shape (n_x,)
    """
    if time == 0:
        return np.asarray(start(nodes), dtype=np.float64)
    n_fine = _FINE * len(nodes)
    step = length / n_fine
    fine = nodes[0] + step * np.arange(n_fine)
    values = np.asarray(start(fine), dtype=np.float64)

    def at(y):
        return start(nodes[0] + np.mod(y - nodes[0], length))

    # Trapezoids; the last one closes the period.
    areas = 0.5 * step * (values + np.roll(values, -1))
    potential = np.concatenate([[0.0], np.cumsum(areas)[:-1]])
    period = areas.sum()
    # The characteristic through (x, time) starts at x - time u for some value u.
    low = int(np.floor(-time * values.max() / step)) - 1
    high = int(np.ceil(-time * values.min() / step)) + 1
    offset = np.arange(low, high + 1)
    turns, place = np.divmod(_FINE * np.arange(len(nodes))[:, None] + offset, n_fine)
    cost = potential[place] + period * turns + (step * offset) ** 2 / (2 * time)
    best = nodes + step * offset[cost.argmin(axis=1)]
    # The derivative of the cost changes its sign from - to + beside the best node.
    left, right = best - step, best + step
    for _ in range(50):
        middle = 0.5 * (left + right)
        beyond = middle + time * at(middle) > nodes
        right = np.where(beyond, middle, right)
        left = np.where(beyond, left, middle)
    return (nodes - 0.5 * (left + right)) / time
