"""Which individual atoms of a sparse autoencoder come back in another run."""

import warnings
from itertools import combinations
from numbers import Integral, Real

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import check_random_state

from skident.metrics import code_stability, dictionary_cosine_similarity, match_atoms
from skident.metrics._stability import chance_overlap, support_overlap
from skident.utils import Assumption, IdentifiabilityReport
from skident.utils._shards import check_shards
from skident.utils._sklearn import (
    HasMethods,
    Interval,
    _fit_context,
    check_is_fitted,
)
from skident.utils._validation import check_sample_weight

# Share of the atoms below which one must not speak of an identified dictionary.
_MOST = 0.5
# Of a mean over rows, in float64.
_ROUNDING = 1e-12


class SAEStability(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Refit a sparse autoencoder over seeds and keep the atoms that come back.

    Every pair of refits is matched once, with sign. An atom of the reference fit
    *comes back* in another fit if its match points the same way **and** is active on
    the same rows: a stable direction alone does not make codes stable [1]_. Its
    stability is the share of the other fits in which it comes back.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Transformer with ``components_`` after ``fit`` and a ``random_state``; None is
        :class:`IdentifiableSAE` with its defaults.
    n_fits : int, default=5
        Number of refits, each with a seed of its own.
    min_stability : float, default=0.8
        Share of the other fits in which an atom has to come back to be kept.
    min_cosine : float, default=0.9
        Smallest absolute cosine of an atom and its match.
    min_overlap : float, default=0.5
        Smallest Jaccard index of the rows on which an atom and its match are active.
    max_samples : int, default=10_000
        Rows on which codes are compared.
    n_jobs : int or None, default=None
        Fits and comparisons run at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Draws the seeds of the fits and those rows.

    Attributes
    ----------
    atom_stability_ : ndarray of shape (n_components,)
        Share of the other fits in which each atom of the reference comes back.
    atom_cosine_ : ndarray of shape (n_components,)
        Mean absolute cosine of each atom and its matches.
    atom_overlap_ : ndarray of shape (n_components,)
        Mean Jaccard index of the rows on which each atom and its matches are active; 0
        for an atom that is never active.
    stable_ : ndarray of shape (n_components,)
        Whether ``atom_stability_`` reaches ``min_stability``.
    components_ : ndarray of shape (n_stable, n_features)
        The stable atoms.
    estimator_ : estimator
        The reference: the fit in which most atoms come back.
    reference_ : int
        Its number.
    estimators_ : list of estimator
        All fits.
    pairwise_ : DataFrame of n_fits (n_fits - 1) / 2 rows
        Agreement of each pair of fits: mean cosine of matched atoms ("dcs"), of codes
        ("iou", "l2", "l2_norm"; see :func:`skident.metrics.code_stability`), and the
        share of atoms that come back ("back").
    chance_cosine_ : float
        95 % quantile of the cosines when the reference is matched with random atoms
        of the same second moment.
    identifiability_ : IdentifiabilityReport
        What came back, and whether that is more than chance.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    IdentifiableSAE : The autoencoder itself.
    skident.metrics.sae_stability : Agreement of two given fits.

    Notes
    -----
    *Identified*: individual atoms, up to sign, as far as re-runs on the same rows
    tell. An atom that comes back is a property of these data and this method, not of
    the seed; that it means something, or comes back on other data, is not tested.

    Takes ``n_fits`` fits, and for each pair an assignment of O(n_components^3).

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward Identifiable Sparse Autoencoders",
       ICML 2026, Theorem 3.2.

    Examples
    --------
    >>> import warnings
    >>> from skident.datasets import make_sparse_dictionary
    >>> from skident.decomposition import IdentifiableSAE, SAEStability
    >>> X = make_sparse_dictionary(2000, 16, 24, 2, random_state=0).X
    >>> sae = IdentifiableSAE(24, 2, max_steps=400, batch_size=256, learning_rate=3e-3)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # so short a fit leaves assumptions open
    ...     stability = SAEStability(sae, n_fits=3, random_state=0).fit(X)
    >>> stability.transform(X).shape == (2000, stability.stable_.sum())
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "transform"]), None],
        "n_fits": [Interval(Integral, 2, None, closed="left")],
        "min_stability": [Interval(Real, 0, 1, closed="both")],
        "min_cosine": [Interval(Real, 0, 1, closed="both")],
        "min_overlap": [Interval(Real, 0, 1, closed="both")],
        "max_samples": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        n_fits=5,
        *,
        min_stability=0.8,
        min_cosine=0.9,
        min_overlap=0.5,
        max_samples=10_000,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.n_fits = n_fits
        self.min_stability = min_stability
        self.min_cosine = min_cosine
        self.min_overlap = min_overlap
        self.max_samples = max_samples
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Refit, match and compare.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            As ``estimator`` takes it.
        y : None
            Ignored.

        Returns
        -------
        self : SAEStability

        Raises
        ------
        ValueError
            If ``estimator`` has no ``random_state``, so that refits would be equal.
        TypeError
            If ``estimator`` is a class.

        Warns
        -----
        IdentifiabilityWarning
            If most atoms do not come back, or the cosines asked for are reached by
            chance. Those of the single fits are in their reports.
        """
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=self.n_fits)
        template = self._template()
        run = Parallel(n_jobs=self.n_jobs)
        fits = run(delayed(_refit)(template, X, int(seed)) for seed in seeds)
        estimators = [estimator for estimator, _ in fits]
        for category, message in dict.fromkeys(m for _, told in fits for m in told):
            warnings.warn(message, category, stacklevel=2)

        rows = _some_rows(estimators[0], X, self.max_samples, random_state)
        codes = run(delayed(_codes)(estimator, rows) for estimator in estimators)
        pairs = list(combinations(range(self.n_fits), 2))
        compared = run(
            delayed(_compare)(
                estimators[a].components_,
                estimators[b].components_,
                codes[a],
                codes[b],
                self.min_cosine,
                self.min_overlap,
            )
            for a, b in pairs
        )
        self._collect(estimators, pairs, compared, random_state)
        self.identifiability_.warn(self)
        return self

    def _template(self):
        if self.estimator is None:
            from skident.decomposition._identifiable_sae import IdentifiableSAE

            return IdentifiableSAE()
        if isinstance(self.estimator, type):
            name = self.estimator.__name__
            raise TypeError(f"estimator must be an instance, {name}(), not the class.")
        if "random_state" not in self.estimator.get_params():
            raise ValueError(
                "estimator must have a random_state, or its refits would be equal; got "
                f"{type(self.estimator).__name__}."
            )
        return self.estimator

    def _collect(self, estimators, pairs, compared, random_state):
        """Fitted attributes from the comparisons of all pairs."""
        n_atoms = len(estimators[0].components_)
        # Of each fit's atoms with every other fit: cosine, overlap, came back.
        found = np.zeros((3, self.n_fits, self.n_fits, n_atoms))
        rows = []
        for (a, b), (scores, of_a, of_b) in zip(pairs, compared, strict=True):
            found[:, a, b], found[:, b, a] = of_a, of_b
            rows.append({"fit_a": a, "fit_b": b, **scores})
        mean = found.sum(axis=2) / (self.n_fits - 1)
        self.reference_ = int(mean[2].mean(axis=1).argmax())
        cosine, overlap, back = mean[:, self.reference_]
        self.atom_cosine_, self.atom_overlap_, self.atom_stability_ = (
            cosine,
            overlap,
            back,
        )
        self.stable_ = back >= self.min_stability
        self.pairwise_ = pd.DataFrame(rows)
        self.estimators_ = estimators
        reference = self.estimator_ = estimators[self.reference_]
        self.components_ = reference.components_[self.stable_]
        self.n_features_in_ = reference.n_features_in_
        if hasattr(reference, "feature_names_in_"):
            self.feature_names_in_ = reference.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.chance_cosine_ = _chance_cosine(reference.components_, random_state)
        self.identifiability_ = self._report()

    def _report(self):
        share = float(self.stable_.mean())
        pairwise = self.pairwise_
        return IdentifiabilityReport(
            target=f"a dictionary of which {self.stable_.sum()} of {len(self.stable_)} "
            "atoms come back",
            up_to="sign",
            assumptions=[
                Assumption.at_least(
                    "most atoms come back",
                    f"share of atoms that come back in {self.min_stability:.0%} of "
                    f"{self.n_fits - 1} other fits",
                    share,
                    _MOST,
                ),
                Assumption.at_most(
                    "cosines above chance",
                    "95 % quantile of the cosines with matched random atoms of the "
                    "same second moment",
                    self.chance_cosine_,
                    self.min_cosine,
                ),
                Assumption(
                    "other rows would give the same atoms",
                    "all fits saw the same rows",
                ),
            ],
            stability={
                name: float(pairwise[name].mean()) for name in ("dcs", "iou", "back")
            },
            notes=[f"Atoms are those of fit {self.reference_}, estimator_."],
            advice=(
                "The atoms of stable_ do come back, and transform keeps them alone: "
                "for more train longer, or ask for fewer atoms."
                if self.stable_.any()
                else "No atom is left, and transform gives no columns: train longer, "
                "or take it that these data have no such atoms."
            ),
        )

    def transform(self, X):
        """Codes on the stable atoms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays

        Returns
        -------
        codes : CSR matrix or ndarray of shape (n_samples, n_stable)
            The reference fit's codes, other atoms left out.
        """
        check_is_fitted(self)
        return self.estimator_.transform(X)[:, np.flatnonzero(self.stable_)]

    def score(self, X, y=None, *, sample_weight=None):
        """Agreement of the codes of all pairs of fits on ``X``, beyond chance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts.

        Returns
        -------
        score : float
            Mean intersection over union of the active atoms ("iou" of ``pairwise_``),
            less what atoms that are active as often on unrelated rows would have, over
            the most that it can be more: 1 if all fits activate the same atoms on every
            row, 0 if they agree by chance alone, as those do that activate all.
        """
        check_is_fitted(self)
        codes = [_codes(estimator, X) for estimator in self.estimators_]
        weights = check_sample_weight(sample_weight, codes[0])
        scores = []
        for a, b in combinations(range(len(codes)), 2):
            first, second = self.estimators_[a], self.estimators_[b]
            match = match_atoms(first.components_, second.components_)
            overlap = support_overlap(codes[a], codes[b], match)
            iou = np.average(overlap, weights=weights)
            chance = chance_overlap(codes[a], codes[b], match, weights)
            room = 1.0 - chance
            scores.append((iou - chance) / room if room > _ROUNDING else 0.0)
        return float(np.mean(scores))

    def get_feature_names_out(self, input_features=None):
        """Names of the stable atoms, numbered as in the reference fit.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            As the reference fit takes it.

        Returns
        -------
        names : ndarray of shape (n_stable,)
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)[self.stable_]

    def __getstate__(self):
        # skops knows arrays and our own types, not pandas.
        state = dict(super().__getstate__())
        if "pairwise_" in state:
            state["pairwise_"] = {k: v.to_numpy() for k, v in self.pairwise_.items()}
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "pairwise_" in state:
            self.pairwise_ = pd.DataFrame(state["pairwise_"])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _refit(template, X, seed):
    """A fit with a seed of its own, and what it warned of besides identifiability."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = clone(template).set_params(random_state=seed).fit(X)
    # The single fits' reports stay with them; what is left is said once for all.
    told = [(w.category, str(w.message)) for w in caught]
    return estimator, [t for t in told if t[0].__name__ != "IdentifiabilityWarning"]


def _some_rows(estimator, X, n_rows, random_state):
    """At most ``n_rows`` rows of ``X``, the same for every fit."""
    if hasattr(X, "iloc") or hasattr(X, "get_column"):
        rows = np.arange(len(X))
        if len(X) > n_rows:
            rows = np.sort(random_state.permutation(len(X))[:n_rows])
        return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    shards = check_shards(estimator, X, reset=False)
    generator = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    rows = shards.read(shards.sample(n_rows, generator))
    names = getattr(estimator, "feature_names_in_", None)
    return rows if names is None else pd.DataFrame(rows, columns=names)


def _codes(estimator, X):
    return sparse.csr_matrix(estimator.transform(X))


def _compare(atoms_a, atoms_b, codes_a, codes_b, min_cosine, min_overlap):
    """Scores of a pair of fits; cosine, overlap and return of the atoms of either."""
    match = match_atoms(atoms_a, atoms_b)
    overlap = _overlap(codes_a, codes_b[:, match.permutation])
    back = (match.cosines >= min_cosine) & (overlap >= min_overlap)
    of_a = np.array([match.cosines, overlap, back])
    of_b = np.empty_like(of_a)
    of_b[:, match.permutation] = of_a
    scores = {
        "dcs": dictionary_cosine_similarity(atoms_a, atoms_b, match),
        **code_stability(codes_a, codes_b, match, random_state=0),
        "back": float(back.mean()),
    }
    return scores, of_a, of_b


def _overlap(codes_a, codes_b):
    """Jaccard index of the rows where each column is nonzero; 0 if there is none."""
    active_a, active_b = codes_a != 0, codes_b != 0
    both = np.asarray(active_a.multiply(active_b).sum(axis=0)).ravel()
    each = [np.asarray(a.sum(axis=0)).ravel() for a in (active_a, active_b)]
    either = each[0] + each[1] - both
    return np.divide(both, either, out=np.zeros(len(both)), where=either > 0)


def _chance_cosine(atoms, random_state):
    """95 % quantile of matched cosines with random atoms of the same second moment."""
    # Rows of G A / sqrt(K), with G standard normal, have second moment A.T A / K.
    mixed = random_state.standard_normal((len(atoms), len(atoms))) @ atoms
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return float(np.quantile(match_atoms(atoms, mixed).cosines, 0.95))
