"""What predictions say of the outcome behind them, and predictions put right by it.

Predictions that are less than perfect are pulled towards the mean: for an outcome y
they are ``E[g | Y = y]`` on average, which is not y. Where that function is the same in
another population, effects on the predictions can be turned into effects on y.
"""

from dataclasses import dataclass

import numpy as np

# Beyond this the classes cannot be told from the predictions.
MAX_CONDITION = 1e6


@dataclass(frozen=True)
class ClassResponse:
    """Predictions of K classes given the true one.

    Parameters
    ----------
    means : ndarray of shape (K, K)
        Mean of prediction k in class j in ``[k, j]``: the confusion matrix of hard
        predictions. NaN for a class without rows.
    counts : ndarray of shape (K,)
        Kish's number of rows of each class.
    values : ndarray of shape (K,)
        Numbers that the classes stand for.
    spread : ndarray of shape (K,)
        Variance of the corrected outcome in each class; NaN where it cannot be
        corrected.
    """

    means: np.ndarray
    counts: np.ndarray
    values: np.ndarray
    spread: np.ndarray

    @property
    def reliability(self):
        """Rise of the mean prediction from lowest to highest value, over theirs.

        1 if nothing is lost, 0 if the outcome cannot be seen in the predictions.
        """
        low, high = np.argmin(self.values), np.argmax(self.values)
        if low == high:
            return float("nan")
        expected = self.values @ self.means
        rise = self.values[high] - self.values[low]
        return float((expected[high] - expected[low]) / rise)

    def solve(self):
        """Weights of the predictions whose mean in each class is the class's value.

        Returns
        -------
        coefficients : ndarray of shape (K,)

        Raises
        ------
        ValueError
            If a class had no rows, or the classes cannot be told apart.
        """
        return _coefficients(self.means, self.counts, self.values)

    def extra_variance(self, class_effects):
        """Variance that the estimated response adds to a corrected effect.

        Parameters
        ----------
        class_effects : ndarray of shape (K,)
            Effects on the predictions of each class.

        Returns
        -------
        variance : float
            By the delta method.
        """
        # The effect is u'a with u'C = v': its differential is -u' dC C^-1 a, and
        # column j of C is a mean over the rows of class j.
        shifts = np.linalg.lstsq(self.means, class_effects, rcond=None)[0]
        return float(shifts**2 @ (self.spread / self.counts))


def _coefficients(means, counts, values):
    empty = ~np.isfinite(means).all(axis=0)
    if empty.any():
        raise ValueError(
            "correction='label_shift' needs held-out rows of every class, got none of "
            f"{int(empty.sum())} of {len(values)} classes."
        )
    condition = np.linalg.cond(means)
    if not condition <= MAX_CONDITION:
        raise ValueError(
            "correction='label_shift' needs predictions that tell the classes apart, "
            f"got a confusion matrix of condition number {condition:.3g}, above "
            f"{MAX_CONDITION:.0e}."
        )
    # A ridge of the size of the squared error of an entry, towards no correction: with
    # perfect predictions it changes nothing.
    ridge = 0.25 / counts.min()
    gram = means @ means.T
    gram[np.diag_indices_from(gram)] += ridge
    return np.linalg.solve(gram, means @ values + ridge * values)


def class_response(predictions, level, values, weight=None):
    """Measure predictions of classes given the true one.

    Parameters
    ----------
    predictions : ndarray of shape (n, K)
        Probabilities, or indicators of hard predictions.
    level : ndarray of int of shape (n,)
        True classes.
    values : ndarray of shape (K,)
    weight : ndarray of shape (n,), default=None

    Returns
    -------
    response : ClassResponse
    """
    K = len(values)
    share, counts = _shares(level, K, weight)
    means = np.stack([np.bincount(level, share * p, K) for p in predictions.T])
    means[:, counts == 0] = np.nan
    spread = np.full(K, np.nan)
    try:
        outcome = predictions @ _coefficients(means, counts, values)
    except ValueError:
        return ClassResponse(means, counts, values, spread)
    away = outcome - np.bincount(level, share * outcome, K)[level]
    return ClassResponse(means, counts, values, np.bincount(level, share * away**2, K))


def confusion_matrix(codes, level, n_classes, weight=None):
    """Share of the rows of class j predicted as k, in ``[k, j]``; NaN for no rows."""
    share, counts = _shares(level, n_classes, weight)
    found = np.bincount(codes * n_classes + level, share, n_classes**2)
    found = found.reshape(n_classes, n_classes)
    found[:, counts == 0] = np.nan
    return found


