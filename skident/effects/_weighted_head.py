"""Networks with sample weights as scikit-learn estimators: bases for reweighting."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from skident.utils import iterate
from skident.utils._copies import blank_copy, take_over
from skident.utils._kept_module import KeepsModule
from skident.utils._module_state import learned, warn_if_unfinished
from skident.utils._rows import split_rows
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_sample_weight

HEAD_CONSTRAINTS = {
    "hidden": [tuple, list],
    "image_shape": [tuple, list, None],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "device": [str],
    "net_params": [dict, None],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
}


def mlp_head(hidden=(256, 256), *, task="classification", **params):
    """A network with sample weights, to train on embeddings or on images.

    The head of the published predictors: layers with ReLU on frozen embeddings, trained
    by Adam. It goes wherever a scikit-learn classifier or regressor with
    ``sample_weight`` does, as ``DERMClassifier(mlp_head())`` for example.

    Parameters
    ----------
    hidden : tuple of int, default=(256, 256)
        Widths of the layers; ``()`` is a linear model.
    task : {"classification", "regression"}, default="classification"
        What to predict: labels, by cross-entropy, or numbers, by squared error.
    **params
        ``image_shape`` : tuple (channels, height, width), default=None
            Rows are then images, flattened in this order, and two convolutions with
            pooling (20 and 50 filters) come before the layers. With ``hidden=(500,)``
            and digits of 28 by 28 pixels that is the published network.
        ``weight_decay`` : float, default=0.0
            Of Adam.
        ``max_epochs`` : int, default=50
            Passes over the rows.
        ``batch_size`` : int, default=256
            Rows an optimiser step.
        ``learning_rate`` : float, default=1e-3
            Of Adam. Rows are taken in the units in which they come.
        ``tol`` : float, default=0.01
            ``fit`` warns if from one tenth of ``max_epochs`` to the next the loss still
            fell by more than this share of the loss of the best constant. With rows
            held out, an epoch must improve their loss by this share.
        ``validation_fraction`` : float, default=0.0
            Share of the rows held out. Training then ends after 10 epochs without
            improvement of their loss, and the best epoch is kept.
        ``device`` : str, default="auto"
            "auto" is "cuda" if there is one, else "cpu".
        ``net_params`` : dict or None, default=None
            Further settings passed on to skorch.
        ``verbose`` : int, default=0
            1 prints a line an epoch.
        ``random_state`` : int, RandomState instance or None, default=None
            Seed of the initialisation and the order of the rows.

    Returns
    -------
    head : estimator
        Not fitted; with ``classes_`` and ``predict_proba`` for classification, and
        after ``fit`` ``module_``, ``history_`` and ``n_epochs_``.

    Raises
    ------
    ValueError
        If ``task`` is neither of the two.

    Notes
    -----
    The loss is the mean of weight times loss, with weights divided by their mean over
    all training rows once, never batch by batch. Rows of weight zero are left out.
    Training is in the precision of ``X``.

    Examples
    --------
    >>> from skident.effects import mlp_head
    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> head = mlp_head((16,), max_epochs=200, learning_rate=0.01, random_state=0)
    >>> float(head.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0)) > 0.95
    True
    """
    tasks = {"classification": NetClassifier, "regression": NetRegressor}
    if task not in tasks:
        raise ValueError(f"task must be one of {sorted(tasks)}, got {task!r}.")
    return tasks[task](hidden, **params)


class _Head(KeepsModule, CallbackSupportMixin, BaseEstimator):
    """What the two heads share."""

    _parameter_constraints: dict = HEAD_CONSTRAINTS

    def __init__(
        self,
        hidden=(256, 256),
        *,
        image_shape=None,
        weight_decay=0.0,
        max_epochs=50,
        batch_size=256,
        learning_rate=1e-3,
        tol=0.01,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.hidden = hidden
        self.image_shape = image_shape
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.device = device
        self.net_params = net_params
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Only their ratios matter.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If an array is malformed, or ``image_shape`` does not go with ``X``.
        FloatingPointError
            If the loss is no longer finite.

        Warns
        -----
        ConvergenceWarning
            If the loss was still falling at the end.
        """
        from skident.effects import _weighted_head_net as nets
        from skident.utils._training_net import train_module

        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, learned)
        X, y = validate_data(
            fitted, X, y, dtype=[np.float32, np.float64], **self._y_checks
        )
        check_image_shape(self.image_shape, X)
        weights = check_sample_weight(sample_weight, X)
        weighed = np.flatnonzero(weights)
        target, n_outputs = fitted._encode(y, weights)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        train, held = split_rows(
            len(weighed), self.validation_fraction, np.random.default_rng(seed)
        )
        weights = weights / weights[weighed].mean()

        def arrays(rows):
            rows = weighed[rows]
            parts = {"X": X[rows], "y": target[rows]}
            return parts | {"sample_weight": weights[rows].astype(X.dtype)}

        fitted.module_, fitted.history_ = train_module(
            nets.Head,
            {
                "n_features": X.shape[1],
                "n_outputs": n_outputs,
                "hidden": tuple(self.hidden),
                "image_shape": self.image_shape,
                "double": X.dtype == np.float64,
            },
            nets.WeightedLoss,
            arrays(train),
            held=arrays(held) if len(held) else None,
            options=self.get_params(deep=False),
            seed=seed,
            epochs=iterate(self, self.max_epochs, X, y),
            criterion__loss=self._loss,
            **weight_decay(self.weight_decay, self.net_params),
        )
        fitted.n_epochs_ = len(fitted.history_["total"])
        take_over(self, fitted, learned)
        unit = constant_loss(target[weighed], weights[weighed], self._loss)
        warn_if_unfinished(self.history_, self.tol, self.max_epochs, unit)
        return self

    @staticmethod
    def _module_type():
        from skident.effects._weighted_head_net import Head

        return Head

    def _outputs(self, X):
        """What the network says of rows, and the precision of the answer."""
        from skident.utils._training_net import mapped

        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        inside = np.float64 if self.module_.config["double"] else np.float32
        return mapped(self.module_, X, self.device, inside), X.dtype


