"""From an order of the nodes to the edges of a graph."""

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import t as t_law
from sklearn.ensemble import ExtraTreesRegressor

from skident.discovery._independence_tests import independence_p_value
from skident.discovery._kernel_ridge import SmoothRegression
from skident.discovery._spline_tests import SplineBasis, spline_p_values

METHODS = ("cam", "ci", "score")
# Kernels see little in more dimensions: "ci" has its predecessors chosen first. So has
# "cam" where rows are too few for all; else all at once are both faster and safer, as a
# parent that is passed over lends its effect to others.
_MOST_GIVEN = 20
_FOREST_ROWS = 2000
# A predecessor takes at least three columns: as many rows for each as this.
_ROWS_EACH = 10
_LARGEST_SCORE = 300.0
_N_POINTS = 200
_STEP = 1e-2
# Draws of the null of each predecessor, and of all together, at least.
_LEAST_NULL, _MIN_NULL = 3, 12


def prune_order(
    blocks,
    order,
    *,
    method="cam",
    alpha=1e-3,
    noise_scales=None,
    score_differences=None,
    max_rows=1000,
    n_jobs=None,
    rng=None,
):
    """Edges of the graph with a given order.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, d), float64
        Rows of each environment, the base first.
    order : sequence of d ints
        Nodes, sources first.
    method : {"cam", "ci", "score"} or None, default="cam"
        None keeps every edge that the order allows. "cam" tests whether the mean or the
        spread of a node depends on a predecessor, by additive splines. "ci" tests
        whether the two are independent given all other predecessors, by kernels.
        "score" looks at how the score differences of a node, once all its descendants
        are removed, change with a predecessor.
    alpha : float, default=1e-3
        Level of the test of each edge.
    noise_scales : ndarray of shape (n_environments, d) or None, default=None
        For the weights of "cam"; None estimates them.
    score_differences : callable or None, default=None
        For "score": from standardised ``blocks`` of the nodes that remain and points
        (m, r) to differences (E, m, r) of the auxiliary environments' scores from the
        base's, and the least density of the environments at the points (m,).
    max_rows : int, default=1000
        Rows an environment of "ci" and "score"; more are drawn from.
    n_jobs : int or None, default=None
        Nodes at a time.
    rng : numpy.random.Generator or None, default=None

    Returns
    -------
    adjacency : ndarray of shape (d, d), int
        1 at [i, j] for i -> j.
    edge_scores : ndarray of shape (d, d)
        ``-log10`` of the p-value, at most 300; an edge is kept above ``-log10(alpha)``.
        0 where the order allows no edge, infinite where it was not tested.
    """
    rng = np.random.default_rng(rng)
    order = np.asarray(order)
    d = len(order)
    adjacency, scores = np.zeros((d, d), dtype=int), np.zeros((d, d))
    if method is None:
        for place, j in enumerate(order):
            adjacency[order[:place], j] = 1
        scores[adjacency == 1] = np.inf
        return adjacency, scores
    if method != "cam":
        blocks = [
            block[np.sort(rng.permutation(len(block))[:max_rows])] for block in blocks
        ]
    seeds = rng.integers(np.iinfo(np.int64).max, size=d)
    X = np.concatenate(blocks)
    codes = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    basis = SplineBasis(X, codes) if method == "cam" else None
    tasks = []
    for place in range(1, d):
        j, before = order[place], order[:place]
        task_rng = np.random.default_rng(seeds[place])
        if method == "cam":
            scales = None if noise_scales is None else noise_scales[:, j]
            task = delayed(_spline_task)(X, basis, before, j, alpha, scales, task_rng)
        elif method == "ci":
            task = delayed(_independence_task)(X, codes, before, j, task_rng)
        else:
            some = [block[:, np.append(before, j)] for block in blocks]
            task = delayed(_score_task)(some, score_differences, task_rng)
        tasks.append(task)
    for place, p_values in enumerate(Parallel(n_jobs=n_jobs)(tasks), start=1):
        j, before = order[place], order[:place]
        adjacency[before, j] = p_values < alpha
        with np.errstate(divide="ignore"):
            scores[before, j] = np.minimum(-np.log10(p_values), _LARGEST_SCORE)
    return adjacency, scores


def _spline_task(X, basis, before, j, alpha, scales, rng):
    p_values = np.ones(len(before))
    chosen = _chosen(X, basis.codes, before, j, np.inf, rng)
    mean, spread = spline_p_values(X[:, j], basis, before[chosen], alpha / 2, scales)
    p_values[chosen] = np.minimum(2.0 * np.minimum(mean, spread), 1.0)
    return p_values


def _independence_task(X, codes, before, j, rng):
    p_values = np.ones(len(before))
    chosen = _chosen(X, codes, before, j, _MOST_GIVEN, rng)
    blocks = [X[codes == e] for e in range(codes.max() + 1)]
    for k in chosen:
        given = before[chosen[chosen != k]]
        p_values[k] = independence_p_value(blocks, before[k], j, given, rng)
    return p_values


