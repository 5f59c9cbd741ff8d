"""Fitting under DERM's weights, and what held-out rows say of the fit."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import check_cv
from sklearn.utils import (
    assert_all_finite,
    check_random_state,
    column_or_1d,
    indexable,
)
from sklearn.utils.multiclass import check_classification_targets

from skident.effects._derm_base import (
    expected_outcome,
    fit_base,
    predict_base,
    seed_unseeded,
    weight_route,
)
from skident.effects._derm_report import Evidence, make_report, refuse_partial_support
from skident.effects._derm_weights import (
    bin_outcome,
    outcome_values,
    setting_names,
    weigh,
)
from skident.effects._label_shift import (
    class_response,
    confusion_matrix,
    corrected,
    linear_response,
    neighbouring_rises,
)
from skident.effects._lifting import lifting_check
from skident.utils._labels import distinct
from skident.utils._sklearn import _num_samples, _safe_indexing
from skident.utils._validation import check_sample_weight, check_settings

_MAX_SEED = np.iinfo(np.int32).max
_WEIGHT_PARAMS = ("prob_floor", "weight_cap", "normalize")
# The check of a fit asks for the 0.99 quantile of the permutations, no more.
_N_PERMUTATIONS = 199
_MIN_COUNT = 20


@dataclass
class Problem:
    """What a fit is given, checked and coded.

    Parameters
    ----------
    X : array-like with n rows
    y : ndarray of shape (n,)
    values : ndarray of float of shape (n,)
        The outcome as numbers; None for classes that are none.
    level : ndarray of int of shape (n,)
        Class, or bin, of each outcome; None for real outcomes without settings.
    labels, codes
        Settings as :func:`check_settings` returns them; None without settings.
    sample_weight : ndarray of shape (n,) or None
    classes : ndarray of shape (n_classes,), or None for real outcomes
    names : list of str or None
        Of the settings.
    params : dict
        Of the weights.
    """

    X: object
    y: np.ndarray
    values: np.ndarray | None
    level: np.ndarray | None
    labels: list | None
    codes: np.ndarray | None
    sample_weight: np.ndarray | None
    classes: np.ndarray | None
    names: list | None
    params: dict

    def part(self, rows):
        """The problem on some of the rows."""
        cut = {"X": _safe_indexing(self.X, rows)}
        for name in ("y", "values", "level", "codes", "sample_weight"):
            value = getattr(self, name)
            cut[name] = None if value is None else value[rows]
        return Problem(**(vars(self) | cut))

    def weighting(self):
        """How the rows are weighed, None without settings."""
        if self.codes is None:
            return None
        return weigh(
            self.values,
            self.level,
            self.labels,
            self.codes,
            self.sample_weight,
            **self.params,
        )

    def weights(self, weighting):
        """Weights that the learner is to be given, None for none."""
        if weighting is None:
            return self.sample_weight
        if self.sample_weight is None:
            return weighting.weights
        return weighting.weights * self.sample_weight

    def level_labels(self):
        """Classes, or the means of the outcome in its bins."""
        if self.classes is not None:
            return self.classes.tolist()
        means = np.bincount(self.level, self.values) / np.bincount(self.level)
        return [float(f"{mean:.4g}") for mean in means]


def fit_model(est, X, y, settings, sample_weight, base):
    """Fit ``est``, a copy of the user's estimator, with a clone of ``base``."""
    (X,) = indexable(X)
    problem = make_problem(est, X, y, settings, sample_weight)
    rng = np.random.default_rng(check_random_state(est.random_state).randint(_MAX_SEED))
    base = clone(base)
    if est.random_state is not None:
        seed_unseeded(base, rng)
    weighed = problem.codes is not None or problem.sample_weight is not None
    if weighed and est.mode == "weight":
        weight_route(base)
    every = problem.weighting()
    if every is not None and est.on_partial_support == "raise":
        refuse_partial_support(every, problem.level_labels(), problem.names)

    # Without settings, and without a correction, nothing is asked of held-out rows.
    asked = problem.codes is not None or est.correction == "label_shift"
    trained = np.ones(len(problem.y), dtype=bool)
    seen, weighting = problem, every
    if asked and est.validation_fraction > 0:
        trained = ~_held_out(est.validation_fraction, every, problem, rng)
        seen = problem.part(np.flatnonzero(trained))
        weighting = seen.weighting()
    weights = seen.weights(weighting)
    est.estimator_ = fit_base(
        base, seen.X, seen.y, weights, est.mode, rng, seen.classes
    )
    rows, outputs = np.arange(0), None
    if asked and est.validation_fraction > 0:
        rows = np.flatnonzero(~trained)
        held_out = _safe_indexing(X, rows)
        outputs = predict_base(est.estimator_, held_out, problem.classes)
    elif asked and est.cv is not None:
        rows, outputs = out_of_fold(est, base, problem, every, rng)
    rows, outputs = _counted(problem, rows, outputs)
    _store_weights(est, trained, weights, weighting, problem.names)
    expected = _examine(est, problem, rows, outputs)
    lifting = None
    if every is not None and expected is not None:
        lifting = lifting_check(
            expected,
            problem.values[rows],
            every.level[rows],
            every.cell[rows],
            problem.level_labels(),
            every.frame(problem.names).index,
            n_permutations=_N_PERMUTATIONS,
            min_count=_MIN_COUNT,
            rng=rng,
            linear=problem.classes is None,
        )
    est.identifiability_ = make_report(
        Evidence(
            X=X,
            codes=problem.codes,
            names=problem.names,
            weighting=weighting,
            level_labels=None if every is None else problem.level_labels(),
            n_rows=_n_counted(seen),
            effective_rows=est.effective_sample_size_,
            capped=est.prob_floor > 0 or est.weight_cap is not None,
            reliability=est.reliability_,
            rises=_rises(problem, rows, expected),
            real=problem.classes is None,
            correction=est.correction,
            lifting=lifting,
            spread=None if lifting is None else float(problem.values[rows].std()),
        )
    )


