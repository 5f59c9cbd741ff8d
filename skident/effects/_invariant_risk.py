"""Classifiers whose risk is to be invariant over the settings of an experiment."""

from numbers import Real

import numpy as np
from scipy.stats import t as student
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from skident.effects._weighted_head import (
    HEAD_CONSTRAINTS,
    check_image_shape,
    constant_loss,
    probabilities,
    weight_decay,
)
from skident.utils import Assumption, IdentifiabilityReport, iterate
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
from skident.utils._validation import check_settings

# Rows from which on a mean has a normal error, nearly.
_ENOUGH = 20


class _InvariantRisk(KeepsModule, CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """What the two classifiers share: all but the penalty."""

    __metadata_request__fit = {"settings": True}

    _parameter_constraints: dict = {
        "penalty": [Interval(Real, 0, None, closed="left")],
        **HEAD_CONSTRAINTS,
    }

    def __init__(
        self,
        penalty=0.1,
        hidden=(256, 256),
        *,
        image_shape=None,
        weight_decay=0.0,
        max_epochs=50,
        batch_size=32,
        learning_rate=1e-3,
        tol=0.01,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.penalty = penalty
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
    def fit(self, X, y, *, settings=None):
        """Train on the rows of an experiment.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels.
        settings : array-like of shape (n_samples, n_settings), default=None
            Discrete settings, treatment included; environments are their combinations.
            None is one environment: plain risk minimisation, which the report and a
            warning say.

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
        IdentifiabilityWarning
            If there is only one environment, or predictions are not calibrated in each.
        ConvergenceWarning
            If the loss was still falling at the end.
        """
        from skident.effects import _invariant_risk_net as nets
        from skident.effects._weighted_head_net import Head
        from skident.utils._training_net import train_module

        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, learned)
        X, y = validate_data(fitted, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(y)
        check_image_shape(self.image_shape, X)
        fitted.classes_, codes = np.unique(y, return_inverse=True)
        cells, members = _cells_of(settings, X)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        train, held = split_rows(
            len(X), self.validation_fraction, np.random.default_rng(seed)
        )
        counts = np.bincount(members[train], minlength=len(cells))
        fewest = min(self.batch_size, len(train) / (2 * len(cells)))
        kept = np.flatnonzero(counts >= max(1.0, fewest))
        number = np.full(len(cells), -1)
        number[kept] = np.arange(len(kept))
        environments = number[members]
        train = train[environments[train] >= 0]
        held_kept = held[environments[held] >= 0]

        def arrays(rows):
            parts = {"X": X[rows], "y": codes[rows]}
            return parts | {"environments": environments[rows]}

        fitted.module_, fitted.history_ = train_module(
            Head,
            {
                "n_features": X.shape[1],
                "n_outputs": len(fitted.classes_),
                "hidden": tuple(self.hidden),
                "image_shape": self.image_shape,
                "double": X.dtype == np.float64,
            },
            nets.InvariantRisk,
            arrays(train),
            held=arrays(held_kept) if len(held_kept) else None,
            options=self.get_params(deep=False),
            seed=seed,
            epochs=iterate(self, self.max_epochs, X, y),
            iterator_train=nets.EnvironmentLoader,
            criterion__penalty=self._penalty,
            criterion__weight=self.penalty,
            **weight_decay(self.weight_decay, self.net_params),
        )
        fitted.n_epochs_ = len(fitted.history_["total"])
        fitted.environments_ = cells[kept]
        seen = held_kept if len(held_kept) else train
        p = probabilities(fitted._logits(X[seen])[0])
        where = environments[seen]
        fitted.environment_risks_ = _risks(p, codes[seen], where, len(kept))
        fitted.identifiability_ = _report(
            fitted,
            p,
            codes[seen],
            where,
            n_left_out=len(cells) - len(kept),
            n_fewest=int(counts[kept].min()),
            rows="rows held out" if len(held_kept) else "rows trained on",
            with_settings=settings is not None,
        )
        take_over(self, fitted, learned)
        ones = np.ones(len(train))
        unit = len(kept) * constant_loss(codes[train], ones, "cross_entropy")
        warn_if_unfinished(self.history_, self.tol, self.max_epochs, unit)
        self.identifiability_.warn(self)
        return self

    def predict_proba(self, X):
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        logits, dtype = self._outputs(X)
        return probabilities(logits).astype(dtype, copy=False)

    def predict(self, X):
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        logits, _ = self._outputs(X)
        return self.classes_[logits.argmax(axis=1)]

    @staticmethod
    def _module_type():
        from skident.effects._weighted_head_net import Head

        return Head

    def _outputs(self, X):
        check_is_fitted(self)
        return self._logits(
            validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        )

    def _logits(self, X):
        """Logits of rows, and the precision of the answer."""
        from skident.utils._training_net import mapped

        inside = np.float64 if self.module_.config["double"] else np.float32
        return mapped(self.module_, X, self.device, inside), X.dtype


class VRExClassifier(_InvariantRisk):
    """Network whose risks in the environments are to be equal (V-REx).

    A baseline for :class:`DERMClassifier`: minimises the sum over environments of their
    mean cross-entropies plus ``penalty`` times the variance of these [1]_. Each step
    sees as many rows of every environment.

    Parameters
    ----------
    penalty : float, default=0.1
        Weight of the variance of the risks; 0 is plain risk minimisation with equal
        weight on each environment.
    hidden : tuple of int, default=(256, 256)
        Widths of the layers; ``()`` is a linear model.
    image_shape : tuple (channels, height, width) or None, default=None
        Rows are then images, flattened in this order, and two convolutions with pooling
        (20 and 50 filters) come before the layers.
    weight_decay : float, default=0.0
        Of Adam.
    max_epochs : int, default=50
        Passes over as many rows as there are.
    batch_size : int, default=32
        Rows of each environment an optimiser step; clipped to the smallest environment.
        A combination of settings with fewer rows than this, or than half an equal
        share, is left out.
    learning_rate : float, default=1e-3
        Of Adam. Rows are taken in the units in which they come.
    tol : float, default=0.01
        ``fit`` warns if from one tenth of ``max_epochs`` to the next the loss still
        fell by more than this share of the loss of the best constant. With rows held
        out, an epoch must improve their loss by this share.
    validation_fraction : float, default=0.0
        Share of the rows held out. Training then ends after 10 epochs without
        improvement of their mean risk, and the best epoch is kept.
    device : str, default="auto"
        Device of training and inference; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of initialisation and order of rows. On a CPU the same seed and thread
        count give the same bits; across devices, fits agree as fits of different seeds
        do.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    module_ : torch.nn.Module
        The network, on the CPU and in evaluation mode.
    environments_ : ndarray of object of shape (n_environments, n_settings)
        Settings of each environment trained on; without settings of shape (1, 0).
    environment_risks_ : ndarray of shape (n_environments,)
        Mean cross-entropy in each, in nats, of rows held out if there are any.
    history_ : dict of ndarray of shape (n_epochs_,)
        Mean loss of each epoch, "total" with the penalty, and "validation", the mean
        risk of the rows held out.
    n_epochs_ : int
        Number of epochs.
    identifiability_ : IdentifiabilityReport
        What invariance would need, and what these data say of it.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    DERMClassifier : Reweights rows so that outcome and settings are independent.
    IRMClassifier : Penalises slopes of the risks instead of their variance.

    Notes
    -----
    *Identified*: the network of least penalised risk, and no causal quantity. Equal
    risks keep a predictor from settings only where the best predictor without them is
    as good in every environment. Where a setting moves the outcome it is not: the
    outcome's own law, and with it the least risk, then differs. So the settings remain
    a shortcut, and effects read off the predictions are biased towards that of the
    training experiment. The report tests what effects in the training experiment need,
    calibration in every environment [2]_; in another experiment it cannot be tested
    without labels. The variance is that of all environments, with their number as
    divisor.

    A step costs the network's forward and backward pass on ``batch_size`` rows of each
    environment; memory is O(n_samples n_features).

    References
    ----------
    .. [1] Krueger et al., "Out-of-distribution generalization via risk extrapolation",
       ICML 2021, arXiv:2003.00688.
    .. [2] Cadei, Demirel, De Bartolomeis, Lindorfer, Cremer, Schmid and Locatello,
       "Prediction-powered causal inferences", NeurIPS 2025, arXiv:2502.06343.

    Examples
    --------
    >>> import warnings
    >>> from skident.datasets import make_ppci_shortcut
    >>> from skident.effects import VRExClassifier
    >>> data = make_ppci_shortcut(1000, random_state=0)
    >>> model = VRExClassifier(0.1, (), max_epochs=5, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # five epochs are few
    ...     model = model.fit(data.X, data.y, settings=data.treatment[:, None])
    >>> model.environment_risks_.shape
    (2,)
    """

    _penalty = "vrex"


class IRMClassifier(_InvariantRisk):
    """Network whose last layer is to be optimal in every environment (IRM).

    A baseline for :class:`DERMClassifier`: minimises the sum over environments of their
    mean cross-entropies plus ``penalty`` times the squared slopes of these by a factor
    on the logits, at one [1]_. Each step sees as many rows of every environment.

    Parameters
    ----------
    penalty : float, default=0.1
        Weight of the squared slopes; 0 is plain risk minimisation with equal weight on
        each environment.
    hidden : tuple of int, default=(256, 256)
        Widths of the layers; ``()`` is a linear model.
    image_shape : tuple (channels, height, width) or None, default=None
        Rows are then images, flattened in this order, and two convolutions with pooling
        (20 and 50 filters) come before the layers.
    weight_decay : float, default=0.0
        Of Adam.
    max_epochs : int, default=50
        Passes over as many rows as there are.
    batch_size : int, default=32
        Rows of each environment an optimiser step; clipped to the smallest environment.
        A combination of settings with fewer rows than this, or than half an equal
        share, is left out.
    learning_rate : float, default=1e-3
        Of Adam. Rows are taken in the units in which they come.
    tol : float, default=0.01
        ``fit`` warns if from one tenth of ``max_epochs`` to the next the loss still
        fell by more than this share of the loss of the best constant. With rows held
        out, an epoch must improve their loss by this share.
    validation_fraction : float, default=0.0
        Share of the rows held out. Training then ends after 10 epochs without
        improvement of their mean risk, and the best epoch is kept.
    device : str, default="auto"
        Device of training and inference; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of initialisation and order of rows. On a CPU the same seed and thread
        count give the same bits; across devices, fits agree as fits of different seeds
        do.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    module_ : torch.nn.Module
        The network, on the CPU and in evaluation mode.
    environments_ : ndarray of object of shape (n_environments, n_settings)
        Settings of each environment trained on; without settings of shape (1, 0).
    environment_risks_ : ndarray of shape (n_environments,)
        Mean cross-entropy in each, in nats, of rows held out if there are any.
    history_ : dict of ndarray of shape (n_epochs_,)
        Mean loss of each epoch, "total" with the penalty, and "validation", the mean
        risk of the rows held out.
    n_epochs_ : int
        Number of epochs.
    identifiability_ : IdentifiabilityReport
        What invariance would need, and what these data say of it.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    DERMClassifier : Reweights rows so that outcome and settings are independent.
    VRExClassifier : Penalises the variance of the risks instead of their slopes.

    Notes
    -----
    *Identified*: the network of least penalised risk, and no causal quantity. A slope
    of zero says that scaling the logits would not improve the environment. That asks
    for E[Y | features] to be the same everywhere, which fails where a setting moves the
    outcome and the features only measure it. So the settings remain a shortcut, and
    effects read off the predictions are biased towards that of the training experiment.
    The report tests what effects in the training experiment need, calibration in every
    environment [2]_; in another experiment it cannot be tested without labels.

    The slope of the cross-entropy is ``mean(sum_k p_k logits_k - logits_y)``, so that
    the penalty is differentiated as it stands. It acts on the network's parameters;
    with logits taken as constants it would do nothing.

    A step costs the network's forward and backward pass on ``batch_size`` rows of each
    environment; memory is O(n_samples n_features).

    References
    ----------
    .. [1] Arjovsky, Bottou, Gulrajani and Lopez-Paz, "Invariant risk minimization",
       2019, arXiv:1907.02893. Objective IRMv1.
    .. [2] Cadei, Demirel, De Bartolomeis, Lindorfer, Cremer, Schmid and Locatello,
       "Prediction-powered causal inferences", NeurIPS 2025, arXiv:2502.06343.

    Examples
    --------
    >>> import warnings
    >>> from skident.datasets import make_ppci_shortcut
    >>> from skident.effects import IRMClassifier
    >>> data = make_ppci_shortcut(1000, random_state=0)
    >>> model = IRMClassifier(0.1, (), max_epochs=5, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # five epochs are few
    ...     model = model.fit(data.X, data.y, settings=data.treatment[:, None])
    >>> model.environment_risks_.shape
    (2,)
    """

    _penalty = "irm"


def _cells_of(settings, X):
    """Distinct combinations of settings, and the position of each row's."""
    if settings is None:
        return np.empty((1, 0), dtype=object), np.zeros(len(X), dtype=int)
    labels, codes = check_settings(settings, X)
    combinations, members = np.unique(codes, axis=0, return_inverse=True)
    columns = [
        column.astype(object)[at]
        for column, at in zip(labels, combinations.T, strict=True)
    ]
    # numpy 2.0 gave the positions the shape of the rows.
    return np.stack(columns, axis=1), members.reshape(-1)


def _risks(p, codes, environments, n_environments):
    """Mean cross-entropy of each environment; NaN for one without rows."""
    # A probability that rounds to zero counts as the least number there is.
    least = np.finfo(np.float64).tiny
    losses = -np.log(np.maximum(p[np.arange(len(p)), codes], least))
    total = np.bincount(environments, weights=losses, minlength=n_environments)
    count = np.bincount(environments, minlength=n_environments)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _calibration_p(p, codes, environments):
    """Bonferroni p-value of the largest gap between labels and probabilities.

    Gaps are means over an environment of indicator minus probability of a class, in
    standard errors. NaN where no environment has two rows.
    """
    residuals = np.eye(p.shape[1])[codes] - p
    least, n_tests = np.nan, 0
    for k in np.unique(environments):
        part = residuals[environments == k]
        if len(part) < 2:
            continue
        error = part.std(axis=0, ddof=1) / np.sqrt(len(part))
        # Residuals that are all zero, as for a single class, have no error and no gap.
        z = np.abs(part.mean(axis=0)) / np.maximum(error, np.finfo(np.float64).eps)
        least = np.fmin(least, 2.0 * student.sf(z.max(), len(part) - 1))
        n_tests += p.shape[1]
    return min(1.0, n_tests * least) if n_tests else np.nan


def _report(
    fitted, p, codes, environments, *, n_left_out, n_fewest, rows, with_settings
):
    """What invariance over the settings would need."""
    n_environments = len(fitted.environments_)
    assumptions = [
        Assumption.at_least(
            "there are several environments",
            "number of combinations of settings trained on",
            n_environments,
            2,
        ),
        Assumption.at_least(
            "predictions are calibrated in every environment",
            f"Bonferroni p-value of the gaps, {rows}",
            _calibration_p(p, codes, environments),
            0.01,
        ),
        Assumption.at_least(
            "environments have rows enough to tell their risks",
            "number of rows of the smallest one",
            n_fewest,
            _ENOUGH,
        ),
        Assumption(
            "features given the outcome ignore the settings elsewhere",
            "needs labels from the experiment to be predicted",
        ),
    ]
    notes = []
    if not with_settings:
        notes.append("No settings were given: this is plain risk minimisation.")
    if n_left_out:
        notes.append(f"{n_left_out} combinations of settings had too few rows.")
    return IdentifiabilityReport(
        target="a predictor as good in one environment as in another",
        up_to="what these environments do not vary",
        assumptions=assumptions,
        notes=notes,
        advice="Give settings that vary, or compare with DERMClassifier.",
    )
