"""Whether predictions depend on the settings beyond what the outcome explains."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import t as student

_SAMPLE = (
    "A small p-value refutes, on these rows, that the predictions depend on the "
    "settings through the outcome only. A large one does not show that they do: there "
    "may be too few rows, and nothing is said of any other population. Only outcomes "
    "of the target could tell whether it holds there."
)


@dataclass(frozen=True)
class LiftingCheck:
    """Predictions against the settings, given the outcome.

    Parameters
    ----------
    statistic : float
        Largest difference between the mean prediction in a cell of the settings and
        that over all cells, among rows of one outcome, in standard deviations of the
        outcome. NaN if no outcome was seen often enough in two cells.
    pvalue : float
        Share of permutations of the settings among rows of one outcome with a
        statistic as large.
    critical : float
        Quantile 0.99 of the statistic over these permutations.
    frame : pandas.DataFrame
        By outcome and settings: "n" rows, "mean" prediction, "difference" from that of
        all rows of the outcome; NaN below the least number of rows.
    calibration : pandas.DataFrame
        By settings: "n" rows, "gap" ``E[y - prediction]``, its "stderr", and whether
        it is "flagged" as different from zero at level 0.05 over all cells together,
        by Student's law.
    """

    statistic: float
    pvalue: float
    critical: float
    frame: Any = field(repr=False, compare=False)
    calibration: Any = field(repr=False, compare=False)

    def __str__(self):
        flagged = self.calibration["flagged"]
        if np.isnan(self.statistic):
            first = "No outcome was seen often enough in two cells of the settings."
        else:
            first = (
                "Largest difference of predictions between cells, given the outcome: "
                f"{self.statistic:.3g} standard deviations, p = {self.pvalue:.3g}."
            )
        second = (
            f"Outcome and prediction differ on average in {int(flagged.sum())} of "
            f"{len(flagged)} cells."
        )
        return "\n".join([first, second, _SAMPLE])


def lifting_check(
    predictions,
    values,
    level,
    cell,
    level_labels,
    cell_index,
    *,
    n_permutations,
    min_count,
    rng,
    linear=False,
):
    """Compare predictions between cells, given the outcome.

    Parameters
    ----------
    predictions, values : ndarray of float of shape (n,)
        Predicted and true outcomes of rows that were not trained on.
    level, cell : ndarray of int of shape (n,)
        Class or bin of the outcome, and combination of settings.
    level_labels : sequence of n_levels labels
    cell_index : pandas.Index of n_cells labels
    n_permutations, min_count : int
    rng : numpy.random.Generator
    linear : bool, default=False
        Whether to take out a line in the outcome within each bin.

    Returns
    -------
    check : LiftingCheck
    """
    import pandas as pd

    n_levels, n_cells = len(level_labels), len(cell_index)
    scale = values.std()
    given = _straightened(predictions, values, level) if linear else predictions
    pair = level * n_cells + cell
    size = n_levels * n_cells
    count = np.bincount(pair, minlength=size).reshape(n_levels, n_cells)
    enough = count >= min_count
    # With a single cell there is nothing to compare.
    enough &= enough.sum(axis=1, keepdims=True) > 1
    of_level = np.bincount(level, given, n_levels) / np.maximum(count.sum(axis=1), 1)
    away = given - of_level[level]

    def differences(values):
        sums = np.bincount(pair, values, size).reshape(n_levels, n_cells)
        return sums / np.maximum(count, 1)

    found = differences(away)
    statistic = pvalue = critical = np.nan
    if enough.any() and scale > 0:
        statistic = np.abs(found[enough]).max() / scale
        draws = np.empty(n_permutations)
        order = np.argsort(level, kind="stable")
        ends = np.cumsum(np.bincount(level, minlength=n_levels))
        blocks = np.split(order, ends[:-1])
        shuffled = np.empty_like(away)
        for b in range(n_permutations):
            for rows in blocks:
                shuffled[rows] = rng.permutation(away[rows])
            draws[b] = np.abs(differences(shuffled)[enough]).max() / scale
        # Sums in another order differ by rounding, and ties count against.
        pvalue = (1 + (draws >= statistic * (1 - 1e-9)).sum()) / (1 + n_permutations)
        critical = np.quantile(draws, 0.99)
    index = pd.MultiIndex.from_tuples(
        [(y, *(z if isinstance(z, tuple) else (z,))) for y in level_labels
         for z in cell_index],
        names=["y", *cell_index.names],
    )  # fmt: skip
    frame = pd.DataFrame(
        {
            "n": count.ravel(),
            "mean": np.where(enough, found + of_level[:, None], np.nan).ravel(),
            "difference": np.where(enough, found, np.nan).ravel(),
        },
        index=index,
    )
    return LiftingCheck(
        float(statistic),
        float(pvalue),
        float(critical),
        frame,
        calibration_gaps(predictions, values, cell, cell_index),
    )


def calibration_gaps(predictions, values, cell, cell_index):
    """Mean difference of outcome and prediction in each cell.

    Returns
    -------
    gaps : pandas.DataFrame of shape (n_cells, 4)
        "n", "gap", "stderr" (NaN below two rows) and "flagged".
    """
    import pandas as pd

    n_cells = len(cell_index)
    count = np.bincount(cell, minlength=n_cells)
    error = values - predictions
    gap = np.bincount(cell, error, n_cells) / np.where(count > 0, count, np.nan)
    squares = np.bincount(cell, (error - gap[cell]) ** 2, n_cells)
    several = np.where(count > 1, count, np.nan)
    stderr = np.sqrt(squares / (several - 1) / several)
    # Few rows of a cell say little of its error.
    quantile = student.isf(0.025 / max(1, (count > 1).sum()), several - 1)
    flagged = np.abs(gap) > quantile * stderr
    return pd.DataFrame(
        {"n": count, "gap": gap, "stderr": stderr, "flagged": flagged},
        index=cell_index,
    )


def _straightened(predictions, values, level):
    """Predictions less the line in the outcome within each bin, around its mean."""
    n_levels = level.max() + 1
    count = np.maximum(np.bincount(level, minlength=n_levels), 1)
    y = values - (np.bincount(level, values, n_levels) / count)[level]
    g = predictions - (np.bincount(level, predictions, n_levels) / count)[level]
    spread = np.bincount(level, y * y, n_levels)
    slope = np.bincount(level, y * g, n_levels) / np.where(spread > 0, spread, np.inf)
    return predictions - slope[level] * y
