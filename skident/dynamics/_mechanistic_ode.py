"""Ordinary differential equations of trajectories, found by solving them."""

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state

from skident.dynamics._equation_text import PrintedEquations, right_side
from skident.dynamics._libraries import make_library
from skident.dynamics._ode_fit import check_params, check_table, fit_ode
from skident.dynamics._ode_read import r2, read_back
from skident.dynamics._ode_report import make_report
from skident.dynamics._simulate import simulate
from skident.dynamics._windows import make_table
from skident.utils import iterate
from skident.utils._copies import blank_copy, take_over
from skident.utils._kept_module import KeepsModule
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_sample_weight

_DTYPES = [np.float64, np.float32]


class MechanisticODERegressor(
    PrintedEquations, KeepsModule, CallbackSupportMixin, TransformerMixin, BaseEstimator
):
    """Sparse differential equations of trajectories, found by solving them.

    A rate of change is a combination of few terms of a library. Its coefficients are
    those whose *solutions* on windows of the trajectories are closest to the data:
    nothing is differentiated, so that noise is averaged and not amplified [1]_ [2]_.

    Parameters
    ----------
    library : {"polynomial", "fourier"}, dict or list, default="polynomial"
        Candidate terms: monomials up to ``degree``; sines and cosines of multiples up
        to ``degree`` of each column; or a dict of functions by name, each of which
        takes the rows (n, n_features) and returns values (n,); or a list of these.
    degree : int, default=2
        Largest total degree, or multiple.
    include_bias : bool, default=True
        Whether the constant is a term.
    order : int, default=2
        Highest derivative in the solver. 3 is far more accurate on smooth data: on
        Lorenz's system with steps of 0.01 the error of the coefficients falls from 2 %
        to 0.06 %.
    window : int or "auto", default="auto"
        Rows of a window; "auto" is 50, and of fewer than 250 rows a fifth, but 10 at
        least. At most the longest trajectory.
    stride : int or "auto", default="auto"
        Rows from one window's start to the next one's; "auto" is 1, half a window for
        "joint", and a fifth of one where steps vary, as each window then has operators
        of its own.
    threshold : float or None, default=0.1
        Coefficients of a size up to this are dropped, in the units of the data.
    threshold_rel : float or None, default=None
        The same for what a term contributes to a state's movement in a window, as a
        share of that; dimensionless.
    sparsifier : {"threshold", "elimination"}, default="threshold"
        "threshold" drops small coefficients and fits again, until none is small.
        "elimination" removes the term of the smallest t-ratio, again and again, and
        keeps what was there before the first one of a t-ratio above ``min_t_ratio``
        that raises the loss by a thousandth and five times as much as any before. It
        needs no threshold in the units of the data, and is the better one under noise.
    min_t_ratio : float, default=3.0
        For "elimination".
    n_cycles : int, default=10
        Most cycles of dropping and fitting again.
    fitter : {"varpro", "joint", "neural"}, default="varpro"
        "varpro" takes the states as they are, or smoothed: one least-squares problem.
        "joint" fits states and coefficients together, by Gauss-Newton steps: for noisy
        data. "neural" trains networks that emit both, as published: slow.
    smooth_weight : float, default=1.0
        Weight of the distance of fitted states from the data, for "joint" and "neural".
    encoder : {"auto", "identity", "savgol", "mlp"}, default="auto"
        States before the fit: the data themselves, or local cubics of a length that
        predicts left-out rows best; for "neural" they may be a network's, which "auto"
        chooses, else the data.
    n_init_steps : int, default=1
        First states of a window that its solution starts from.
    n_controls : int, default=0
        Number of columns, the last ones, that are inputs: they enter the terms and have
        no equation.
    dt : float, default=1.0
        Time between rows, where ``fit`` gets no ``times``.
    standardize : bool, default=False
        Whether errors of a state count in its standard deviations, for "joint" and
        "neural"; coefficients are in the units of the data anyway.
    hidden : int, default=1024
        Width of the networks.
    max_epochs, batch_size : int, default=400 and 512
        Passes over the windows of a cycle of "neural", and windows an optimiser step.
    learning_rate : float, default=5e-4
        Of Adam.
    tol : float, default=1e-5
        "joint" stops where the loss falls by no more than this share of it. With
        windows held out, an epoch of "neural" must improve their loss by it.
    validation_fraction : float, default=0.0
        Share of the windows, the last ones, that networks are not trained on, nor on
        windows that overlap these. A cycle then ends after 10 epochs without
        improvement of their loss, and its best one is kept.
    device : str, default="auto"
        Device of the networks; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch. ``{"module__skip": False}`` lets the
        network emit states rather than corrections to the data, as published.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the networks; on a CPU with as many threads the bits are the same.

    Attributes
    ----------
    coef_ : ndarray of shape (n_equations, n_terms)
        Coefficients, in units of a state per time and per term; 0 off the support.
    support_ : ndarray of bool of shape (n_equations, n_terms)
        Terms that an equation kept.
    stderr_ : ndarray of shape (n_equations, n_terms)
        Standard errors, given the support; NaN off it, infinite where nearly all
        windows overlap.
    t_ratios_ : ndarray of shape (n_equations, n_terms)
        Coefficients over standard errors; NaN off the support.
    terms_ : list of str
        Names of the terms, such as "x0 x1^2".
    path_ : list of n_equations EquationPath
        The supports that were tried, with ``support``, ``coef``, ``loss``, ``t_ratios``
        (one row a step) and ``chosen``, the step that was kept.
    condition_number_ : float
        Of the solved terms, each scaled to length one.
    window_ : int
        Rows of a window.
    step_ : float
        Mean time between rows.
    noise_std_ : ndarray of shape (n_equations,)
        Standard deviation of what local cubics take for noise; NaN below seven rows.
    reconstruction_mse_ : float
        Mean square of the data minus solved windows, over states in their units.
    n_cycles_run_ : int
        Cycles that the fit took.
    history_ : dict of ndarray
        Losses by Gauss-Newton step ("total", "solution", "smoothing"; "joint") or by
        epoch ("total", and "validation" of windows held out; "neural"); empty for
        "varpro".
    n_epochs_ : int
        Epochs of "neural" over all cycles, else 0.
    module_ : torch.nn.Module
        The networks, on the CPU; with ``fitter="neural"`` only.
    identifiability_ : IdentifiabilityReport
        The theory's assumptions, and which of them these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    ScalableMNNRegressor : Forecasts through a linear equation for each window.
    skident.solvers.solve_linear_ode : The solver.

    Notes
    -----
    *Identified*: terms and coefficients, if every state is measured, the equations are
    in the span of the library, the sampling resolves them, noise has mean zero, and the
    terms, solved on windows, are linearly independent on the visited states. A periodic
    orbit or a steady state does not tell the terms of a rich library apart.
    ``identifiability_`` tests what can be tested.

    *Standard errors* are those of the regression of solved windows, weighted by what
    the fit of the states leaves unknown for "joint". Residuals of neighbouring windows
    are the same noise: their products are summed over two windows' length with
    Bartlett's weights. They know nothing of the choice of terms, nor of the bias that
    noise in the states has under "varpro".

    Windows are solved in float64 and in units of their mean step: rescaling time
    rescales coefficients to rounding.

    For n rows, windows of w rows, p terms and D states "varpro" takes
    O(n w p (w + p)) operations with a stride of 1 and O(n p + w p^2) numbers; a step of
    "joint" takes O(n w^2 D^3) at half-window strides, and O(n w D^2) numbers at most.

    References
    ----------
    .. [1] Chen, Yao, Pervez, Alistarh and Locatello, "Scalable mechanistic neural
       networks", ICLR 2025, arXiv:2410.06074.
    .. [2] Pervez, Locatello and Gavves, "Mechanistic neural networks for scientific
       machine learning", ICML 2024, arXiv:2402.13077.

    Examples
    --------
    >>> from skident.datasets import make_lorenz
    >>> from skident.dynamics import MechanisticODERegressor
    >>> data = make_lorenz(2000)
    >>> model = MechanisticODERegressor(order=3, dt=data.dt).fit(data.X)
    >>> for equation in model.equations(precision=3):
    ...     print(equation)
    x0' = -10 x0 + 10 x1
    x1' = 28 x0 - x1 - x0 x2
    x2' = -2.67 x2 + x0 x1
    """

    __metadata_request__fit = {"trajectories": True, "times": True}
    __metadata_request__score = {"trajectories": True, "times": True}

    _parameter_constraints: dict = {
        "library": [StrOptions({"polynomial", "fourier"}), dict, list, tuple],
        "degree": [Interval(Integral, 0, None, closed="left")],
        "include_bias": ["boolean"],
        "order": [Interval(Integral, 1, 8, closed="both")],
        "window": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
        "stride": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "threshold": [Interval(Real, 0, None, closed="left"), None],
        "threshold_rel": [Interval(Real, 0, None, closed="left"), None],
        "sparsifier": [StrOptions({"threshold", "elimination"})],
        "min_t_ratio": [Interval(Real, 0, None, closed="left")],
        "n_cycles": [Interval(Integral, 1, None, closed="left")],
        "fitter": [StrOptions({"varpro", "joint", "neural"})],
        "smooth_weight": [Interval(Real, 0, None, closed="neither")],
        "encoder": [StrOptions({"auto", "identity", "savgol", "mlp"})],
        "n_init_steps": [Interval(Integral, 1, None, closed="left")],
        "n_controls": [Interval(Integral, 0, None, closed="left")],
        "dt": [Interval(Real, 0, None, closed="neither")],
        "standardize": ["boolean"],
        "hidden": [Interval(Integral, 1, None, closed="left")],
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
        library="polynomial",
        degree=2,
        *,
        include_bias=True,
        order=2,
        window="auto",
        stride="auto",
        threshold=0.1,
        threshold_rel=None,
        sparsifier="threshold",
        min_t_ratio=3.0,
        n_cycles=10,
        fitter="varpro",
        smooth_weight=1.0,
        encoder="auto",
        n_init_steps=1,
        n_controls=0,
        dt=1.0,
        standardize=False,
        hidden=1024,
        max_epochs=400,
        batch_size=512,
        learning_rate=5e-4,
        tol=1e-5,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.library = library
        self.degree = degree
        self.include_bias = include_bias
        self.order = order
        self.window = window
        self.stride = stride
        self.threshold = threshold
        self.threshold_rel = threshold_rel
        self.sparsifier = sparsifier
        self.min_t_ratio = min_t_ratio
        self.n_cycles = n_cycles
        self.fitter = fitter
        self.smooth_weight = smooth_weight
        self.encoder = encoder
        self.n_init_steps = n_init_steps
        self.n_controls = n_controls
        self.dt = dt
        self.standardize = standardize
        self.hidden = hidden
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
    def fit(self, X, y=None, *, trajectories=None, times=None):
        """Find the equations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States, then controls; one row a time.
        y : None
            Ignored.
        trajectories : array-like of shape (n_samples,), default=None
            Label of each row's trajectory; windows never cross from one to another.
            None is a single one.
        times : array-like of shape (n_samples,), default=None
            Time of each row, distinct within a trajectory, in any order and at any
            steps. None: the rows of a trajectory stand in order, ``dt`` apart.

        Returns
        -------
        self : MechanisticODERegressor

        Raises
        ------
        ValueError
            If ``X`` is malformed or not finite, no trajectory has two rows, ``times``
            repeat in a trajectory, ``n_controls`` leaves no state, the library is
            empty, too large or not finite on these rows, or parameters do not go
            together.
        MemoryError
            If the fit would not fit in memory.

        Warns
        -----
        UserWarning
            If steps vary: each window then has operators of its own.
        IdentifiabilityWarning
            If these data contradict a tested assumption.
        ConvergenceWarning
            If "joint" was still improving at its last step.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        X = validate_data(fitted, X, dtype=_DTYPES, ensure_min_samples=2)
        check_params(self, X.shape[1])
        n_states = X.shape[1] - self.n_controls
        table = make_table(X, n_states, trajectories, times, self.dt)
        check_table(table)
        names = fitted._names()
        library = make_library(self.library, names, self.degree, self.include_bias)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        fit = fit_ode(table, library, self, seed, partial(iterate, self, X=X))
        fitted._library = library
        fitted.coef_ = fit.coef.astype(X.dtype)
        fitted.support_ = fit.support
        fitted.stderr_ = fit.stderr
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted.t_ratios_ = fit.coef / fit.stderr
        fitted.terms_ = list(library.names)
        fitted.path_ = fit.path
        fitted.window_ = fit.window
        fitted.step_ = table.series.mean_step
        fitted.noise_std_ = fit.noise
        fitted.reconstruction_mse_ = float(np.square(table.data - fit.solutions).mean())
        fitted.n_cycles_run_ = fit.n_cycles
        fitted.history_ = fit.history
        fitted.n_epochs_ = len(fit.history["total"]) if fit.module is not None else 0
        if fit.module is not None:
            fitted.module_ = fit.module
        fitted._largest = np.abs(table.data).max(axis=0)
        fitted.identifiability_, fitted.condition_number_ = make_report(
            fit, table, library, fit.coef, self, names[:n_states]
        )
        take_over(self, fitted, _learned)
        self.identifiability_.warn(self)
        return self

    def fit_transform(self, X, y=None, *, trajectories=None, times=None):
        """Fit, and return the terms at the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        trajectories, times : array-like of shape (n_samples,), default=None
            As in ``fit``.

        Returns
        -------
        terms : ndarray of shape (n_samples, n_terms)
        """
        return self.fit(X, y, trajectories=trajectories, times=times).transform(X)

    def predict(self, X):
        """Rate of change at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States, then controls.

        Returns
        -------
        rates : ndarray of shape (n_samples, n_equations)
            States per time.
        """
        X = self._rows(X)
        rates = self._library.evaluate(X.astype(np.float64)) @ self._coef.T
        return rates.astype(X.dtype, copy=False)

    def transform(self, X):
        """Candidate terms at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        terms : ndarray of shape (n_samples, n_terms)
        """
        X = self._rows(X)
        terms = self._library.evaluate(X.astype(np.float64))
        return terms.astype(X.dtype, copy=False)

    def get_feature_names_out(self, input_features=None):
        """Names of the terms.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str objects of shape (n_terms,)
        """
        check_is_fitted(self)
        return np.array(self.terms_, dtype=object)

    def simulate(self, x0, times, *, controls=None, rtol=1e-8):
        """Trajectory of the equations from a state.

        Parameters
        ----------
        x0 : array-like of shape (n_equations,) or (n_starts, n_equations)
            States at the first of the times.
        times : array-like of shape (n_times,)
            Growing times.
        controls : array-like of shape (n_times, n_controls) or callable, default=None
            Inputs at the times, between which they run straight, a single one as
            (n_times,) too; or a function of a time. Needed where there are any.
        rtol : float, default=1e-8
            Relative error of a step; stiff equations take implicit steps.

        Returns
        -------
        states : ndarray of shape (n_times, n_equations) or \
                (n_starts, n_times, n_equations)

        Raises
        ------
        ValueError
            If a shape is wrong, or times do not grow.
        FloatingPointError
            If a state grows to 10,000 times what was seen, or the integration stalls;
            it says which, and when.
        """
        check_is_fitted(self)
        known = self._coef, self._library, self._largest, self._names()
        return simulate(*known, x0, times, controls, rtol)

    def reconstruct(self, X, *, trajectories=None, times=None):
        """Solutions of the equations on windows: trajectories without their noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        trajectories, times : array-like of shape (n_samples,), default=None
            As in ``fit``.

        Returns
        -------
        states : ndarray of shape (n_samples, n_equations)
            In the order of the rows. "joint" and "neural" fit the states of these
            trajectories first; else a window starts from its first row as it is, or
            smoothed. The row itself where a trajectory has no other.
        """
        X = self._rows(X)
        table = make_table(X, len(self.coef_), trajectories, times, self.dt, self.step_)
        module = getattr(self, "module_", None)
        found = read_back(table, self._library, self._coef, self.window_, module, self)
        rows = np.empty(found.shape, X.dtype)
        rows[table.series.order] = found
        return rows

    def score(self, X, y=None, *, trajectories=None, times=None, sample_weight=None):
        """Share of the states' variance that solved windows reproduce.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        trajectories, times : array-like of shape (n_samples,), default=None
            As in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            What the error of each row counts.

        Returns
        -------
        score : float
            1 - SSE / SST of :meth:`reconstruct` over all states in their units: how
            well windows are followed from their first states, no forecast.
        """
        rows = self._rows(X, at_least=2)
        weights = check_sample_weight(sample_weight, rows)
        found = self.reconstruct(X, trajectories=trajectories, times=times)
        return r2(rows[:, : len(self.coef_)], found, weights)

    def score_derivative(self, X, dX):
        """Share of the variance of known rates that :meth:`predict` gives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        dX : array-like of shape (n_samples, n_equations)
            Rates of change.

        Returns
        -------
        score : float
            1 - SSE / SST over all states in their units.
        """
        predicted = self.predict(X)
        dX = check_array(dX, dtype=np.float64)
        if dX.shape != predicted.shape:
            raise ValueError(
                f"dX must be of shape {predicted.shape}, got shape {dX.shape}."
            )
        return r2(dX, predicted)

    def equations(self, precision=4):
        """The equations, each as a line of text.

        Parameters
        ----------
        precision : int, default=4
            Digits of the coefficients.

        Returns
        -------
        equations : list of str
            Such as "x0' = -10 x0 + 10 x1".
        """
        check_is_fitted(self)
        return [
            f"{name}' = "
            + right_side(self.terms_, coef, coef, precision, unit_factors=False)
            for name, coef in zip(self._names(), self.coef_, strict=False)
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- inside ----------------------------------------------------------------------

    @staticmethod
    def _module_type():
        from skident.dynamics._mechanistic_ode_net import WindowNet

        return WindowNet

    @property
    def _coef(self):
        return self.coef_.astype(np.float64, copy=False)

    def _names(self):
        n_states = self.n_features_in_ - self.n_controls
        default = [f"x{j}" for j in range(n_states)]
        default += [f"u{j}" for j in range(self.n_controls)]
        return [str(name) for name in getattr(self, "feature_names_in_", default)]

    def _rows(self, X, at_least=1):
        check_is_fitted(self)
        return validate_data(
            self, X, reset=False, dtype=_DTYPES, ensure_min_samples=at_least
        )


def _learned(name):
    return name.endswith("_") or name in ("_library", "_largest")
