"""Partial differential equations from noisy fields, by solving them in the loop."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from skident.dynamics._equation_text import PrintedEquations
from skident.dynamics._pde_equations import equation_strings, field_names
from skident.dynamics._pde_fit import (
    FIELD_INPUT,
    by_row,
    denoise_experiments,
    fit_model,
    reconstruct_experiments,
    smooth_snapshots,
)
from skident.dynamics._pde_inputs import make_experiments
from skident.dynamics._pde_rates import FieldEquations
from skident.dynamics._pde_scores import derivative_score, explained, frame_weights
from skident.dynamics._pde_simulate import simulate
from skident.dynamics._pde_terms import own_first_names
from skident.solvers._pde_factor import SOLVERS
from skident.utils._copies import blank_copy, take_over
from skident.utils._kept_module import KeepsModule
from skident.utils._module_state import learned, warn_if_unfinished
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_sample_weight

_COUNT = Interval(Integral, 1, None, closed="left")
_NON_NEGATIVE = Interval(Real, 0, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")


class MechanisticPDERegressor(
    PrintedEquations,
    KeepsModule,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Partial differential equations of fields, found by solving them in the loop.

    For fields u(t, x) or u(t, x, y), noisy and perhaps with gaps, that follow ``u_t =
    sum of coefficient * expression * derivative``: which terms there are, and their
    coefficients [1]_. The data are never differentiated. Expressions are frozen at the
    smoothed data, which makes the equation linear in its unknown field; it is solved on
    patches in space and time, and coefficients are those whose *solution* comes closest
    to the data. Then terms go one by one, while the solution stays as close.

    Parameters
    ----------
    grid_shape : int, tuple of int or None, default=None
        Nodes of the one or two spatial axes. A row of ``X`` is a snapshot of shape
        ``(*grid_shape, n_fields)``, flattened in C order. None is one axis of
        ``n_features // n_fields`` nodes.
    n_fields : int, default=1
        Fields at each node. Each has an equation of its own.
    spacing : float, sequence of floats or of coordinate vectors, default=1.0
        Distance of the nodes, for each spatial axis, or their increasing coordinates.
    dt : float, default=1.0
        Time between rows where ``fit`` is given no ``times``.
    degree : int, default=2
        Of the polynomials in the fields that may multiply each derivative.
    terms : list of PDETerm or None, default=None
        The candidates; None is every polynomial up to ``degree`` in each of ``blocks``.
    blocks : sequence of str or None, default=None
        Of "u", "u_x", "u_xx", "u_y", "u_yy", "source": what may be multiplied. None is
        all that the grid has.
    patch_size : tuple of int or None, default=None
        Nodes of a patch, time first, at most all there are. None is 64 an axis, with
        two spatial axes (8, 16, 16).
    patch_stride : tuple of int or None, default=None
        Nodes from one patch to the next. None is a patch in time, half of it in space.
    max_patches : int, default=64
        Of more, half are taken evenly and half such that they tell terms apart best.
    encoder : {"dct", "savgol", "identity", "conv"}, default="dct"
        What smooths data for expressions and boundaries. "dct": low frequencies.
        "savgol": local polynomials, for even steps. "identity": nothing, for data
        without noise. "conv": a network, learnt with "adam" only.
    encoder_cutoff : float, tuple or None, default=None
        Frequencies that "dct" keeps, or nodes of a window of "savgol", on each axis,
        time first; None finds them by generalised cross-validation.
    fitter : {"lm", "adam"}, default="lm"
        "lm": Levenberg-Marquardt through the solver. "adam": the published network for
        coefficients and, with ``encoder="conv"``, for the data; slow.
    sparsifier : {"elimination", "threshold", "l1"}, default="elimination"
        "elimination": the term of the smallest t-ratio goes, until the fit worsens at
        once. "threshold": terms below ``threshold`` go. "l1": the same after a fit with
        a penalty.
    threshold : float, default=0.05
        Of coefficients, in the units of the data.
    elimination_tol : float or None, default=None
        Least relative rise of the loss that stops an elimination, if it is five times
        any before (the published 0.004 suits some ten thousand values). None is what a
        superfluous term explains by chance once in a thousand, if twice any before.
    alpha_l1 : float, default=0.005
        Weight of the mean absolute coefficient, for "l1" and "adam".
    consistency_weight : float, default=1.0
        Weight for "adam" of the distance of smoothed data and solution.
    linear_solver : {"auto", "direct", "multigrid", "multigrid_paper"}, default="auto"
        Of the linear equations; "auto" is direct but for large patches.
    periodic : bool, default=False
        Whether spatial axes close on themselves one mean step behind their last node,
        which must not repeat the first. For derivatives and simulations.
    n_corrections : int, default=1
        Times that the error of the grid, as one of half the steps shows it, is taken
        off what "lm" fits, and off all solutions (deferred correction).
    refine : bool, default=False
        Then freeze the expressions at the reconstruction, and fit coefficients again.
    max_iter : int, default=12
        Steps of "lm" for each set of terms.
    n_jobs : int or None, default=None
        Patches at a time, through joblib.
    max_epochs, batch_size : int, default=500 and 10
        Of "adam": passes over the patches, and patches an optimiser step.
    learning_rate : float, default=1e-5
        Of "adam".
    tol : float, default=1e-4
        ``fit`` warns if in one tenth of ``max_epochs`` the loss of "adam" still falls
        by more than this share of its first epoch's. With patches held out, an epoch
        must improve their loss by it.
    validation_fraction : float, default=0.0
        Share of the patches, those of the last times, that networks are not trained
        on, nor on patches that share their frames. Training then ends after 10 epochs
        without improvement of their loss, and the best one is kept.
    device : str, default="auto"
        Device of "adam"; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings of "adam", passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seeds networks; nothing else is drawn.

    Attributes
    ----------
    coef_ : ndarray of shape (n_fields, n_terms)
        Of the right-hand sides of u_t = ...; 0 for terms that are not there.
    terms_ : list of PDETerm
        The candidates. In the equation of a field, that field stands first.
    support_ : ndarray of bool of shape (n_fields, n_terms)
        Which terms there are.
    stderr_ : ndarray of shape (n_fields, n_terms)
        Standard errors, NaN for terms that are not there.
    path_ : list of n_fields EliminationPath
        Terms, coefficients, loss and t-ratios at each size of the equation.
    coef_encoded_ : ndarray of shape (n_fields, n_terms), or None
        Coefficients before ``refine``.
    encoded_ : ndarray of shape (n_samples, n_features)
        The smoothed data, without gaps, row by row of ``fit``.
    reconstruction_ : ndarray of shape (n_samples, n_features)
        Solutions of the equations on the patches, where there are some, else NaN.
    loss_ : ndarray of shape (n_fields,)
        Mean squared distance of solution and data, in squared units of each field.
    noise_ : ndarray of shape (n_fields,)
        Estimated standard deviation of the noise, in units of each field.
    noise_ratio_ : ndarray of shape (n_fields,)
        Distance of smoothed data and data over ``noise_``; 1 is wanted.
    grid_shape_ : tuple of int
        Nodes of the spatial axes.
    spacing_ : ndarray of shape (1 + n_axes,)
        Mean steps, time first.
    n_patches_ : int
        Number of patches.
    solver_residual_ : float
        Largest relative residual of the linear systems.
    oracle_residual_ : ndarray of shape (n_fields,)
        How far solutions move when the grid is refined twice, over the data's spread.
    condition_number_ : ndarray of shape (n_fields,)
        Of the library on the patches, columns scaled.
    n_iter_ : int
        Steps of "lm" over all sets of terms, the most of any field; at least 1.
    history_ : dict of ndarray
        Losses of "adam" by epoch ("total", "validation"), else empty.
    n_epochs_ : int
        Number of epochs of "adam", else 0.
    module_ : torch.nn.Module
        The networks of "adam", on the CPU and in evaluation mode.
    identifiability_ : IdentifiabilityReport
        What the equation rests on, and which of it these data contradict.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    MechanisticODERegressor : The same for trajectories of few states.
    skident.solvers.solve_linear_pde : The solver.
    skident.inspection.EquationPathDisplay : Draws ``path_``.

    Notes
    -----
    *Identified*: the coefficients, if the true equation is first order in time with
    coefficient one and among the candidates, and these are linearly independent on the
    patches. Travelling and rotating waves, steady states and products of functions of
    time and of space leave several equations open: ``identifiability_`` looks for them.
    Smoothing blurs fronts: coefficients of few nodes a front are off by some per cent.

    Solvers work in float64 and in units of the mean step: stretching an axis stretches
    coefficients by the chain rule, to rounding.

    Time is O(P n_terms k I S) for P patches, k terms, I steps of the fit and S one
    factorisation, O(N^1.5) for N nodes in one spatial dimension and O(N^2) in two.
    Memory is O(P N) and one factor a job.

    References
    ----------
    .. [1] Pervez, Gavves and Locatello, "Mechanistic PDE networks for discovery of
       governing equations", ICML 2025, arXiv:2502.18377.

    Examples
    --------
    >>> from skident.datasets import make_burgers
    >>> from skident.dynamics import MechanisticPDERegressor
    >>> data = make_burgers(n_x=96, n_t=48, dt=1 / 15)
    >>> model = MechanisticPDERegressor(
    ...     spacing=data.spacing, dt=data.dt, degree=1, blocks=("u_x", "u_xx"),
    ...     patch_size=(16, 16), max_patches=6, encoder="identity", periodic=True,
    ... )  # fmt: skip
    >>> model.fit(data.X).print(precision=2)
    u_t = -1 u u_x + 0.1 u_xx
    """

    __metadata_request__fit = {"trajectories": True, "times": True}
    __metadata_request__score = {"trajectories": True, "times": True}

    _parameter_constraints: dict = {
        "grid_shape": [_COUNT, "array-like", None],
        "n_fields": [_COUNT],
        "spacing": [Real, "array-like"],
        "dt": [_POSITIVE],
        "degree": [Interval(Integral, 0, None, closed="left")],
        "terms": [list, tuple, None],
        "blocks": [list, tuple, None],
        "patch_size": [list, tuple, None],
        "patch_stride": [list, tuple, None],
        "max_patches": [_COUNT],
        "encoder": [StrOptions({"dct", "savgol", "identity", "conv"})],
        "encoder_cutoff": [_POSITIVE, list, tuple, None],
        "fitter": [StrOptions({"lm", "adam"})],
        "sparsifier": [StrOptions({"elimination", "threshold", "l1"})],
        "threshold": [_NON_NEGATIVE],
        "elimination_tol": [_NON_NEGATIVE, None],
        "alpha_l1": [_NON_NEGATIVE],
        "consistency_weight": [_NON_NEGATIVE],
        "linear_solver": [StrOptions(set(SOLVERS))],
        "periodic": ["boolean"],
        "n_corrections": [Interval(Integral, 0, None, closed="left")],
        "refine": ["boolean"],
        "max_iter": [_COUNT],
        "n_jobs": [Integral, None],
        "max_epochs": [_COUNT],
        "batch_size": [_COUNT],
        "learning_rate": [_POSITIVE],
        "tol": [_NON_NEGATIVE],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "net_params": [dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        grid_shape=None,
        n_fields=1,
        *,
        spacing=1.0,
        dt=1.0,
        degree=2,
        terms=None,
        blocks=None,
        patch_size=None,
        patch_stride=None,
        max_patches=64,
        encoder="dct",
        encoder_cutoff=None,
        fitter="lm",
        sparsifier="elimination",
        threshold=0.05,
        elimination_tol=None,
        alpha_l1=0.005,
        consistency_weight=1.0,
        linear_solver="auto",
        periodic=False,
        n_corrections=1,
        refine=False,
        max_iter=12,
        n_jobs=None,
        max_epochs=500,
        batch_size=10,
        learning_rate=1e-5,
        tol=1e-4,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.grid_shape = grid_shape
        self.n_fields = n_fields
        self.spacing = spacing
        self.dt = dt
        self.degree = degree
        self.terms = terms
        self.blocks = blocks
        self.patch_size = patch_size
        self.patch_stride = patch_stride
        self.max_patches = max_patches
        self.encoder = encoder
        self.encoder_cutoff = encoder_cutoff
        self.fitter = fitter
        self.sparsifier = sparsifier
        self.threshold = threshold
        self.elimination_tol = elimination_tol
        self.alpha_l1 = alpha_l1
        self.consistency_weight = consistency_weight
        self.linear_solver = linear_solver
        self.periodic = periodic
        self.n_corrections = n_corrections
        self.refine = refine
        self.max_iter = max_iter
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
    def fit(self, X, y=None, *, trajectories=None, times=None):
        """Find the equations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Flattened snapshots, NaN where a value is missing.
        y : None
            Ignored.
        trajectories : array-like of shape (n_samples,), default=None
            Label of each row's experiment; None is a single one.
        times : array-like of shape (n_samples,), default=None
            Time of each row. Snapshots of an experiment are sorted by it; of regular
            times, those that are absent are missing. None: rows are in order, ``dt``
            apart.

        Returns
        -------
        self : MechanisticPDERegressor

        Raises
        ------
        ValueError
            If an input is malformed, grid, spacing or terms do not fit, a field holds
            no information, there are fewer observations than terms, or parameters do
            not go together.
        FloatingPointError
            If the loss of "adam" is no longer finite.
        MemoryError
            If what the patches need exceeds what is free.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption.
        ConvergenceWarning
            If a fit or a solve did not converge.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, learned)
        fit_model(fitted, X, trajectories, times, self)
        take_over(self, fitted, learned)
        if self.fitter == "adam":
            unit = self.history_["total"][0]
            warn_if_unfinished(self.history_, self.tol, self.max_epochs, unit)
        self.identifiability_.warn(self)
        return self

    def transform(self, X):
        """Snapshots smoothed in space, each by itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        smooth : ndarray of shape (n_samples, n_features)
            See :meth:`denoise` for smoothing in time as well.
        """
        X, fields = self._snapshots(X)
        return self._rows(smooth_snapshots(self, fields), X)

    def denoise(self, X, *, trajectories=None, times=None):
        """Fields smoothed in space and time, without gaps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        trajectories, times : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        encoded : ndarray of shape (n_samples, n_features)
            NaN for an experiment of one row.
        """
        X, experiments = self._experiments(X, trajectories, times)
        return by_row(denoise_experiments(self, experiments), experiments, X)

    def reconstruct(self, X, *, trajectories=None, times=None):
        """Solutions of the equations on patches, with ends of the smoothed fields.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        trajectories, times : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        reconstruction : ndarray of shape (n_samples, n_features)
            NaN where no patch lies.
        """
        X, experiments = self._experiments(X, trajectories, times)
        found = reconstruct_experiments(self, experiments)
        return by_row(found.fields, experiments, X)

    def predict(self, X):
        """Rate of change of each snapshot.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        rate : ndarray of shape (n_samples, n_features)
            du/dt at each node, in units of the field per unit of time; NaN where a
            value that it takes is missing. Smooth noisy snapshots first.
        """
        X, fields = self._snapshots(X)
        return self._rows(self._equations().rate(fields), X)

    def simulate(self, x0, times, *, boundary=None, method="auto"):
        """Solve the equations from a start.

        Parameters
        ----------
        x0 : array-like of shape (n_features,)
            Snapshot at the first of ``times``.
        times : array-like of shape (n_times,)
            Increasing.
        boundary : array-like of shape (n_times, n_features) or None, default=None
            Snapshots at ``times``, of which the values at the ends of spatial axes are
            kept to. None keeps those of ``x0``. Not read if ``periodic``.
        method : {"auto", "picard", "mol"}, default="auto"
            "picard": the linear solver marches through time, its coefficients frozen at
            the solution before, until both agree. "mol": the nodes as one stiff system
            of ordinary equations. "auto" is "picard" with one spatial axis and "mol"
            with two, where the former is slow.

        Returns
        -------
        fields : ndarray of shape (n_times, n_features)

        Raises
        ------
        ValueError
            If an argument is malformed.
        FloatingPointError
            If the fields blow up, with the time at which they do.

        Warns
        -----
        ConvergenceWarning
            If the sweeps of "picard" do not settle.
        """
        check_is_fitted(self)
        solver = {"step": self.spacing_[0], "linear_solver": self.linear_solver}
        equations, n = self._equations(), self.n_fields
        fields = simulate(equations, x0, times, boundary, method, n_fields=n, **solver)
        return fields.reshape(len(fields), -1)

    def equations(self, precision=4):
        """The equations as text.

        Parameters
        ----------
        precision : int, default=4
            Significant digits of coefficients.

        Returns
        -------
        lines : list of n_fields str
            In the form "u_t = ...".
        """
        check_is_fitted(self)
        fields = field_names(self.n_fields)
        names = [
            [term.label(own_first_names(fields, j)) for term in self.terms_]
            for j in range(self.n_fields)
        ]
        return equation_strings(fields, names, self.coef_, self.support_, precision)

    def score(self, X, y=None, *, trajectories=None, times=None, sample_weight=None):
        """Share of the spread of the data that the equations' solutions explain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        trajectories, times : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            What each snapshot counts.

        Returns
        -------
        score : float
            1 less the squared distance of data and reconstruction over that of data and
            each field's mean, on at most ``max_patches`` patches evenly over the data.
        """
        X, experiments = self._experiments(X, trajectories, times)
        weights = frame_weights(experiments, check_sample_weight(sample_weight, X))
        found = reconstruct_experiments(self, experiments, self.max_patches)
        return explained([e.field for e in experiments], found.fields, weights)

    def score_derivative(self, X, y=None, *, trajectories=None, times=None):
        """Share of the spread of the smoothed fields' rates that ``predict`` explains.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        trajectories, times : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        score : float
            Lower than :meth:`score`, as noise grows by differentiation.
        """
        _, experiments = self._experiments(X, trajectories, times)
        encoded = denoise_experiments(self, experiments)
        return derivative_score(self._equations(), experiments, encoded)

    @staticmethod
    def _module_type():
        from skident.dynamics._mechanistic_pde_net import MechanisticPDENet

        return MechanisticPDENet

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- inside ----------------------------------------------------------------------

    def _validated(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **FIELD_INPUT)

    def _snapshots(self, X):
        X = self._validated(X)
        return X, X.astype(np.float64).reshape(-1, *self.grid_shape_, self.n_fields)

    def _experiments(self, X, trajectories, times):
        X = self._validated(X)
        grid = {"grid_shape": self.grid_shape_, "n_fields": self.n_fields}
        axes = {"space": self._space_, "dt": self.dt, "fitted_step": self.spacing_[0]}
        return X, make_experiments(X, trajectories, times, **grid, **axes)

    def _rows(self, fields, X):
        return fields.reshape(len(X), -1).astype(X.dtype, copy=False)

    def _equations(self):
        coef = np.where(self.support_, self.coef_, 0.0).astype(np.float64)
        return FieldEquations(self.terms_, coef, self._space_, self.periodic)
