"""Which latent mechanisms shifted between environments."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_array

from skident.discovery._rescaling import CHUNK_ROWS
from skident.discovery._shift_fit import (
    CONTRASTS,
    align,
    calibrate,
    dimension,
    n_disagreements,
    position,
    positions,
    read_environments,
    unmix_all,
)
from skident.discovery._shift_report import (
    Evidence,
    make_report,
    undecided,
    warn_of_fit,
)
from skident.discovery._shift_statistics import all_scores
from skident.discovery._shift_unmixing import span_angles
from skident.utils._copies import blank_copy, take_over
from skident.utils._shards import output_dtype, rows_of
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
)
from skident.utils._validation import check_environments, check_sample_weight

_PUBLISHED = {
    "matching": "psi",
    "statistic": "abs",
    "threshold": "paper",
    "subspace": "per_env",
}


class ShiftedNodeDetector(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Latent nodes whose mechanism shifted between environments.

    The same features are measured in several environments (hospitals, plants, before
    and after). They are one unknown mixture of latent variables with a linear acyclic
    causal model, and some latent mechanisms differ between environments: weights,
    noise variances, parents, several nodes at once. Neither mixture nor graph is
    estimated. Independent component analysis of each environment gives the rows
    ``(I - A) G^+`` of the map to the noises, scaled, up to order and sign; a node has
    shifted if and only if its row has [1]_. How far rows differ for want of samples
    alone is measured on random halves of each environment.

    Parameters
    ----------
    n_components : int or None, default=None
        Number d of latents. None is the numerical rank; to be set where there is noise,
        as noise makes any rank full.
    matching : {"assignment", "psi", "distribution"}, default="assignment"
        How components are aligned across environments: by the cheapest assignment of
        their rows; sorted by ``test_function``, as in [1]_; or by the cheapest
        assignment of their laws (Wasserstein distance up to sign).
    statistic : {"signed", "abs"}, default="signed"
        Relative l1 distance of two rows, up to sign, or of their absolute values, which
        is blind to changes of sign; [1]_ reports the latter.
    threshold : float, "paper" or "calibrated", default="calibrated"
        Score from which a node has shifted. "paper" is 0.2 for d <= 10 and else 0.5.
        "calibrated" is a threshold for each node and pair from random halves of every
        environment: with no shift at all, one node or more is found in
        ``1 - calibration_quantile`` of the fits.
    test_function : {"central_mass", "kurtosis"} or callable, default="central_mass"
        Functional of the law of a component, for ``matching="psi"``: the share within
        one standard deviation, the excess kurtosis, or a function of components of
        shape (n_samples, d) that returns shape (d,) and does not depend on their signs.
    subspace : {"pooled", "per_env"}, default="pooled"
        Whether ICA runs in the d principal directions that all environments share, or
        in those of each, as in [1]_. The same without measurement noise.
    ica_fun : {"logcosh", "exp", "cube"}, default="logcosh"
        Contrast of ICA, adapted to peaked and flat components.
    max_iter : int, default=1000
        Most iterations over all rows of an environment.
    tol : float, default=1e-4
        Largest entry of the gradient of ICA at convergence.
    n_init : int, default=1
        Random starts of ICA, of which the best goes on.
    n_calibration : int, default=10
        Splits of each environment into halves: at least
        ``0.2 / (1 - calibration_quantile)``, which is 4 for 0.95 and 20 for 0.99.
    calibration_quantile : float, default=0.95
        One minus the family-wise error over all nodes and pairs of environments.
    rank_tol : float, default=1e-8
        Eigenvalues at most this share of the largest count as zero.
    random_state : int, RandomState instance or None, default=None
        Draws starts and splits.
    n_jobs : int or None, default=None
        Environments, and halves, at a time, through joblib.

    Attributes
    ----------
    shifted_nodes_ : ndarray of int
        Components found shifted between any two environments.
    undecided_nodes_ : ndarray of int
        Other components whose threshold exceeds 0.2: these data cannot tell. Empty
        unless the threshold is calibrated.
    shift_scores_ : ndarray of shape (n_environments, n_environments, n_components)
        Score of each component for each pair, in [0, 1]; zero on the diagonal.
    pairwise_shifted_ : ndarray of bool, of the shape of ``shift_scores_``
        Scores above the threshold.
    threshold_ : float, or ndarray of the shape of ``shift_scores_`` when calibrated
        Infinite on the diagonal, and throughout if halves have too few rows.
    null_scores_ : ndarray of shape \
            (n_draws, n_environments, n_environments, n_components)
        Scores under no shift, joint over components and pairs; no draws unless
        calibrated.
    unmixing_ : ndarray of shape (n_environments, n_components, n_features)
        Maps from centred rows to noises of unit variance; rows in one order for all.
    mixing_ : ndarray of shape (n_environments, n_features, n_components)
        Their pseudoinverses, in units of ``X``.
    mean_ : ndarray of shape (n_environments, n_features)
        Mean of each environment.
    psi_ : ndarray of shape (n_environments, n_components)
        ``test_function`` of each component.
    kurtosis_ : ndarray of shape (n_environments, n_components)
        Excess kurtosis of each component.
    margins_ : ndarray of shape (n_environments, n_components)
        Matching cost of the second-best partner in the first environment's rows less
        that of the one chosen; NaN in the first row and for ``matching="psi"``.
    subspace_angles_ : ndarray of shape (n_environments,)
        Largest principal angle, in radians, of the d principal directions of each
        environment to those of the first.
    spectrum_ : ndarray of shape (n_features,)
        Eigenvalues of the pooled covariance within environments, descending.
    environments_ : ndarray of shape (n_environments,)
        Sorted distinct labels; a single 0 without labels.
    n_components_ : int
        Number of components.
    n_iter_ : ndarray of int of shape (n_environments,)
        Iterations of ICA.
    converged_ : ndarray of bool of shape (n_environments,)
        Whether its gradient came down to ``tol``.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    skident.datasets.make_latent_shift : Data whose shifted nodes are known.
    skident.metrics.shifted_node_scores : Precision and recall of shifted nodes.
    skident.inspection.ShiftDisplay : Plot scores beside their null distribution.

    Notes
    -----
    *Identified*: the set of shifted nodes, up to a numbering of the nodes (Theorem 3 of
    [1]_), if noises keep their laws but for their variance, at most one is Gaussian,
    and the mixing is the same in all environments, of full column rank and without
    measurement noise. Matching by "psi" or "distribution" also takes noises of pairwise
    different laws; by "assignment", only that no row is nearer to another node's. The
    latents themselves and their graph are *not* identified: ``transform`` returns
    noises.

    Components are numbered by the variance that they explain in the first environment
    (for "psi": by descending psi), and signed such that their largest mixing entry
    there is positive.

    The calibrated threshold is ``c`` times the mean null score of a component, with one
    ``c`` for all: the quantile of the largest ratio over components and pairs. It falls
    like 1 / sqrt(n) and is higher for components that are nearly Gaussian. Splits use
    at most 100,000 rows of an environment and are scaled from there.

    Covariances take O(n p^2) operations, ICA O(n d^2) an iteration, calibration
    2 ``n_calibration`` times that on half of the rows, matching O(K^2 (d^2 p + d^3)).
    Memory is O(n d) for one environment at a time in float32, beside ``X``, which is
    read in chunks; memory maps are never loaded whole. No rows are kept.

    References
    ----------
    .. [1] Chen, Bello, Locatello, Aragam and Ravikumar, "Identifying general mechanism
       shifts in linear causal representations", NeurIPS 2024, arXiv:2410.24059.

    Examples
    --------
    >>> from skident.datasets import make_latent_shift
    >>> from skident.discovery import ShiftedNodeDetector
    >>> data = make_latent_shift(20_000, 5, noise="laplace", random_state=0)
    >>> detector = ShiftedNodeDetector(5, random_state=0)
    >>> detector = detector.fit(data.X, environments=data.environments)
    >>> len(detector.shifted_nodes_), len(data.shifted[0, 1])
    (1, 1)
    """

    __metadata_request__fit = {"environments": True}
    __metadata_request__transform = {"environments": True}
    __metadata_request__inverse_transform = {"environments": True}
    __metadata_request__score = {"environments": True}

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "matching": [StrOptions({"assignment", "psi", "distribution"})],
        "statistic": [StrOptions({"signed", "abs"})],
        "threshold": [
            Interval(Real, 0, 1, closed="both"),
            StrOptions({"paper", "calibrated"}),
        ],
        "test_function": [StrOptions({"central_mass", "kurtosis"}), callable],
        "subspace": [StrOptions({"pooled", "per_env"})],
        "ica_fun": [StrOptions(set(CONTRASTS))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "n_calibration": [Interval(Integral, 2, None, closed="left")],
        "calibration_quantile": [Interval(Real, 0, 1, closed="neither")],
        "rank_tol": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_components=None,
        *,
        matching="assignment",
        statistic="signed",
        threshold="calibrated",
        test_function="central_mass",
        subspace="pooled",
        ica_fun="logcosh",
        max_iter=1000,
        tol=1e-4,
        n_init=1,
        n_calibration=10,
        calibration_quantile=0.95,
        rank_tol=1e-8,
        random_state=None,
        n_jobs=None,
    ):
        self.n_components = n_components
        self.matching = matching
        self.statistic = statistic
        self.threshold = threshold
        self.test_function = test_function
        self.subspace = subspace
        self.ica_fun = ica_fun
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.n_calibration = n_calibration
        self.calibration_quantile = calibration_quantile
        self.rank_tol = rank_tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    @classmethod
    def paper(cls, n_components, **params):
        """The method as published: sorted by psi, absolute statistic, fixed threshold.

        Parameters
        ----------
        n_components : int
            Number of latents.
        **params
            Further parameters.

        Returns
        -------
        detector : ShiftedNodeDetector
        """
        return cls(n_components, **(_PUBLISHED | params))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, environments=None):
        """Find the shifted nodes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of all environments, in units that are common to these. Memory maps of
            float16, float32 or float64 are read in chunks.
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None
            Label of each row's environment. None is one environment: then nothing can
            be compared, which the report and a warning say.

        Returns
        -------
        self : ShiftedNodeDetector

        Raises
        ------
        ValueError
            If ``X`` is malformed or not finite, ``n_components`` exceeds its rank,
            or an environment, which is named, has fewer than ``n_components + 1`` rows
            or spans fewer dimensions.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption, or cannot tell whether some
            component shifted.
        ConvergenceWarning
            If ICA of an environment did not converge; it is named.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        fitted._fit(X, environments)
        take_over(self, fitted, _learned)
        warn_of_fit(self)
        return self

    def fit_transform(self, X, y=None, *, environments=None):
        """Fit, and return the noises of the same rows; as ``transform`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None

        Returns
        -------
        noises : ndarray of shape (n_samples, n_components)
        """
        fitted = self.fit(X, environments=environments)
        return fitted.transform(X, environments=environments)

    def transform(self, X, *, environments=None):
        """Noises of the rows of ``X``, not their latents.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Memory maps are read in chunks.
        environments : array-like of shape (n_samples,), default=None
            Label of each row's environment, seen in ``fit``. None takes all rows for
            rows of the first one.

        Returns
        -------
        noises : ndarray of shape (n_samples, n_components)
            Up to sign, and in the order of the components. On the rows of ``fit``: of
            mean zero, uncorrelated and of unit variance within each environment.
            float32 for float16 and float32 input.

        Raises
        ------
        ValueError
            If ``fit`` has not seen a label.
        """
        check_is_fitted(self)
        shards = rows_of(self, X, reset=False)
        codes = self._codes(environments, shards)
        dtype = output_dtype(shards.dtype)
        out, low = np.empty((len(shards), self.n_components_), dtype=dtype), 0
        for chunk in shards.chunks(CHUNK_ROWS):
            high = low + len(chunk)
            out[low:high] = self._noises(chunk, codes[low:high])
            low = high
        return out

    def inverse_transform(self, X, *, environments=None):
        """Rows that noises stand for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Noises.
        environments : array-like of shape (n_samples,), default=None
            As in ``transform``.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            In the units of the data, without what the components leave out.

        Raises
        ------
        ValueError
            If the number of columns is wrong, or ``fit`` has not seen a label.
        """
        check_is_fitted(self)
        noises = check_array(X, dtype=[np.float64, np.float32])
        if noises.shape[1] != self.n_components_:
            raise ValueError(
                f"X must have {self.n_components_} columns, one a component; got "
                f"{noises.shape[1]}."
            )
        codes = self._codes(environments, noises)
        rows = np.empty((len(noises), self.n_features_in_), dtype=noises.dtype)
        for k in np.unique(codes):
            of = codes == k
            rows[of] = noises[of] @ self.mixing_[k].T + self.mean_[k]
        return rows

    def score(self, X, y=None, *, environments=None, sample_weight=None):
        """Mean log-likelihood of a row, averaged over environments, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, best those held out.
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None
            As in ``transform``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row among those of its environment.

        Returns
        -------
        score : float
            Under independent noises of the logistic law of unit variance, and of rows
            within the span of the components; comparable at equal ``n_components_``.
            It judges the unmixing. For the nodes found, see
            :func:`skident.metrics.shifted_node_scores`.

        Raises
        ------
        ValueError
            If ``fit`` has not seen a label.
        """
        check_is_fitted(self)
        shards = rows_of(self, X, reset=False)
        codes = self._codes(environments, shards)
        weights = check_sample_weight(sample_weight, shards)
        K = len(self.environments_)
        totals, low = np.zeros(K), 0
        for chunk in shards.chunks(CHUNK_ROWS):
            high = low + len(chunk)
            size = np.abs(self._noises(chunk, codes[low:high])) * (np.pi / np.sqrt(3))
            # Of exp(-size) / (1 + exp(-size))^2, but for the scale.
            logs = -(size + 2 * np.log1p(np.exp(-size))).sum(axis=1)
            logs *= weights[low:high]
            totals += np.bincount(codes[low:high], weights=logs, minlength=K)
            low = high
        counts = np.bincount(codes, weights=weights, minlength=K)
        seen = counts > 0
        volumes = np.linalg.slogdet(self.unmixing_[seen] @ self._directions)[1]
        scale = self.n_components_ * np.log(np.pi / np.sqrt(3))
        return float(np.mean(totals[seen] / counts[seen] + volumes) + scale)

    def get_shifted(self, first, second):
        """Components that shifted between two environments.

        Parameters
        ----------
        first, second : labels
            Of environments seen in ``fit``.

        Returns
        -------
        nodes : ndarray of int

        Raises
        ------
        ValueError
            If ``fit`` has not seen a label.
        """
        check_is_fitted(self)
        k, k2 = self._position(first), self._position(second)
        return np.flatnonzero(self.pairwise_shifted_[k, k2])

    def component_effects(self, environment=None, features=None):
        """What removing a component changes in each feature; helps to name it.

        Parameters
        ----------
        environment : label, default=None
            Of the environment; None is the first one.
        features : dict, default=None
            From names of groups to lists of columns, by position or by name: the mean
            over each group is returned, in the order of the dict.

        Returns
        -------
        effects : ndarray of shape (n_components, n_features) or (n_components, n_groups)
            Mean absolute change of the feature, in its units, if the component is set
            to zero.

        Raises
        ------
        ValueError
            If ``fit`` has not seen the label, or a column does not exist.
        """  # noqa: E501
        check_is_fitted(self)
        k = 0 if environment is None else self._position(environment)
        mean_abs = self._mean_abs[k].astype(self.mixing_.dtype)
        effects = np.abs(self.mixing_[k]).T * mean_abs[:, None]
        if features is None:
            return effects
        names = getattr(self, "feature_names_in_", ())
        groups = [
            positions(columns, names, self.n_features_in_)
            for columns in features.values()
        ]
        return np.stack([effects[:, group].mean(axis=1) for group in groups], axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.n_components_

    # --- fitting, step by step -------------------------------------------------------

    def _fit(self, X, environments):
        shards = rows_of(self, X, reset=True)
        labels, codes = np.zeros(1, dtype=int), np.zeros(len(shards), dtype=int)
        if environments is not None:
            labels, codes = check_environments(environments, shards)
        read = read_environments(shards, labels, codes)
        d = dimension(self, read)
        unmixed, parts, rng = unmix_all(self, read, d)
        aligned = align(unmixed, self.matching)
        unmixing = aligned.unmixing

        dtype = output_dtype(shards.dtype)
        self.environments_, self.n_components_ = labels, d
        self.unmixing_ = unmixing.astype(dtype)
        self.mixing_ = aligned.mixing.astype(dtype)
        self.mean_ = np.stack([one.moments.mean for one in read.described])
        self._directions = read.pooled.vectors[:, :d]
        self._mean_abs = aligned.values("mean_abs")
        self.kurtosis_ = aligned.values("kurtosis")
        self.psi_ = aligned.values("psi")
        self.margins_ = aligned.margins
        self.n_iter_ = np.array([one.n_iter for one in unmixed])
        self.converged_ = np.array([one.converged for one in unmixed])
        self._gradient = np.array([one.gradient_norm for one in unmixed])
        self.spectrum_ = read.pooled.spectrum
        self.subspace_angles_ = span_angles([one.vectors[:, :d] for one in read.own])

        self.shift_scores_ = scores = all_scores(unmixing, self.statistic)
        calibrated, n_failed = self.threshold == "calibrated", 0
        self.null_scores_ = np.zeros((0, *scores.shape))
        if calibrated:
            null, n_failed = calibrate(self, aligned, parts, rng)
            self.null_scores_, self.threshold_ = null
        elif self.threshold == "paper":
            self.threshold_ = 0.2 if d <= 10 else 0.5
        else:
            self.threshold_ = float(self.threshold)
        self.pairwise_shifted_ = scores > self.threshold_
        self.shifted_nodes_ = np.flatnonzero(self.pairwise_shifted_.any(axis=(0, 1)))
        self.undecided_nodes_ = np.zeros(0, dtype=int)
        if calibrated:
            self.undecided_nodes_ = undecided(self.pairwise_shifted_, self.threshold_)
        disagreeing = n_disagreements(
            aligned,
            self.pairwise_shifted_,
            self.threshold_,
            self.statistic,
            self.matching,
        )
        found = Evidence.of(self, read, aligned, disagreeing, n_failed)
        self.identifiability_ = make_report(found)

    # --- using a fit -----------------------------------------------------------------

    def _codes(self, environments, X):
        """Position of each row's label among those of ``fit``."""
        if environments is None:
            return np.zeros(len(X), dtype=np.intp)
        labels, codes = check_environments(environments, X)
        known = self.environments_.tolist()
        return np.array([position(one, known) for one in labels.tolist()])[codes]

    def _position(self, label):
        return position(label, self.environments_.tolist())

    def _noises(self, rows, codes):
        """Noises of some rows, in float64."""
        noises = np.empty((len(rows), self.n_components_))
        for k in np.unique(codes):
            of = codes == k
            noises[of] = (rows[of] - self.mean_[k]) @ self.unmixing_[k].T
        return noises


def _learned(name):
    private = ("_directions", "_gradient", "_mean_abs")
    return (name.endswith("_") and not name.startswith("_")) or name in private
