"""Windows of trajectories, each of which the solver solves at once."""

from dataclasses import dataclass

import numpy as np

from skident.utils._validation import check_times, check_trajectories

# Times that a clock of single precision writes down still count as evenly spaced.
_EVEN = 1e-5


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
    def mean_step(self):
        """Mean time between neighbouring rows of a trajectory."""
        steps = np.diff(self.times)
        inside = np.ones(len(steps), bool)
        inside[self.starts[1:-1] - 1] = False
        return float(steps[inside].mean())

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


def make_table(X, n_states, trajectories, times, dt):
    """A long table as states and controls in order.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    n_states : int
        Columns before the controls.
    trajectories, times, dt
        As in :func:`order_series`.

    Returns
    -------
    table : OdeTable
    """
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
