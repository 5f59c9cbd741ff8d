"""Forecasts that pass through an explicit linear ODE, solved inside the network."""

import itertools
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metaestimators import available_if

from skident.utils import Assumption, IdentifiabilityReport, iterate
from skident.utils._copies import blank_copy, take_over
from skident.utils._kept_module import KeepsModule
from skident.utils._memory import check_memory
from skident.utils._module_state import warn_if_unfinished
from skident.utils._sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)

# Rows that the report looks at.
_REPORT_ROWS = 2000
# A convention: the solver compromises, and this is where it no longer solves.
_LARGEST_RESIDUAL = 0.1


def _starts_in_target(estimator):
    if estimator.init != "target":
        raise AttributeError(
            'predict_from needs init="target": with init="past" the given states are '
            "the last ones of X."
        )
    return True


class ScalableMNNRegressor(
    KeepsModule, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator
):
    """Forecaster of windows whose hidden layer is a linear ODE, solved exactly.

    From the past window, networks write for each state a linear ODE with coefficients
    that vary in time, its right-hand side and the time steps. The solution of that
    equation through the last states of the past is the forecast [1]_ [2]_.

    Parameters
    ----------
    state_dim : int, default=1
        Number of states at each step; ``X`` and ``y`` are windows flattened step by
        step, ``window.reshape(n_samples, n_steps * state_dim)``.
    order : int, default=2
        Order of the hidden equations, 1 to 3.
    n_init_steps : int, default=10
        Number of steps whose states are given to the solver; with "past" at most as
        many as ``X`` has.
    init : {"past", "target"}, default="past"
        Which states are given. "past": the last ones of ``X``. "target": the first
        ones of ``y``, as in the published experiments. Errors of those steps say
        nothing then, and ``predict``, which never sees ``y``, takes the last state of
        ``X`` for each of them; :meth:`predict_from` takes the true ones.
    hidden : tuple of int, default=(256, 256)
        Widths of the layers of each of the four networks: encoder, coefficients,
        right-hand side and steps; (1024, 1024) as published.
    latent : int, default=20
        Width of the code that the equation is read from.
    dct_keep : float or None, default=0.25
        Share of the frequencies of the past window that the encoder sees, the lowest
        ones (at least one); None for the window itself.
    step_init : float, default=0.1
        Every time step before training, in (0.001, 0.999), the bounds of learned steps.
    max_epochs : int, default=200
        Passes over the rows; 10 as published.
    batch_size : int, default=64
        Rows an optimiser step.
    learning_rate : float, default=1e-3
        Of Adam; 1e-5 as published, for windows of 64,800 states.
    tol : float, default=0.01
        ``fit`` warns if from one tenth of ``max_epochs`` to the next the loss still
        fell by more than this share of the variance. With rows held out, an epoch
        must improve their loss by this share.
    validation_fraction : float, default=0.0
        Share of the rows held out, the last ones: windows that overlap are alike.
        Training then ends after 10 epochs without improvement of their loss, and the
        best epoch is kept.
    device : str, default="auto"
        Device of training and inference; "auto" is "cuda" if there is one, else "cpu".
    net_params : dict or None, default=None
        Further settings passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of initialisation and order of rows. On a CPU the same seed and thread
        count give the same bits; across devices, fits agree as fits of different seeds
        do.

    Attributes
    ----------
    module_ : torch.nn.Module
        The networks, on the CPU and in evaluation mode, for standardised states.
    mean_, scale_ : ndarray of shape (state_dim,)
        Mean and standard deviation of each state over both windows of the rows trained
        on; the deviation is 1 where it is zero.
    n_nodes_ : int
        Steps of the solution: those of ``y``, after those given of ``X`` with "past".
    history_ : dict of ndarray of shape (n_epochs_,)
        Mean loss of each epoch, "total", and "validation" with rows held out: squared
        errors in units of the variance.
    n_epochs_ : int
        Number of epochs.
    identifiability_ : IdentifiabilityReport
        Whether forecasts are better than the last state, and whether the solutions
        satisfy their equations. It comes from the rows held out, if there are any.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    MechanisticODERegressor : Finds the equation that generated the states.

    Notes
    -----
    *Identified*: the forecast, as a mean of the future window given the past one, and
    no equation. Many coefficients, right-hand sides and steps have one solution, so
    those that :meth:`ode_coefficients`, :meth:`ode_rhs` and :meth:`learned_steps`
    return describe a forecast, not the law of the data.

    Every state has an equation of its own; what couples them are the networks. The
    least-squares system of the solver weighs the equation, the given states and the
    smoothness of the solution alike, so that none of them holds exactly; the report
    has the residuals. It is solved in float64 whatever the precision of ``X``, in which
    the networks compute. Its time and memory are O(n_nodes state_dim order^3) and
    O(n_nodes state_dim order^2) a row, the networks' those of their weights, of which
    the last layers have ``hidden[-1] * n_nodes * state_dim * (order + 2)``.

    The published loss, the squared distance of the cosine transforms of both windows,
    is the squared distance of the windows, as the transform is orthonormal.

    References
    ----------
    .. [1] Chen, Yao, Pervez, Alistarh and Locatello, "Scalable mechanistic neural
       networks", ICLR 2025, arXiv:2410.06074.
    .. [2] Pervez, Locatello and Gavves, "Mechanistic neural networks for scientific
       machine learning", ICML 2024, arXiv:2402.13077.

    Examples
    --------
    >>> from skident.dynamics import ScalableMNNRegressor
    >>> series = np.sin(0.3 * np.arange(300))
    >>> windows = np.lib.stride_tricks.sliding_window_view(series, 20)
    >>> X, y = windows[:, :12], windows[:, 12:]
    >>> model = ScalableMNNRegressor(
    ...     hidden=(32,), dct_keep=None, max_epochs=20, random_state=0
    ... ).fit(X[:200], y[:200])
    >>> bool(model.score(X[220:], y[220:]) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "state_dim": [Interval(Integral, 1, None, closed="left")],
        "order": [Interval(Integral, 1, 3, closed="both")],
        "n_init_steps": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"past", "target"})],
        "hidden": [tuple, list],
        "latent": [Interval(Integral, 1, None, closed="left")],
        "dct_keep": [Interval(Real, 0, 1, closed="right"), None],
        "step_init": [Interval(Real, 1e-3, 0.999, closed="neither")],
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
        state_dim=1,
        order=2,
        *,
        n_init_steps=10,
        init="past",
        hidden=(256, 256),
        latent=20,
        dct_keep=0.25,
        step_init=0.1,
        max_epochs=200,
        batch_size=64,
        learning_rate=1e-3,
        tol=0.01,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.state_dim = state_dim
        self.order = order
        self.n_init_steps = n_init_steps
        self.init = init
        self.hidden = hidden
        self.latent = latent
        self.dct_keep = dct_keep
        self.step_init = step_init
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
    def fit(self, X, y):
        """Train on pairs of windows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)
            Past windows, flattened step by step.
        y : array-like of shape (n_samples, n_future * state_dim) or (n_samples,)
            Future windows in the same units, at the steps that follow.

        Returns
        -------
        self : ScalableMNNRegressor

        Raises
        ------
        ValueError
            If an array is malformed, its columns are no multiple of ``state_dim``, or
            with "target" the given steps leave none to forecast.
        FloatingPointError
            If the loss or a hidden equation is no longer finite.
        MemoryError
            If networks and windows would not fit in memory.

        Warns
        -----
        IdentifiabilityWarning
            If forecasts are no better than the last state, or solutions do not satisfy
            their equations.
        ConvergenceWarning
            If the loss was still falling at the end.
        """
        from skident.dynamics import _scalable_mnn_net as nets
        from skident.utils._training_net import at_rows, train_module

        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        X, y = validate_data(
            fitted,
            X,
            y,
            dtype=[np.float32, np.float64],
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2,
        )
        config = self._config(X, y)
        check_memory(
            _bytes_of_fit(config, X, y, min(self.batch_size, len(X))),
            "Training forecasts (fewer states, narrower hidden or shorter windows need "
            "less)",
        )
        fitted._flat_target = y.ndim == 1
        y = y.reshape(len(y), -1)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        n_train = len(X) - int(self.validation_fraction * len(X))
        fitted.mean_, fitted.scale_ = _moments(X[:n_train], y[:n_train], self.state_dim)
        past, future = fitted._standard(X), fitted._standard(y.astype(X.dtype))
        arrays = {"X": past, "y": future}
        n_given = config["n_init_steps"] * self.state_dim
        if not config["from_past"]:
            arrays["start"] = future[:, :n_given]
        train = at_rows(arrays, slice(n_train))
        held = at_rows(arrays, slice(n_train, None)) if n_train < len(X) else None
        fitted.module_, fitted.history_ = train_module(
            nets.Forecaster,
            config,
            nets.WindowLoss,
            train,
            held=held,
            options=self.get_params(deep=False),
            seed=seed,
            epochs=iterate(self, self.max_epochs, X, y),
        )
        fitted.n_nodes_ = fitted.module_.n_nodes
        fitted.n_epochs_ = len(fitted.history_["total"])
        fitted.identifiability_ = fitted._examine(
            train if held is None else held,
            rows="rows trained on" if held is None else "rows held out",
        )
        take_over(self, fitted, _learned)
        unit = float(np.mean(future[:n_train].astype(np.float64) ** 2))
        warn_if_unfinished(self.history_, self.tol, self.max_epochs, unit)
        self.identifiability_.warn(self)
        return self

    def predict(self, X):
        """Forecast the window after each row's.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)

        Returns
        -------
        y : ndarray of shape (n_samples, n_future * state_dim) or (n_samples,)
            As in ``fit``.
        """
        X = self._validated(X)
        return self._windows(self._standard(X))

    @available_if(_starts_in_target)
    def predict_from(self, X, start):
        """Forecast the window after each row's from its own first states.

        Only with ``init="target"``. Judge it by the steps that follow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)
        start : array-like of shape (n_samples, n_init_steps * state_dim)
            First states of the window to forecast.

        Returns
        -------
        y : ndarray of shape (n_samples, n_future * state_dim)
        """
        X = self._validated(X)
        start = check_array(start, dtype=X.dtype, input_name="start")
        shape = (len(X), self.module_.config["n_init_steps"] * self.state_dim)
        if start.shape != shape:
            raise ValueError(
                f"start must be of shape {shape}, the first states of the window to "
                f"forecast, got shape {start.shape}; n_samples = {len(X)}."
            )
        return self._windows(self._standard(X), self._standard(start))

    def ode_coefficients(self, X):
        """Coefficients of the equation behind each forecast.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)

        Returns
        -------
        coefficients : ndarray of shape (n_samples, n_nodes, state_dim, order + 1)
            ``sum_r coefficients[i, t, d, r] * d^r u_d = rhs[i, t, d]`` at node ``t``,
            with derivatives by the time of :meth:`learned_steps`. They are not unique:
            other equations have the same solution.
        """
        return self._equation(X)[0]

    def ode_rhs(self, X):
        """Right-hand sides of the equation behind each forecast, in units of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)

        Returns
        -------
        rhs : ndarray of shape (n_samples, n_nodes, state_dim)
        """
        coefficients, rhs, _ = self._equation(X)
        # The networks write equations of (u - mean_) / scale_.
        moved = rhs * self.scale_ + coefficients[..., 0] * self.mean_
        return moved.astype(rhs.dtype, copy=False)

    def learned_steps(self, X):
        """Time between the nodes of each forecast, in a unit of the network's own.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_past * state_dim)

        Returns
        -------
        steps : ndarray of shape (n_samples, n_nodes - 1)
            In [0.001, 0.999].
        """
        return self._equation(X)[2]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Columns that are no window have nothing in their lowest frequencies.
        tags.regressor_tags.poor_score = True
        return tags

    @staticmethod
    def _module_type():
        from skident.dynamics._scalable_mnn_net import Forecaster

        return Forecaster

    def _config(self, X, y):
        """Arguments of the module for these windows."""
        n_steps = []
        for name, array in (("X", X), ("y", y.reshape(len(y), -1))):
            steps, rest = divmod(array.shape[1], self.state_dim)
            if rest:
                raise ValueError(
                    f"{name} must have windows of state_dim={self.state_dim} states a "
                    f"step, flattened, got {array.shape[1]} columns; n_samples = "
                    f"{len(X)}."
                )
            n_steps.append(steps)
        n_past, n_future = n_steps
        from_past = self.init == "past"
        if not from_past and self.n_init_steps >= n_future:
            raise ValueError(
                f"y must have more steps than n_init_steps={self.n_init_steps}, as "
                f'init="target" gives that many of them, got {n_future}; n_samples = '
                f"{len(X)}."
            )
        kept = self.dct_keep
        return {
            "n_past": n_past,
            "n_future": n_future,
            "n_states": int(self.state_dim),
            "order": int(self.order),
            "n_init_steps": min(self.n_init_steps, n_past if from_past else n_future),
            "from_past": from_past,
            "hidden": tuple(self.hidden),
            "n_latents": int(self.latent),
            "n_kept": None if kept is None else max(1, int(kept * n_past)),
            "step_init": float(self.step_init),
            "double": X.dtype == np.float64,
        }

    def _validated(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=[np.float32, np.float64], reset=False)

    def _standard(self, windows):
        """Windows in units of ``scale_``, in their own precision and shape."""
        states = windows.reshape(len(windows), -1, len(self.mean_))
        states = (states - self.mean_) / self.scale_
        return states.reshape(windows.shape).astype(windows.dtype, copy=False)

    def _called(self, method, *arrays):
        """What a method of the module makes of standardised rows."""
        from skident.dynamics._scalable_mnn_net import in_batches

        inside = np.float64 if self.module_.config["double"] else np.float32
        arrays = [array.astype(inside, copy=False) for array in arrays]
        return in_batches(self.module_, method, self.device, *arrays)

    def _windows(self, *arrays):
        """Forecasts in the units of ``y``, from standardised rows."""
        (windows,) = self._called("forward", *arrays)
        states = windows.reshape(len(windows), -1, len(self.mean_))
        windows = (states * self.scale_ + self.mean_).reshape(windows.shape)
        windows = windows.astype(arrays[0].dtype, copy=False)
        return windows[:, 0] if self._flat_target else windows

    def _equation(self, X):
        X = self._validated(X)
        made = self._called("equation", self._standard(X))
        return [part.astype(X.dtype, copy=False) for part in made]

    def _examine(self, arrays, rows):
        """Report from standardised rows."""
        arrays = {name: array[:_REPORT_ROWS] for name, array in arrays.items()}
        inputs = [arrays[name] for name in ("X", "start") if name in arrays]
        states, coefficients, rhs, steps = self._called("solution", *inputs)
        n_future, n_given = (
            self.module_.config[name] for name in ("n_future", "n_init_steps")
        )
        future = arrays["y"].reshape(len(rhs), n_future, -1).astype(np.float64)
        if "start" in arrays:
            last = future[:, n_given - 1 : n_given]
            to_come = slice(n_given, None)
        else:
            past = arrays["X"].reshape(len(rhs), -1, future.shape[2])
            last, to_come = past[:, -1:], slice(None)
        forecast = states[:, -n_future:, :, 0]
        error = np.mean((forecast - future)[:, to_come] ** 2)
        still = np.mean((last - future)[:, to_come] ** 2)
        return IdentifiabilityReport(
            target="forecasts of the window that follows",
            up_to="their hidden equations, of which many have one solution",
            assumptions=[
                Assumption.at_most(
                    "the past window tells more than its last state",
                    f"squared error over that of repeating this state, {rows}",
                    error / still if still > 0 else np.nan,
                    1.0,
                ),
                Assumption.at_most(
                    "solutions satisfy their hidden equations",
                    f"squared residual over the squares of the terms, {rows}",
                    _equation_residual(states, coefficients, rhs),
                    _LARGEST_RESIDUAL,
                ),
                Assumption.at_most(
                    "the derivatives of solutions are those of their states",
                    f"squared misfit of a Taylor step over the squared change, {rows}",
                    _smoothness_residual(states, steps),
                    _LARGEST_RESIDUAL,
                ),
                Assumption(
                    "windows to come follow the law of those trained on",
                    "needs rows of a later time",
                ),
            ],
            notes=["The hidden equations describe forecasts, not the law of the data."],
            advice=(
                "Hold out rows by validation_fraction, train for longer, or give more "
                "of the past."
            ),
        )


def _learned(name):
    return name.endswith("_") or name == "_flat_target"


def _bytes_of_fit(config, X, y, n_batch):
    """Roughly what a fit takes."""
    n_states, n_orders = config["n_states"], config["order"] + 1
    n_nodes = y.size // len(y) // n_states
    if config["from_past"]:
        n_nodes += config["n_init_steps"]
    n_seen = config["n_past"] if config["n_kept"] is None else config["n_kept"]
    networks = [
        (n_seen * n_states, config["n_latents"]),
        (config["n_latents"], n_nodes * n_states),
        (config["n_latents"], n_nodes * n_states * n_orders),
        (config["n_latents"], n_nodes - 1),
    ]
    n_weights = 0
    for n_in, n_out in networks:
        widths = [n_in, *config["hidden"], n_out]
        n_weights += sum((a + 1) * b for a, b in itertools.pairwise(widths))
    # Weights, gradient, Adam's two moments and the copy that is kept; windows as they
    # come, standardised and as tensors; blocks of the solver and of its adjoint.
    size = 8 if config["double"] else 4
    blocks = 10 * 8 * n_batch * n_nodes * n_states * n_orders**2
    return 5 * size * n_weights + 3 * size * (X.size + y.size) + blocks


def _moments(X, y, n_states):
    """Mean and standard deviation of each state over the windows of both arrays."""
    states = [array.reshape(-1, n_states).astype(np.float64) for array in (X, y)]
    n = sum(map(len, states))
    mean = sum(part.sum(axis=0) for part in states) / n
    spread = sum(((part - mean) ** 2).sum(axis=0) for part in states) / n
    scale = np.sqrt(spread)
    # The mean of equal numbers is off by rounding, and so is their spread.
    scale[scale <= np.finfo(X.dtype).eps * np.abs(mean)] = 1.0
    return mean, scale


def _equation_residual(states, coefficients, rhs):
    """Squares of the equations' residuals over those of their terms."""
    terms = states * coefficients
    rhs = rhs.astype(np.float64)
    residual = np.sum((terms.sum(axis=-1) - rhs) ** 2)
    return float(residual / (np.sum(terms**2) + np.sum(rhs**2)))


def _smoothness_residual(states, steps):
    """Squares of what Taylor steps miss the next state by, over those of its change."""
    reached, factor = np.zeros_like(states[:, :-1, :, 0]), np.ones_like(steps)
    for r in range(states.shape[-1]):
        reached += factor[..., None] * states[:, :-1, :, r]
        factor = factor * steps / (r + 1)
    change = np.sum(np.diff(states[..., 0], axis=1) ** 2)
    missed = np.sum((reached - states[:, 1:, :, 0]) ** 2)
    return float(missed / change) if change > 0 else np.nan
