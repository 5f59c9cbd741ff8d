"""Cross-fitted nuisance models: any scikit-learn learner, folds, weights, clipping."""

import inspect
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from skident.effects._linear_nuisances import (
    FoldBlocks,
    FoldLogistic,
    FoldRidge,
    logistic_by_fold,
    ridge_by_fold,
)


def default_outcome():
    """Unfitted regressor for outcomes: ridge, its penalty by cross-validation.

    Least squares would do where rows are many; where they are few, or columns repeat
    each other, its predictions out of fold are not to be averaged. All folds together
    take O(n_samples n_features^2) time, and memory for n_folds n_features^2 numbers.
    """
    return FoldRidge()


def default_classifier():
    """Unfitted classifier for treatment and selection: penalised logistic regression.

    The penalty, of one row's weight, keeps probabilities off 0 and 1 where the classes
    can be told apart without error. Costs are as of :func:`default_outcome`, times the
    handful of steps.
    """
    return FoldLogistic()


@dataclass(frozen=True)
class Nuisance:
    """What is to be predicted, from which rows, by which learner.

    Parameters
    ----------
    name : str
        For messages.
    learner : estimator
    target : ndarray of shape (n_samples,)
        0 or 1 where ``proba``; read in ``rows`` alone.
    rows : ndarray of bool of shape (n_samples,) or None
        Those to learn from; None for all.
    weight : ndarray of shape (n_samples,) or None
    proba : bool
        Whether the probability of 1 is wanted.
    """

    name: str
    learner: object
    target: np.ndarray
    rows: np.ndarray | None = None
    weight: np.ndarray | None = None
    proba: bool = False


class NuisanceModel:
    """Expected target by the mean of fitted models.

    Parameters
    ----------
    models : list of fitted estimators
    proba : bool
        Whether the target is the probability of class 1.
    """

    def __init__(self, models, proba):
        self.models, self.proba = models, proba

    def predict(self, X):
        """Expected target, or probability of class 1, of shape (n_samples,)."""
        return np.mean([_expected(m, X, self.proba) for m in self.models], axis=0)


@dataclass(frozen=True)
class _Constant:
    """Predicts one number."""

    value: float


def row_order(*columns):
    """Order of the rows by their values, so that folds do not hang on their positions.

    Parameters
    ----------
    *columns : ndarrays of shape (n_samples,) or (n_samples, n_columns)
        The later ones decide where the earlier ones are equal.

    Returns
    -------
    order : ndarray of int of shape (n_samples,)
    """
    group = np.zeros(len(columns[0]), dtype=np.int64)
    for column in _each_column(columns):
        order = np.lexsort((column, group))
        values, groups = column[order], group[order]
        same = (values[1:] == values[:-1]) | (
            (values != values)[1:] & (values != values)[:-1]
        )
        new = np.cumsum((groups[1:] != groups[:-1]) | ~same)
        group[order] = np.append(0, new)
        if len(new) == 0 or new[-1] == len(new):
            break
    return np.argsort(group, kind="stable")


def _each_column(columns):
    for values in columns:
        yield from values.T if values.ndim == 2 else [values]


def make_folds(n_folds, strata, rng, *, order=None):
    """Folds that take as many rows of each stratum, up to one.

    Parameters
    ----------
    n_folds : int
        With 1, the one fold is learnt from and predicted in whole.
    strata : array-like of shape (n_samples,)
        Label of each row's stratum. Which rows share a fold does not depend on the
        labels, only on which rows share a stratum.
    rng : None, int or RandomState
    order : ndarray of int of shape (n_samples,), default=None
        The rows in an order that does not depend on their positions, see
        :func:`row_order`; None for that of their positions.

    Returns
    -------
    folds : list of (train, test)
        Sorted row numbers; folds without a row are left out.
    """
    n_samples = len(strata)
    drawn = check_random_state(rng).permutation(n_samples)
    if n_folds == 1:
        return [(np.arange(n_samples), np.arange(n_samples))]
    priority = np.empty(n_samples, dtype=np.int64)
    priority[slice(None) if order is None else order] = drawn
    codes = np.unique(strata, return_inverse=True)[1]
    by_stratum = np.lexsort((priority, codes))
    sizes = np.bincount(codes)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    fold = np.empty(n_samples, dtype=np.int64)
    fold[by_stratum] = (np.arange(n_samples) - starts) % n_folds
    return [
        (np.flatnonzero(fold != k), np.flatnonzero(fold == k))
        for k in range(min(n_folds, fold.max() + 1))
    ]


