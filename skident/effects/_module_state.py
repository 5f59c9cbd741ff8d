"""What the estimators with a network share around its training."""

import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class KeepsModule:
    """Mixin of estimators with ``module_``: a pickle holds its weights as ndarrays.

    Such a pickle loads without the device of the training, and in skops. A class says
    by ``_module_type`` what it trains; the module has its arguments as ``config``.
    """

    @staticmethod
    def _module_type():
        """Class of ``module_``, imported late."""
        raise NotImplementedError

    def __getstate__(self):
        state = dict(super().__getstate__())
        module = state.pop("module_", None)
        if module is not None:
            from skident.utils._torch import module_arrays

            arrays = module_arrays(module)
            state["_module"] = {"config": module.config, "arrays": arrays}
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_module", None)
        super().__setstate__(state)
        if saved is not None:
            from skident.effects._training_net import new_module

            self.module_ = new_module(
                self._module_type(), saved["config"], saved["arrays"]
            )


def learned(name):
    """Whether ``fit`` sets an attribute of an estimator with a network."""
    return name.endswith("_")


def split_rows(n_samples, fraction, rng):
    """Rows to train on and rows held out, both sorted.

    Parameters
    ----------
    n_samples : int
    fraction : float
        Share held out: at least one row and not all, or none for 0.
    rng : numpy.random.Generator

    Returns
    -------
    train, held : ndarray of int
    """
    n_held = 0
    if fraction > 0:
        n_held = min(max(1, round(fraction * n_samples)), n_samples - 1)
    order = rng.permutation(n_samples) if n_held else np.arange(n_samples)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def warn_if_unfinished(history, tol, max_epochs, unit):
    """Warn if the loss was still falling at the end of a training of full length.

    Parameters
    ----------
    history : dict of ndarray
        Rows that were held out tell by themselves when to stop.
    tol : float
    max_epochs : int
    unit : float
        Loss that a fall is compared with.
    """
    losses = history["total"]
    window = max(1, max_epochs // 10)
    if "validation" in history or len(losses) < max_epochs or unit <= 0:
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
