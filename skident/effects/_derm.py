"""Learners whose predictions can stand in for an outcome when effects are estimated."""

from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from skident.effects._derm_base import (
    class_probabilities,
    predicted_classes,
    predicted_outcomes,
)
from skident.effects._derm_mixin import DERM
from skident.effects._derm_weights import BIN_CONSTRAINTS
from skident.utils._sklearn import StrOptions, check_is_fitted


def _has(name):
    """Whether the learner, fitted if there is one, has a method."""

    def check(self):
        # The inner AttributeError names the learner.
        getattr(getattr(self, "estimator_", self._base()), name)
        return True

    return check


class DERMClassifier(ClassifierMixin, DERM):
    """Classifier whose predictions carry no effect of an experiment's settings.

    An outcome is dear to measure and can be seen in a recording (an image, a video, a
    spectrum). It was annotated in one experiment, and is to be predicted in another
    one, to estimate the effect of its treatment. A learner takes what is visible of the
    first experiment's settings (treatment, batch, background) for signs of the outcome,
    and carries the first effect into the second experiment. Rows are weighted here such
    that outcome and settings are independent [1]_, and the shortcut is worth nothing.

    Parameters
    ----------
    estimator : estimator, default=None
        Learner to be weighted: any that takes ``sample_weight`` in ``fit``, a pipeline
        that ends in one, or a skorch net whose ``get_loss`` weighs by
        ``X["sample_weight"]``. None is logistic regression.
    prob_floor : float, default=0.0
        Least probability of a pair of outcome and cell of the settings, in [0, 1).
    weight_cap : float or None, default=None
        Largest weight: below 1 the quantile of the positive weights at which they are
        cut, from 1 on a multiple of their mean.
    normalize : {"mean"} or None, default="mean"
        "mean" makes the weights of mean 1, so that a penalty means what it means
        without them; None leaves them in squared units of ``y``.
    mode : {"weight", "resample"}, default="weight"
        Weight the rows, or draw as many of them by their weights, for learners that
        take none.
    prediction : {"expectation", "hard"}, default="expectation"
        Outcome that effects are estimated on: expected, by ``predict_proba``, or that
        of the predicted class.
    correction : {"none", "label_shift"}, default="none"
        Of the expected outcome, and so of effects: "label_shift" undoes the shrinkage
        that held-out rows show, by the confusion of the classes.
    on_partial_support : {"warn", "raise", "ignore"}, default="warn"
        What to do where a cell of the settings lacks outcomes that occur elsewhere.
    max_levels : int, default=50
        Most levels of a setting.
    validation_fraction : float, default=0.0
        Share of the rows held out from training to measure the reliability; 0 does so
        by cross-validation.
    cv : int, splitter, iterable of splits or None, default=5
        Folds of that cross-validation, which refits the learner so many times; None
        does without. Splits of your own keep rows of one unit together.
    n_jobs : int or None, default=None
        Folds at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Of folds and drawn rows; an int also seeds a learner that has no seed.

    Attributes
    ----------
    estimator_ : estimator
        The fitted learner.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    class_values_ : ndarray of shape (n_classes,), or None
        Numbers that they stand for: their own; 0 and 1 for two labels that are none.
    sample_weight_ : ndarray of shape (n_samples,), or None
        What the learner was given: the weights times ``sample_weight``, 0 for rows
        held out. None if nothing was weighted.
    cells_ : DataFrame, or None
        The cells of the settings, as :func:`derm_weights` returns them.
    dropped_cells_ : list, or None
        Settings of the cells without weight.
    support_full_ : bool, or None
        Whether every cell has seen every outcome.
    effective_sample_size_ : float
        Kish's number of rows under the weights.
    weighted_mutual_information_ : float
        Between outcome and settings under the weights, in nats; NaN without settings.
    reliability_ : float
        Rise of the mean prediction from the lowest class to the highest, over theirs:
        1 shrinks no effect. NaN if not measured.
    confusion_ : ndarray of shape (n_classes, n_classes), or None
        ``confusion_[k, j]`` is the share of held-out rows of class j predicted as k.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``, if the learner tells it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    derm_weights : The weights alone.
    aipw_ate : Effects on outcomes, measured or predicted.
    skident.metrics.treatment_effect_bias : What prediction does to an effect.

    Notes
    -----
    *Identified*: average effects of any treatment in other data of the same recording,
    if the features measure the outcome alike there, the outcome can be read from them
    nearly perfectly, and predictions depend on the treatment (and on what is adjusted
    for) through the outcome only. Weighting takes from the learner the reason to use
    the settings, in cells that have seen every outcome; it does not make it ignore
    them, and it says nothing of cells that lack outcomes. High accuracy is no evidence
    [2]_: see :meth:`treatment_effect_bias` and :meth:`check_lifting`, on rows that were
    not trained on.

    The reliability is measured on rows held out. What is less than perfect pulls
    predictions to the middle and shrinks effects that are not zero.

    The weights cost O(n_samples); the fit that of ``cv`` + 1 fits of the learner.

    References
    ----------
    .. [1] Cadei et al., "Prediction-powered causal inferences", NeurIPS 2025,
       arXiv:2502.06343.
    .. [2] Cadei et al., "Smoke and mirrors in causal downstream tasks", NeurIPS 2024,
       arXiv:2405.17151.

    Examples
    --------
    >>> from skident.datasets import make_ppci_shortcut
    >>> from skident.effects import DERMClassifier
    >>> trial = make_ppci_shortcut(2000, p1=0.9, p0=0.1, random_state=0)
    >>> model = DERMClassifier(correction="label_shift", random_state=0)
    >>> model = model.fit(trial.X, trial.y, settings=trial.settings)
    >>> new = make_ppci_shortcut(2000, p1=0.5, p0=0.5, random_state=1)
    >>> bool(abs(model.ate(new.X, new.treatment).effect) < 0.1)
    True
    """

    _parameter_constraints: dict = {
        **DERM._parameter_constraints,
        "prediction": [StrOptions({"expectation", "hard"})],
    }

    def __init__(
        self,
        estimator=None,
        *,
        prob_floor=0.0,
        weight_cap=None,
        normalize="mean",
        mode="weight",
        prediction="expectation",
        correction="none",
        on_partial_support="warn",
        max_levels=50,
        validation_fraction=0.0,
        cv=5,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.prob_floor = prob_floor
        self.weight_cap = weight_cap
        self.normalize = normalize
        self.mode = mode
        self.prediction = prediction
        self.correction = correction
        self.on_partial_support = on_partial_support
        self.max_levels = max_levels
        self.validation_fraction = validation_fraction
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _base(self):
        if self.estimator is None:
            return LogisticRegression(max_iter=1000)
        return self.estimator

    def predict(self, X):
        """Predicted class of each row, of shape (n_samples,)."""
        check_is_fitted(self)
        return predicted_classes(self.estimator_, X, self.classes_)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X):
        """Probabilities of the classes, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return class_probabilities(self.estimator_, X, self.classes_)

    @available_if(_has("decision_function"))
    def decision_function(self, X):
        """Decision values of the learner."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        own = get_tags(self._base()).classifier_tags
        if own is not None:
            tags.classifier_tags = own
        return tags


