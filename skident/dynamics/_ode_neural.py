"""The published fitter: networks trained through the solve, cycle by cycle."""

import numpy as np

from skident.dynamics._ode_fit import (
    average,
    coupled_errors,
    coupled_paths,
    state_scales,
    term_sizes,
)
from skident.dynamics._ode_joint import JointFit
from skident.dynamics._ode_sparsity import EquationPath, keep_large
from skident.utils._memory import check_memory

# Directions of the solved terms that are shorter, against the longest, are left out.
_DEPENDENT = 1e-8


def fit_neural(fit, table, library, params, states, seed, steps):
    """Train, drop small coefficients, and train on, until none is small.

    Parameters
    ----------
    fit : OdeFit
        With windows and triangles; gets the rest.
    table : OdeTable
    library : Library
    params : estimator
    states : ndarray of shape (n_rows, n_states)
        What the network sees: the data, or a smooth of them.
    seed : int
    steps : callable
        As in ``fit_ode``.
    """
    from skident.dynamics import _mechanistic_ode_net as nets
    from skident.utils._torch import module_arrays
    from skident.utils._training_net import at_rows, train_module

    n_states, p = table.data.shape[1], len(library)
    # The network takes windows of one length; trajectories that are shorter stay out.
    whole = [group for group in fit.solved if group.length == fit.window]
    arrays, criterion = _batches(whole, states, table, library, params)
    train, held = _split(whole, params.validation_fraction)
    held = None if held is None else at_rows(arrays, held)
    arrays = at_rows(arrays, train)
    config = {
        "length": fit.window,
        "n_states": n_states,
        "n_terms": p,
        "hidden": params.hidden,
        "encode": params.encoder in ("auto", "mlp"),
        "location": table.data.mean(axis=0).tolist(),
        "scale": state_scales(table, True).tolist(),
    }
    start = {"basis": _bases(fit.triangles)}
    joint = JointFit(
        whole,
        states,
        table.inputs(states),
        table.data,
        library,
        fit.layout,
        params.smooth_weight,
        state_scales(table, params.standardize),
    )
    sizes = np.array([term_sizes(fit.triangles, d) for d in range(n_states)])
    support = np.ones((n_states, p), bool)
    n_values = n_states * sum(group.group.rows.size for group in whole)
    cycles, histories = [], []
    for cycle in steps(params.n_cycles):
        module, history = train_module(
            nets.WindowNet,
            config | {"start": start},
            nets.SolvedWindows,
            arrays,
            held=held,
            options=params.get_params(deep=False),
            # Each cycle goes on from the weights of the last, in another order.
            seed=(seed + cycle) % 2**31,
            **criterion,
        )
        coef = nets.coefficients(module)
        histories.append(history)
        fit.n_cycles = cycle + 1
        joint.states = [
            nets.smoothed_windows(module, states[group.group.rows]) for group in whole
        ]
        cycles.append((support, coef, joint.loss(coef).sum() / n_values))
        if params.sparsifier == "elimination":
            linear = joint.linearised(coef, support)
            paths = coupled_paths(linear, support, params, fit.triangles)
            kept = np.array([path.support[path.chosen] for path in paths])
        else:
            kept = support & keep_large(
                coef, sizes, params.threshold, params.threshold_rel
            )
        if (kept == support).all():
            break
        support = kept
        start = module_arrays(module) | {"mask": support.astype(np.float64)}
    else:
        module.load_state_dict(
            nets.as_tensors(module_arrays(module) | {"mask": support.astype(float)})
        )
        coef = nets.coefficients(module)
        cycles.append((support, coef, joint.loss(coef).sum() / n_values))
    fit.module, fit.coef, fit.support = module, coef, support
    fit.history = {
        name: np.concatenate([history[name] for history in histories])
        for name in histories[0]
    }
    fit.stderr = coupled_errors(joint.linearised(coef, support), coef, support)
    fit.path = [_cycles_path(cycles, d, coef, fit.stderr) for d in range(n_states)]
    fit.states = average(whole, joint.states, table.data)
    fit.solutions = average(whole, joint.solutions(coef), table.data)


def _split(whole, fraction):
    """Windows to train on, and the last ones, which share no row with these.

    Parameters
    ----------
    whole : list of solved groups of windows
    fraction : float
        Of the windows, held out.

    Returns
    -------
    train : ndarray of int
        Places among the windows of all groups.
    held : ndarray of int or None
        None where there would be none.
    """
    first, last = np.concatenate([group.group.rows[:, [0, -1]] for group in whole]).T
    order = np.argsort(first, kind="stable")
    n_train = len(order) - int(fraction * len(order))
    train, held = order[:n_train], order[n_train:]
    if len(held) == 0:
        return np.arange(len(order)), None
    train = np.sort(train[last[train] < first[held].min()])
    if len(train) == 0:
        raise ValueError(
            f"validation_fraction={fraction} leaves no window to train on that shares "
            f"no row with the {len(held)} held out, of {len(order)}."
        )
    return train, held


def _batches(whole, states, table, library, params):
    """Windows and their steps for the networks, and settings of the loss."""
    uneven = any(group.group.ratios is not None for group in whole)
    w = whole[0].length
    n_windows = sum(len(group) for group in whole)
    floats = w * (2 * table.data.shape[1] + (w if uneven else 0))
    check_memory(16 * n_windows * floats, "training on windows (raise stride)")

    def stacked(rows):
        return np.concatenate([rows[group.group.rows] for group in whole])

    arrays = {
        "X": stacked(states),
        "data": stacked(table.data),
        "controls": stacked(table.controls),
        "step": np.concatenate([group.group.step for group in whole]),
    }
    if uneven:
        for name in ("S", "s"):
            operators = [
                np.broadcast_to(own, (len(group), *own.shape[-2:]))
                for group in whole
                for own in [getattr(group, name)]
            ]
            arrays[name] = np.concatenate(operators)
    criterion = {
        "criterion__library": library,
        "criterion__S": np.zeros((w, w)) if uneven else whole[0].S,
        "criterion__s": np.zeros((w, 1)) if uneven else whole[0].s,
        "criterion__smooth_weight": params.smooth_weight,
        "criterion__scales": state_scales(table, params.standardize).tolist(),
    }
    return arrays, criterion


def _bases(triangles):
    """Bases (n_states, p, p) in which the solved terms are orthonormal.

    Of a length such that coefficients of about one explain a state: the networks then
    learn at one rate, whatever the units.
    """
    p = triangles.n_columns
    left = triangles.triangle[:, :p] / triangles.norms
    values, right = np.linalg.svd(left)[1:]
    values = np.pad(values, (0, p - len(values)))
    kept = values > _DEPENDENT * values[0]
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    basis = (right.T * inverse) / triangles.norms[:, None]
    targets = np.linalg.norm(triangles.triangle[:, p:], axis=0)
    return basis * targets[:, None, None]


def _cycles_path(cycles, d, coef, stderr):
    """Supports of one equation, cycle by cycle; errors are known of the last."""
    support = np.array([support[d] for support, _, _ in cycles])
    t = np.full(support.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        t[-1] = coef[d] / stderr[d]
    return EquationPath(
        support,
        np.array([coef[d] for _, coef, _ in cycles]),
        np.array([loss for _, _, loss in cycles]),
        t,
        len(cycles) - 1,
    )