def _chosen(X, codes, before, j, most, rng):
    most = min(most, max(1, len(X) // _ROWS_EACH))
    if len(before) <= most:
        return np.arange(len(before))
    return preselect(X[:, before], X[:, j], codes, int(most) // 2 + 1, rng)


def preselect(columns, y, codes, few, rng):
    """Predecessors of more than mean importance to extremely random trees.

    Parameters
    ----------
    columns : ndarray of shape (n, n_predecessors)
    y : ndarray of shape (n,)
    codes : ndarray of shape (n,)
    few : int
        Keep at most so many for the mean, and as many for the spread.
    rng : numpy.random.Generator

    Returns
    -------
    chosen : ndarray of int
        Sorted.
    """
    rows = np.sort(rng.permutation(len(y))[:_FOREST_ROWS])
    columns, y, codes = columns[rows], y[rows], codes[rows]
    counts = np.maximum(np.bincount(codes), 1)
    y = y - (np.bincount(codes, y) / counts)[codes]
    linear = np.column_stack([columns, np.ones(len(y))])
    residuals = np.abs(y - linear @ np.linalg.lstsq(linear, y, rcond=None)[0])
    means = np.maximum(np.bincount(codes, residuals) / counts, np.finfo(float).tiny)
    spread = np.log(np.maximum(residuals / means[codes], 1e-6))
    chosen = set()
    for target in (y, spread):
        forest = ExtraTreesRegressor(
            50,
            max_depth=10,
            min_samples_leaf=5,
            random_state=int(rng.integers(np.iinfo(np.int32).max)),
        )
        importances = forest.fit(columns, target).feature_importances_
        ranked = np.argsort(-importances, kind="stable")[:few]
        chosen.update(ranked[importances[ranked] > importances.mean()].tolist())
    return np.array(sorted(chosen), dtype=int)


def _score_task(blocks, score_differences, rng):
    """P-values of the predecessors of the last column, from score differences.

    The score differences of a node without descendants are a function of its noise,
    hence of its parents and itself. How much they change with another node, relative
    to the change with the node itself, is compared with what is left of it when that
    node keeps its dependence on all other predecessors, and what is left of it given
    them is permuted within each environment.
    """
    rows = np.concatenate(blocks)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    blocks = [(block - mean) / scale for block in blocks]
    n_before = rows.shape[1] - 1
    found = np.log(_relative_gradients(blocks, score_differences, rng))
    rows = np.concatenate(blocks)
    ends = np.cumsum([len(block) for block in blocks])[:-1]
    null, n_draws = [], max(_LEAST_NULL, -(-_MIN_NULL // n_before))
    for k in range(n_before):
        others = np.delete(np.arange(n_before), k)
        regression = SmoothRegression(rows[:, others], rng)
        _, rest, _ = regression.fit(rows[:, [k]])
        fitted = np.split(rows[:, k] - rest[:, 0], ends)
        logs = []
        for _ in range(n_draws):
            permuted = [block.copy() for block in blocks]
            for block, mean, part in zip(
                permuted, fitted, np.split(rest[:, 0], ends), strict=True
            ):
                block[:, k] = mean + rng.permutation(part)
            gradients = _relative_gradients(permuted, score_differences, rng)
            logs.append(np.log(gradients[k]))
        null.append(logs)
    # A permutation for each edge and level would cost thousands of fits: logarithms
    # are taken for draws of normal laws, each of its own mean and all of one variance.
    null = np.array(null)
    means, free = null.mean(axis=1), null.size - n_before
    variance = np.sum((null - means[:, None]) ** 2) / free
    spread = np.sqrt(max(variance, np.finfo(float).eps) * (1.0 + 1.0 / n_draws))
    return t_law.sf((found - means) / spread, free)


def _relative_gradients(blocks, score_differences, rng):
    """Mean change of the last node's score differences with each other node."""
    rows = np.concatenate(blocks)
    points = rows[rng.permutation(len(rows))[: 2 * _N_POINTS]]
    _, density = score_differences(blocks, points)
    points = points[np.argsort(-density, kind="stable")[:_N_POINTS]]
    r = points.shape[1]
    steps = _STEP * np.eye(r)
    moved = np.concatenate([points + step for step in (*steps, *-steps)])
    differences, _ = score_differences(blocks, moved)
    last = differences[:, :, -1].reshape(len(differences), 2, r, len(points))
    slopes = np.abs(last[:, 0] - last[:, 1]).mean(axis=(0, 2))
    # Noise that did not change at all leaves nothing to compare.
    return np.maximum(slopes[:-1], np.finfo(float).tiny) / max(
        slopes[-1], np.finfo(float).tiny
    )