class DERMRegressor(RegressorMixin, DERM):
    """Regressor whose predictions carry no effect of an experiment's settings.

    An outcome is dear to measure and can be seen in a recording (an image, a video, a
    spectrum). It was annotated in one experiment, and is to be predicted in another
    one, to estimate the effect of its treatment. A learner takes what is visible of the
    first experiment's settings (treatment, batch, background) for signs of the outcome,
    and carries the first effect into the second experiment. Rows are weighted here such
    that outcome and settings are independent [1]_, and the shortcut is worth nothing.

    Parameters
    ----------
    estimator : estimator, default=None
        Learner to be weighted: any that takes ``sample_weight`` in ``fit``, a pipeline
        that ends in one, or a skorch net whose ``get_loss`` weighs by
        ``X["sample_weight"]``. None is ridge regression.
    prob_floor : float, default=0.0
        Least probability of a pair of outcome and cell of the settings, in [0, 1).
    weight_cap : float or None, default=None
        Largest weight: below 1 the quantile of the positive weights at which they are
        cut, from 1 on a multiple of their mean.
    normalize : {"mean"} or None, default="mean"
        "mean" makes the weights of mean 1, so that a penalty means what it means
        without them; None leaves them in squared units of ``y``.
    mode : {"weight", "resample"}, default="weight"
        Weight the rows, or draw as many of them by their weights, for learners that
        take none.
    correction : {"none", "label_shift"}, default="none"
        Of the expected outcome, and so of effects: "label_shift" undoes the shrinkage
        that held-out rows show, by the slope of predictions in the outcome.
    on_partial_support : {"warn", "raise", "ignore"}, default="warn"
        What to do where a cell of the settings lacks outcomes that occur elsewhere.
    max_levels : int, default=50
        Most levels of a setting.
    y_bins : int, default=10
        Bins of the outcome, whose frequencies weights are made of.
    bin_strategy : {"quantile", "uniform"}, default="quantile"
        Bins of equal numbers of rows, or of equal width.
    validation_fraction : float, default=0.0
        Share of the rows held out from training to measure the reliability; 0 does so
        by cross-validation.
    cv : int, splitter, iterable of splits or None, default=5
        Folds of that cross-validation, which refits the learner so many times; None
        does without. Splits of your own keep rows of one unit together.
    n_jobs : int or None, default=None
        Folds at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Of folds and drawn rows; an int also seeds a learner that has no seed.

    Attributes
    ----------
    estimator_ : estimator
        The fitted learner.
    sample_weight_ : ndarray of shape (n_samples,), or None
        What the learner was given: the weights times ``sample_weight``, 0 for rows
        held out. None if nothing was weighted.
    cells_ : DataFrame, or None
        The cells of the settings, as :func:`derm_weights` returns them.
    dropped_cells_ : list, or None
        Settings of the cells without weight.
    support_full_ : bool, or None
        Whether every cell has seen every outcome.
    effective_sample_size_ : float
        Kish's number of rows under the weights.
    weighted_mutual_information_ : float
        Between outcome and settings under the weights, in nats; NaN without settings.
    reliability_ : float
        Slope of the predictions in the outcome, on held-out rows:
        1 shrinks no effect. NaN if not measured.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``, if the learner tells it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    derm_weights : The weights alone.
    aipw_ate : Effects on outcomes, measured or predicted.
    skident.metrics.treatment_effect_bias : What prediction does to an effect.

    Notes
    -----
    *Identified*: average effects of any treatment in other data of the same recording,
    if the features measure the outcome alike there, the outcome can be read from them
    nearly perfectly, and predictions depend on the treatment (and on what is adjusted
    for) through the outcome only. Weighting takes from the learner the reason to use
    the settings, in cells that have seen every outcome; it does not make it ignore
    them, and it says nothing of cells that lack outcomes. High accuracy is no evidence
    [2]_: see :meth:`treatment_effect_bias` and :meth:`check_lifting`, on rows that were
    not trained on.

    The reliability is measured on rows held out. What is less than perfect pulls
    predictions to the middle and shrinks effects that are not zero.

    The weights cost O(n_samples); the fit that of ``cv`` + 1 fits of the learner.

    References
    ----------
    .. [1] Cadei et al., "Prediction-powered causal inferences", NeurIPS 2025,
       arXiv:2502.06343.
    .. [2] Cadei et al., "Smoke and mirrors in causal downstream tasks", NeurIPS 2024,
       arXiv:2405.17151.

    Examples
    --------
    >>> from skident.effects import DERMRegressor
    >>> rng = np.random.default_rng(0)
    >>> batch = rng.integers(0, 2, 1000)
    >>> y = 0.5 * batch + rng.standard_normal(1000)
    >>> X = np.column_stack([y + 0.2 * rng.standard_normal(1000), batch])
    >>> model = DERMRegressor(random_state=0)
    >>> model = model.fit(X, y, settings=batch[:, None])
    >>> bool(0.9 < model.reliability_ < 1.1)
    True
    """

    _parameter_constraints: dict = {**DERM._parameter_constraints, **BIN_CONSTRAINTS}

    def __init__(
        self,
        estimator=None,
        *,
        prob_floor=0.0,
        weight_cap=None,
        normalize="mean",
        mode="weight",
        correction="none",
        on_partial_support="warn",
        max_levels=50,
        y_bins=10,
        bin_strategy="quantile",
        validation_fraction=0.0,
        cv=5,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.prob_floor = prob_floor
        self.weight_cap = weight_cap
        self.normalize = normalize
        self.mode = mode
        self.correction = correction
        self.on_partial_support = on_partial_support
        self.max_levels = max_levels
        self.y_bins = y_bins
        self.bin_strategy = bin_strategy
        self.validation_fraction = validation_fraction
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _base(self):
        return Ridge() if self.estimator is None else self.estimator

    def predict(self, X):
        """Predicted outcome of each row, of shape (n_samples,)."""
        check_is_fitted(self)
        return predicted_outcomes(self.estimator_, X)
