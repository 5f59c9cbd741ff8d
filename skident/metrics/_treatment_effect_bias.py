"""What replacing outcomes by predictions does to the effect of a treatment."""

import warnings
from numbers import Real

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import MetadataRequest

from skident.utils._labels import class_values, distinct
from skident.utils._validation import (
    check_sample_weight,
    check_settings,
    check_treatment,
)


def treatment_effect_bias(
    y_pred,
    y,
    treatment,
    *,
    covariates=None,
    units=None,
    sample_weight=None,
    ate=None,
    relative=False,
):
    """Effect of a treatment on predictions less its effect on the outcomes.

    Predictors that are accurate can be off by half the effect [1]_: what counts is
    whether their errors differ between the arms.

    Parameters
    ----------
    y_pred, y : array-like of shape (n_samples,)
        Predicted and true outcomes, as numbers. Expected outcomes, such as weighted
        class values, have less bias than predicted classes.
    treatment : array-like of shape (n_samples,)
        0 or 1.
    covariates : array-like of shape (n_samples, n_covariates), default=None
        Discrete covariates: arms are compared within each of their cells, which have
        to hold rows of both. None compares the arms' means.
    units : array-like of shape (n_samples,), default=None
        Label of the unit that each row is a record of. Outcomes are averaged over a
        unit's rows, whose treatment and covariates are the same. None for rows that
        are units.
    sample_weight : array-like of shape (n_samples,), default=None
        A unit weighs the mean of its rows' weights.
    ate : callable, default=None
        Another estimator of the effect: ``ate(y, treatment)``, called with
        ``covariates``, ``units`` and ``sample_weight`` as well where they are given,
        returns a float or something with ``effect``, as
        :func:`skident.effects.aipw_ate` does.
    relative : bool, default=False
        Whether to divide by the effect on the outcomes.

    Returns
    -------
    bias : float
        In units of ``y``, or relative to the effect.

    Raises
    ------
    ValueError
        If lengths differ, an entry is not a finite number, an arm is empty in a cell,
        rows of a unit differ in treatment or covariates, or the bias is to be relative
        to no effect.

    References
    ----------
    .. [1] Cadei et al., "Smoke and mirrors in causal downstream tasks", NeurIPS 2024,
       arXiv:2405.17151.

    Examples
    --------
    >>> from skident.metrics import treatment_effect_bias
    >>> y, treatment = [0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1]
    >>> treatment_effect_bias([0.5, 1.5, 1.5, 2.5], y, treatment)
    -1.0
    >>> treatment_effect_bias([0.5, 1.5, 1.5, 2.5], y, treatment, relative=True)
    -0.5
    """
    given = {"covariates": covariates, "units": units, "sample_weight": sample_weight}
    given = {name: value for name, value in given.items() if value is not None}
    y, y_pred = _numbers("y", y), _numbers("y_pred", y_pred)
    if len(y) != len(y_pred):
        raise ValueError(
            f"y_pred must have a value for each of y, got {len(y_pred)}; n_samples = "
            f"{len(y)}."
        )
    if ate is None:
        compared = _Comparison(y, treatment, **given)
        found, true = compared.effect(y_pred), compared.effect(y)
    else:
        found, true = (_effect(ate(v, treatment, **given)) for v in (y_pred, y))
    bias = found - true
    if relative and true == 0:
        raise ValueError(
            "relative=True needs an effect on the outcomes, got 0; n_samples = "
            f"{len(y)}."
        )
    return float(bias / true) if relative else float(bias)


