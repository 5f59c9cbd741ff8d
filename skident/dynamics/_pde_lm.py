"""Coefficients of an equation, by least squares through its solutions on patches."""

import warnings
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from skident.dynamics._pde_solve import patch_residuals
from skident.solvers._pde_factor import NOT_DETERMINED

# Damping of the first step from zero and from a start, in units of the diagonal, and
# its factor up and down.
_DAMPING, _WARM, _FACTOR = 1e-3, 1e-6, 5.0
_MAX_REJECTIONS = 8
# Losses of clean data differ by rounding and discretisation: differences below this
# share of the data's variance mean nothing.
CLEAN = 1e-6
# Share of the loss that is tolerance enough where a fit is only to be found near.
ROUGH = 1e-2
# A patch is like the others up to this multiple of the loss that this share of patches
# has: noise alone moves losses of a thousand nodes by five per cent.
_ALIKE, _COMMON = 1.5, 0.25
# Directions of the scaled Gauss-Newton matrix below this share of the largest are not
# moved along: their length would be rounding.
_FLAT = 1e-13


@dataclass(frozen=True)
class LMFit:
    """Coefficients that make solutions on patches fit their data.

    Attributes
    ----------
    theta : ndarray of shape (n_terms,)
        Of ``u_t = sum theta_j term_j``, zero outside ``support``.
    support : ndarray of bool of shape (n_terms,)
    loss : float
        Mean squared residual over observed nodes of all patches, those of a patch
        counted with its weight, in squared units of the field.
    weights : ndarray of shape (n_patches,)
        What each patch counted.
    stderr : ndarray of shape (n_terms,)
        Standard errors; NaN outside ``support``.
    t_ratios : ndarray of shape (n_terms,)
        ``theta / stderr``; NaN outside ``support``.
    covariance : ndarray of shape (n_chosen, n_chosen)
        Of the chosen coefficients.
    residuals : list of ndarray
        A patch's solution minus its data at observed nodes.
    n_residuals : int
        Number of residuals, in all patches.
    n_iter : int
        Steps taken.
    converged : bool
    solutions : list of ndarray, each of its patch's shape
    solver_residual : float
        Largest relative residual of the linear solves.
    gram : ndarray of shape (n_chosen, n_chosen)
        Gauss-Newton matrix at ``theta``.
    """

    theta: np.ndarray
    support: np.ndarray
    loss: float
    weights: np.ndarray
    stderr: np.ndarray
    t_ratios: np.ndarray
    covariance: np.ndarray
    residuals: list
    n_residuals: int
    n_iter: int
    converged: bool
    solutions: list
    solver_residual: float
    gram: np.ndarray

    def loss_on(self, patches):
        """Loss on some of the patches, given as a slice."""
        squares = np.array([part @ part for part in self.residuals[patches]])
        counts = np.array([len(part) for part in self.residuals[patches]])
        weights = self.weights[patches]
        return float(weights @ squares / (weights @ counts))


def fit_pde_terms(
    patches,
    terms,
    support=None,
    theta0=None,
    *,
    weights=None,
    field=0,
    max_iter=12,
    tol=1e-6,
    far=np.inf,
    linear_solver="auto",
    n_jobs=None,
):
    """Fit coefficients by Levenberg-Marquardt steps.

    Parameters
    ----------
    patches : sequence of Patch
    terms : sequence of PDETerm
    support : array-like of bool of shape (n_terms,) or None, default=None
        Terms whose coefficients are free, the others are zero; ``None`` is all.
    theta0 : array-like of shape (n_terms,) or None, default=None
        Start; ``None`` is zero, where every patch has a solution.
    weights : array-like of shape (n_patches,) or None, default=None
        What each patch counts, as :func:`patch_weights` makes them; ``None`` is 1.
    field : int, default=0
        Whose equation it is.
    max_iter : int, default=12
        Steps at most.
    tol : float, default=1e-6
        Stop when a step promises to lower the loss by no more than this share of the
        loss and a millionth of the data's variance.
    far : float, default=inf
        Stop above this loss when a step promises to lower it by no more than one per
        cent: for a caller to whom all such losses are one.
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None
        Patches at a time, through joblib.

    Returns
    -------
    fit : LMFit
    """
    support = np.ones(len(terms), bool) if support is None else np.array(support, bool)
    theta = np.zeros(len(terms)) if theta0 is None else np.array(theta0, float)
    theta[~support] = 0.0
    weights = np.ones(len(patches)) if weights is None else np.array(weights, float)
    with Parallel(n_jobs=n_jobs) as pool:
        problem = _Problem(pool, patches, terms, support, weights, field, linear_solver)
        damping = _DAMPING if theta0 is None else _WARM
        return _levenberg_marquardt(problem, theta, damping, max_iter, tol, far)


