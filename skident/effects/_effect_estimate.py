"""An estimated effect with its standard error, and what each unit added to it."""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class EffectEstimate:
    """An estimated effect of a treatment.

    Parameters
    ----------
    effect : float
        Estimate, in units of the outcome.
    stderr : float
        Its standard error, in the same units; NaN where there is none.
    n_units : int
        Number of independent units behind it.
    method : str
        How it was estimated, in a few words.
    influence : ndarray of shape (n_units,)
        What each unit adds to the estimate's error: of mean zero, and the mean of two
        estimates' products over ``n_units`` is their covariance.

    Examples
    --------
    >>> from skident.effects import aipw_ate
    >>> y, treatment = [1.0, 2.0, 4.0, 5.0], [0, 0, 1, 1]
    >>> found = aipw_ate(y, treatment, method="difference")
    >>> found
    EffectEstimate(effect=3, stderr=0.7071, 95% interval=[1.614, 4.386], n_units=4)
    >>> round(found.pvalue, 6)
    2.2e-05
    """

    effect: float
    stderr: float
    n_units: int
    method: str
    influence: np.ndarray = field(repr=False, compare=False)

    def confidence_interval(self, level=0.95):
        """Interval that holds the true effect in a share ``level`` of samples.

        Parameters
        ----------
        level : float, default=0.95
            Coverage in (0, 1), by the normal approximation.

        Returns
        -------
        low, high : float
            In units of the outcome.

        Raises
        ------
        ValueError
            If ``level`` is not between 0 and 1.
        """
        return normal_interval(self.effect, self.stderr, level)

    @property
    def pvalue(self):
        """Two-sided p-value of no effect, by the normal approximation."""
        if math.isnan(self.stderr):
            return math.nan
        if self.stderr == 0:
            return 0.0 if self.effect else 1.0
        return float(2 * norm.sf(abs(self.effect / self.stderr)))

    def __repr__(self):
        low, high = self.confidence_interval()
        return (
            f"EffectEstimate(effect={self.effect:.4g}, stderr={self.stderr:.4g}, "
            f"95% interval=[{low:.4g}, {high:.4g}], n_units={self.n_units})"
        )


def normal_interval(effect, stderr, level=0.95):
    """``effect`` and a normal quantile of ``stderr`` to both sides."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    half = norm.ppf((1 + level) / 2) * stderr
    return float(effect - half), float(effect + half)


def weighted_mean_effect(scores, weight=None):
    """Mean of the units' scores, its standard error and influence.

    Parameters
    ----------
    scores : ndarray of shape (n_units,)
    weight : ndarray of shape (n_units,), default=None
        Non-negative; only their ratios matter, and a unit of weight 0 is as if it were
        not there.

    Returns
    -------
    effect, stderr : float
    influence : ndarray of shape (n_units,)
    """
    if weight is None:
        weight = np.ones(len(scores))
    effect = float(weight @ scores / weight.sum())
    influence = weight / weight.mean() * (scores - effect)
    return effect, influence_stderr(influence, int(np.count_nonzero(weight))), influence


def influence_stderr(influence, n_counted=None):
    """Standard error of a mean from the units' influence on it; NaN for one unit."""
    n = len(influence)
    n_counted = n if n_counted is None else n_counted
    if n_counted < 2:
        return math.nan
    unbiased = n_counted / (n_counted - 1)
    return float(np.sqrt(influence @ influence * unbiased) / n)
