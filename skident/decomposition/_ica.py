"""Canonical coordinates of a representation: whitening and ICA after training."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state

from skident.decomposition._ica_refits import no_refits, refit, renewed
from skident.decomposition._ica_report import (
    CHUNK_ROWS,
    SAMPLE_ROWS,
    Measured,
    conclude,
    constant_features,
    describe,
    log_likelihood,
    measure_marginals,
    measure_pairs,
    warn_of_fit,
    warn_of_rank,
)
from skident.decomposition._ica_search import (
    agreement_of_parts,
    check_rows,
    check_solver,
    complete,
    search,
)
from skident.decomposition._ica_stream import Stream
from skident.solvers import whitening
from skident.utils._copies import blank_copy, take_over
from skident.utils._shards import output_dtype, rows_of
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
    check_is_fitted,
)
from skident.utils._validation import check_sample_weight

_MAX_SEED = np.iinfo(np.int32).max


class ICAPostProcessor(TransformerMixin, BaseEstimator):
    """Canonical coordinates of a representation, by whitening and ICA.

    Two trainings of one encoder give representations that agree up to a nuisance: for
    many models nearly a rigid motion, for others a linear map. Whitening and
    independent component analysis, fitted afterwards and without labels, cut it down to
    signed permutations, and a canonical order and sign remove these too. Where the data
    come from independent non-Gaussian factors through a near-isometry, the components
    are the factors [1]_. The fit says how well its components are identified.

    Parameters
    ----------
    n_components : int, float, "mp" or None, default=None
        Number of components: None is the numerical rank, a float in (0, 1) the least
        number that explains that share of the variance, "mp" the number of eigenvalues
        above the edge of the Marchenko-Pastur law, where noise ends.
    algorithm : {"picard-o", "fastica", "picard", "infomax"}, default="picard-o"
        "picard-o" (quasi-Newton on rotations [2]_) and "fastica" have the same fixed
        points; the former also converges where the ICA model is false. "picard" does
        not keep components uncorrelated, but in streams. "infomax" takes minibatches.
    fun : {"tanh", "exp", "cube"}, default="tanh"
        Score function of the components.
    extended : bool, default=True
        Whether each component may be sub- or super-Gaussian. With False all are taken
        as super-Gaussian, and bounded factors come out wrong; with "cube" all are taken
        as sub-Gaussian.
    whiten_solver : {"auto", "eigh", "svd", "randomized"}, default="auto"
        "eigh" of the covariance where it is accurate, else "svd" of the data;
        "randomized" for few components of many features, whose number must then be an
        integer. Streams know "eigh" and "randomized" only.
    rank_tol : float, default=1e-10
        Eigenvalues at most this share of the largest count as zero.
    max_iter : int, default=500
        Most iterations over all rows.
    tol : float, default=1e-6
        Largest entry of the relative gradient at convergence.
    memory : int, default=7
        Steps that the quasi-Newton method remembers.
    ls_tries : int, default=10
        Most halvings of a step.
    lambda_min : float, default=0.01
        Floor of the Hessian's diagonal.
    n_init : int, default=1
        Starts, of which the best goes on.
    w_init : array-like of shape (n_components, n_components) or None, default=None
        Start of the rotation, in whitened coordinates; None draws it.
    warm_start_subsample : int, default=10_000
        Rows on which the search begins.
    order : {"energy", "kurtosis", "none"}, default="energy"
        Order of components: by the variance of ``X`` that each explains (ties within
        1 % by absolute kurtosis), by absolute excess kurtosis, which no linear map of
        ``X`` changes, or as found.
    sign : {"skew", "none"}, default="skew"
        "skew" makes third moments positive where they are significant, and otherwise
        the largest entry of a component's mixing column.
    rotation : {"ica", "none", "random"}, default="ica"
        The controls of any claim about ICA: "none" whitens only (principal
        components), "random" turns whitened data by a random rotation.
    n_jobs : int or None, default=None
        Fits at a time in :meth:`stability`, through joblib.
    device : str, default="cpu"
        Device of the search.
    random_state : int, RandomState instance or None, default=None
        Draws starts, subsamples and random rotations.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Unmixing: ``transform`` is ``(X - mean_) @ components_.T``.
    mixing_ : ndarray of shape (n_features, n_components)
        Pseudoinverse of ``components_``, in units of ``X``.
    mean_ : ndarray of shape (n_features,)
        Mean of the features.
    whitening_ : ndarray of shape (n_components, n_features)
        Map to uncorrelated coordinates of unit variance.
    rotation_ : ndarray of shape (n_components, n_components)
        ``components_ = rotation_ @ whitening_``; orthogonal, but for "picard".
    n_components_ : int
        Number of components.
    explained_variance_ : ndarray of shape (n_components,)
        Eigenvalues of the covariance that were kept, descending.
    spectrum_ : ndarray of shape (n_eigenvalues,)
        All that are known, descending: one a feature, or with "randomized" only
        somewhat more than ``n_components``.
    condition_number_ : float
        Largest over smallest eigenvalue kept.
    component_energy_ : ndarray of shape (n_components,)
        Variance of ``X`` that each component explains, in squared units of ``X``.
    kurtosis_ : ndarray of shape (n_components,)
        Excess kurtosis.
    negentropy_ : ndarray of shape (n_components,)
        Distance from Gaussian, in nats; by Hyvarinen's approximation [3]_, which sees
        asymmetry and peakedness.
    density_sign_ : ndarray of shape (n_components,)
        1 for super-Gaussian (peaked), -1 for sub-Gaussian (flat) components.
    gaussian_mask_ : ndarray of shape (n_components,)
        Components that Gaussian rows could have given. Two or more of them are
        identified as a block only.
    angle_stderr_ : ndarray of shape (n_components,)
        Standard error of the direction of each component in whitened coordinates, in
        radians: that of the estimating equations of ``algorithm``, which for "picard"
        are those of maximum likelihood without the orthogonal constraint.
    stability_ : ndarray of shape (n_components,)
        Smallest absolute correlation of each component with its match in 2 refits, on
        rows that the refit has not seen. Refits are on disjoint random halves of the
        rows, of 10,000 rows or of as many more as the standard errors ask for, with
        whitenings and random starts of their own. There are two more, on other halves,
        if some components come back and others do not. NaN without refits: for the
        controls, fewer than four rows a component, and in streams until a call has
        enough rows; it is renewed as the stream doubles.
    identified_mask_ : ndarray of shape (n_components,)
        Components to keep: not among several Gaussian ones, turned by neither sampling
        nor rounding by more than 15 degrees (one standard error), and found in every
        refit, turned by at most 22.5 degrees (``stability_`` of at least 0.92).
    n_iter_ : int
        Iterations over all rows; with ``partial_fit``, and the minibatches since.
    converged_ : bool
        Whether ``gradient_norm_`` came down to ``tol``; not judged in streams.
    gradient_norm_ : float
        Largest entry of the relative gradient, in absolute value.
    loss_ : float
        Mean loss a row that was minimised, up to a constant.
    history_ : dict of ndarray
        "gradient_norm" at every iteration.
    n_samples_seen_ : int
        Number of rows.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    skident.metrics.match_components : Match the components of two fits.
    skident.metrics.alignment_errors : How far two representations are apart.
    skident.inspection.ComponentEnergyDisplay : Plot the energies.

    Notes
    -----
    *Identified*: the components, up to permutation and sign, if at most one is Gaussian
    and the fit has converged. Then two representations that agree up to a linear map
    and an error have components that agree up to a constant times that error; the
    constant grows with ``condition_number_`` [1]_ (Theorem 2). That components *are*
    factors behind the data needs more: independent factors and a decoder that is nearly
    an isometry (Theorem 3). All are statements about minimisers for infinitely many
    rows; ``identifiability_`` tests what n rows can tell.

    Standard errors are about one optimum. Off the model there are often many, of which
    other rows or another start find another one: the refits behind ``stability_`` see
    that. ``identified_mask_`` is about reproducible axes, not about independence:
    dependent components may come back from run to run all the same.

    An iteration takes O(n k^2) operations for n rows and k components, whitening
    O(n p^2 + p^3) for p features. Memory is O(n k) for data that fit in it; memory maps
    are read in chunks, and float16 ones are never widened whole. No rows are kept.

    ``partial_fit`` keeps mean and covariance exactly, whatever the chunks, and turns
    the rotation by one step of Infomax for each minibatch. All else is then a running
    mean in which later rows weigh more.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, arXiv:2603.11970.
    .. [2] Ablin, Cardoso and Gramfort, "Faster ICA under orthogonal constraint",
       ICASSP 2018, arXiv:1711.10873.
    .. [3] Hyvarinen, "New approximations of differential entropy for independent
       component analysis and projection pursuit", NIPS 1997.

    Examples
    --------
    >>> from skident.decomposition import ICAPostProcessor
    >>> from skident.metrics import mean_correlation_coefficient
    >>> rng = np.random.default_rng(0)
    >>> factors = rng.laplace(size=(5000, 3))
    >>> X = factors @ rng.standard_normal((3, 5))
    >>> ica = ICAPostProcessor(3, random_state=0).fit(X)
    >>> round(mean_correlation_coefficient(factors, ica.transform(X)), 2)
    1.0
    >>> ica.identified_mask_, ica.identifiability_.ok
    (array([ True,  True,  True]), True)
    """

    _parameter_constraints: dict = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            StrOptions({"mp"}),
            None,
        ],
        "algorithm": [StrOptions({"picard-o", "fastica", "picard", "infomax"})],
        "fun": [StrOptions({"tanh", "exp", "cube"})],
        "extended": ["boolean"],
        "whiten_solver": [StrOptions({"auto", "eigh", "svd", "randomized"})],
        "rank_tol": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "memory": [Interval(Integral, 1, None, closed="left")],
        "ls_tries": [Interval(Integral, 1, None, closed="left")],
        "lambda_min": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "w_init": ["array-like", None],
        "warm_start_subsample": [Interval(Integral, 1, None, closed="left")],
        "order": [StrOptions({"energy", "kurtosis", "none"})],
        "sign": [StrOptions({"skew", "none"})],
        "rotation": [StrOptions({"ica", "none", "random"})],
        "n_jobs": [Integral, None],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        algorithm="picard-o",
        fun="tanh",
        extended=True,
        whiten_solver="auto",
        rank_tol=1e-10,
        max_iter=500,
        tol=1e-6,
        memory=7,
        ls_tries=10,
        lambda_min=0.01,
        n_init=1,
        w_init=None,
        warm_start_subsample=10_000,
        order="energy",
        sign="skew",
        rotation="ica",
        n_jobs=None,
        device="cpu",
        random_state=None,
    ):
        self.n_components = n_components
        self.algorithm = algorithm
        self.fun = fun
        self.extended = extended
        self.whiten_solver = whiten_solver
        self.rank_tol = rank_tol
        self.max_iter = max_iter
        self.tol = tol
        self.memory = memory
        self.ls_tries = ls_tries
        self.lambda_min = lambda_min
        self.n_init = n_init
        self.w_init = w_init
        self.warm_start_subsample = warm_start_subsample
        self.order = order
        self.sign = sign
        self.rotation = rotation
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the components of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in any unit. Memory maps of float16, float32 or float64 are read in
            chunks.
        y : None
            Ignored.

        Returns
        -------
        self : ICAPostProcessor

        Raises
        ------
        ValueError
            If ``X`` is malformed or not finite (naming the row), if ``n_components``
            exceeds its rank, or is no integer with ``whiten_solver="randomized"``, or
            if there are fewer than two rows a component.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption: several Gaussian components,
            fewer than five rows for each entry of the rotation, ...
        ConvergenceWarning
            If ``tol`` was not reached.
        UserWarning
            If features are constant or linear combinations of others.
        """
        check_solver(self)
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted, white, constant = self._fitted(X)
        self._become(fitted)
        warn_of_rank(self, white, constant)
        warn_of_fit(self)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Take in more rows.

        Mean, covariance and whitening are those of all rows so far, exactly; the first
        call, also after ``fit``, starts anew and searches for a rotation as ``fit``
        does; later ones turn it by a step of Infomax for each minibatch of ``X``.
        ``n_components`` other than an integer is decided anew by all rows so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The next rows; the first call needs twice as many as there are components.
        y : None
            Ignored.

        Returns
        -------
        self : ICAPostProcessor

        Raises
        ------
        ValueError
            As ``fit``, for all rows so far.
        """
        check_solver(self)
        first = not hasattr(self, "_stream")
        fitted = self._blank()
        if not first:
            vars(fitted).update({n: v for n, v in vars(self).items() if _learned(n)})
        shards = rows_of(fitted, X, reset=first)
        stream = Stream(shards.n_features) if first else self._stream
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(_MAX_SEED, size=2)

        searcher = self._blank()
        if self.algorithm == "picard":
            # Steps of a stream keep components uncorrelated: so does its start.
            searcher.algorithm = "picard-o"
        stream, white, found, measured = stream.updated(searcher, shards, int(seeds[0]))
        dtype = output_dtype(shards.dtype)
        described = describe(fitted, white, found, measured, dtype)
        refits = stream.refits.turned(described.order)
        if self.rotation == "ica":
            refits = renewed(searcher, fitted, shards, refits, int(seeds[1]))
        stream.refits = refits.turned(np.argsort(described.order))
        conclude(fitted, white, measured, described, refits)
        fitted._stream = stream
        self._become(fitted)
        if first:
            self.identifiability_.warn(self)
        return self

    def transform(self, X):
        """Components of the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Memory maps are read in chunks.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_components)
            On the rows of ``fit``: of mean zero, uncorrelated and of unit variance
            (both only nearly with "picard").
            float32 for float16 and float32 input.
        """
        check_is_fitted(self)
        shards = rows_of(self, X, reset=False)
        shape = len(shards), self.n_components_
        out, low = np.empty(shape, dtype=output_dtype(shards.dtype)), 0
        for block in shards.chunks(CHUNK_ROWS):
            out[low : low + len(block)] = self._turn(block)
            low += len(block)
        return out

    def inverse_transform(self, X):
        """Rows that components stand for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Components.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            In the units of the data, without what the components leave out.
        """
        check_is_fitted(self)
        Y = check_array(X, dtype=[np.float64, np.float32])
        if Y.shape[1] != self.n_components_:
            raise ValueError(
                f"X must have {self.n_components_} columns, one a component; got "
                f"{Y.shape[1]}."
            )
        return Y @ self.mixing_.T.astype(Y.dtype) + self.mean_.astype(Y.dtype)

    def score(self, X, y=None, *, sample_weight=None):
        """Mean log-likelihood of a row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, best those held out.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts.

        Returns
        -------
        score : float
            Under independent components of density proportional to
            ``exp(-y^2 / 2 - s log cosh y)``, with s from ``density_sign_``. Of rows
            within the span of the components; comparable at equal ``n_components_``.
        """
        check_is_fitted(self)
        shards = rows_of(self, X, reset=False)
        weights = check_sample_weight(sample_weight, shards)
        return log_likelihood(shards.chunks(CHUNK_ROWS), self, weights)

    def stability(self, X, n_splits=2, *, per_component=False):
        """Agreement of fits on disjoint parts of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; cut into parts at random, which are copied.
        n_splits : int, default=2
            Number of parts.
        per_component : bool, default=False
            Whether to tell for each component of this fit how well the parts find it.

        Returns
        -------
        stability : float or ndarray of shape (n_components,)
            Mean absolute correlation of matched components, over all pairs of parts
            and on all rows; per component, of this fit's with those of each part.
            Parts of lower rank have fewer components: those that are missing there
            count as correlated at 0.

        Raises
        ------
        ValueError
            If a part has fewer than two rows a component, or all its rows are equal.
        """
        check_is_fitted(self)
        shards = rows_of(self, X, reset=False)
        if n_splits < 2:
            raise ValueError(f"n_splits must be at least 2, got {n_splits}.")
        return agreement_of_parts(self, shards, n_splits, per_component)

    def get_feature_names_out(self, input_features=None):
        """Names of the components: "ica0", "ica1", ...

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked against the features seen in ``fit``.

        Returns
        -------
        names : ndarray of shape (n_components,)
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        names = [f"ica{i}" for i in range(self.n_components_)]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- fitting, step by step -------------------------------------------------------

    def _blank(self):
        """A copy with nothing learned."""
        return blank_copy(self, _learned)

    def _fitted(self, X, checked=True):
        """A fitted copy, its whitening and which features are constant; silent.

        Without refits, and thus no component identified, if not ``checked``.
        """
        fitted = self._blank()
        shards = rows_of(fitted, X, reset=True)
        array = shards.parts[0]
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(_MAX_SEED, size=4)
        try:
            white = whitening(
                array,
                self.n_components,
                solver=self.whiten_solver,
                rank_tol=self.rank_tol,
                random_state=int(seeds[0]),
            )
        except ValueError:
            # Rows in a file are checked when they are read: this names the bad one.
            for _ in shards.chunks(CHUNK_ROWS):
                pass
            raise
        check_rows(len(shards), white, shards.dtype)
        constant = np.zeros(shards.n_features, dtype=bool)
        if white.rank < shards.n_features:
            constant = constant_features(shards.chunks(CHUNK_ROWS))
        found = search(self, array, white, int(seeds[1]))
        chunks = shards.chunks(CHUNK_ROWS)
        marginals = measure_marginals(chunks, white, found.rotation)
        generator = np.random.default_rng(int(seeds[2]))
        rows = shards.read(shards.sample(SAMPLE_ROWS, generator))
        pairs, dependence, Y = measure_pairs(rows, white, found, self.fun)
        complete(self, found, Y)
        measured = Measured(
            marginals=marginals,
            pairs=pairs,
            dependence=dependence,
            # Constant features are no part of any component, whatever their size.
            mean_square=np.square(np.where(constant, 0.0, rows)).mean(axis=0),
            eps=np.finfo(shards.dtype).eps,
            n_samples=len(shards),
        )
        dtype = output_dtype(shards.dtype)
        described = describe(fitted, white, found, measured, dtype)
        refits = no_refits(fitted.n_components_)
        if self.rotation == "ica" and checked:
            refits = refit(self, fitted, shards, int(seeds[3]))
        conclude(fitted, white, measured, described, refits)
        return fitted, white, constant

    def _become(self, fitted):
        """Take over the attributes of a copy."""
        take_over(self, fitted, _learned)

    def _turn(self, rows):
        """Components in float64: the condition number amplifies rounding."""
        return (rows - self.mean_) @ (self.rotation_ @ self.whitening_).T


def _learned(name):
    return (name.endswith("_") and not name.startswith("_")) or name == "_stream"
