"""How modular, explicit and compact latents stand for discrete sources."""

import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.utils import check_random_state

from skident.metrics._inputs import (
    check_labels,
    check_matrix,
    check_same_rows,
    in_range,
)

_N_NEIGHBORS = 10
_MAX_ITER = 100
# A continuous latent is active if its range exceeds this share of the largest one.
_ACTIVE_SHARE = 1 / 20


def infomec_scores(
    sources, latents, *, discrete_latents=False, n_jobs=None, random_state=0
):
    """InfoM, InfoE and InfoC: modularity, explicitness and compactness of latents.

    Parameters
    ----------
    sources : array-like of shape (n_samples, n_sources)
        True factors, as labels.
    latents : array-like of shape (n_samples, n_latents)
        The representation of the same rows.
    discrete_latents : bool, default=False
        Whether latents are labels too.
    n_jobs : int or None, default=None
        Number of sources treated at a time, through joblib.
    random_state : int, RandomState instance or None, default=0
        Draws the noise, 1e-10 of a standard deviation, that breaks ties among
        neighbours.

    Returns
    -------
    scores : dict
        infom : float
            Modularity: 1 if each active latent tells of one source only, 0 if of all
            alike. NaN with one source, or without an active latent.
        infoe : float
            Explicitness: share of the sources' entropy that a linear classifier of all
            latents removes, 1 if all of it; slightly above 0 for noise.
        infoc : float
            Compactness: 1 if each source is told by one active latent only, 0 if by all
            alike. NaN with fewer than two active latents.
        nmi : ndarray of shape (n_sources, n_latents)
            Mutual information of source and latent over the entropy of the source.
        active : ndarray of bool of shape (n_latents,)
            Latents that count in ``infom`` and ``infoc``.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional, is empty or has missing or infinite
        values, if the numbers of rows differ, or if a source is constant or continuous.

    See Also
    --------
    make_representation_scorer : Score a transformer by it in a cross-validation.
    dci_scores : Another measure of the same three properties.

    Notes
    -----
    The definition of [1]_. Mutual information of a continuous latent and a source is
    estimated from 10 nearest neighbours [2]_, that of two discrete ones from counts.
    With A active latents, S sources,

    - ``infom = (mean_j max_i NMI_ij / sum_i NMI_ij - 1/S) / (1 - 1/S)``, over active j;
    - ``infoc = (mean_i max_j NMI_ij / sum_j NMI_ij - 1/A) / (1 - 1/A)``, likewise;
    - ``infoe = mean_i (H0_i - H_i) / H0_i``, where H_i is the log-loss, on the rows
      it was fitted to, of an unpenalised multinomial logistic regression on all
      standardised latents (100 iterations, balanced classes) and H0_i that of the same
      on zeros, the logarithm of the number of labels.

    A latent that tells of nothing counts as telling of all sources alike, and a source
    that nothing tells of as told by all latents alike. Where latents tell of next to
    nothing, ``infom`` and ``infoc`` are ratios of noise: read them with ``infoe``.

    A continuous latent is active if its range exceeds a twentieth of the largest range:
    this depends on the scale of each latent. Nuisances that a whitening has blown up to
    unit variance are active, and pull ``infom`` down. ``infoe`` is not held out: noise
    scores about ``D (L - 1) / (2 n log L)``, with D latents, L labels and n rows.
    Published tables use 10 000 rows. O(S D n log n) time.

    References
    ----------
    .. [1] Hsu, Dorrell, Whittington, Wu and Finn, "Disentanglement via latent
       quantization", NeurIPS 2023.
    .. [2] Ross, "Mutual information between discrete and continuous data sets",
       PLoS ONE 9(2), 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import infomec_scores
    >>> s = np.random.default_rng(0).integers(4, size=(500, 2))
    >>> turned = s @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    >>> straight, mixed = infomec_scores(s, s), infomec_scores(s, turned)
    >>> bool(straight["infom"] > 0.95), bool(mixed["infom"] < 0.5)
    (True, True)
    """
    codes = check_labels(sources, "sources")
    if discrete_latents:
        Z = check_labels(latents, "latents", constant=True)
        active = np.ptp(Z, axis=0) > 0
    else:
        Z = in_range(check_matrix(latents, "latents").astype(np.float64))[0]
        ranges = np.ptp(Z, axis=0)
        active = ranges > _ACTIVE_SHARE * ranges.max()
    check_same_rows(codes, Z, ("sources", "latents"))
    scaled = _standardised(Z)
    seeds = check_random_state(random_state).randint(
        np.iinfo(np.int32).max, size=codes.shape[1]
    )
    columns = Parallel(n_jobs=n_jobs)(
        delayed(_score_source)(source, Z if discrete_latents else None, scaled, seed)
        for source, seed in zip(codes.T, seeds, strict=True)
    )
    nmi = np.array([information for information, _ in columns])
    kept = nmi[:, active]
    return {
        "infom": _concentration(kept.T),
        "infoe": float(np.mean([explicitness for _, explicitness in columns])),
        "infoc": _concentration(kept),
        "nmi": nmi,
        "active": active,
    }


def _score_source(source, labels, scaled, seed):
    """Normalised information of one source with each latent, and its explicitness."""
    if labels is None:
        information = mutual_info_classif(
            scaled,
            source,
            discrete_features=False,
            n_neighbors=_N_NEIGHBORS,
            random_state=int(seed),
        )
        # The noise that breaks ties is all that a constant latent has.
        information[~scaled.any(axis=0)] = 0.0
    else:
        information = np.array([mutual_info_score(source, z) for z in labels.T])
    shares = np.bincount(source) / len(source)
    nmi = information / -(shares @ np.log(shares))
    # Without a penalty; balanced classes on zeros are predicted alike, hence `chance`.
    model = LogisticRegression(C=np.inf, max_iter=_MAX_ITER, class_weight="balanced")
    with warnings.catch_warnings():
        # The definition stops after 100 iterations: separable classes have no optimum.
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        model.fit(scaled, source)
    chance = np.log(len(shares))
    loss = log_loss(source, model.predict_proba(scaled))
    return nmi, (chance - loss) / chance


def _standardised(Z):
    Z = Z - Z.mean(axis=0)
    # Squares of a column much smaller than the others would vanish.
    (Z,) = in_range(Z, by_column=True)
    scale = Z.std(axis=0)
    return Z / np.where(scale > 0, scale, 1.0)


def _concentration(weights):
    """Mean over rows of the largest share of a row, from 0 (all alike) to 1 (one)."""
    n_rows, n_columns = weights.shape
    if n_rows == 0 or n_columns < 2:
        return float("nan")
    totals = weights.sum(axis=1)
    chance = 1.0 / n_columns
    shares = np.full(n_rows, chance)
    np.divide(weights.max(axis=1), totals, out=shares, where=totals > 0)
    return float((shares.mean() - chance) / (1.0 - chance))