class NetClassifier(ClassifierMixin, _Head):
    """Classifier of :func:`mlp_head`."""

    _loss = "cross_entropy"
    _y_checks = {}

    def predict_proba(self, X):
        """Class probabilities of rows, of shape (n_samples, n_classes)."""
        outputs, dtype = self._outputs(X)
        return probabilities(outputs).astype(dtype, copy=False)

    def predict(self, X):
        """Most probable class of each row, of shape (n_samples,)."""
        logits, _ = self._outputs(X)
        return self.classes_[logits.argmax(axis=1)]

    def _encode(self, y, weights):
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        return codes, len(self.classes_)


class NetRegressor(RegressorMixin, _Head):
    """Regressor of :func:`mlp_head`."""

    _loss = "squared"
    _y_checks = {"y_numeric": True}

    def predict(self, X):
        """Prediction for each row, of shape (n_samples,), in units of ``y``."""
        outputs, dtype = self._outputs(X)
        return (outputs[:, 0] * self.scale_ + self.location_).astype(dtype, copy=False)

    def _encode(self, y, weights):
        y = y.astype(np.float64)
        self.location_ = float(np.average(y, weights=weights))
        spread = np.average((y - self.location_) ** 2, weights=weights)
        self.scale_ = float(np.sqrt(spread)) or 1.0
        return (y - self.location_) / self.scale_, 1


def probabilities(outputs):
    """Softmax of logits, along the second axis, in float64."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def check_image_shape(image_shape, X):
    """Refuse an ``image_shape`` that rows of ``X`` do not have.

    Parameters
    ----------
    image_shape : tuple (channels, height, width) or None
    X : ndarray of shape (n_samples, n_features)
    """
    if image_shape is None:
        return
    if len(image_shape) != 3 or np.prod(image_shape) != X.shape[1]:
        raise ValueError(
            f"image_shape must be (channels, height, width) of the {X.shape[1]} "
            f"features of X, got {tuple(image_shape)}."
        )
    if min(image_shape[1:]) < 4:
        raise ValueError(
            f"image_shape must have sides of at least 4, got {tuple(image_shape)}."
        )


def constant_loss(y, weights, loss):
    """Weighted mean loss of the best constant prediction.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Codes of classes, or standardised numbers.
    weights : ndarray of shape (n,)
    loss : {"cross_entropy", "squared"}

    Returns
    -------
    value : float
    """
    if loss == "squared":
        return float(np.average(y**2, weights=weights))
    shares = np.bincount(y, weights=weights) / weights.sum()
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def weight_decay(value, net_params):
    """Settings of the optimiser's weight decay, unless the user brings another one."""
    if "optimizer" in (net_params or {}):
        return {}
    return {"optimizer__weight_decay": value}
