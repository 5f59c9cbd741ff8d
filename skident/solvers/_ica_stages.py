"""Stages of ICA that come before the descent over all rows, or replace it."""

import numpy as np

from skident.solvers._ica_kernel import evaluate_sources
from skident.solvers._ica_lbfgs import Descent, Patience, Rotations, polar

# Turn of a component (1 less a cosine) at which fixed-point steps on the subsample are
# done, and how many are made: where the model does not hold they never are. Many
# components, of which a random start holds little, get up to one step for two of them
# while they turn by more than this on average: a descent from there would end at a
# worse optimum.
_FIXED_POINT_TOL = 1e-3
_FIXED_POINT_ITER = 12
_FAR_TURN = 0.05
# The descent on the subsample, where they are not done: to the gradient that so few
# rows leave at the optimum of all.
_DESCENT_TOL = 1e-2
_DESCENT_ITER = 50
# Rows of a minibatch, a component.
_BATCH_ROWS = 32
_MIN_BATCH_ROWS = 256


def fixed_point(found):
    """Turn of one step of parallel FastICA with symmetric decorrelation."""
    return polar(found.product - np.diag(found.slope))


def best_start(rows, starts, geometry, memory, ls_tries, *, descend):
    """The start that leads to the lowest loss on a few rows, led there."""
    rotations = Rotations(geometry.fun, geometry.extended, geometry.lambda_min)
    ends = []
    for W in starts:
        W, done = _fixed_points(rows, W, geometry.fun)
        if descend and not done:
            descent = Descent(rotations, W, memory, ls_tries)
            descent.run(rows, _DESCENT_TOL, _DESCENT_ITER, np.float32)
            W = descent.W
        ends.append(W)
    if len(ends) == 1:
        return ends[0]

    def loss(W):
        found = rows.evaluate(W, geometry.fun, np.float32)
        return rotations.loss(found, W, rotations.signs(found, W))

    return min(ends, key=loss)


def _fixed_points(rows, W, fun):
    """Fixed-point steps from ``W``, and whether they have come to rest."""
    for n_iter in range(1, max(_FIXED_POINT_ITER, len(W) // 2) + 1):
        turn = fixed_point(rows.evaluate(W, fun, np.float32, with_loss=False))
        W = turn @ W
        turns = 1.0 - np.abs(np.diag(turn))
        if turns.max() <= _FIXED_POINT_TOL:
            return W, True
        if n_iter >= _FIXED_POINT_ITER and turns.mean() <= _FAR_TURN:
            break
    return W, False


def fastica(rows, W, geometry, tol, max_iter, floor):
    """Parallel FastICA over all rows: the map, its pass, the steps, the gradients."""
    history, n_iter = [], 0
    for dtype, goal in ((np.float32, max(0.5 * tol, floor)), (np.float64, tol)):
        patience, single = Patience(), dtype == np.float32
        while True:
            found = rows.evaluate(W, geometry.fun, dtype, with_loss=not single)
            gradient = geometry.gradient(found, W, geometry.signs(found, W))
            history.append(float(np.abs(gradient).max()))
            if history[-1] <= goal or n_iter >= max_iter:
                break
            if patience.ends(history[-1]) and single:
                break
            W = fixed_point(found) @ W
            n_iter += 1
    return W, found, n_iter, history


def minibatches(rows, W, geometry, n_passes, rng):
    """Infomax on the rotations: natural gradient steps over batches of rows.

    Steps are divided by the running diagonal approximation of the Hessian, so that
    their length, 1 / (2 + t / 10) at step t, has no units. The gradients returned are
    means over a pass, during which the map moves.
    """
    k = rows.n_components
    n_rows = max(_MIN_BATCH_ROWS, _BATCH_ROWS * k)
    product, slope, n_steps, history = np.zeros((k, k)), np.zeros(k), 0, []
    for _ in range(n_passes):
        total, n_batches = np.zeros((k, k)), 0
        for Z in rows.batches(n_rows, rng):
            found = evaluate_sources(Z @ W.T, geometry.fun)
            n_steps += 1
            # The first batches count alike, later ones by an exponential mean.
            share = max(1.0 / n_steps, 0.05)
            product += share * (found.product - product)
            slope += share * (found.slope - slope)
            running = found._replace(product=product, slope=slope)
            signs = geometry.signs(running, W)
            gradient = geometry.gradient(found, W, signs)
            total += gradient
            n_batches += 1
            solve = geometry.solver(running, W, signs)
            W = geometry.move(W, -solve(gradient) / (2.0 + n_steps / 10.0))
        history.append(float(np.abs(total / n_batches).max()))
    return W, history
