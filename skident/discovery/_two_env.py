"""A causal graph, its mechanisms and counterfactuals from several environments."""

from numbers import Integral, Real

import numpy as np
from scipy.special import logsumexp
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state

from skident.discovery._triangular import (
    abduct,
    check_interventions,
    counterfactual,
    generate,
    log_likelihood,
    reconstruct,
    sample,
    warn_outside,
)
from skident.discovery._two_env_fit import fit_model
from skident.utils._copies import blank_copy, take_over
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_environments, check_sample_weight


class TwoEnvCausalDiscovery(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Causal graph, mechanisms and counterfactuals from a base and two environments.

    The same system is recorded in three or more regimes (sites, seasons, policies) that
    share their mechanisms and differ in the strength of the noises behind each
    variable, as an instrument, a plant or a market is noisier here and calmer there.
    All variables are observed. Then the whole graph is identified, for any mechanisms
    that are invertible in their noise, even linear Gaussian ones that no single regime
    tells anything of [1]_ [2]_. So are the mechanisms, up to a relabelling of each
    noise, and with them counterfactuals.

    Parameters
    ----------
    method : {"mcd", "hessian"}, default="mcd"
        "mcd" removes sinks one after the other, "hessian" reads the graph from
        eigenvectors at a point where all noises are zero [2]_.
    criterion : {"auto", "invariance", "studentized", "collinearity", "independence"}, \
            default="auto"
        What makes a sink for "mcd". "invariance": the regression on all other nodes is
        the same in every environment, by a likelihood ratio; with "splines" or
        "gaussian". "collinearity": ratios of its score differences are constant, as for
        Gaussian noises [1]_. "studentized": they are so within their sampling error,
        which scores from halves of the rows tell. "independence": ratios are
        independent of all other nodes, for noises of any law; needs more rows. "auto"
        is "invariance" where it can be, else "studentized".
    score_estimator : {"auto", "splines", "gaussian", "stein", "logistic", "neural"} \
            or callable, default="auto"
        Of the gradients of log-densities. "splines": residuals of additive regressions.
        "gaussian": closed form, of linear models with noise of any law. "stein":
        kernels, for any mechanisms. "logistic": gradient of a smooth log-odds.
        "neural": denoising with one network for all environments. A callable takes the
        rows (n, r) of an environment, on the scale of ``marginals``, and returns a
        function from points (m, r) to scores (m, r). "auto" is "splines" with
        "invariance", "stein" with all else.
    marginals : {"auto", "normal", "standard"}, default="auto"
        Scale of the columns, pooled over environments: normal scores, which makes the
        order invariant to any monotone map of a column, or mean zero and unit variance.
        "auto" with "splines" takes the one on which sinks have the larger p-values, and
        is else "normal". "gaussian" always takes "standard".
    eta : float or "cv", default=0.3
        Ridge of "stein" and "logistic", dimensionless; "cv" takes the one in 0.01 to 3
        with the least held-out score matching loss of "stein".
    bandwidth : float, default=1.0
        Width of the kernels of "stein", in median distances between rows.
    keep_fraction : float, default=0.5
        Share of the points, those where all environments are densest, at which score
        differences are compared.
    max_points : int, default=1000
        Number of points, drawn from all environments.
    max_kernel_samples : int, default=2000
        Rows of each environment that kernels are computed between; more are drawn from.
        Bounds memory.
    prune : {"cam", "ci", "score"} or None, default="cam"
        How edges are told along the order. "cam": splines, of the mean and of the
        spread. "ci": kernel tests of conditional independence. "score": score
        differences that depend on a predecessor. None keeps all that the order allows.
    alpha : float, default=1e-3
        Level at which an edge is kept.
    mechanism : {"location_scale", "quantile", "monotone"} or None, \
            default="location_scale"
        Mechanisms of the nodes: a smooth mean and spread; conditional ranks in the
        base environment after those; increasing networks, trained on all environments.
        None finds the graph only, and all methods but ``fit`` are refused.
    n_bootstraps : int, default=0
        Draws from the fitted model for the p-values of the sinks, each of which costs
        as much as the order. Not needed for "invariance", not known for "hessian".
    base_environment : label or None, default=None
        Environment that others are compared with, and in whose units noises are; None
        is the first of the sorted labels.
    n_jobs : int or None, default=None
        Environments, nodes or draws at a time, through joblib.
    max_epochs : int, default=300
        Most epochs of the networks of "monotone" and "neural".
    batch_size : int, default=256
        Rows an optimiser step.
    learning_rate : float, default=1e-3
        Of Adam.
    tol : float, default=1e-4
        Training stops where the held-out loss falls by less over 20 epochs or more.
    validation_fraction : float, default=0.2
        Share of the rows of each environment held out for that.
    device : str, default="auto"
        Device of the networks; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Draws rows and points where there are too many, centres, and seeds of networks.

    Attributes
    ----------
    environments_ : ndarray of shape (n_environments,)
        Labels: the base, then the others, sorted.
    causal_order_ : ndarray of int of shape (n_features,)
        Nodes, causes before effects.
    adjacency_matrix_ : ndarray of int of shape (n_features, n_features)
        1 in ``[i, j]`` for i -> j.
    edge_scores_ : ndarray of shape (n_features, n_features)
        Minus the decimal logarithm of each edge's p-value; 0 against the order,
        infinite where it was not tested.
    open_edges_ : ndarray of bool of shape (n_features, n_features), or None
        Edges whose direction these data leave open: when the effect was taken for a
        sink, the cause was as good as one. None without a test of edges, or if the
        criterion has no scale, as all but "studentized" and "invariance".
    mechanisms_ : list of n_features objects, or None
        ``noise(x, parents)``, and ``value(s, parents)`` which undoes it; parents stand
        in the order of their numbers.
    noise_scales_ : ndarray of shape (n_environments, n_features), or None
        Size of each noise in each environment, in units of the base.
    criterion_path_ : list of ndarray
        Criterion of the nodes that remained at each step, the sink's being the least.
    margins_ : ndarray of shape (n_features - 1,)
        Second least criterion over the least, step by step from the last sink.
    sink_p_values_ : ndarray of shape (n_features - 1,), or None
        How often the fitted model has a sink of a criterion as large, step by step;
        with "splines" at most so often, if spreads do not hang on causes.
    noise_ratio_ : ndarray of shape (n_features,)
        Ratio of the coefficients of each node's noise in the first two auxiliary
        environments, ``(1 - 1 / s^2) / (1 - 1 / t^2)`` for scales s and t; NaN without
        two of them.
    ratio_gaps_ : ndarray of shape (n_features, n_features)
        How far the coefficients of two noises are from proportional, in standard
        errors: below 3, these data hardly tell cause from effect.
    shift_strength_ : ndarray of shape (n_environments - 1, n_features)
        Root mean square of each node's score differences at its removal, with columns
        on one scale. Small ones mean that the noise has not changed.
    history_ : dict of ndarray
        Losses of "monotone" by epoch, else empty.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    ShiftedNodeDetector : Which mechanisms of latent nodes shifted.
    skident.metrics.topological_divergence : Edges that an order misplaces.
    skident.inspection.GraphDisplay : Draws the graph.

    Notes
    -----
    *Identified*: the graph, and each mechanism up to a monotone relabelling of its
    noise, if no common cause is hidden, mechanisms are shared by all environments,
    noises are independent, only rescaled, each of them in both auxiliary environments,
    and by ratios that differ between cause and effect. "splines" also assume what
    ``sink_p_values_`` test, that means are sums over causes on some scale of the
    columns and do not move with the noise's size; "stein" does not, and errs far more.
    ``identifiability_`` tests what can be tested. Two environments identify linear
    models, and one no graph: the order is then that of [3]_, for additive Gaussian
    noise. Environments must not be standardised one by one: that erases what tells the
    order. Functions of several causes that are no sums are hard, and "splines" do not
    see the direction of even functions, such as squares; see ``open_edges_``.

    For d nodes and E environments of n rows "splines" take O(E n d^2 + E d^4 + d^5)
    operations, "gaussian" O(E n d^2 + d^5), or d^4 with "collinearity", and "stein"
    O(d E n^3), n at most ``max_kernel_samples``, and O(n^2) numbers for each
    environment at work.

    References
    ----------
    .. [1] Montagna and Locatello, "Causal learning with the invariance principle",
       2026, arXiv:2605.13589.
    .. [2] Montagna, "On the identifiability of causal graphs with the invariance
       principle", ICLR 2026, arXiv:2510.13583.
    .. [3] Rolland et al., "Score matching enables causal discovery of nonlinear
       additive noise models", ICML 2022, arXiv:2203.04413.

    Examples
    --------
    >>> from skident.datasets import make_multi_env_scm
    >>> from skident.discovery import TwoEnvCausalDiscovery
    >>> data = make_multi_env_scm(500, 3, kind="linear", random_state=2)
    >>> model = TwoEnvCausalDiscovery(score_estimator="gaussian", random_state=0)
    >>> model = model.fit(data.X, environments=data.environments)
    >>> bool((model.adjacency_matrix_ == data.adjacency_matrix).all())
    True
    >>> model.predict_counterfactual(data.X[:2], {0: 1.0})[:, 0]
    array([1., 1.])
    """

    __metadata_request__fit = {"environments": True}
    __metadata_request__score = {"environments": True}

    _parameter_constraints: dict = {
        "method": [StrOptions({"mcd", "hessian"})],
        "criterion": [
            StrOptions(
                {"auto", "studentized", "collinearity", "independence", "invariance"}
            )
        ],
        "score_estimator": [
            StrOptions({"auto", "splines", "gaussian", "stein", "logistic", "neural"}),
            callable,
        ],
        "marginals": [StrOptions({"auto", "normal", "standard"})],
        "eta": [Interval(Real, 0, None, closed="neither"), StrOptions({"cv"})],
        "bandwidth": [Interval(Real, 0, None, closed="neither")],
        "keep_fraction": [Interval(Real, 0, 1, closed="right")],
        "max_points": [Interval(Integral, 2, None, closed="left")],
        "max_kernel_samples": [Interval(Integral, 2, None, closed="left")],
        "prune": [StrOptions({"cam", "ci", "score"}), None],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "mechanism": [StrOptions({"location_scale", "quantile", "monotone"}), None],
        "n_bootstraps": [Interval(Integral, 0, None, closed="left")],
        "base_environment": "no_validation",
        "n_jobs": [Integral, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "net_params": [dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method="mcd",
        criterion="auto",
        score_estimator="auto",
        *,
        marginals="auto",
        eta=0.3,
        bandwidth=1.0,
        keep_fraction=0.5,
        max_points=1000,
        max_kernel_samples=2000,
        prune="cam",
        alpha=1e-3,
        mechanism="location_scale",
        n_bootstraps=0,
        base_environment=None,
        n_jobs=None,
        max_epochs=300,
        batch_size=256,
        learning_rate=1e-3,
        tol=1e-4,
        validation_fraction=0.2,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.method = method
        self.criterion = criterion
        self.score_estimator = score_estimator
        self.marginals = marginals
        self.eta = eta
        self.bandwidth = bandwidth
        self.keep_fraction = keep_fraction
        self.max_points = max_points
        self.max_kernel_samples = max_kernel_samples
        self.prune = prune
        self.alpha = alpha
        self.mechanism = mechanism
        self.n_bootstraps = n_bootstraps
        self.base_environment = base_environment
        self.n_jobs = n_jobs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.device = device
        self.net_params = net_params
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, environments=None):
        """Find the graph and fit its mechanisms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of all environments, each column in one unit.
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None
            Label of each row's environment. None is one environment: then no noises
            can be compared, which the report and a warning say.

        Returns
        -------
        self : TwoEnvCausalDiscovery

        Raises
        ------
        ValueError
            If ``X`` is malformed or not finite, has one column only or a constant one,
            an environment has a single row, ``base_environment`` is not among the
            labels, or parameters do not go together.
        FloatingPointError
            If the loss of a network is no longer finite.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption, or there are fewer than three
            environments.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        fit_model(fitted, X, y, environments, self)
        take_over(self, fitted, _learned)
        self.identifiability_.warn(self)
        return self

    def fit_transform(self, X, y=None, *, environments=None):
        """Fit, and return the noises of the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None
            As in ``fit``.

        Returns
        -------
        S : ndarray of shape (n_samples, n_features)
        """
        return self.fit(X, y, environments=environments).transform(X)

    def transform(self, X):
        """Noises behind rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of any environment, seen or not.

        Returns
        -------
        S : ndarray of shape (n_samples, n_features)
            In units of the base environment.
        """
        X = self._rows(X)
        S = abduct(self.mechanisms_, self.adjacency_matrix_, X.astype(np.float64))
        return S.astype(X.dtype, copy=False)

    def inverse_transform(self, X):
        """Rows that noises lead to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noises, in units of the base environment.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            In the units of the data.
        """
        self._check_mechanisms()
        S = check_array(X, dtype=[np.float64, np.float32])
        if S.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X must have {self.n_features_in_} columns, one a node; got "
                f"{S.shape[1]}."
            )
        rows = generate(*self._model, S.astype(np.float64))
        return rows.astype(S.dtype, copy=False)

    def predict(self, X):
        """Each node from its parents in ``X``, at the median of its noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Column j is what the parents of node j say of it.
        """
        X = self._rows(X)
        made = reconstruct(
            self.mechanisms_, self.adjacency_matrix_, X.astype(np.float64)
        )
        return made.astype(X.dtype, copy=False)

    def predict_counterfactual(self, X, interventions):
        """What rows would have been, had some nodes been set to other values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as they were observed, in any environment.
        interventions : dict
            Value of each node that is set, a number or an array-like of shape
            (n_samples,), by its column's name or number. Beyond the rows of ``fit``
            nothing is known: values there warn.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Nodes without an intervened ancestor stay as they are, bit for bit.

        Raises
        ------
        ValueError
            If a node is not known or set twice, or a value is not finite or of another
            shape.
        """
        X = self._rows(X)
        values = self._interventions(interventions, len(X))
        rows = counterfactual(*self._model, X.astype(np.float64), values)
        return rows.astype(X.dtype, copy=False)

    def sample(
        self,
        n_samples=1,
        *,
        environment=None,
        interventions=None,
        random_state=None,
    ):
        """Draw rows from the fitted model.

        Parameters
        ----------
        n_samples : int, default=1
        environment : label or None, default=None
            Whose noise scales to draw with; None is the base.
        interventions : dict or None, default=None
            As in :meth:`predict_counterfactual`, with values of shape (n_samples,).
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If ``n_samples`` is below 1, or the environment or a node is not known.
        """
        self._check_mechanisms()
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        k = 0
        if environment is not None:
            k = self._position(environment, "environment")
        values = self._interventions(interventions or {}, n_samples)
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        rng = np.random.default_rng(seed)
        return sample(*self._model, n_samples, self.noise_scales_[k], rng, values)

    def score(self, X, y=None, *, environments=None, sample_weight=None):
        """Mean log-likelihood of a row under the fitted model, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, best those held out.
        y : None
            Ignored.
        environments : array-like of shape (n_samples,), default=None
            Label of each row's environment, among those of ``fit``. None is an unknown
            one, each with the share of rows that it had in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts.

        Returns
        -------
        score : float
            Comparable between fits on columns of the same units.

        Raises
        ------
        ValueError
            If an environment was not seen in ``fit``, or ``X`` is malformed.
        """
        X = self._rows(X).astype(np.float64)
        weights = check_sample_weight(sample_weight, X)
        if environments is not None:
            labels, codes = check_environments(environments, X)
            at = [self._position(label, "environments") for label in labels]
            scales = self.noise_scales_[np.array(at)[codes]]
            return float(np.average(self._log_likelihood(X, scales), weights=weights))
        each = [
            np.log(share) + self._log_likelihood(X, scales)
            for share, scales in zip(self._shares, self.noise_scales_, strict=True)
        ]
        return float(np.average(logsumexp(each, axis=0), weights=weights))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.n_features_in_

    # --- inside ----------------------------------------------------------------------

    @property
    def _model(self):
        return self.mechanisms_, self.adjacency_matrix_, self.causal_order_

    def _log_likelihood(self, X, scales):
        return log_likelihood(self.mechanisms_, self.adjacency_matrix_, X, scales)

    def _check_mechanisms(self):
        check_is_fitted(self)
        if self.mechanisms_ is None:
            raise ValueError(
                "mechanism=None finds the graph only: noises, counterfactuals, draws "
                "and likelihoods take mechanisms."
            )

    def _rows(self, X):
        self._check_mechanisms()
        return validate_data(self, X, reset=False, dtype=[np.float64, np.float32])

    def _position(self, label, argument):
        known = self.environments_.tolist()
        label = label.item() if isinstance(label, np.generic) else label
        if label not in known:
            raise ValueError(
                f"{argument} must be among those of fit, {known}, got {label!r}."
            )
        return known.index(label)

    def _interventions(self, interventions, n_samples):
        names = getattr(self, "feature_names_in_", np.zeros(0)).tolist()
        values = check_interventions(
            interventions, names, self.n_features_in_, n_samples
        )
        warn_outside(values, self._ranges, names)
        return values


def _learned(name):
    return name.endswith("_") or name in ("_shares", "_ranges")