def cross_fit(
    learner,
    X,
    y,
    folds,
    *,
    rows=None,
    sample_weight=None,
    proba=False,
    n_jobs=None,
    random_state=None,
):
    """Predictions of each row by a learner that has not seen its fold.

    Parameters
    ----------
    learner : estimator
        Is cloned; its random states that are None are seeded.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Read in ``rows`` alone; 0 or 1 where ``proba``.
    folds : list of (train, test)
    rows : ndarray of bool of shape (n_samples,), default=None
        Those to learn from; None for all. All rows of ``test`` are predicted.
    sample_weight : ndarray of shape (n_samples,), default=None
    proba : bool, default=False
        Whether to predict the probability of 1. Where the rows to learn from are of
        one class, that class has probability 1.
    n_jobs : int, default=None
    random_state : None, int or RandomState, default=None

    Returns
    -------
    predictions : ndarray of shape (n_samples,)
        NaN in rows that no fold tests.

    Raises
    ------
    TypeError
        If weights are given that the learner does not take, or a probability is wanted
        of a learner that has none.
    ValueError
        If a fold has no row to learn from.
    """
    wanted = [Nuisance("y", learner, np.asarray(y), rows, sample_weight, proba)]
    fitted = fit_nuisances(X, wanted, folds, n_jobs=n_jobs, random_state=random_state)
    return fitted[0][0]


def fit_nuisances(X, nuisances, folds, *, n_jobs=None, random_state=None):
    """Cross-fit several nuisances, all fits in one parallel call.

    The default learners' fits to all folds are one job, as they share their passes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    nuisances : list of Nuisance
    folds : list of (train, test)
    n_jobs : int, default=None
    random_state : None, int or RandomState, default=None

    Returns
    -------
    fitted : list of (predictions, NuisanceModel)
        Predictions of shape (n_samples,) out of fold. The model is fitted to all rows
        for a default learner, and the mean of the folds' models for any other.
    """
    rng = check_random_state(random_state)
    fold = _fold_numbers(folds, len(X))
    shared = [fold is not None and _is_linear(wanted) for wanted in nuisances]
    if any(shared):
        blocks, strata = _blocks(X, fold, nuisances)
    jobs, owners = [], []
    for index, wanted in enumerate(nuisances):
        if wanted.proba and not hasattr(wanted.learner, "predict_proba"):
            raise TypeError(
                f"The learner of {wanted.name} must have predict_proba, "
                f"{type(wanted.learner).__name__} has none."
            )
        weight = wanted.weight
        keyword = None if weight is None else weight_keyword(wanted.learner)
        counted = np.ones(len(X), bool) if wanted.rows is None else wanted.rows
        if weight is not None:
            counted = counted & (weight > 0)
        trains = [train[counted[train]] for train, _ in folds]
        if min(len(train) for train in trains) == 0:
            raise ValueError(
                f"A fold leaves no row to learn {wanted.name} from; n_samples = "
                f"{len(X)}."
            )
        if shared[index]:
            jobs.append(delayed(_fit_linear)(blocks, strata[index], wanted))
            owners.append(index)
            continue
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(folds))
        for train, (_, test), seed in zip(trains, folds, seeds, strict=True):
            learner = _seeded(wanted.learner, seed)
            fit_params = {} if weight is None else {keyword: weight[train]}
            jobs.append(
                delayed(_fit_fold)(
                    learner, X, wanted.target, train, test, fit_params, wanted.proba
                )
            )
            owners.append(index)
    done = Parallel(n_jobs=n_jobs)(jobs)
    fitted = []
    for index, wanted in enumerate(nuisances):
        parts = [
            part for owner, part in zip(owners, done, strict=True) if owner == index
        ]
        if shared[index]:
            predictions = parts[0][0]
        else:
            predictions = np.full(len(X), np.nan)
            for (_, test), (found, _) in zip(folds, parts, strict=True):
                predictions[test] = found
        models = [model for _, found in parts for model in found]
        fitted.append((predictions, NuisanceModel(models, wanted.proba)))
    return fitted