def patch_weights(fit, floor):
    """What each patch should count after a fit of all terms.

    Where the grid is too coarse for a field, at a shock or an irregular start, its
    solutions miss the data by far more than elsewhere, and would drag coefficients
    along.

    Parameters
    ----------
    fit : LMFit
        With all terms: what a term explains must not count as a fault of a patch.
    floor : float
        Losses below are as good as equal, in squared units of the field.

    Returns
    -------
    weights : ndarray of shape (n_patches,)
        1 up to a loss that is common among the patches, then one over the loss: with
        noise alone every patch counts 1.
    """
    losses = np.array([np.mean(part**2) for part in fit.residuals])
    common = _ALIKE * max(floor, float(np.quantile(losses, _COMMON)))
    return np.minimum(1.0, common / np.maximum(losses, common))


@dataclass
class _State:
    theta: np.ndarray
    sse: float
    gram: np.ndarray
    slope: np.ndarray
    parts: list


@dataclass(frozen=True)
class _Problem:
    pool: Parallel
    patches: list
    terms: list
    support: np.ndarray
    weights: np.ndarray
    field: int
    linear_solver: str

    def at(self, theta):
        """Sums of squares over patches, and their derivatives."""
        parts = self.pool(
            delayed(_on_patch)(
                patch, self.terms, theta, self.support, self.field, self.linear_solver
            )
            for patch in self.patches
        )
        k = int(self.support.sum())
        gram, slope, sse = np.zeros((k, k)), np.zeros(k), 0.0
        # In the order of patches, whatever the number of workers.
        for weight, part in zip(self.weights, parts, strict=True):
            gram += weight * part["gram"]
            slope += weight * part["slope"]
            sse += weight * part["sse"]
        return _State(theta, sse, gram, slope, parts)

    def loss(self, state):
        """Mean squared residual, weighted."""
        counts = [len(part["residuals"]) for part in state.parts]
        return state.sse / (self.weights @ counts)

    def trial(self, theta):
        """As :meth:`at`; None where a patch has no solution at these coefficients."""
        with warnings.catch_warnings():
            # Of a step that is refused; the residual of one that is taken is kept.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                return self.at(theta)
            except ValueError as error:
                if str(error) != NOT_DETERMINED:
                    raise
                return None


def _on_patch(patch, terms, theta, support, field, linear_solver):
    values, seen, residuals, jacobian, worst = patch_residuals(
        patch, terms, theta, support, field=field, linear_solver=linear_solver
    )
    tiles, members = _tiles(patch, seen)
    scores = members @ (jacobian * residuals[:, None])
    return {
        "values": values.reshape(patch.shape),
        "residuals": residuals,
        "gram": jacobian.T @ jacobian,
        "slope": jacobian.T @ residuals,
        "sse": float(residuals @ residuals),
        "scores": dict(zip(tiles, scores, strict=True)),
        "worst": worst,
    }


