"""Rows of flattened snapshots as fields on grids, one for each experiment."""

import math
import warnings
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from skident.dynamics._windows import tell_gap, warn_of_other_steps
from skident.utils._validation import check_times, check_trajectories

# A gap between rows is a whole number of steps up to this share of one: more than the
# rounding of times stored as decimals or in single precision.
_SAME_STEP = 1e-4
# Absent frames are filled in as missing up to this many for each frame that is there;
# with fewer than one frame in five, times are taken for irregular.
_MOST_ABSENT = 4
# Spread below which a field counts as constant, as a share of its largest value:
# a few thousand roundings.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Experiment:
    """One experiment: a field on a grid of times and places.

    Parameters
    ----------
    label : object
        Of the trajectory.
    rows : ndarray of int of shape (n_rows,)
        Its rows of ``X``, in the order of their times.
    frames : ndarray of int of shape (n_rows,)
        Place of each row on the time axis.
    coordinates : list of ndarray
        Time first, then space; each increases, and starts at 0.
    field : ndarray of float64 of shape (n_t, *grid_shape, n_fields)
        NaN where nothing was observed.
    """

    label: object
    rows: np.ndarray
    frames: np.ndarray
    coordinates: list
    field: np.ndarray

    @property
    def n_frames(self):
        """Number of frames, those that are absent included."""
        return len(self.coordinates[0])


