"""Least squares over windows, kept as one small triangle for each block of rows.

Rows of neighbouring windows share their noise. What a regression needs of them, and
what its errors need, stays in triangles of blocks of consecutive windows: any set of
terms is then fitted, and its standard errors found, without the rows.
"""

import numpy as np
from scipy.linalg import solve_triangular

from skident.utils._memory import check_memory

# Blocks a table is cut into, at most: enough to see correlations along time.
_MAX_BLOCKS = 400
# Windows span as many of their own lengths as their noise is taken to reach.
_REACH = 2
# Share of a variance below which an estimate, scaled up by it, is no estimate. Two
# windows side by side leave about a sixth.
_LEAST_LEFT = 0.1
_BUDGET = 2**26


class BlockLayout:
    """Blocks of consecutive rows that windows start in.

    Parameters
    ----------
    series : Series
    window : int
    n_columns : int
        Columns of the triangle of each block.

    Attributes
    ----------
    lag : int
        Blocks over which noise is taken to reach.
    n_blocks : int
    n_independent : float
        Windows that share no row.
    """

    def __init__(self, series, window, n_columns):
        n_rows = int(series.starts[-1])
        most = max(8, min(_MAX_BLOCKS, _BUDGET // n_columns**2))
        self.size = max(1, window // 4, -(-n_rows // most))
        self.lag = -(-_REACH * window // self.size)
        lengths = series.lengths
        counts = -(-lengths // self.size)
        self._begins = series.starts[:-1]
        # Zeros between trajectories keep their noises apart.
        self._offsets = np.concatenate([[0], np.cumsum(counts + self.lag)])
        self.n_blocks = int(self._offsets[-1])
        self.n_independent = float(np.maximum(1.0, lengths / window).sum())

    def of_rows(self, rows):
        """Block of each row, shape of ``rows``."""
        trajectory = np.searchsorted(self._begins, rows, side="right") - 1
        within = (rows - self._begins[trajectory]) // self.size
        return self._offsets[trajectory] + within


class BlockTriangles:
    """Collects rows of a regression by blocks, and fits from them.

    Parameters
    ----------
    layout : BlockLayout
    n_columns : int
        Candidate columns.
    n_targets : int
        Targets, which stand behind them.
    """

    def __init__(self, layout, n_columns, n_targets):
        self.layout, self.n_columns, self.n_targets = layout, n_columns, n_targets
        self._blocks = {}
        self._counts = {}
        self._triangle = None

    def add(self, blocks, rows):
        """Add rows of windows.

        Parameters
        ----------
        blocks : ndarray of int of shape (n_windows,)
        rows : ndarray of shape (n_windows, n_rows, n_columns + n_targets)
        """
        width = rows.shape[-1]
        for block in np.unique(blocks):
            own = rows[blocks == block].reshape(-1, width)
            self._counts[block] = self._counts.get(block, 0) + len(own)
            if block in self._blocks:
                own = np.concatenate([self._blocks[block], own])
            # A triangle of fewer rows than columns would be no shorter.
            if len(own) > width:
                own = np.linalg.qr(own, mode="r")
            self._blocks[block] = own
        self._triangle = None

    @property
    def triangle(self):
        """Triangle (k, n_columns + n_targets) of all rows."""
        if self._triangle is None:
            self._triangle = np.linalg.qr(
                np.concatenate(list(self._blocks.values())), mode="r"
            )
        return self._triangle

    @property
    def n_rows(self):
        """Number of rows that were added."""
        return sum(self._counts.values())

    @property
    def norms(self):
        """Lengths (n_columns,) of the columns; one for a column of zeros."""
        norms = np.linalg.norm(self.triangle[:, : self.n_columns], axis=0)
        return np.where(norms > 0, norms, 1.0)

    def partial(self, own, others):
        """The regression on some columns, while others are fitted along.

        Parameters
        ----------
        own, others : ndarray of int
            Columns.

        Returns
        -------
        triangles : BlockTriangles
            Of the own columns and the targets, each less what the others explain of
            it: least squares and errors are those of the regression on both.
        """
        targets = np.arange(self.n_columns, self.n_columns + self.n_targets)
        wanted = np.concatenate([own, targets])
        norms = self.norms[others]
        triangle = self.triangle
        explained = np.linalg.lstsq(
            triangle[:, others] / norms, triangle[:, wanted], rcond=1e-12
        )[0]
        found = BlockTriangles(self.layout, len(own), self.n_targets)
        for block, rows in self._blocks.items():
            rest = rows[:, wanted] - (rows[:, others] / norms) @ explained
            found.add(np.array([block]), rest[None])
        # The rows that these triangles stand for.
        found._counts = dict(self._counts)
        return found

    def singular(self):
        """Singular values of the design, its columns scaled to length one.

        Returns
        -------
        values : ndarray of shape (n_columns,)
            Falling.
        weakest : ndarray of shape (n_columns,)
            Combination of the scaled columns that is closest to zero.
        """
        scaled = self.triangle[:, : self.n_columns] / self.norms
        values, right = np.linalg.svd(scaled)[1:]
        # Fewer rows than columns leave combinations that are zero.
        values = np.pad(values, (0, self.n_columns - len(values)))
        return values, right[-1]

    def solve(self, columns, target=0):
        """Least squares on some columns.

        Parameters
        ----------
        columns : ndarray of int
        target : int

        Returns
        -------
        coef : ndarray of shape (len(columns),)
            The shortest one, in units of the columns' lengths, if they are dependent.
        loss : float
            Sum of squares that is left.
        """
        right = self.triangle[:, self.n_columns + target]
        if len(columns) == 0:
            return np.zeros(0), float(right @ right)
        norms = self.norms[columns]
        left = self.triangle[:, columns] / norms
        coef = np.linalg.lstsq(left, right, rcond=1e-12)[0]
        rest = right - left @ coef
        return coef / norms, float(rest @ rest)

    def errors(self, columns, coef, target=0):
        """Standard errors of coefficients, whose noise runs along time.

        Parameters
        ----------
        columns : ndarray of int
        coef : ndarray of shape (len(columns),)
        target : int

        Returns
        -------
        stderr : ndarray of shape (len(columns),)
            Infinite where columns are dependent, or nearly all windows share their
            noise.
        """
        k, n = len(columns), self.layout.n_independent
        if k == 0:
            return np.zeros(0)
        # One window alone says nothing of its noise.
        if n <= 1:
            return np.full(k, np.inf)
        norms = self.norms[columns]
        bread = np.linalg.qr(self.triangle[:, columns] / norms, mode="r")
        if _dependent(bread):
            return np.full(k, np.inf)
        scores = np.zeros((self.layout.n_blocks, k))
        weights = np.zeros(self.layout.n_blocks)
        weights[list(self._counts)] = list(self._counts.values())
        for block, rows in self._blocks.items():
            left = rows[:, columns] / norms
            rest = rows[:, self.n_columns + target] - left @ (coef * norms)
            scores[block] = left.T @ rest
        # Scores sum to zero over all blocks. Over a stretch that is much of these, the
        # sum is small for that alone: only so much of the variance is left in it.
        weights /= self.n_rows
        left = 1.0 - np.square(self._stretches(weights)).sum() / (self.layout.lag + 1)
        if left < _LEAST_LEFT:
            return np.full(k, np.inf)
        stretches = self._stretches(scores)
        spread = solve_triangular(bread, stretches.T, trans="T")
        spread = solve_triangular(bread, spread)
        variance = np.square(spread).sum(axis=1) / (self.layout.lag + 1) / left
        # Fitted coefficients take their share of what independent windows know.
        return np.sqrt(variance * n / max(n - k, 1.0)) / norms

    def spare(self, columns):
        """A column that the others make up for exactly.

        Parameters
        ----------
        columns : ndarray of int
            At least one.

        Returns
        -------
        spare : int or None
            Place in ``columns``, the last one of a dependent combination; None where
            they are independent.
        """
        left = self.triangle[:, columns] / self.norms[columns]
        if not _dependent(np.linalg.qr(left, mode="r")):
            return None
        share = np.abs(np.linalg.svd(left)[2][-1])
        return int(np.flatnonzero(share > 0.1 * share.max())[-1])

    def _stretches(self, values):
        """Sums over all stretches of lag + 1 blocks: for Bartlett's weights."""
        lag = self.layout.lag
        total = np.cumsum(values, axis=0)
        ahead = np.zeros((lag + 1, *values.shape[1:]))
        total = np.concatenate([ahead, total, np.repeat(total[-1:], lag, axis=0)])
        return total[lag + 1 :] - total[: -lag - 1]


def _dependent(bread):
    """Whether columns of a triangular factor (m, k) are dependent to rounding."""
    scale = np.abs(np.diag(bread))
    return len(bread) < bread.shape[1] or scale.min() <= 1e-12 * scale.max()


def collect(solved, states, inputs, data, library, layout):
    """Triangles of the regression of solved windows on solved terms.

    Parameters
    ----------
    solved : list of SolvedGroup
    states : ndarray of shape (n_rows, n_states)
        Smoothed states, that windows start from.
    inputs : ndarray of shape (n_rows, n_inputs)
        Smoothed states and controls, that terms are functions of.
    data : ndarray of shape (n_rows, n_states)
        What solutions are compared with.
    library : Library
    layout : BlockLayout

    Returns
    -------
    triangles : BlockTriangles
        Terms as columns, states as targets.
    """
    p, d = len(library), data.shape[1]
    triangles = BlockTriangles(layout, p, d)
    n_rows = sum(group.group.rows.size for group in solved)
    kept = min(n_rows, layout.n_blocks * (p + d)) + 3 * solved[0].length
    check_memory(
        # What is kept is stacked once more for the triangle of all.
        16 * kept * (p + d),
        f"A library of {p:,} terms on these trajectories (take a smaller degree)",
    )
    for group in solved:
        for part in group.chunks(2 * group.length * (p + d)):
            rows = part.group.rows
            low, high = rows.min(), rows.max() + 1
            terms = library.evaluate(inputs[low:high])
            _check_finite(terms, library)
            design = part.integrate(terms[rows - low])
            target = data[rows] - part.carry(states[rows])
            triangles.add(
                layout.of_rows(rows[:, 0]), np.concatenate([design, target], axis=-1)
            )
    return triangles


def _check_finite(terms, library):
    if not np.isfinite(terms).all():
        bad = int(np.flatnonzero(~np.isfinite(terms).all(axis=0))[0])
        raise ValueError(
            f"the library's term {library.names[bad]!r} is not finite on these rows."
        )
