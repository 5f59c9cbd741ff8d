"""The search for a rotation, on all rows and on parts of them."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import check_random_state

from skident.metrics import match_components
from skident.solvers import ica, ica_gradient, whitening
from skident.utils._shards import output_dtype

_MAX_SEED = np.iinfo(np.int32).max
# Rows on which the components of two fits are correlated.
_COMPARED_ROWS = 100_000


def check_rows(n_samples, white, dtype):
    """Raise ``ValueError`` for too few rows, or units that ``dtype`` does not hold."""
    n_components = len(white.matrix)
    if n_samples < 2 * n_components:
        raise ValueError(
            f"n_samples = {n_samples} is too few for {n_components} components, which "
            f"need at least {2 * n_components} rows: lower n_components."
        )
    smallest = np.sqrt(white.explained_variance[-1])
    if 1 / smallest > np.finfo(output_dtype(dtype)).max:
        raise ValueError(
            f"X has components of standard deviation {smallest:.1e}, whose inverse is "
            f"no float32: change its units (n_samples = {n_samples})."
        )


def check_solver(est):
    """Raise ``ValueError`` if the whitening cannot choose a number of components."""
    given = est.n_components
    if est.whiten_solver == "randomized" and not isinstance(given, Integral):
        raise ValueError(
            'whiten_solver="randomized" finds a given number of components: '
            f"n_components must be an integer, got {given!r}. Other solvers know the "
            "whole spectrum that it takes to choose one."
        )


@dataclass
class Optimum:
    """A rotation of a whitened space and how it was reached; as ``ICAResult``.

    ``scale`` of shape (k,) is the standard deviation of components at which the
    likelihood has its optimum, where the search had no orthogonal constraint.
    """

    rotation: np.ndarray
    n_iter: int
    converged: bool
    gradient_norm: float
    loss: float
    density_sign: np.ndarray
    history: np.ndarray
    scale: np.ndarray | None = None


def search(est, X, white, seed):
    """The rotation of a whitened space that an estimator asks for.

    Parameters
    ----------
    est : ICAPostProcessor
    X : ndarray of shape (n_samples, n_features)
    white : Whitening
    seed : int

    Returns
    -------
    found : Optimum
        For the controls :func:`complete` has yet to fill in gradient and loss.
    """
    k = len(white.matrix)
    if est.rotation == "ica":
        found = ica(
            X,
            white,
            algorithm=est.algorithm,
            fun=est.fun,
            extended=est.extended,
            max_iter=est.max_iter,
            tol=est.tol,
            memory=est.memory,
            ls_tries=est.ls_tries,
            lambda_min=est.lambda_min,
            n_init=est.n_init,
            w_init=est.w_init,
            warm_start_subsample=est.warm_start_subsample,
            random_state=seed,
            device=est.device,
        )
        # Without the orthogonal constraint the scale is that of the densities.
        scale = np.linalg.norm(found.rotation, axis=1)
        own = {"rotation": found.rotation / scale[:, None]}
        if est.algorithm == "picard":
            own["scale"] = scale
        return Optimum(**(found._asdict() | own))
    rotation = np.eye(k)
    if est.rotation == "random":
        normal = np.random.default_rng(seed).standard_normal((k, k))
        q, r = np.linalg.qr(normal)
        # Signs that make the law of q uniform.
        rotation = q * np.sign(np.diag(r))
    return Optimum(rotation, 0, True, np.nan, np.nan, np.ones(k), np.zeros(0))


def complete(est, found, Y):
    """Fill in what a search did not tell, from some rows of components."""
    if est.rotation != "ica":
        gradient, found.loss, _ = ica_gradient(Y, est.fun, est.extended)
        found.gradient_norm = float(np.abs(gradient).max())
    if not est.extended:
        # What the score assumes; the search calls the sign of the score itself 1.
        found.density_sign = np.full(len(found.rotation), assumed_sign(est.fun))
    elif est.rotation != "ica" or est.fun != "tanh":
        found.density_sign = peakedness(Y)


def assumed_sign(fun):
    """Density sign of every component when these are not told apart."""
    return -1.0 if fun == "cube" else 1.0


def peakedness(Y):
    """1 where the density is super-Gaussian by the log cosh contrast, else -1."""
    tanh = np.tanh(Y)
    return np.where((1 - tanh * tanh - tanh * Y).mean(axis=0) >= 0, 1.0, -1.0)


def agreement_of_parts(est, shards, n_splits, per_component):
    """Agreement of fits on disjoint parts; see ``ICAPostProcessor.stability``."""
    k, smallest = est.n_components_, len(shards) // n_splits
    if smallest < 2 * k:
        raise ValueError(
            f"n_samples = {len(shards)} leaves parts of {smallest} rows, too few for "
            f"{k} components, which need at least {2 * k}: lower n_splits."
        )
    random_state = check_random_state(est.random_state)
    parts = random_state.permutation(len(shards)) % n_splits
    seeds = random_state.randint(_MAX_SEED, size=n_splits)
    # A common start would make the parts agree.
    template = clone(est).set_params(n_components=k, w_init=None)
    fits = Parallel(n_jobs=est.n_jobs)(
        delayed(_fit_part)(template, shards, parts == part, int(seed))
        for part, seed in enumerate(seeds)
    )
    step = max(1, len(shards) // _COMPARED_ROWS)
    rows = shards.read(np.arange(0, len(shards), step))
    found = [fit.transform(rows) for fit in fits]
    if per_component:
        own = est.transform(rows)
        return np.mean([_correlations(own, Y) for Y in found], axis=0)
    pairs = [
        _correlations(found[a], found[b]).sum() / k
        for a in range(n_splits)
        for b in range(a)
    ]
    return float(np.mean(pairs))


def _correlations(Y1, Y2):
    """Absolute correlation of each component with its match; 0 for none."""
    return np.nan_to_num(match_components(Y1, Y2).correlations)


def _fit_part(template, shards, part, seed):
    """A fit on some of the rows, silent: the whole fit has warned."""
    # Filters of warnings would not do, as threads share them.
    rows = shards.read(np.flatnonzero(part))
    est = clone(template).set_params(random_state=seed)
    try:
        return est._fitted(rows, checked=False)[0]
    except ValueError:
        # Directions that few rows have are not in every part.
        rank = whitening(rows, None, rank_tol=est.rank_tol).rank
        if rank >= est.n_components:
            raise
    return est.set_params(n_components=rank)._fitted(rows, checked=False)[0]