def _counted(problem, rows, outputs):
    """Held-out rows and their outputs, without those of sample weight zero."""
    if problem.sample_weight is None or outputs is None:
        return rows, outputs
    keep = problem.sample_weight[rows] > 0
    if not keep.any():
        return rows[keep], None
    if problem.classes is None:
        return rows[keep], outputs[keep]
    proba, codes = outputs
    return rows[keep], (None if proba is None else proba[keep], codes[keep])


def _rises(problem, rows, expected):
    """How the expected outcome rises with the outcome; None if that is not known."""
    if expected is None or problem.level is None:
        return None
    weight = None if problem.sample_weight is None else problem.sample_weight[rows]
    return neighbouring_rises(
        expected, problem.values[rows], problem.level[rows], weight
    )


def _n_counted(problem):
    """Number of rows, without those of sample weight zero."""
    if problem.sample_weight is None:
        return len(problem.y)
    return int(np.count_nonzero(problem.sample_weight))


def make_problem(est, X, y, settings, sample_weight):
    """Check and code what ``fit`` is given."""
    wrong = is_regressor if is_classifier(est) else is_classifier
    if est.estimator is not None and wrong(est.estimator):
        kind = "classifier" if is_classifier(est) else "regressor"
        raise TypeError(
            f"estimator of a {type(est).__name__} must be a {kind}, got "
            f"{type(est.estimator).__name__}."
        )
    y = column_or_1d(y, warn=True)
    if y.dtype.kind in "fc":
        assert_all_finite(y, input_name="y")
    n = _num_samples(X)
    if n == 0:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required."
        )
    if len(y) != n:
        raise ValueError(
            "X and y have inconsistent numbers of samples: y must have a value in "
            f"every row, got {len(y)}; n_samples = {n}."
        )
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, X)
    labels = codes = None
    names = setting_names(settings)
    if settings is not None:
        labels, codes = check_settings(settings, X)
        _check_levels(labels, names, est.max_levels, n)
    classes = level = None
    if is_classifier(est):
        check_classification_targets(y)
        classes, level = distinct(y)
        try:
            values = outcome_values(classes, y)
        except ValueError:
            if settings is not None or est.correction != "none":
                raise
            values = None
        est.classes_, est.class_values_ = classes, values
        values = None if values is None else values[level]
    else:
        values = y.astype(np.float64)
        assert_all_finite(values, input_name="y")
        if settings is not None:
            level = bin_outcome(values, est.y_bins, est.bin_strategy, sample_weight)
    params = {name: getattr(est, name) for name in _WEIGHT_PARAMS}
    return Problem(
        X, y, values, level, labels, codes, sample_weight, classes, names, params
    )


def _check_levels(labels, names, max_levels, n):
    for j, column in enumerate(labels):
        if len(column) > max_levels:
            raise ValueError(
                f"settings must be discrete, with at most max_levels = {max_levels} "
                f"levels a column, got {len(column)} in column "
                f"{j if names is None else repr(names[j])}; n_samples = {n}."
            )


def _store_weights(est, trained, weights, weighting, names):
    """Set the fitted attributes that tell of the weights."""
    est.sample_weight_ = None
    est.effective_sample_size_ = float(trained.sum())
    if weights is not None:
        est.sample_weight_ = np.zeros(len(trained))
        est.sample_weight_[trained] = weights
        est.effective_sample_size_ = float(weights.sum() ** 2 / (weights @ weights))
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(est.estimator_, name):
            setattr(est, name, getattr(est.estimator_, name))
    est.cells_ = est.dropped_cells_ = est.support_full_ = None
    est.weighted_mutual_information_ = np.nan
    if weighting is not None:
        est.cells_ = weighting.frame(names)
        dropped = est.cells_["status"] == "dropped"
        est.dropped_cells_ = est.cells_.index[dropped].tolist()
        est.support_full_ = bool((est.cells_["status"] == "full").all())
        est.weighted_mutual_information_ = weighting.mutual_information()


