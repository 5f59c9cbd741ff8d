"""Scorers of transformers for scikit-learn's model selection."""

import numpy as np
from scipy import sparse

from skident.metrics._components import mean_correlation_coefficient
from skident.metrics._dci import dci_scores
from skident.metrics._infomec import infomec_scores
from skident.metrics._linear_r2 import linear_r2_score
from skident.metrics._sparsity import hoyer_sparsity


def make_representation_scorer(metric="mcc", *, method="transform", **params):
    """Make a scorer that compares what a transformer returns with the true factors.

    Parameters
    ----------
    metric : str or callable, default="mcc"
        "mcc" (:func:`mean_correlation_coefficient`), "linear_r2"
        (:func:`linear_r2_score`); "infom", "infoe", "infoc" of :func:`infomec_scores`;
        "disentanglement", "completeness", "informativeness" of :func:`dci_scores`;
        "hoyer", the mean :func:`hoyer_sparsity` of the rows, which needs no factors; or
        a function of ``(factors, latents, **params)``, larger being better.
    method : str, default="transform"
        Method of the estimator that returns the latents.
    **params
        Further arguments of the metric.

    Returns
    -------
    scorer : callable
        With the signature ``scorer(estimator, X, y)`` that ``cross_validate`` and
        ``GridSearchCV`` want for ``scoring``, where ``y`` holds the factors, of shape
        (n_samples, n_sources). It pickles if ``metric`` does.

    Raises
    ------
    ValueError
        If ``metric`` has no such name.

    Notes
    -----
    ``fit`` is given the factors as ``y`` too: a transformer that uses its ``y`` is
    supervised by them. An average over folds is one over matchings of their own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import cross_val_score
    >>> from skident.metrics import make_representation_scorer
    >>> u = np.random.default_rng(0).uniform(size=(300, 2)) * [1, 3]
    >>> X = u @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    >>> cross_val_score(
    ...     PCA(), X, u, cv=3, scoring=make_representation_scorer("mcc")
    ... ).round(1)
    array([1., 1., 1.])
    """
    if not callable(metric) and metric not in _METRICS:
        raise ValueError(
            f"metric must be one of {sorted(_METRICS)} or callable, got {metric!r}."
        )
    return _RepresentationScorer(metric, method, params)


class _RepresentationScorer:
    def __init__(self, metric, method, params):
        self.metric, self.method, self.params = metric, method, params

    def __call__(self, estimator, X, y=None):
        latents = getattr(estimator, self.method)(X)
        if self.metric == "hoyer":
            return float(np.nanmean(hoyer_sparsity(latents, **self.params)))
        if sparse.issparse(latents):
            latents = latents.toarray()
        if callable(self.metric):
            return self.metric(y, latents, **self.params)
        function, entry = _METRICS[self.metric]
        score = function(y, latents, **self.params)
        return score if entry is None else score[entry]

    def __repr__(self):
        metric = getattr(self.metric, "__name__", self.metric)
        arguments = "".join(f", {key}={value!r}" for key, value in self.params.items())
        return (
            f"make_representation_scorer({metric!r}, method={self.method!r}{arguments})"
        )


_METRICS = {
    "mcc": (mean_correlation_coefficient, None),
    "linear_r2": (linear_r2_score, None),
    "hoyer": (hoyer_sparsity, None),
    **{name: (infomec_scores, name) for name in ("infom", "infoe", "infoc")},
    **{
        name: (dci_scores, name)
        for name in ("disentanglement", "completeness", "informativeness")
    },
}
