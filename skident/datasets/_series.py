"""What generators of trajectories and of fields share: noise, gaps, and the record."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.utils._sklearn import Interval

POSITIVE = [Interval(Real, 0, None, closed="neither")]
NON_NEGATIVE = [Interval(Real, 0, None, closed="left")]
REAL = [Interval(Real, None, None, closed="neither")]
MEASUREMENT = {"noise": NON_NEGATIVE, "random_state": ["random_state"]}
FIELD_MEASUREMENT = {
    **MEASUREMENT,
    "frame_drop": [Interval(Real, 0, 1, closed="left")],
}


def at_least(n):
    """Constraint of a count that is not below ``n``."""
    return [Interval(Integral, n, None, closed="left")]


def trajectory_data(
    states, derivatives, times, trajectories, *, dt, coef, names, noise, rng, **extra
):
    """Bunch of a long table of states, measured with noise.

    The standard deviation of the noise is ``noise`` times that of all states together.
    """
    scale = noise * states.std()
    X = states + scale * rng.standard_normal(states.shape) if noise else states.copy()
    return Bunch(
        X=X,
        X_true=states,
        derivatives=derivatives,
        times=times,
        trajectories=trajectories,
        dt=dt,
        coef=coef,
        feature_names=list(names),
        noise_std=float(scale),
        **extra,
    )


def field_data(
    fields,
    times,
    coordinates,
    *,
    coef,
    names,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
    trajectories=None,
    **extra,
):
    """Bunch of fields, one flattened snapshot a row, measured with noise and gaps.

    Parameters
    ----------
    fields : ndarray of shape (n_times, *grid_shape, n_fields)
        The truth.
    times : ndarray of shape (n_times,)
        Times of the snapshots.
    coordinates : sequence of ndarrays, one a spatial axis
        Nodes, equally spaced.
    coef : dict of dict
        Terms of each field's equation, with their coefficients.
    names : sequence of str of length n_fields
        Names of the fields.
    noise : float, default=0.0
        Standard deviation of the noise, in units of the root mean square of the field.
    frame_drop : float, default=0.0
        Probability with which a snapshot is missing, a row of NaN.
    random_state : int, RandomState instance or None, default=None
        Seed.
    trajectories : ndarray of shape (n_times,), default=None
        Labels of experiments; None is one.
    **extra
        Further fields of the bunch.

    Returns
    -------
    data : Bunch
    """
    rng = check_random_state(random_state)
    n_times, n_fields = len(fields), len(names)
    grid_shape = tuple(len(axis) for axis in coordinates)
    truth = np.ascontiguousarray(fields, dtype=np.float64).reshape(n_times, -1)
    by_field = truth.reshape(-1, n_fields)
    scale = noise * np.sqrt(np.mean(by_field**2, axis=0))
    X = truth.copy()
    if noise:
        X += (scale * rng.standard_normal(by_field.shape)).reshape(truth.shape)
    observed = rng.uniform(size=n_times) >= frame_drop
    X[~observed] = np.nan
    spacing = tuple(float(axis[1] - axis[0]) for axis in coordinates)
    if trajectories is None:
        trajectories = np.zeros(n_times, dtype=np.int64)
    return Bunch(
        X=X,
        X_true=truth,
        observed=observed,
        times=times,
        trajectories=trajectories,
        grid_shape=grid_shape,
        n_fields=n_fields,
        spacing=spacing[0] if len(spacing) == 1 else spacing,
        dt=float(times[1] - times[0]),
        coordinates=tuple(coordinates),
        coef=coef,
        field_names=list(names),
        noise_std=scale,
        **extra,
    )


def describe_gaps(data, noise):
    """Sentence about what was measured, for DESCR."""
    missing = int((~data.observed).sum())
    return (
        f"Noise of {100 * noise:g} % of the root mean square of the field; {missing} "
        f"of {len(data.X)} snapshots are missing."
    )