def _tiles(patch, seen):
    """Boxes of the experiment's grid, of a patch's size, and which nodes they hold.

    Returns
    -------
    tiles : list of tuple
    members : ndarray of shape (n_tiles, n_seen)
        One where the tile holds the node, else zero.
    """
    places = np.unravel_index(seen, patch.shape)
    label, tiles = np.zeros(len(seen), dtype=int), [(patch.experiment,)]
    for place, low, n in zip(places, patch.start, patch.shape, strict=True):
        first = low // n
        label = 2 * label + ((place + low) // n - first)
        tiles = [(*tile, first + step) for tile in tiles for step in (0, 1)]
    members = (label == np.arange(len(tiles))[:, None]).astype(float)
    return tiles, members


def _levenberg_marquardt(problem, theta, damping, max_iter, tol, far):
    state = problem.trial(theta) if theta.any() else None
    if state is None:  # at zero every patch has a solution
        state = problem.at(np.zeros(len(theta)))
    n_iter, converged = 0, False
    data = field_data(problem.patches, problem.field)
    floor = CLEAN * float(data.var()) * len(data)
    while True:
        step = _damped(state, 0.0)
        share = tol if problem.loss(state) <= far else max(tol, ROUGH)
        if -step @ state.slope <= share * (state.sse + floor):
            converged = True
            break
        if n_iter == max_iter:
            break
        for _ in range(_MAX_REJECTIONS):
            theta = state.theta.copy()
            theta[problem.support] += _damped(state, damping)
            trial = problem.trial(theta)
            if trial is not None and trial.sse < state.sse:
                break
            damping *= _FACTOR
        else:
            break
        state, n_iter = trial, n_iter + 1
        damping /= _FACTOR
    return _summarise(problem, state, n_iter, converged)


def _damped(state, damping):
    """Step of the damped normal equations, in units of the diagonal."""
    return -gram_inverse(state.gram, damping) @ state.slope


def field_data(patches, field):
    """Observed entries of one field, those in several patches repeated."""
    data = np.concatenate([patch.data[..., field].ravel() for patch in patches])
    return data[np.isfinite(data)]


def gram_inverse(gram, damping=0.0):
    """Inverse of a Gauss-Newton matrix, without directions that nothing moves."""
    scale = np.sqrt(np.diag(gram))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram / np.multiply.outer(scale, scale))
    flat = values <= _FLAT * values[-1:].sum()
    values = np.where(flat, 1.0, values + damping)
    vectors = np.where(flat, 0.0, vectors) / scale[:, None]
    return (vectors / values) @ vectors.T


def _summarise(problem, state, n_iter, converged):
    parts, support = state.parts, problem.support
    counts = np.array([len(part["residuals"]) for part in parts])
    n_residuals = int(counts.sum())
    loss = problem.loss(state)
    k = int(support.sum())
    inverse = gram_inverse(state.gram)
    n_nodes, overlap = _overlap(problem.patches, problem.field)
    variance = loss * n_nodes / max(n_nodes - k, 1)
    covariance = variance * overlap * inverse
    scores = {}
    for weight, part in zip(problem.weights, parts, strict=True):
        for tile, score in part["scores"].items():
            scores[tile] = scores.get(tile, 0.0) + weight * score
    scores = {tile: score for tile, score in scores.items() if score.any()}
    if len(scores) > 1:
        meat = inverse @ np.array(list(scores.values())).T
        clustered = meat @ meat.T * (len(scores) / (len(scores) - 1))
        # The larger of the two, term by term: tiles are few, so theirs is uncertain;
        # it is the one that sees errors of the smooth field, which do not vary from
        # node to node.
        ratio = np.sqrt(np.diag(clustered) / np.maximum(np.diag(covariance), 1e-300))
        ratio = np.maximum(ratio, 1.0)
        covariance = covariance * np.multiply.outer(ratio, ratio)
    stderr = np.full(len(support), np.nan)
    stderr[support] = np.sqrt(np.diag(covariance))
    theta = np.where(support, state.theta, 0.0)
    return LMFit(
        theta=theta,
        support=support,
        loss=loss,
        weights=problem.weights,
        stderr=stderr,
        t_ratios=np.divide(
            theta, stderr, out=np.full(len(theta), np.nan), where=stderr > 0
        ),
        covariance=covariance,
        residuals=[part["residuals"] for part in parts],
        n_residuals=n_residuals,
        n_iter=n_iter,
        converged=converged,
        solutions=[part["values"] for part in parts],
        solver_residual=max(part["worst"] for part in parts),
        gram=state.gram,
    )


def _overlap(patches, field):
    """Number of distinct observed nodes, and how much their repeats inflate variances.

    A node in m patches has its noise counted m times: the variance of a sum of scores
    is then at most sum(m^2) / sum(m) times what independent residuals would give.
    """
    seen = {}
    for patch in patches:
        place = np.stack(np.nonzero(np.isfinite(patch.data[..., field])), axis=1)
        place += np.array(patch.start)
        seen.setdefault(patch.experiment, []).append(place)
    counts = []
    for places in seen.values():
        places = np.concatenate(places).T
        # One number a node: rows take ten times as long to count.
        nodes = np.ravel_multi_index(places, places.max(axis=1, initial=0) + 1)
        counts.append(np.unique(nodes, return_counts=True)[1])
    counts = np.concatenate(counts)
    return len(counts), float(np.square(counts).sum() / counts.sum())