def neg_abs_teb_scorer(*, ate=None, relative=False):
    """Make a scorer that ranks predictors by minus the size of their effect's bias.

    Parameters
    ----------
    ate : callable, default=None
        As in :func:`treatment_effect_bias`.
    relative : bool, default=False
        Whether to divide by the effect on the outcomes.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, *, treatment, covariates=None, units=None,
        sample_weight=None)``, at most 0. It asks for the first three of them by
        metadata routing, through which searches have to send them. Of an estimator it
        takes ``predict_expected`` if there is one, else the class values weighted by
        ``predict_proba``, else ``predict``. Two classes that are no numbers count as 0
        and 1.

    Notes
    -----
    A constant prediction has no effect at all, and so the bias minus the effect: rank
    by the bias among accurate candidates only (:func:`best_above_accuracy_floor`).

    Examples
    --------
    >>> from sklearn import config_context
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skident.metrics import neg_abs_teb_scorer
    >>> rng = np.random.default_rng(0)
    >>> treatment = rng.integers(0, 2, 200)
    >>> X = treatment[:, None] + rng.standard_normal((200, 1))
    >>> scorer = neg_abs_teb_scorer()
    >>> search = GridSearchCV(Ridge(), {"alpha": [1, 1e4]}, scoring=scorer)
    >>> with config_context(enable_metadata_routing=True):
    ...     search = search.fit(X, X[:, 0], treatment=treatment)
    >>> search.best_params_
    {'alpha': 1}
    """
    return _NegAbsTEB(ate, relative)


class _NegAbsTEB:
    def __init__(self, ate, relative):
        self.ate, self.relative = ate, relative

    def __call__(
        self,
        estimator,
        X,
        y,
        *,
        treatment=None,
        covariates=None,
        units=None,
        sample_weight=None,
    ):
        if treatment is None:
            raise ValueError(
                "neg_abs_teb_scorer needs treatment: pass it through metadata routing, "
                "sklearn.set_config(enable_metadata_routing=True) and "
                "search.fit(X, y, treatment=...)."
            )
        bias = treatment_effect_bias(
            _expected(estimator, X),
            _values_of(estimator, y),
            treatment,
            covariates=covariates,
            units=units,
            sample_weight=sample_weight,
            ate=self.ate,
            relative=self.relative,
        )
        return -abs(bias)

    def get_metadata_routing(self):
        """What the scorer asks for."""
        request = MetadataRequest(owner=repr(self))
        for name in ("treatment", "covariates", "units"):
            request.score.add_request(param=name, alias=True)
        return request

    def __repr__(self):
        return f"neg_abs_teb_scorer(ate={self.ate!r}, relative={self.relative!r})"


def best_above_accuracy_floor(floor, *, accuracy="accuracy", score="neg_abs_teb"):
    """Choose the candidate of the best score among those that are accurate enough.

    Parameters
    ----------
    floor : float
        Least mean test score ``accuracy``.
    accuracy, score : str, default="accuracy" and "neg_abs_teb"
        Keys of ``scoring`` in the search.

    Returns
    -------
    refit : callable
        For ``refit`` of ``GridSearchCV``. It warns if no candidate reaches the floor,
        or none that does has a score, and then takes the most accurate one.

    Raises
    ------
    ValueError
        If ``floor`` is no number, or, in the search, if a key is not in ``scoring``.

    Examples
    --------
    >>> from skident.metrics import best_above_accuracy_floor
    >>> results = {
    ...     "mean_test_accuracy": np.array([0.5, 0.9, 0.95]),
    ...     "mean_test_neg_abs_teb": np.array([-0.01, -0.1, -0.3]),
    ... }
    >>> best_above_accuracy_floor(0.8)(results)
    1
    """
    if not isinstance(floor, Real):
        raise ValueError(f"floor must be a number, got {floor!r}.")
    return _BestAbove(float(floor), accuracy, score)


class _BestAbove:
    def __init__(self, floor, accuracy, score):
        self.floor, self.accuracy, self.score = floor, accuracy, score

    def __call__(self, cv_results):
        accuracy, score = (
            self._mean(cv_results, key) for key in (self.accuracy, self.score)
        )
        able = (accuracy >= self.floor) & ~np.isnan(score)
        if not able.any():
            best = int(np.nanargmax(accuracy))
            warnings.warn(
                f"No candidate has a mean test {self.accuracy} of {self.floor:g} and a "
                f"{self.score}: the most accurate one is taken, with "
                f"{accuracy[best]:.3g}.",
                UserWarning,
                stacklevel=2,
            )
            return best
        return int(np.argmax(np.where(able, score, -np.inf)))

    def _mean(self, cv_results, key):
        name = f"mean_test_{key}"
        if name not in cv_results:
            raise ValueError(
                f"best_above_accuracy_floor needs {key!r} in the search's scoring, got "
                f"{sorted(k[10:] for k in cv_results if k.startswith('mean_test_'))}."
            )
        return np.asarray(cv_results[name], dtype=float)