def check_grid(n_features, grid_shape, n_fields):
    """Shape of the grid behind the columns of ``X``.

    Parameters
    ----------
    n_features : int
    grid_shape : int, tuple of int or None
    n_fields : int

    Returns
    -------
    grid_shape : tuple of one or two int

    Raises
    ------
    ValueError
        If the columns are not those of such a grid, or an axis has one node only.
    """
    if grid_shape is None:
        if n_features % n_fields:
            raise ValueError(
                f"n_features = {n_features} columns cannot hold n_fields = {n_fields} "
                "fields at each node; give grid_shape and n_fields such that "
                "prod(grid_shape) * n_fields = n_features."
            )
        shape = (n_features // n_fields,)
    else:
        shape = (grid_shape,) if isinstance(grid_shape, Integral) else grid_shape
        shape = tuple(shape)
        if len(shape) not in (1, 2) or not all(
            isinstance(n, Integral) and n > 0 for n in shape
        ):
            raise ValueError(
                "grid_shape must hold the number of nodes of one or two spatial axes, "
                f"got {grid_shape!r}."
            )
        if math.prod(shape) * n_fields != n_features:
            raise ValueError(
                f"grid_shape = {shape} and n_fields = {n_fields} make "
                f"{math.prod(shape) * n_fields} columns, but X has n_features = "
                f"{n_features}."
            )
    if min(shape) < 2:
        raise ValueError(
            f"A field needs at least 2 nodes on every spatial axis, got grid_shape = "
            f"{shape} from {n_features} feature(s) and n_fields = {n_fields}."
        )
    return tuple(int(n) for n in shape)


def check_spacing(spacing, grid_shape):
    """Coordinates of the nodes of each spatial axis, from 0.

    Parameters
    ----------
    spacing : float, sequence of floats or of coordinate vectors, one an axis
        For one axis, the coordinate vector itself will do.
    grid_shape : tuple of int

    Returns
    -------
    coordinates : list of ndarray of float64

    Raises
    ------
    ValueError
        If a step is not positive, or coordinates do not increase or do not fit.
    """
    n_axes = len(grid_shape)
    if isinstance(spacing, Real):
        entries = [spacing] * n_axes
    else:
        entries = list(spacing)
        flat = all(np.ndim(entry) == 0 for entry in entries)
        if n_axes == 1 and flat and len(entries) == grid_shape[0]:
            entries = [np.asarray(spacing)]
    if len(entries) != n_axes:
        raise ValueError(
            f"spacing must have one entry for each of {n_axes} spatial axes, got "
            f"{len(entries)}."
        )
    return [
        _axis(entry, n, axis)
        for axis, (entry, n) in enumerate(zip(entries, grid_shape, strict=True))
    ]


def _axis(entry, n, axis):
    if np.ndim(entry) == 0:
        step = float(entry)
        if not (step > 0 and math.isfinite(step)):
            raise ValueError(
                f"spacing must be positive and finite, got {step:g} on axis {axis}."
            )
        return step * np.arange(n)
    nodes = np.asarray(entry, dtype=np.float64)
    if nodes.shape != (n,):
        raise ValueError(
            f"spacing holds coordinates of shape {nodes.shape} for axis {axis}, which "
            f"has {n} nodes."
        )
    if not (np.isfinite(nodes).all() and (np.diff(nodes) > 0).all()):
        raise ValueError(
            f"spacing: coordinates of axis {axis} must be finite and increase."
        )
    return nodes - nodes[0]


def make_experiments(
    X, trajectories, times, *, grid_shape, n_fields, space, dt, fitted_step=None
):
    """Sort rows into experiments, and put them on their grids.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    trajectories : array-like of shape (n_samples,) or None
    times : array-like of shape (n_samples,) or None
        None: rows of an experiment are in order, ``dt`` apart.
    grid_shape : tuple of int
    n_fields : int
    space : list of ndarray
        Coordinates of the spatial axes.
    dt : float
    fitted_step : float or None, default=None
        Mean step of the rows that a model was fitted on.

    Returns
    -------
    experiments : list of Experiment
        Those with at least two rows.

    Raises
    ------
    ValueError
        If a side input is malformed, or no experiment has two rows.

    Warns
    -----
    UserWarning
        If times jump, or rows without times follow those of other steps.
    """
    if times is None and fitted_step is not None:
        warn_of_other_steps(dt, fitted_step)
    labels, codes = np.array([0]), np.zeros(len(X), int)
    if trajectories is not None:
        labels, codes = check_trajectories(trajectories, X)
    if times is not None:
        times = check_times(times, X, trajectories=codes)
    found = []
    for code, label in enumerate(labels.tolist()):
        rows = np.flatnonzero(codes == code)
        if len(rows) < 2:
            continue
        if times is None:
            axis, frames = dt * np.arange(len(rows)), np.arange(len(rows))
        else:
            rows = rows[np.argsort(times[rows], kind="stable")]
            axis, frames = _time_axis(times[rows])
        shape = (*grid_shape, n_fields)
        field = np.full((len(axis), *shape), np.nan)
        field[frames] = X[rows].reshape(len(rows), *shape)
        found.append(Experiment(label, rows, frames, [axis, *space], field))
    if not found:
        raise ValueError(
            "Every trajectory has 1 sample, which shows no change in time, while a "
            f"minimum of 2 is required; n_samples = {len(X)}."
        )
    return found


def _time_axis(times):
    """Time axis from 0, with absent frames of regular times filled in."""
    times = times - times[0]
    steps = np.diff(times)
    step = steps.min()
    counts = np.rint(steps / step)
    n = counts.sum() + 1
    regular = np.abs(steps / step - counts).max() <= _SAME_STEP
    if not regular or n == len(times) or n > (1 + _MOST_ABSENT) * len(times):
        gap = tell_gap(steps)
        if gap:
            warnings.warn(f"Steps vary.{gap}", UserWarning, stacklevel=5)
        return times, np.arange(len(times))
    frames = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    return np.interp(np.arange(int(n)), frames, times), frames


def check_informative(experiments, field_names):
    """Refuse fields in which nothing changes.

    Parameters
    ----------
    experiments : list of Experiment
    field_names : list of str

    Raises
    ------
    ValueError
        If a field has no observed entry, or is constant in time or in space in every
        experiment.
    """
    for j, name in enumerate(field_names):
        values = [e.field[..., j].reshape(e.n_frames, -1) for e in experiments]
        seen = [v[np.isfinite(v)] for v in values]
        if not sum(map(len, seen)):
            raise ValueError(
                f"Field {name} has no observed entry: all of X is missing there."
            )
        floor = _CONSTANT * max(np.abs(s).max() for s in seen if len(s))
        for axis, what in ((0, "time"), (1, "space")):
            if all(_spread(v, axis) <= floor for v in values):
                raise ValueError(
                    f"Field {name} is constant in {what} and carries no information "
                    "about an equation in time and space."
                )


def _spread(values, axis):
    """Largest range along an axis, of the entries that are there."""
    high = np.where(np.isnan(values), -np.inf, values).max(axis=axis)
    low = np.where(np.isnan(values), np.inf, values).min(axis=axis)
    both = np.isfinite(high)
    return float((high[both] - low[both]).max()) if both.any() else 0.0