def _shares(level, n_classes, weight):
    """Share of each row in its class, and Kish's number of rows of the classes."""
    if weight is None:
        weight = np.ones(len(level))
    total = np.bincount(level, weight, n_classes)
    squares = np.bincount(level, weight**2, n_classes)
    share = weight / np.where(total > 0, total, 1.0)[level]
    return share, total**2 / np.where(squares > 0, squares, 1.0)


@dataclass(frozen=True)
class LinearResponse:
    """Predictions of a real outcome as a line in it.

    Parameters
    ----------
    intercept, slope, stderr : float
        Of the weighted regression of the predictions on the outcome; the standard
        error is the slope's.
    """

    intercept: float
    slope: float
    stderr: float

    def solve(self):
        """Scale and shift that make the predictions of slope 1 in the outcome.

        Returns
        -------
        scale, shift : float

        Raises
        ------
        ValueError
            If the slope is not above its standard error times 3.
        """
        if not self.slope > 3 * self.stderr:
            raise ValueError(
                "correction='label_shift' needs predictions that rise with the "
                f"outcome, got a slope of {self.slope:.3g} with a standard error of "
                f"{self.stderr:.3g}."
            )
        return 1 / self.slope, -self.intercept / self.slope

    def extra_variance(self, effect):
        """Variance that the estimated slope adds to a corrected effect."""
        return float((effect * self.stderr / self.slope) ** 2)


def linear_response(predictions, y, weight=None):
    """Measure how predictions of a real outcome rise with it.

    Parameters
    ----------
    predictions, y : ndarray of shape (n,)
    weight : ndarray of shape (n,), default=None

    Returns
    -------
    response : LinearResponse
    """
    if weight is None:
        weight = np.ones(len(y))
    share = weight / weight.sum()
    y_mean, g_mean = share @ y, share @ predictions
    away = y - y_mean
    spread = share @ away**2
    if not spread > 0:
        return LinearResponse(np.nan, np.nan, np.nan)
    slope = share @ (away * predictions) / spread
    residual = predictions - g_mean - slope * away
    stderr = np.sqrt((share * away * residual) @ (share * away * residual)) / spread
    return LinearResponse(float(g_mean - slope * y_mean), float(slope), float(stderr))


@dataclass(frozen=True)
class Rises:
    """How the mean prediction rises from each outcome to the next.

    Parameters
    ----------
    rise : ndarray of shape (n_levels - 1,)
        Over that of the outcome; 1 if nothing is lost.
    stderr : ndarray of shape (n_levels - 1,)
    """

    rise: np.ndarray
    stderr: np.ndarray

    @property
    def least(self):
        """Least rise, each with 3 standard errors added; NaN for a single outcome."""
        return float(np.min(self.rise + 3 * self.stderr, initial=np.inf) + self._none)

    @property
    def clearest(self):
        """Least rise in standard errors; NaN for a single outcome."""
        with np.errstate(divide="ignore", invalid="ignore"):
            number = np.where(self.rise == 0, 0.0, self.rise / self.stderr)
        return float(np.min(number, initial=np.inf) + self._none)

    @property
    def _none(self):
        return 0.0 if len(self.rise) else np.nan


def neighbouring_rises(expected, y, level, weight=None):
    """Compare the mean predictions of neighbouring outcomes.

    Parameters
    ----------
    expected, y : ndarray of shape (n,)
        Predicted outcomes and true ones.
    level : ndarray of int of shape (n,)
        Class, or bin, of each true one.
    weight : ndarray of shape (n,), default=None

    Returns
    -------
    rises : Rises
    """
    n_levels = int(level.max()) + 1
    share, counts = _shares(level, n_levels, weight)
    seen = counts > 0
    mean = np.bincount(level, share * y, n_levels)
    # A prediction rises by as much as its outcome does, and by what its error does.
    error = expected - y
    gap = np.bincount(level, share * error, n_levels)
    variance = np.bincount(level, share * (error - gap[level]) ** 2, n_levels)
    order = np.argsort(mean[seen])
    mean, gap = mean[seen][order], gap[seen][order]
    variance = (variance[seen] / np.maximum(counts[seen] - 1, 1))[order]
    apart = np.diff(mean)
    return Rises(
        1 + np.diff(gap) / apart, np.sqrt(variance[1:] + variance[:-1]) / apart
    )


def corrected(response, expected, parts):
    """Predictions whose mean in each class, or slope in the outcome, is right.

    Parameters
    ----------
    response : ClassResponse or LinearResponse
    expected : ndarray of shape (n,)
        Predicted outcomes.
    parts : ndarray of shape (n, K), or None for real outcomes
        Predictions of the classes.

    Returns
    -------
    corrected : ndarray of shape (n,)
    """
    if parts is None:
        scale, shift = response.solve()
        return scale * expected + shift
    return parts @ response.solve()