# --- rows that were not trained on ---------------------------------------------------


def _held_out(fraction, weighting, problem, rng):
    """Mask of the rows to hold out."""
    rank = _spread(weighting, problem, rng)
    held_out = np.floor((rank + 1) * fraction) > np.floor(rank * fraction)
    if not held_out.any():
        raise ValueError(
            f"validation_fraction = {fraction} holds out no row; n_samples = "
            f"{len(rank)}."
        )
    return held_out


def _spread(weighting, problem, rng):
    """Ranks of the rows in random order, pair by pair of outcome and cell."""
    if weighting is not None:
        strata = weighting.cell * weighting.n_levels + weighting.level
    elif problem.level is not None:
        strata = problem.level
    else:
        strata = np.zeros(len(problem.y), dtype=np.int64)
    order = np.lexsort((rng.random(len(strata)), strata))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def out_of_fold(est, base, problem, weighting, rng):
    """Predictions of the rows by learners that have not seen them.

    Parameters
    ----------
    est : estimator
        For ``cv``, ``mode`` and ``n_jobs``.
    base : estimator
    problem : Problem
    weighting : Weighting or None
        Of all rows; those of the folds are weighed anew.
    rng : numpy.random.Generator

    Returns
    -------
    rows : ndarray of int
        The rows that could be predicted.
    outputs : as :func:`predict_base`, of these rows
        None if there are none.
    """
    n = len(problem.y)
    if isinstance(est.cv, Integral):
        fold = _spread(weighting, problem, rng) % est.cv
        tests = [np.flatnonzero(fold == k) for k in range(min(est.cv, n))]
        splits = [(np.setdiff1d(np.arange(n), test), test) for test in tests]
    else:
        cv = check_cv(est.cv, problem.y, classifier=problem.classes is not None)
        splits = list(cv.split(problem.X, problem.y))
    seeds = rng.integers(_MAX_SEED, size=len(splits))
    results = Parallel(n_jobs=est.n_jobs)(
        delayed(_fit_fold)(base, problem, *split, est.mode, seed, get_config())
        for split, seed in zip(splits, seeds, strict=True)
    )
    found = [
        (test, result)
        for (_, test), result in zip(splits, results, strict=True)
        if result is not None
    ]
    if not found:
        return np.arange(0), None
    rows = np.concatenate([test for test, _ in found])
    if problem.classes is None:
        return rows, np.concatenate([result for _, result in found])
    proba = [p for _, (p, _) in found]
    proba = None if proba[0] is None else np.concatenate(proba)
    return rows, (proba, np.concatenate([codes for _, (_, codes) in found]))


def _fit_fold(base, problem, train, test, mode, seed, config):
    """Outputs for the rows ``test``; None where ``train`` teaches nothing."""
    part = problem.part(train)
    if part.sample_weight is not None and not part.sample_weight.any():
        return None
    if problem.classes is not None and len(np.unique(part.level)) < 2:
        return None
    try:
        weighting = part.weighting()
    except ValueError:  # the outcome varies within no cell of so few rows
        return None
    rng = np.random.default_rng(seed)
    weights = part.weights(weighting)
    with config_context(**config):
        fitted = fit_base(base, part.X, part.y, weights, mode, rng, problem.classes)
        return predict_base(fitted, _safe_indexing(problem.X, test), problem.classes)


def _examine(est, problem, rows, outputs):
    """Set what held-out rows say of the predictions; the expected outcomes of these."""
    est.reliability_, est._response = np.nan, None
    if problem.classes is not None:
        est.confusion_ = None
    if outputs is None:
        if est.correction == "label_shift":
            raise ValueError(
                "correction='label_shift' needs held-out rows of every class, got "
                f"none: set cv or validation_fraction; n_samples = {len(problem.y)}."
            )
        return None
    y = problem.values[rows]
    # If predictions depend on the outcome alone, the mean given the outcome is the same
    # under any weights of the settings; those of the fit put much on few rows.
    weight = None if problem.sample_weight is None else problem.sample_weight[rows]
    values = None if problem.classes is None else est.class_values_
    expected, parts = expected_outcome(
        outputs, getattr(est, "prediction", "expectation"), values
    )
    if values is None:
        est._response = linear_response(expected, y, weight)
        est.reliability_ = est._response.slope
    else:
        level = problem.level[rows]
        est._response = class_response(parts, level, values, weight)
        est.reliability_ = est._response.reliability
        est.confusion_ = confusion_matrix(outputs[1], level, len(values), weight)
    if est.correction == "label_shift":
        expected = corrected(est._response, expected, parts)
    return expected
