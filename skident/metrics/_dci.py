"""Disentanglement, completeness and informativeness, from importances of latents."""

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skident.metrics._inputs import (
    check_labels,
    check_matrix,
    check_same_rows,
    check_sources,
)

_TREES = 100
# Leaves of fully grown trees split on noise, which makes every latent look important.
_LEAF = 10


def dci_scores(
    sources,
    latents,
    *,
    discrete_sources=True,
    estimator=None,
    test_size=0.5,
    n_jobs=None,
    random_state=0,
):
    """Disentanglement, completeness and informativeness of latents (DCI).

    Parameters
    ----------
    sources : array-like of shape (n_samples, n_sources)
        True factors.
    latents : array-like of shape (n_samples, n_latents)
        The representation of the same rows.
    discrete_sources : bool, default=True
        Whether sources are labels, which are classified, or numbers, which are
        regressed on.
    estimator : estimator or None, default=None
        Predicts one source from the latents, with ``feature_importances_`` or ``coef_``
        after ``fit``. None is a random forest of 100 trees with at least 10 rows a
        leaf, all latents considered in each split. Linear models should see latents of
        equal scale.
    test_size : float in (0, 1), default=0.5
        Share of the rows on which ``informativeness`` is measured; the others are
        fitted.
    n_jobs : int or None, default=None
        Number of sources treated at a time, through joblib.
    random_state : int, RandomState instance or None, default=0
        Draws the rows of the test and seeds estimators that have a ``random_state``.

    Returns
    -------
    scores : dict
        disentanglement : float
            Mean over latents, weighted by their importance, of 1 minus the entropy of
            a latent's importances for the sources: 1 if each latent serves one source.
            NaN with one source.
        completeness : float
            Mean over sources of 1 minus the entropy of the latents' importances for
            it: 1 if each source needs one latent. NaN with one latent.
        informativeness : float
            Mean over sources of the score on the rows of the test: accuracy, or the
            coefficient of determination.
        importance : ndarray of shape (n_sources, n_latents)
            What the first two are computed from.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional, is empty or has missing or infinite
        values, if the numbers of rows differ, if a source is constant, or if a discrete
        one is continuous.

    See Also
    --------
    infomec_scores : The three properties from mutual information.
    make_representation_scorer : Score a transformer by it in a cross-validation.

    Notes
    -----
    The definition of [1]_ leaves the estimator open, and scores depend on it: compare
    no numbers obtained with different ones. Entropies are in units of the logarithm of
    the number of sources and of latents. An importance that is nowhere above 0 counts
    as spread evenly.

    References
    ----------
    .. [1] Eastwood and Williams, "A framework for the quantitative evaluation of
       disentangled representations", ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import dci_scores
    >>> s = np.random.default_rng(0).integers(4, size=(200, 2))
    >>> turned = s @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    >>> straight, mixed = dci_scores(s, s), dci_scores(s, turned)
    >>> straight["disentanglement"] > 0.95, mixed["disentanglement"] < 0.5
    (True, True)
    """
    if discrete_sources:
        S = check_labels(sources, "sources")
    else:
        S = check_sources(sources)
    Z = check_matrix(latents, "latents")
    check_same_rows(S, Z, ("sources", "latents"))
    rng = check_random_state(random_state)
    if estimator is None:
        forest = RandomForestClassifier if discrete_sources else RandomForestRegressor
        estimator = forest(_TREES, min_samples_leaf=_LEAF, max_features=None)
    fit, test = train_test_split(
        np.arange(len(Z)), test_size=test_size, random_state=rng
    )
    seeds = rng.randint(np.iinfo(np.int32).max, size=S.shape[1])
    found = Parallel(n_jobs=n_jobs)(
        delayed(_score_source)(estimator, Z, source, fit, test, int(seed))
        for source, seed in zip(S.T, seeds, strict=True)
    )
    importance = np.array([weights for weights, _ in found])
    totals = importance.sum(axis=0)
    disentanglement = float("nan")
    if totals.any() and len(importance) > 1:
        disentanglement = float(
            np.average(_evenness_deficit(importance.T), weights=totals)
        )
    elif len(importance) > 1:
        disentanglement = 0.0
    completeness = float("nan")
    if importance.shape[1] > 1:
        completeness = float(np.mean(_evenness_deficit(importance)))
    return {
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": float(np.mean([score for _, score in found])),
        "importance": importance,
    }


def _score_source(estimator, Z, source, fit, test, seed):
    """Importances of the latents for one source, and the score on the test's rows."""
    model = clone(estimator)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    model.fit(Z[fit], source[fit])
    if hasattr(model, "feature_importances_"):
        weights = model.feature_importances_
    else:
        # Of several classes: what a latent does for all of them.
        weights = np.abs(np.atleast_2d(model.coef_)).sum(axis=0)
    return np.asarray(weights, dtype=np.float64), model.score(Z[test], source[test])


def _evenness_deficit(weights):
    """1 minus the entropy of each row, in units of the largest possible."""
    weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, 1.0)
    return 1.0 - entropy(weights, axis=1) / np.log(weights.shape[1])
