"""Long waves in shallow water: the equation of Korteweg and de Vries."""

import numpy as np
from sklearn.utils import check_random_state

from skident.datasets._series import (
    FIELD_MEASUREMENT,
    POSITIVE,
    at_least,
    describe_gaps,
    field_data,
)
from skident.datasets._spectral import PeriodicGrid, evolve
from skident.utils._sklearn import validate_parameter_constraints

_CONSTRAINTS = {
    "n_trajectories": at_least(1),
    "n_x": at_least(8),
    "n_t": at_least(2),
    "n_kept": at_least(2),
    "length": POSITIVE,
    "duration": POSITIVE,
    **FIELD_MEASUREMENT,
}
_N_WAVES = 10
_SPREAD = 0.1  # lengths and durations vary by so much of themselves


def make_kdv(
    n_trajectories=1,
    n_x=256,
    n_t=250,
    n_kept=140,
    *,
    length=128.0,
    duration=50.0,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """Fields u that solve u_t = -u u_x - u_xxx on periodic lines.

    Parameters
    ----------
    n_trajectories : int, default=1
        Number of experiments; each has its own start, period and times.
    n_x : int, default=256
        Nodes in space.
    n_t, n_kept : int, default=250, 140
        Times of each experiment, from 0 to its end, and how many of the last ones are
        kept, at most ``n_t``.
    length, duration : float, default=128.0, 50.0
        Period and end of an experiment, on average: each is uniform on 0.9 to 1.1
        times that.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of the field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_burgers`, experiment after experiment. Steps
        differ between experiments: ``spacing``, ``dt`` and ``coordinates`` are those of
        the first, ``spacings`` and ``dts`` (n_trajectories,) those of all.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The start is a sum of ten waves with amplitudes uniform on [-0.5, 0.5], one or two
    periods in the length, and phases uniform on [0, 2π]. Modes of the linear part are
    exact; steps in time have a relative error of 1e-9. The third derivative is of an
    order that libraries of second order do not hold, and a lone soliton, a travelling
    wave, cannot tell it from u_x.

    References
    ----------
    .. [1] Brandstetter, Welling and Worrall, "Lie point symmetry data augmentation for
       neural PDE solvers", ICML 2022.

    Examples
    --------
    >>> from skident.datasets import make_kdv
    >>> data = make_kdv(n_x=64, n_t=20, n_kept=5, duration=5.0, random_state=0)
    >>> data.X.shape, data.coef["u"]
    ((5, 64), {'u u_x': -1.0, 'u_xxx': -1.0})
    """
    parameters = dict(locals())
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="make_kdv")
    if n_kept > n_t:
        raise ValueError(f"n_kept={n_kept} must be at most n_t={n_t}.")
    rng = check_random_state(random_state)
    fields, times, nodes = [], [], []
    for _ in range(n_trajectories):
        period = length * rng.uniform(1 - _SPREAD, 1 + _SPREAD)
        end = duration * rng.uniform(1 - _SPREAD, 1 + _SPREAD)
        amplitude = rng.uniform(-0.5, 0.5, _N_WAVES)
        cycles = rng.choice([1, 2], _N_WAVES)
        phase = rng.uniform(0, 2 * np.pi, _N_WAVES)
        grid = PeriodicGrid((n_x,), (period,))
        x = grid.coordinates[0]
        waves = np.sin(2 * np.pi / period * np.outer(x, cycles) + phase)
        moments = np.linspace(0.0, end, n_t)
        fields.append(solve_kdv(waves @ amplitude, grid, moments)[-n_kept:])
        times.append(moments[-n_kept:])
        nodes.append(x)
    data = field_data(
        np.concatenate(fields)[:, :, None],
        np.concatenate(times),
        (nodes[0],),
        coef={"u": {"u u_x": -1.0, "u_xxx": -1.0}},
        names=("u",),
        noise=noise,
        frame_drop=frame_drop,
        random_state=rng,
        trajectories=np.repeat(np.arange(n_trajectories), n_kept),
        spacings=np.array([x[1] - x[0] for x in nodes]),
        dts=np.array([t[1] - t[0] for t in times]),
    )
    data.DESCR = (
        f"{n_trajectories} solutions of the equation of Korteweg and de Vries on {n_x} "
        f"nodes of periodic lines, the last {n_kept} of {n_t} times. "
        + describe_gaps(data, noise)
    )
    return data


def solve_kdv(start, grid, times):
    """Solution of the equation of Korteweg and de Vries.

    Parameters
    ----------
    start : ndarray of shape (n_x,)
        Field at ``times[0]``.
    grid : PeriodicGrid
        Its nodes.
    times : ndarray of shape (n_times,)
        Increasing.

    Returns
    -------
    fields : ndarray of shape (n_times, n_x)
    """
    # u_xxx turns mode k at the rate k^3; seen from axes that turn along with it, only
    # the product is left.
    turn = 1j * grid.waves[0] ** 3
    along = 0.5j * grid.waves[0] * grid.kept

    def rate(t, modes):
        phase = np.exp(turn * (t - times[0]))
        u = grid.backward(phase * modes)
        return -along * grid.forward(u * u) / phase

    modes = evolve(rate, grid.forward(start), times)
    return grid.backward(modes * np.exp(np.outer(times - times[0], turn)))
