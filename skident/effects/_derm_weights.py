"""Weights under which an outcome is independent of the settings of an experiment."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d

from skident.utils._labels import class_values, distinct
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skident.utils._validation import check_sample_weight, check_settings

# Of the weights, in derm_weights and in the estimators.
WEIGHT_CONSTRAINTS: dict = {
    "prob_floor": [Interval(Real, 0, 1, closed="left")],
    "weight_cap": [Interval(Real, 0, None, closed="neither"), None],
    "normalize": [StrOptions({"mean"}), None],
}
BIN_CONSTRAINTS: dict = {
    "y_bins": [Interval(Integral, 2, None, closed="left")],
    "bin_strategy": [StrOptions({"quantile", "uniform"})],
}


@dataclass(frozen=True)
class Weighting:
    """Weights of the rows, and what they are made of.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        To be multiplied by the sample weights.
    cell : ndarray of int of shape (n,)
        Code of each row's combination of settings.
    level : ndarray of int of shape (n,)
        Code of each row's class or bin.
    cell_of, level_of : ndarray of int of shape (n_pairs,)
        Cell and level of the pairs that occur.
    count : ndarray of shape (n_pairs,)
        Rows of each pair, or the sum of their sample weights.
    pair_weight : ndarray of shape (n_pairs,)
        Weight of the rows of each pair.
    labels : list of n_settings ndarrays
        Sorted distinct labels of each setting.
    settings_of : ndarray of int of shape (n_cells, n_settings)
        Code of each setting in each cell.
    variance : ndarray of shape (n_cells,)
        Of the outcome within each cell.
    cell_ess : ndarray of shape (n_cells,)
        Kish's number of rows of each cell under the weights.
    ess : float
        Kish's number of all rows.
    n_levels : int
    """

    weights: np.ndarray
    cell: np.ndarray
    level: np.ndarray
    cell_of: np.ndarray
    level_of: np.ndarray
    count: np.ndarray
    pair_weight: np.ndarray
    labels: list
    settings_of: np.ndarray
    variance: np.ndarray
    cell_ess: np.ndarray
    ess: float
    n_levels: int

    @property
    def n_cells(self):
        """Number of combinations of settings that occur."""
        return len(self.settings_of)

    @property
    def share(self):
        """Share of the rows in each cell, of shape (n_cells,)."""
        return self._by_cell(self.count) / self.count.sum()

    @property
    def mass(self):
        """Share of the weight in each pair, of shape (n_pairs,)."""
        mass = self.count * self.pair_weight
        return mass / mass.sum()

    @property
    def kept(self):
        """Cells that have any weight, of shape (n_cells,)."""
        return self._by_cell(self.mass) > 0

    @property
    def kept_levels(self):
        """Levels that have any weight, of shape (n_levels,)."""
        return np.bincount(self.level_of, self.mass, self.n_levels) > 0

    @property
    def support_size(self):
        """Number of levels that occur in each cell, of shape (n_cells,)."""
        return np.bincount(self.cell_of[self.count > 0], minlength=self.n_cells)

    @property
    def n_missing(self):
        """Number of levels seen elsewhere and not in each cell."""
        seen = np.bincount(self.level_of, self.count, self.n_levels) > 0
        return int(seen.sum()) - self.support_size

    @property
    def status(self):
        """ "full", "partial" or "dropped" for each cell, of shape (n_cells,)."""
        status = np.where(self.n_missing > 0, "partial", "full").astype(object)
        status[~self.kept] = "dropped"
        return status

    def missing_levels(self, cell):
        """Codes of the levels that occur elsewhere and not in a cell."""
        there = self.count > 0
        here = self.level_of[there & (self.cell_of == cell)]
        return np.setdiff1d(self.level_of[there], here)

    def mutual_information(self):
        """Mutual information of outcome and settings under the weights, in nats."""
        mass = self.mass
        of_cell = self._by_cell(mass)[self.cell_of]
        of_level = np.bincount(self.level_of, mass, self.n_levels)[self.level_of]
        some = mass > 0
        ratio = mass[some] / (of_cell[some] * of_level[some])
        return max(0.0, float(mass[some] @ np.log(ratio)))

    def frame(self, names=None):
        """The cells as a table; see :func:`derm_weights`."""
        import pandas as pd

        if names is None:
            names = [f"setting_{j}" for j in range(len(self.labels))]
        columns = [
            labels[codes]
            for labels, codes in zip(self.labels, self.settings_of.T, strict=True)
        ]
        if len(columns) == 1:
            index = pd.Index(columns[0], name=names[0])
        else:
            index = pd.MultiIndex.from_arrays(columns, names=names)
        return pd.DataFrame(
            {
                "n": self._by_cell(self.count),
                "share": self.share,
                "variance": self.variance,
                "support_size": self.support_size,
                "n_missing": self.n_missing,
                "mass": self._by_cell(self.mass),
                "effective_sample_size": self.cell_ess,
                "status": self.status,
            },
            index=index,
        )

    def _by_cell(self, values):
        return np.bincount(self.cell_of, values, self.n_cells)


def derm_weights(
    y,
    settings,
    *,
    prob_floor=0.0,
    weight_cap=None,
    normalize="mean",
    y_bins=None,
    bin_strategy="quantile",
    sample_weight=None,
):
    """Weights that make an outcome independent of the settings of an experiment.

    A row with outcome y and settings z gets ``Var(y | z) / P(y, z)`` [1]_. Under these
    weights the outcome is uniform on what was seen of it, in every cell (combination
    of settings) alike, and a learner has nothing to gain from guessing the settings.
    Cells where the outcome does not vary get no weight.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Numbers, or labels of two classes.
    settings : array-like of shape (n_samples, n_settings)
        Discrete settings: the treatment, batches, backgrounds, ...
    prob_floor : float, default=0.0
        Least probability of a pair of outcome and cell, in [0, 1).
    weight_cap : float or None, default=None
        Largest weight: below 1 the quantile of the positive weights at which they are
        cut, from 1 on a multiple of their mean.
    normalize : {"mean"} or None, default="mean"
        "mean" makes the mean of the weights over the rows 1; None leaves them in
        squared units of ``y``.
    y_bins : int or None, default=None
        Number of bins for continuous outcomes; None takes every value for a class.
    bin_strategy : {"quantile", "uniform"}, default="quantile"
        Bins of equal numbers of rows, or of equal width.
    sample_weight : array-like of shape (n_samples,), default=None
        Frequencies and variances are weighted by it, and the result is to be
        multiplied by it. Only ratios matter.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
    cells : pandas.DataFrame of shape (n_cells, 8)
        By settings: "n" rows (or their sample weight), "share" of them, "variance" of
        the outcome, "support_size" (classes or bins that occur), "n_missing" (that
        occur elsewhere only), "mass" (share of the weight), "effective_sample_size"
        (Kish's, under the weights), and "status": "full", "partial" (of the support)
        or "dropped" (no weight).

    Raises
    ------
    ValueError
        If lengths differ, ``y`` is not finite, or has more than two classes that are
        no numbers, or does not vary within any cell.

    Notes
    -----
    Identified: the law of the features given outcome and settings is untouched, and
    the outcome is independent of the settings, if every cell with any weight has seen
    the same outcomes ("full" ones only). Variances have one degree of freedom less
    than the cell has rows, by Kish's number of them where they are weighted.

    Settings of few levels, and outcomes of few whole numbers, take O(n_samples) time
    and memory; other labels are sorted.

    References
    ----------
    .. [1] Cadei et al., "Prediction-powered causal inferences", NeurIPS 2025,
       arXiv:2502.06343.

    Examples
    --------
    >>> from skident.effects import derm_weights
    >>> y = [0, 0, 0, 1, 0, 1, 1, 1, 1, 1]
    >>> weights, cells = derm_weights(y, [[0]] * 4 + [[1]] * 4 + [[2]] * 2)
    >>> (0.8 * weights).round(4)
    array([0.6667, 0.6667, 0.6667, 2.    , 2.    , 0.6667, 0.6667, 0.6667,
           0.    , 0.    ])
    >>> cells.status.tolist()
    ['full', 'full', 'dropped']
    """
    given = {
        "prob_floor": prob_floor,
        "weight_cap": weight_cap,
        "normalize": normalize,
        "y_bins": y_bins,
        "bin_strategy": bin_strategy,
    }
    constraints = WEIGHT_CONSTRAINTS | BIN_CONSTRAINTS
    constraints["y_bins"] = [*constraints["y_bins"], None]
    validate_parameter_constraints(constraints, given, caller_name="derm_weights")
    y = column_or_1d(y)
    assert_all_finite(y, input_name="y")
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, y)
    if y_bins is None:
        classes, level = distinct(y)
        values = outcome_values(classes, y)[level]
    else:
        values = y.astype(np.float64)
        level = bin_outcome(values, y_bins, bin_strategy, sample_weight)
    labels, codes = check_settings(settings, y)
    found = weigh(
        values,
        level,
        labels,
        codes,
        sample_weight,
        prob_floor=prob_floor,
        weight_cap=weight_cap,
        normalize=normalize,
    )
    return found.weights, found.frame(setting_names(settings))


def weigh(
    values,
    level,
    labels,
    codes,
    sample_weight=None,
    *,
    prob_floor=0.0,
    weight_cap=None,
    normalize="mean",
):
    """Weights from checked and coded arrays.

    Parameters
    ----------
    values : ndarray of float of shape (n,)
        The outcome.
    level : ndarray of int of shape (n,)
        Class or bin of each row, from 0 on.
    labels : list of n_settings ndarrays
    codes : ndarray of int of shape (n, n_settings)
    sample_weight : ndarray of shape (n,), default=None
    prob_floor, weight_cap, normalize
        As in :func:`derm_weights`.

    Returns
    -------
    found : Weighting

    Raises
    ------
    ValueError
        If no cell has an outcome that varies.
    """
    cell, settings_of = combine(codes, [len(column) for column in labels])
    n_cells, n_levels = len(settings_of), int(level.max()) + 1
    observed, pair = distinct(cell * n_levels + level)
    cell_of, level_of = np.divmod(observed, n_levels)
    count = np.bincount(pair, sample_weight, len(observed)).astype(np.float64)
    squares = count
    if sample_weight is not None:
        squares = np.bincount(pair, sample_weight**2, len(observed))
    variance = _cell_variances(
        values, cell, n_cells, sample_weight, np.bincount(cell_of, squares, n_cells)
    )
    # Said of levels and not of rounding: one level is no variance at all.
    variance[np.bincount(cell_of[count > 0], minlength=n_cells) < 2] = 0.0
    if not variance.any():
        seen = len(np.unique(level_of[count > 0]))
        raise ValueError(
            "y has a single class or value: there is nothing to learn from; n_samples "
            f"= {len(values)}."
            if seen < 2
            else "y is a function of the settings: within none of the "
            f"{n_cells} combinations of settings does it vary, so that there is "
            f"nothing to learn from; n_samples = {len(values)}."
        )
    probability = np.maximum(count / count.sum(), prob_floor)
    raw = np.zeros(len(observed))
    some = count > 0
    raw[some] = variance[cell_of[some]] / probability[some]
    if weight_cap is not None:
        raw = np.minimum(raw, _cap(raw, count, weight_cap))
    if normalize is not None:
        raw /= count @ raw / count.sum()
    weighted = count * raw
    spread = squares * raw**2
    with np.errstate(invalid="ignore"):
        cell_ess = np.nan_to_num(
            np.bincount(cell_of, weighted, n_cells) ** 2
            / np.bincount(cell_of, spread, n_cells)
        )
    return Weighting(
        weights=raw[pair],
        cell=cell,
        level=level,
        cell_of=cell_of,
        level_of=level_of,
        count=count,
        pair_weight=raw,
        labels=labels,
        settings_of=settings_of,
        variance=variance,
        cell_ess=cell_ess,
        ess=float(weighted.sum() ** 2 / spread.sum()),
        n_levels=n_levels,
    )


def combine(codes, sizes):
    """Codes of the combinations of several columns' codes.

    Parameters
    ----------
    codes : ndarray of int of shape (n, n_columns)
    sizes : list of int
        Number of labels of each column.

    Returns
    -------
    cell : ndarray of int of shape (n,)
        Numbers of the combinations that occur, in lexicographic order.
    combinations : ndarray of int of shape (n_cells, n_columns)
        Their columns' codes.
    """
    cell = codes[:, 0]
    combinations = np.arange(sizes[0])[:, None]
    for j, size in enumerate(sizes[1:], start=1):
        # Only what occurs is numbered, so that no product of sizes can overflow.
        found, cell = distinct(cell * size + codes[:, j])
        before, last = np.divmod(found, size)
        combinations = np.column_stack([combinations[before], last])
    return cell, combinations


def outcome_values(classes, X):
    """Numbers that classes stand for, as :func:`class_values`; refused without."""
    values = class_values(classes)
    if values is None:
        raise ValueError(
            "y must be numbers where there are more than two classes, since the "
            f"weights depend on its variance; got {classes.tolist()[:5]}; "
            f"n_samples = {len(X)}."
        )
    return values


def bin_outcome(values, n_bins, strategy, sample_weight=None):
    """Bin of each outcome, from 0 on; every bin but the first is open to the left."""
    used = values if sample_weight is None else values[sample_weight > 0]
    inner = np.arange(1, n_bins) / n_bins
    if strategy == "uniform":
        edges = used.min() + inner * (used.max() - used.min())
    elif sample_weight is None:
        edges = np.quantile(used, inner, method="inverted_cdf")
    else:
        # Whole weights then give the edges that as many copies of the rows would.
        order = np.argsort(values)
        total = np.cumsum(sample_weight[order])
        slack = 1e-12 * total[-1]
        edges = values[order][np.searchsorted(total, inner * total[-1] - slack)]
    bins = np.searchsorted(np.unique(edges), values, side="left")
    return distinct(bins)[1]


def setting_names(settings):
    """Names of the columns of settings, None for an array without names."""
    columns = getattr(settings, "columns", None)
    return None if columns is None else [str(name) for name in columns]


def _cell_variances(values, cell, n_cells, sample_weight, squares):
    """Sample variance within each cell; 0 for those of one row."""
    total = np.bincount(cell, sample_weight, n_cells).astype(np.float64)
    used = total > 0
    safe = np.where(used, total, 1.0)

    def mean(x):
        weighted = x if sample_weight is None else x * sample_weight
        return np.bincount(cell, weighted, n_cells) / safe

    deviation = values - mean(values)[cell]
    np.square(deviation, out=deviation)
    kish = total**2 / np.where(used, squares, 1.0)
    # Rounding apart, one row has a Kish number of 1 whatever its weight.
    several = kish > 1 + 1e-9
    correction = np.where(several, kish / np.where(several, kish - 1, 1.0), 0.0)
    return mean(deviation) * correction


def _cap(raw, count, weight_cap):
    """Where weights are cut: a quantile over rows, or a multiple of the mean."""
    if weight_cap >= 1:
        return weight_cap * (count @ raw / count.sum())
    order = np.argsort(raw)
    order = order[raw[order] > 0]
    reached = np.cumsum(count[order])
    at = np.searchsorted(reached, weight_cap * reached[-1])
    return raw[order[min(at, len(order) - 1)]]
