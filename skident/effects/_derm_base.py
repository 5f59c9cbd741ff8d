"""Learners of any kind under weights: fitted, asked, and their classes put in order."""

import inspect

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skident.utils._sklearn import _safe_indexing

_MAX_SEED = np.iinfo(np.int32).max


def weight_route(estimator, prefix=""):
    """Name of the argument of ``fit`` by which a learner takes weights.

    Parameters
    ----------
    estimator : estimator
        A learner, a pipeline around one, or a search or wrapper that passes arguments
        of ``fit`` on to its ``estimator`` or ``regressor``.

    Returns
    -------
    name : str
        "X" for a skorch net, whose batch is a dict with them.

    Raises
    ------
    TypeError
        If it takes none.
    """
    if _is_net(estimator):
        if prefix:
            raise TypeError(
                f"{type(estimator).__name__} gets its weights beside X, which a "
                "pipeline does not pass on: leave the net outside, or set "
                "mode='resample'."
            )
        if type(estimator).get_loss.__module__.startswith("skorch."):
            raise TypeError(
                f"{type(estimator).__name__} ignores weights: define its get_loss, "
                "which finds them in X['sample_weight'], or set mode='resample'."
            )
        return "X"
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return weight_route(last, f"{prefix}{name}__")
    parameters = inspect.signature(estimator.fit).parameters
    if "sample_weight" in parameters:
        return f"{prefix}sample_weight"
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for inner in ("estimator", "regressor"):
            if getattr(estimator, inner, None) is not None:
                return weight_route(getattr(estimator, inner), prefix)
    raise TypeError(
        f"{type(estimator).__name__}.fit takes no sample_weight: set mode='resample' "
        "to draw rows by their weights, or choose another estimator."
    )


def fit_base(base, X, y, weights, mode, rng, classes=None):
    """Fit a clone of a learner, with weights or on rows drawn by them.

    Parameters
    ----------
    base : estimator
    X : array-like with n rows
    y : ndarray of shape (n,)
    weights : ndarray of shape (n,) or None
    mode : {"weight", "resample"}
    rng : numpy.random.Generator
    classes : ndarray, default=None
        Sorted classes; skorch nets are given their positions.

    Returns
    -------
    fitted : estimator
    """
    fitted = clone(base)
    if weights is not None and mode == "resample":
        drawn = np.sort(rng.choice(len(y), len(y), p=weights / weights.sum()))
        X, y, weights = _safe_indexing(X, drawn), y[drawn], None
    if _is_net(fitted):
        return _fit_net(fitted, X, y, weights, rng, classes)
    if weights is None:
        return fitted.fit(X, y)
    if _routes_weights(fitted):
        return fitted.fit(X, y, sample_weight=weights)
    # Without routing they reach the learner, whatever its steps have asked for.
    with config_context(enable_metadata_routing=False):
        return fitted.fit(X, y, **{weight_route(fitted): weights})


def _fit_net(net, X, y, weights, rng, classes):
    """Train a user's skorch net, which finds the weights in its batches."""
    from skident.utils._torch import seeded

    # Its regressors want a column, its classifiers whole numbers from 0 on.
    y = y[:, None] if classes is None else np.searchsorted(classes, y)
    y = y.astype(np.float32 if classes is None else np.int64)
    if weights is not None:
        X = {"X": X, "sample_weight": weights.astype(np.float32)}
    with seeded(int(rng.integers(_MAX_SEED)), net.device or "cpu"):
        return net.fit(X, y)


def predict_base(fitted, X, classes):
    """Probabilities of the classes and predicted ones, or predictions.

    Parameters
    ----------
    fitted : estimator
    X : array-like with n rows
    classes : ndarray of shape (n_classes,), or None for real outcomes

    Returns
    -------
    outputs : tuple of (ndarray of shape (n, n_classes) or None, ndarray of shape (n,)
        of codes), or ndarray of float of shape (n,)
    """
    if classes is None:
        return predicted_outcomes(fitted, X).astype(np.float64)
    proba = None
    if hasattr(fitted, "predict_proba"):
        proba = class_probabilities(fitted, X, classes)
    return proba, np.searchsorted(classes, predicted_classes(fitted, X, classes))


def predicted_classes(fitted, X, classes):
    """Predicted labels, of shape (n,)."""
    found = _ask(fitted, "predict", X)
    return classes[found] if _is_net(fitted) else found


def predicted_outcomes(fitted, X):
    """Predicted real outcomes, of shape (n,)."""
    found = np.asarray(_ask(fitted, "predict", X))
    # skorch's nets return a column.
    return found.reshape(len(found))


def class_probabilities(fitted, X, classes):
    """Probabilities in the order of ``classes``, 0 for those it has not seen."""
    proba = _ask(fitted, "predict_proba", X)
    seen = classes if _is_net(fitted) else getattr(fitted, "classes_", classes)
    if len(seen) == len(classes):
        return proba
    full = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
    full[:, np.searchsorted(classes, seen)] = proba
    return full


def seed_unseeded(estimator, rng):
    """Give a seed to every random state that is None."""
    params = estimator.get_params()
    states = sorted(p for p in params if p.split("__")[-1] == "random_state")
    fresh = {p: int(rng.integers(_MAX_SEED)) for p in states if params[p] is None}
    if fresh:
        estimator.set_params(**fresh)


def _ask(fitted, method, X):
    """Outputs of a method; a net draws nothing from torch's generator for them."""
    if not _is_net(fitted):
        return getattr(fitted, method)(X)
    from skident.utils._torch import seeded

    with seeded(0, fitted.device or "cpu"):
        return getattr(fitted, method)(X)


def _is_net(estimator):
    return any(c.__module__.split(".")[0] == "skorch" for c in type(estimator).__mro__)


def _routes_weights(estimator):
    """Whether the user has routed weights through the estimator."""
    if not get_config()["enable_metadata_routing"]:
        return False
    routing = estimator.get_metadata_routing()
    return "sample_weight" in routing.consumes("fit", ["sample_weight"])


def expected_outcome(outputs, prediction, values):
    """Predicted outcome as a number, from :func:`predict_base`.

    Parameters
    ----------
    outputs : tuple or ndarray
    prediction : {"expectation", "hard"}
    values : ndarray of shape (n_classes,), or None for real outcomes

    Returns
    -------
    expected : ndarray of float of shape (n,)
    parts : ndarray of shape (n, n_classes), or None
        Probabilities, or indicators, whose product with ``values`` it is.
    """
    if values is None:
        return outputs, None
    proba, codes = outputs
    if prediction == "hard" or proba is None:
        proba = np.eye(len(values))[codes]
    proba = proba.astype(np.float64, copy=False)
    return proba @ values, proba
