"""What the estimators with a network share around its training."""

import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


def learned(name):
    """Whether ``fit`` sets an attribute of an estimator with a network."""
    return name.endswith("_")


def warn_if_unfinished(history, tol, max_epochs, unit):
    """Warn if the loss was still falling at the end of a training of full length.

    Parameters
    ----------
    history : dict of ndarray
        Where rows were held out, their losses count.
    tol : float
    max_epochs : int
    unit : float
        Loss that a fall is compared with.
    """
    losses = history.get("validation", history["total"])
    window = max(1, max_epochs // 10)
    if len(losses) < max_epochs or unit <= 0:
        return
    fell = math.inf
    if len(losses) >= 2 * window:
        fell = np.mean(losses[-2 * window : -window]) - np.mean(losses[-window:])
    if fell > tol * unit:
        by = "" if math.isinf(fell) else f" by {fell / unit:.2g}"
        warnings.warn(
            f"The loss was still falling at the end of training{by} a tenth of "
            f"max_epochs={max_epochs}, where tol={tol} of {unit:.3g}; it ended at "
            f"{losses[-1]:.4g}. Increase max_epochs or learning_rate.",
            ConvergenceWarning,
            stacklevel=4,
        )
