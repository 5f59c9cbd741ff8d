"""What fitted equations say of trajectories."""

import numpy as np

from skident.dynamics._ode_fit import average, choose_window, solve_rows, state_scales
from skident.dynamics._ode_joint import JointFit
from skident.dynamics._ode_operators import solve_groups
from skident.dynamics._ode_smoothing import smooth
from skident.dynamics._windows import cut_windows

# Gauss-Newton steps that fit the states of a joint fit to given equations.
_ROUNDS = 12


def read_back(table, library, coef, window, module, params):
    """Solutions on windows of trajectories, by given equations.

    Parameters
    ----------
    table : OdeTable
    library : Library
    coef : ndarray of shape (n_states, n_terms)
    window : int
        Rows of a window of the fit.
    module : torch.nn.Module or None
        Its networks.
    params : estimator

    Returns
    -------
    solutions : ndarray of shape (n_rows, n_states)
        In the order of the table; the data where a trajectory has one row.
    """
    data = table.data
    window = choose_window(window, table)
    groups = cut_windows(table.series, window, window)
    if not groups:
        return data.copy()
    solved = solve_groups(groups, params.order, params.n_init_steps)
    states = smooth(data, table.series)[0] if params.encoder == "savgol" else data
    inputs = table.inputs(states)
    if params.fitter == "varpro" or (module is not None and module.encoder is None):
        return solve_rows(solved, states, inputs, data, library, coef)
    joint = JointFit(
        solved,
        states,
        inputs,
        data,
        library,
        None,
        params.smooth_weight,
        state_scales(table, params.standardize),
    )
    if params.fitter == "joint":
        joint.smooth(coef, _ROUNDS, params.tol)
    else:
        from skident.dynamics._mechanistic_ode_net import smoothed_windows

        # The network knows windows of one length; shorter ones pass as they are.
        joint.states = [
            smoothed_windows(module, own)
            if own.shape[1] == module.config["length"]
            else own
            for own in joint.states
        ]
    return average(solved, joint.solutions(coef), data)


def r2(data, found, weights=None):
    """1 - SSE / SST over all columns; for constant data 1 if met exactly, else 0.

    Parameters
    ----------
    data, found : ndarray of shape (n_samples, n_columns)
    weights : ndarray of shape (n_samples,) or None, default=None
        What each row counts.

    Returns
    -------
    score : float
    """
    data, found = np.asarray(data, np.float64), np.asarray(found, np.float64)
    weights = np.ones(len(data)) if weights is None else weights
    error = weights @ np.sum((data - found) ** 2, axis=1)
    mean = np.average(data, axis=0, weights=weights)
    total = weights @ np.sum((data - mean) ** 2, axis=1)
    if total == 0:
        return float(error == 0)
    return float(1.0 - error / total)