def _is_linear(wanted):
    return type(wanted.learner) is (FoldLogistic if wanted.proba else FoldRidge)


def _fold_numbers(folds, n_samples):
    """Fold that each row is tested in, or None unless all others are trained on."""
    fold = np.full(n_samples, -1)
    for k, (train, test) in enumerate(folds):
        fold[test] = k
        left = n_samples if len(folds) == 1 else n_samples - len(test)
        if len(train) != left:
            return None
    tested = sum(len(test) for _, test in folds)
    return fold if (fold >= 0).all() and tested == n_samples else None


def _blocks(X, fold, nuisances):
    """Blocks for all nuisances, and which strata each of them learns from."""
    codes = np.zeros(len(X), dtype=np.int64)
    for bit, wanted in enumerate(nuisances):
        codes |= (True if wanted.rows is None else wanted.rows) * np.int64(1 << bit)
    present, stratum = np.unique(codes, return_inverse=True)
    strata = [
        np.flatnonzero(present >> bit & 1).tolist() for bit in range(len(nuisances))
    ]
    return FoldBlocks(X, fold, stratum), strata


def _fit_linear(blocks, strata, wanted):
    fit = logistic_by_fold if wanted.proba else ridge_by_fold
    coefs = fit(blocks, strata, wanted.target, wanted.weight)
    predictions = blocks.predict(coefs)
    model = FoldLogistic() if wanted.proba else FoldRidge()
    model._set(*blocks.in_units(coefs[-1]))
    if wanted.proba:
        model.classes_ = np.array([0, 1])
        predictions = expit(predictions)
    return predictions, [model]


def _fit_fold(learner, X, target, train, test, fit_params, proba):
    """Predictions of the tested rows, and the model."""
    target = target[train]
    if proba and (target == target[0]).all():
        model = _Constant(float(target[0]))
    else:
        # With routing on, pipelines and searches would ask for a request first.
        with config_context(enable_metadata_routing=False):
            model = learner.fit(X[train], target, **fit_params)
    return _expected(model, X[test], proba), [model]


def _expected(model, X, proba):
    if isinstance(model, _Constant):
        return np.full(len(X), model.value)
    if not proba:
        return np.asarray(model.predict(X), dtype=np.float64).reshape(len(X))
    return np.asarray(model.predict_proba(X), dtype=np.float64)[:, 1]


def weight_keyword(learner):
    """Argument of the learner's ``fit`` that takes sample weights.

    Raises
    ------
    TypeError
        If there is none.
    """
    keyword = _find_weight_keyword(learner)
    if keyword is None:
        raise TypeError(
            f"Rows differ in weight, and {type(learner).__name__}.fit takes no "
            "sample_weight: a learner that does is wanted."
        )
    return keyword


def _find_weight_keyword(learner):
    if has_fit_parameter(learner, "sample_weight"):
        return "sample_weight"
    if isinstance(learner, Pipeline):
        name, last = learner.steps[-1]
        inner = None if last == "passthrough" else _find_weight_keyword(last)
        return inner and f"{name}__{inner}"
    # A search hands its **params on to the learner it wraps.
    kinds = {p.kind for p in inspect.signature(learner.fit).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds and hasattr(learner, "estimator"):
        return _find_weight_keyword(learner.estimator)
    return None


def _seeded(learner, seed):
    """A clone whose random states are set where they were None."""
    learner = clone(learner)
    states = [
        name
        for name, value in learner.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    ]
    return learner.set_params(**dict.fromkeys(states, int(seed)))


def clip_probability(probability, low, high=1.0):
    """Probability brought into [low, high], and which rows that changed."""
    outside = (probability < low) | (probability > high)
    return np.clip(probability, low, high), outside
