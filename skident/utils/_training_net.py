"""How the networks of estimators are trained, kept and evaluated."""

import math

import numpy as np
import torch
from skorch.callbacks import Callback

from skident.utils._torch import (
    BatchLoader,
    Stop,
    module_arrays,
    new_module,
    placed,
    resolve_device,
    train_net,
)

# Epochs without an improvement of the held-out loss after which training ends.
_PATIENCE = 10
_BATCH_ROWS = 4096


class Watch(Callback):
    """Ends a fit that diverges and, with rows held out, one that no longer improves.

    Parameters
    ----------
    tol : float or None
        Least improvement of the held-out loss, as a share of it, that counts; None
        where no rows are held out.
    """

    def __init__(self, tol):
        self.tol = tol
        self.best = None
        self.arrays = None
        self.waited = 0

    def on_epoch_end(self, net, **kwargs):
        """Look at the epoch's losses."""
        epoch = net.history[-1]
        if not math.isfinite(epoch["train_loss"]):
            raise not_finite("loss", epoch["train_loss"], len(net.history))
        if self.tol is None:
            return
        loss = epoch["valid_loss"]
        if not math.isfinite(loss):
            raise not_finite("held-out loss", loss, len(net.history))
        if self.best is None or loss < self.best:
            enough = self.best is None or self.best - loss > self.tol * abs(self.best)
            self.best, self.arrays = loss, module_arrays(net.module_)
            self.waited = 0 if enough else self.waited + 1
        else:
            self.waited += 1
        if self.waited >= _PATIENCE:
            raise Stop


class HoldOut:
    """A split that keeps the training rows and scores others.

    Parameters
    ----------
    arrays : dict of ndarray
    """

    def __init__(self, arrays):
        self.arrays = arrays

    def __call__(self, dataset, y=None):
        """Training rows and rows held out, as data sets of one kind."""
        held = {name: torch.tensor(array) for name, array in self.arrays.items()}
        return dataset, type(dataset)(held)


def at_rows(arrays, rows):
    """The same rows of all arrays.

    Parameters
    ----------
    arrays : dict of ndarray of shape (n, ...)
    rows : slice or ndarray

    Returns
    -------
    arrays : dict of ndarray
    """
    return {name: array[rows] for name, array in arrays.items()}


def not_finite(what, value, epoch):
    """The error of a fit that diverged in an epoch."""
    return FloatingPointError(
        f"The {what} in epoch {epoch} is {value}. Lower learning_rate, or look for "
        "outliers in X and y."
    )


def train_module(
    module,
    config,
    criterion,
    arrays,
    *,
    options,
    seed,
    held=None,
    epochs=None,
    callbacks=(),
    **settings,
):
    """Train a module and bring it home.

    Parameters
    ----------
    module, criterion : torch.nn.Module classes
    config : dict
        Arguments of ``module``.
    arrays, held : dict of ndarray of shape (n, ...)
        Batches are cut from ``arrays``; rows of ``held``, if any, end the training.
    options : mapping
        ``max_epochs``, ``batch_size``, ``learning_rate``, ``tol``, ``device``,
        ``net_params`` and ``verbose``.
    seed : int
    epochs : iterable or None
        Drawn from once an epoch.
    callbacks : sequence of skorch.callbacks.Callback
    **settings
        Further ones of the net, which ``net_params`` may replace.

    Returns
    -------
    module : torch.nn.Module
        On the CPU, in evaluation mode; of the best epoch if rows were held out.
    history : dict of ndarray of shape (n_epochs,)
        "total", and "validation" with rows held out.
    """
    device = resolve_device(options["device"])
    watch = Watch(None if held is None else options["tol"])
    net_params = dict(options["net_params"] or {})
    more = net_params.pop("callbacks", None) or []
    settings = {
        **{f"module__{name}": value for name, value in config.items()},
        "lr": options["learning_rate"],
        "max_epochs": options["max_epochs"],
        "batch_size": min(options["batch_size"], len(next(iter(arrays.values())))),
        "verbose": options["verbose"],
        "callbacks": [("watch", watch), *callbacks, *more],
        "optimizer": torch.optim.Adam,
    } | settings
    if held is not None:
        settings |= {
            "train_split": HoldOut(held),
            "iterator_valid": BatchLoader,
            "iterator_valid__device": device,
            "iterator_valid__shuffle": False,
        }
    net = train_net(
        module,
        criterion,
        arrays,
        seed=seed,
        device=device,
        epochs=epochs,
        **(settings | net_params),
    )
    history = {"total": np.array(net.history[:, "train_loss"])}
    if held is not None:
        history["validation"] = np.array(net.history[:, "valid_loss"])
    # torch.compile wraps the module, and marks its parameters' names.
    learned = watch.arrays or module_arrays(net.module_)
    learned = {name.removeprefix("_orig_mod."): a for name, a in learned.items()}
    for array in learned.values():
        # The last step has had no loss after it.
        if not np.isfinite(array).all():
            raise not_finite("last step", "not finite", len(net.history))
    return new_module(module, config, learned), history


def mapped(module, rows, device, dtype):
    """What a module makes of rows.

    Parameters
    ----------
    module : torch.nn.Module
    rows : ndarray of shape (n, n_features)
    device : str
        As in the estimator; a GPU that is not there is done without.
    dtype : numpy dtype
        Of the module's parameters.

    Returns
    -------
    values : ndarray of shape (n, n_outputs)
    """
    module, device = placed(module, device)
    values = []
    with torch.inference_mode():
        for low in range(0, len(rows), _BATCH_ROWS):
            piece = rows[low : low + _BATCH_ROWS].astype(dtype, copy=False)
            values.append(module(torch.tensor(piece, device=device)).cpu().numpy())
    return np.concatenate(values)
