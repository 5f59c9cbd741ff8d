"""Windows of trajectories, each of which the solver solves at once."""

import warnings
from dataclasses import dataclass

import numpy as np

from skident.utils._validation import check_times, check_trajectories

# Times that a clock of single precision writes down still count as evenly spaced.
_EVEN = 1e-5
# Steps that differ by more than this share are not the same ones but for some rows of
# uneven times.
_OTHER_STEP = 0.1
# A step so many times as long as its neighbours is a gap, or another run's start.
_LONG_GAP = 20.0


@dataclass(frozen=True)
class Series:
    """Rows of a table in order of trajectory and time.

    Parameters
    ----------
    order : ndarray of int of shape (n_samples,)
        Row of the table that each row here was.
    times : ndarray of float64 of shape (n_samples,)
    starts : ndarray of int of shape (n_trajectories + 1,)
        First row of each trajectory here, and the number of rows.
    """

    order: np.ndarray
    times: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self):
        """Rows of each trajectory."""
        return np.diff(self.starts)

    @property
    def steps(self):
        """Times between neighbouring rows of a trajectory."""
        steps = np.diff(self.times)
        inside = np.ones(len(steps), bool)
        inside[self.starts[1:-1] - 1] = False
        return steps[inside]

    @property
    def mean_step(self):
        """Mean time between neighbouring rows of a trajectory."""
        return float(self.steps.mean())

    def even(self):
        """Whether each trajectory has steps of one size."""
        for low, high in zip(self.starts[:-1], self.starts[1:], strict=True):
            steps = np.diff(self.times[low:high])
            if len(steps) and not _even(steps):
                return False
        return True


def order_series(X, trajectories, times, dt):
    """Sort the rows of a long table by trajectory and time.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    trajectories : array-like of shape (n_samples,) or None
    times : array-like of shape (n_samples,) or None
        None: the rows of each trajectory stand in order, ``dt`` apart.
    dt : float

    Returns
    -------
    series : Series
    """
    codes = np.zeros(len(X), int)
    if trajectories is not None:
        _, codes = check_trajectories(trajectories, X)
    if times is None:
        order = np.argsort(codes, kind="stable")
    else:
        times = check_times(times, X, trajectories=codes)
        order = np.lexsort((times, codes))
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)])
    if times is None:
        within = np.arange(len(X)) - np.repeat(starts[:-1], counts)
        return Series(order, dt * within, starts)
    return Series(order, times[order], starts)


def warn_of_other_steps(dt, fitted_step):
    """Rates found at one step are taken for those of another: hardly ever meant.

    Parameters
    ----------
    dt : float
        Taken for the time between rows that come without times.
    fitted_step : float
        Mean time between those that a model was fitted on.

    Warns
    -----
    UserWarning
        If the two differ by more than a tenth.
    """
    if abs(dt - fitted_step) > _OTHER_STEP * max(dt, fitted_step):
        warnings.warn(
            f"Without times, rows are taken as dt={dt:g} apart, but those of fit were "
            f"{fitted_step:.4g} apart; give times here too, or set dt.",
            UserWarning,
            stacklevel=4,
        )


def tell_gap(steps):
    """What to do about a step that is far longer than those beside it.

    Parameters
    ----------
    steps : ndarray of shape (n_steps,)
        At least one.

    Returns
    -------
    text : str
        Empty without such a step, else a sentence that starts with a space.
    """
    # Steps may grow along a trajectory, and drawn ones have short neighbours by chance.
    around = np.pad(steps, 1, mode="edge")
    ratios = steps / np.maximum(np.maximum(around[:-2], around[2:]), np.median(steps))
    widest = int(ratios.argmax())
    if ratios[widest] < _LONG_GAP:
        return ""
    return (
        f" One step, of {steps[widest]:.4g}, is {ratios[widest]:.3g} times as long as "
        "those around it, and what lies across it tells little: give rows after a long "
        "gap, or of another run, a label of their own in trajectories."
    )


@dataclass(frozen=True)
class OdeTable:
    """States and controls in order of trajectory and time.

    Parameters
    ----------
    series : Series
    data : ndarray of float64 of shape (n_rows, n_states)
    controls : ndarray of float64 of shape (n_rows, n_controls)
    """

    series: Series
    data: np.ndarray
    controls: np.ndarray

    def inputs(self, states):
        """Smoothed states and controls, (n_rows, n_inputs)."""
        return np.concatenate([states, self.controls], axis=1)


def make_table(X, n_states, trajectories, times, dt, fitted_step=None):
    """A long table as states and controls in order.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    n_states : int
        Columns before the controls.
    trajectories, times, dt
        As in :func:`order_series`.
    fitted_step : float or None, default=None
        Mean step of the rows that a model was fitted on.

    Returns
    -------
    table : OdeTable
    """
    if times is None and fitted_step is not None:
        warn_of_other_steps(dt, fitted_step)
    series = order_series(X, trajectories, times, dt)
    rows = X[series.order].astype(np.float64)
    return OdeTable(series, rows[:, :n_states], rows[:, n_states:])


@dataclass(frozen=True)
class WindowGroup:
    """Windows of one length.

    Parameters
    ----------
    rows : ndarray of int of shape (n_windows, length)
        Rows of each window, of the sorted table.
    step : ndarray of shape (n_windows,)
        Mean step of each.
    ratios : ndarray of shape (n_windows, length - 1) or None
        Steps over their mean; None if all are one.
    """

    rows: np.ndarray
    step: np.ndarray
    ratios: np.ndarray | None

    def __len__(self):
        return len(self.rows)

    @property
    def length(self):
        """Rows of each window."""
        return self.rows.shape[1]

    def part(self, which):
        """The windows that an index picks."""
        ratios = None if self.ratios is None else self.ratios[which]
        return WindowGroup(self.rows[which], self.step[which], ratios)


def cut_windows(series, window, stride):
    """Cut trajectories into windows that never cross from one to another.

    Parameters
    ----------
    series : Series
    window : int
        Rows of a window; a trajectory of fewer rows, but at least two, is one window.
    stride : int
        Rows from one window's start to the next one's. The last window of a
        trajectory ends where the trajectory ends: strides up to a window skip no row.

    Returns
    -------
    groups : list of WindowGroup
        Windows of one length with even steps, then those with uneven ones.
    """
    by_length = {}
    for low, high in zip(series.starts[:-1], series.starts[1:], strict=True):
        length = min(window, high - low)
        if length < 2:
            continue
        begins = np.arange(low, high - length + 1, stride)
        if begins[-1] < high - length:
            begins = np.append(begins, high - length)
        by_length.setdefault(length, []).append(begins)
    groups = []
    for length, begins in sorted(by_length.items(), reverse=True):
        rows = np.concatenate(begins)[:, None] + np.arange(length)
        steps = np.diff(series.times[rows], axis=1)
        mean = steps.mean(axis=1)
        ratios = steps / mean[:, None]
        even = np.abs(ratios - 1).max(axis=1) <= _EVEN
        if even.any():
            groups.append(WindowGroup(rows[even], mean[even], None))
        if not even.all():
            groups.append(WindowGroup(rows[~even], mean[~even], ratios[~even]))
    return groups


def _even(steps):
    mean = steps.mean()
    return bool(np.abs(steps - mean).max() <= _EVEN * mean)