# --- effects by differences of means -------------------------------------------------


class _Comparison:
    """Arms of the same units, compared within cells for one outcome after another."""

    def __init__(self, y, treatment, covariates=None, units=None, sample_weight=None):
        treatment = check_treatment(treatment, y, binary=True)
        if treatment.ndim != 1:
            raise ValueError(
                "treatment must be of shape (n_samples,), got shape "
                f"{treatment.shape}; n_samples = {len(y)}."
            )
        self.row_weight = check_sample_weight(sample_weight, y)
        cell = np.zeros(len(y), dtype=np.int64)
        if covariates is not None:
            labels, codes = check_settings(covariates, y)
            for column, names in zip(codes.T, labels, strict=True):
                cell = distinct(cell * len(names) + column)[1]
        self.unit = np.arange(len(y))
        if units is not None:
            self.unit = check_settings(np.asarray(units)[:, None], y)[1][:, 0]
        group = 2 * cell + treatment.astype(np.int64)
        first = np.unique(self.unit, return_index=True)[1]
        if (group != group[first][self.unit]).any():
            raise ValueError(
                "treatment and covariates must be the same in all rows of a unit; "
                f"n_samples = {len(y)}."
            )
        self.total = np.bincount(self.unit, self.row_weight)
        self.weight = self.total / np.bincount(self.unit)
        self.group, self.n_groups = group[first], 2 * (cell.max() + 1)
        self.mass = np.bincount(self.group, self.weight, self.n_groups).reshape(-1, 2)
        self.used = self.mass.sum(axis=1) > 0
        if (self.mass[self.used] == 0).any():
            raise ValueError(
                "treatment must take both values"
                + (" in every cell of the covariates" if covariates is not None else "")
                + f"; n_samples = {len(y)}."
            )

    def effect(self, y):
        """Difference of the arms' means in each cell, averaged over the units."""
        sums = np.bincount(self.unit, self.row_weight * y)
        means = sums / np.where(self.total > 0, self.total, 1.0)
        sums = np.bincount(self.group, self.weight * means, self.n_groups)
        mass = self.mass[self.used]
        arms = sums.reshape(-1, 2)[self.used] / mass
        return float(np.average(arms[:, 1] - arms[:, 0], weights=mass.sum(axis=1)))


def _effect(estimate):
    return float(getattr(estimate, "effect", estimate))


def _numbers(name, values):
    values = column_or_1d(values)
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be numbers, got dtype {values.dtype}; n_samples = "
            f"{len(values)}."
        ) from None
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite; n_samples = {len(values)}.")
    return values


def _expected(estimator, X):
    """Predicted outcome as a number."""
    if hasattr(estimator, "predict_expected"):
        return estimator.predict_expected(X)
    if hasattr(estimator, "predict_proba"):
        values = _class_values(estimator)
        return estimator.predict_proba(X) @ values
    return _values_of(estimator, estimator.predict(X))


def _values_of(estimator, y):
    """Outcomes as numbers: labels of two classes are 0 and 1."""
    y = np.asarray(y)
    if y.dtype.kind in "biuf" or not hasattr(estimator, "classes_"):
        return y
    unknown = np.setdiff1d(y, estimator.classes_)
    if len(unknown):
        raise ValueError(f"y has classes that fit has not seen: {unknown.tolist()}.")
    return _class_values(estimator)[np.searchsorted(estimator.classes_, y)]


def _class_values(estimator):
    classes = np.asarray(estimator.classes_)
    values = class_values(classes)
    if values is None:
        raise ValueError(
            "The bias of an effect needs classes that are numbers, got "
            f"{classes.tolist()[:5]}."
        )
    return values
