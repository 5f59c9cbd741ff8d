"""The fit of a mechanistic ODE: windows, states, coefficients, terms."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skident.dynamics._block_triangles import BlockLayout, collect
from skident.dynamics._ode_joint import JointFit
from skident.dynamics._ode_operators import solve_groups
from skident.dynamics._ode_smoothing import smooth
from skident.dynamics._ode_sparsity import (
    Regression,
    drop_small,
    eliminate,
)
from skident.dynamics._windows import cut_windows, tell_gap

# Rows of a window, unless the data are few: an equation is known by the windows that
# share no row, and some are needed to tell its error.
_AUTO_WINDOW, _LEAST_WINDOW, _WINDOWS_WANTED = 50, 10, 5
# Gauss-Newton steps of the joint fit on one support.
_ROUNDS = 12


@dataclass
class OdeFit:
    """What a fit found, and what its report needs.

    ``triangles`` is the regression of all candidate terms at the smoothed states,
    ``states`` and ``solutions`` stand at the rows of the table.
    """

    window: int
    coef: np.ndarray = None
    stderr: np.ndarray = None
    support: np.ndarray = None
    path: list = None
    n_cycles: int = 1
    history: dict = field(default_factory=dict)
    module: object = None
    states: np.ndarray = None
    solutions: np.ndarray = None
    noise: np.ndarray = None
    triangles: object = None
    layout: object = None
    solved: list = None


def choose_window(window, table):
    """Rows of a window: at most those of the longest trajectory."""
    lengths = table.series.lengths
    if window == "auto":
        fair = max(_LEAST_WINDOW, int(lengths.sum()) // _WINDOWS_WANTED)
        window = min(_AUTO_WINDOW, fair)
    return min(window, int(lengths.max()))


def choose_stride(stride, fitter, window, even):
    """Rows between the starts of windows."""
    if stride != "auto":
        return stride
    if fitter == "joint":
        return max(1, window // 2)
    return 1 if even else max(1, window // 5)


def check_params(params, n_features):
    """Refuse parameters that do not go together, or not with the data.

    Parameters
    ----------
    params : MechanisticODERegressor
    n_features : int
        Columns of the data.

    Raises
    ------
    ValueError
    """
    if params.n_controls >= n_features:
        raise ValueError(
            f"n_controls={params.n_controls} leaves no state: X has {n_features} "
            "feature(s)."
        )
    if params.encoder == "mlp" and params.fitter != "neural":
        raise ValueError(
            'encoder="mlp" is trained by fitter="neural"; with '
            f'fitter="{params.fitter}" take "identity" or "savgol".'
        )


def check_table(table):
    """Refuse a table without two rows in a trajectory; warn of steps that vary.

    Parameters
    ----------
    table : OdeTable

    Raises
    ------
    ValueError

    Warns
    -----
    UserWarning
    """
    if table.series.lengths.max() < 2:
        raise ValueError(
            "trajectories must have at least 2 rows in one of them, got 1 sample "
            f"in each; n_samples = {table.series.lengths.sum()}."
        )
    if not table.series.even():
        warnings.warn(
            "Steps vary: each window is solved by operators of its own, which "
            f"takes longer than even steps do.{tell_gap(table.series.steps)}",
            UserWarning,
            stacklevel=4,
        )


def fit_ode(table, library, params, seed, steps):
    """Fit equations to a table.

    Parameters
    ----------
    table : OdeTable
    library : Library
    params : estimator
        Its constructor's parameters.
    seed : int
        Of the networks.
    steps : callable
        ``steps(n)`` yields 0, ..., n - 1, once: equations, or cycles of fitting and
        dropping terms.

    Returns
    -------
    fit : OdeFit
    """
    window = choose_window(params.window, table)
    fit = OdeFit(window)
    groups = cut_windows(
        table.series,
        window,
        choose_stride(params.stride, params.fitter, window, table.series.even()),
    )
    fit.solved = solve_groups(groups, params.order, params.n_init_steps)
    smoothed, fit.noise = smooth(table.data, table.series)
    states = smoothed if params.encoder == "savgol" else table.data
    inputs = table.inputs(states)
    n_columns = len(library) + table.data.shape[1]
    fit.layout = BlockLayout(table.series, window, n_columns)
    fit.triangles = collect(fit.solved, states, inputs, table.data, library, fit.layout)
    if params.fitter == "varpro":
        _fit_varpro(fit, table, library, params, states, steps)
    elif params.fitter == "joint":
        _fit_joint(fit, table, library, params, states, steps)
    else:
        from skident.dynamics._ode_neural import fit_neural

        fit_neural(fit, table, library, params, states, seed, steps)
    fit.coef[~fit.support] = 0.0
    fit.stderr[~fit.support] = np.nan
    return fit


def state_scales(table, standardize):
    """Units (n_states,) in which errors of the states are counted."""
    if not standardize:
        return np.ones(table.data.shape[1])
    spread = table.data.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def average(solved, parts, data):
    """Mean over windows of what they say of each row; the data where none does.

    Parameters
    ----------
    solved : list of SolvedGroup
    parts : list of ndarray of shape (n_windows, length, n_states)
    data : ndarray of shape (n_rows, n_states)

    Returns
    -------
    rows : ndarray of shape (n_rows, n_states)
    """
    total, count = np.zeros(data.shape), np.zeros(len(data))
    for group, part in zip(solved, parts, strict=True):
        np.add.at(total, group.group.rows, part)
        np.add.at(count, group.group.rows, 1.0)
    seen = count > 0
    return np.where(seen[:, None], total / np.where(seen, count, 1.0)[:, None], data)


def solve_rows(solved, states, inputs, data, library, coef):
    """Solutions of all windows, averaged at the rows, chunk by chunk."""
    total, count = np.zeros(data.shape), np.zeros(len(data))
    rates = library.evaluate(inputs) @ coef.T
    for group in solved:
        for part in group.chunks(4 * group.length * data.shape[1]):
            rows = part.group.rows
            np.add.at(total, rows, part.solve(rates[rows], states[rows]))
            np.add.at(count, rows, 1.0)
    seen = count > 0
    return np.where(seen[:, None], total / np.where(seen, count, 1.0)[:, None], data)


# --- one pass ------------------------------------------------------------------------


def sparsify(regression, support, sizes, params):
    """Path of one equation under the rule that the parameters name.

    Parameters
    ----------
    regression : Regression
    support : ndarray of bool of shape (n_terms,)
    sizes : ndarray of shape (n_terms,)
        As :func:`term_sizes` has them.
    params : estimator

    Returns
    -------
    path : EquationPath
    """
    if params.sparsifier == "elimination":
        return eliminate(regression, support, params.min_t_ratio)
    return drop_small(
        regression,
        support,
        sizes,
        params.threshold,
        params.threshold_rel,
        params.n_cycles,
    )


def term_sizes(triangles, d):
    """What a coefficient of one makes a state move, in shares of its movement.

    Parameters
    ----------
    triangles : BlockTriangles
        Of all terms, with the states as targets.
    d : int
        The state.

    Returns
    -------
    sizes : ndarray of shape (n_terms,)
    """
    norm = np.linalg.norm(triangles.triangle[:, triangles.n_columns + d])
    return triangles.norms / (norm if norm > 0 else 1.0)


def _fit_varpro(fit, table, library, params, states, steps):
    terms = np.arange(len(library))
    fit.path, coef, stderr = [], [], []
    for d in steps(table.data.shape[1]):
        regression = Regression(fit.triangles, d)
        sizes = term_sizes(fit.triangles, d)
        path = sparsify(regression, terms >= 0, sizes, params)
        fit.path.append(path)
        coef_d, stderr_d, _ = regression.fit(path.support[path.chosen])
        coef.append(coef_d)
        stderr.append(stderr_d)
    fit.n_cycles = max(len(path.loss) for path in fit.path)
    fit.support = np.array([path.support[path.chosen] for path in fit.path])
    fit.coef, fit.stderr = np.array(coef), np.array(stderr)
    fit.states = states
    fit.solutions = solve_rows(
        fit.solved, states, table.inputs(states), table.data, library, fit.coef
    )


# --- states and coefficients ---------------------------------------------------------


def _fit_joint(fit, table, library, params, states, steps):
    n_states, p = table.data.shape[1], len(library)
    joint = JointFit(
        fit.solved,
        states,
        table.inputs(states),
        table.data,
        library,
        fit.layout,
        params.smooth_weight,
        state_scales(table, params.standardize),
    )
    support = np.ones((n_states, p), bool)
    coef = np.array([fit.triangles.solve(np.arange(p), d)[0] for d in range(n_states)])
    losses, first = [], None
    for cycle in steps(params.n_cycles):
        coef, triangles, fall = _converge(joint, coef, support, params.tol, losses)
        fit.n_cycles = cycle + 1
        paths = coupled_paths(triangles, support, params, fit.triangles)
        first = paths if first is None else first
        kept = np.array([path.support[path.chosen] for path in paths])
        if (kept == support).all():
            break
        support = kept
        coef = np.where(support, coef, 0.0)
    else:
        coef, triangles, fall = _converge(joint, coef, support, params.tol, losses)
    # Rounding may leave a step on the bound itself.
    if not fall <= 1.001 * params.tol:
        warnings.warn(
            f"The last of {_ROUNDS} Gauss-Newton steps still lowered the loss by "
            f"{fall:.2g} of it, where tol={params.tol:g}. Take a shorter window, or "
            "raise tol.",
            ConvergenceWarning,
            stacklevel=5,
        )
    fit.path = first
    fit.support, fit.coef = support, coef
    fit.stderr = coupled_errors(triangles, coef, support)
    fit.history = {
        name: np.array(column)
        for name, column in zip(
            ("total", "solution", "smoothing"),
            np.reshape(losses, (-1, 3)).T,
            strict=True,
        )
    }
    fit.states = average(fit.solved, joint.states, table.data)
    fit.solutions = average(fit.solved, joint.solutions(coef), table.data)


def _converge(joint, coef, support, tol, losses):
    """Gauss-Newton steps on one support.

    Returns
    -------
    coef : ndarray of shape (n_states, n_terms)
    triangles : BlockTriangles
        The linear model there.
    fall : float
        Share of the loss by which the last step lowered it.
    """
    before = np.inf
    for _ in range(_ROUNDS):
        triangles = joint.linearised(coef, support)
        new = np.zeros(coef.shape)
        new[support] = triangles.solve(np.arange(triangles.n_columns))[0]
        coef, loss = joint.advance(coef, support, new)
        solution, smoothing = joint.loss(coef)
        losses.append((solution + smoothing, solution, smoothing))
        fall = (before - loss) / loss if loss else 0.0
        if before - loss <= tol * loss:
            break
        before = loss
    return coef, joint.linearised(coef, support), fall


def coupled_paths(triangles, support, params, plain):
    """Path of each equation in a linear model that fits the others along.

    Parameters
    ----------
    triangles : BlockTriangles
        From :meth:`JointFit.linearised`.
    support : ndarray of bool of shape (n_states, n_terms)
    params : estimator
    plain : BlockTriangles
        Of all terms, with the states as targets: for the sizes of terms.

    Returns
    -------
    paths : list of EquationPath
        With the loss of all states.
    """
    column = np.full(support.shape, -1)
    column[support] = np.arange(triangles.n_columns)
    paths = []
    for d, own in enumerate(column):
        others = np.setdiff1d(column[column >= 0], own)
        terms = np.flatnonzero(support[d])
        partial = triangles.partial(own[terms], others)
        regression = Regression(partial, 0, terms, support.shape[1])
        paths.append(sparsify(regression, support[d], term_sizes(plain, d), params))
    return paths


def coupled_errors(triangles, coef, support):
    """Standard errors (n_states, n_terms) in such a model; NaN off the support."""
    stderr = np.full(coef.shape, np.nan)
    columns = np.arange(triangles.n_columns)
    stderr[support] = triangles.errors(columns, coef[support])
    return stderr
