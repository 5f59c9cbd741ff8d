"""Components of rows that arrive in pieces."""

import copy

import numpy as np
from scipy import linalg

from skident.decomposition._ica_refits import no_refits
from skident.decomposition._ica_report import (
    CHUNK_ROWS,
    SAMPLE_ROWS,
    Measured,
    measure_marginals,
)
from skident.decomposition._ica_search import (
    Optimum,
    assumed_sign,
    check_rows,
    peakedness,
    search,
)
from skident.decomposition._ica_statistics import (
    Marginals,
    density_signs,
    distance_dependence,
    nearest_rotation,
    pair_means,
    rank_dependence,
    score_functions,
    score_means,
)
from skident.solvers import Moments, ica_gradient, whitening

# Largest angle of a step, in radians.
_MAX_STEP = 0.5
# A smaller minibatch costs as many products of small matrices for fewer rows.
_LEAST_BATCH = 256


class Stream:
    """State of ``partial_fit``: moments, components and running means.

    The rotation takes one step of Infomax for each minibatch: the relative gradient,
    divided by the diagonal Hessian, times the share that the batch has in all rows so
    far, doubled. Such steps forget the start as fast as 1 / n and cost a third more
    variance than the optimum for all rows. Running means weigh rows by their number in
    the stream, as the steps do, so that components that have since moved fade.
    ``refits`` are in the order of the components; a new number of components drops
    them.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features):
        self.moments = Moments(n_features)
        self.components = self.levels = self.gradient = None
        self.dependence = self.running = None
        self.refits = no_refits(0)
        self.weight = self.weight_square = 0.0
        self.eps = 0.0
        self.n_steps = 0

    def updated(self, est, shards, seed):
        """A new stream that has seen more rows, its whitening, optimum and measures.

        Parameters
        ----------
        est : ICAPostProcessor
        shards : Shards
            The rows.
        seed : int
            Of the first search.
        """
        new = copy.deepcopy(self)
        for block in shards.chunks(CHUNK_ROWS):
            new.moments.update(block)
        white = whitening(
            new.moments,
            est.n_components,
            solver="randomized" if est.whiten_solver == "randomized" else "eigh",
            rank_tol=est.rank_tol,
            random_state=0,
        )
        n_samples, k = new.moments.n_samples, len(white.matrix)
        check_rows(n_samples, white, shards.dtype)
        if new.components is None:
            found = search(est, shards.parts[0], white, seed)
            rotation, new.n_steps = found.rotation, found.n_iter
            new.gradient = np.full((k, k), found.gradient_norm)
        else:
            scale = (white.matrix * white.explained_variance[:, None]).T
            rotation = nearest_rotation(new.components, scale)
            if est.rotation == "none":
                rotation = np.eye(k)
            if est.rotation == "none" or k != len(new.components):
                new.levels, new.weight, new.weight_square = None, 0.0, 0.0
                new.gradient = None
            if est.rotation == "ica":
                rotation = new._search(est, shards, white, rotation)
        if k != len(new.refits.stability):
            new.refits = no_refits(k)
        new.components = rotation @ white.matrix
        new.eps = max(new.eps, np.finfo(shards.dtype).eps)
        optimum, measured = new._measure(est, shards, white, rotation)
        return new, white, optimum, measured

    def _search(self, est, shards, white, rotation):
        """The rotation after one step for each minibatch."""
        k = len(rotation)
        n_seen = self.moments.n_samples - len(shards)
        for block in shards.chunks(max(_LEAST_BATCH, 4 * k)):
            n_seen += len(block)
            Y = (block - white.mean) @ (rotation @ white.matrix).T
            psi, slope = score_functions(Y, est.fun)
            product = psi.T @ Y / len(Y)
            share = min(1.0, 2 * len(Y) / n_seen)
            new = np.stack([slope.mean(axis=0), np.diag(product)])
            old = new if self.levels is None else self.levels
            self.levels = slope, own = (1 - share) * old + share * new
            signs = np.where((slope >= own) | (not est.extended), 1.0, -1.0)
            held = signs * (slope - own)
            hessian = np.maximum((held[:, None] + held) / 2, est.lambda_min)
            # All rows are white, these alone are not: see ``rotation_errors``.
            level = signs * (slope + own)
            gap = (level[:, None] - level) / 2
            product = signs[:, None] * product
            gradient = (product - product.T - gap * (Y.T @ Y / len(Y))) / 2
            old = gradient if self.gradient is None else self.gradient
            self.gradient = (1 - share) * old + share * gradient
            step = share * gradient / hessian
            largest = np.abs(step).max()
            if largest > _MAX_STEP:
                step *= _MAX_STEP / largest
            rotation = linalg.expm(-step) @ rotation
            self.n_steps += 1
        left, _, right = linalg.svd(rotation)
        return left @ right

    def _measure(self, est, shards, white, rotation):
        """Running means with the new rows in them, as an ``Optimum`` and measures."""
        n_new, n_samples, k = len(shards), self.moments.n_samples, len(rotation)
        components = rotation @ white.matrix
        marginals = measure_marginals(shards.chunks(CHUNK_ROWS), white, rotation)
        # Row t of n weighs t / n: the old rows lose the share of the new ones, whose
        # own weights rise evenly from ``fade`` to 1.
        fade = 1 - n_new / n_samples
        own = n_new * (1 + fade) / 2
        old, self.weight = fade * self.weight, fade * self.weight + own
        self.weight_square *= fade**2
        self.weight_square += n_new * (1 + fade + fade**2) / 3

        def blended(new, i):
            return (old * self.running[i] + own * new) / self.weight if old else new

        pairs, slope, level = np.zeros((6, k, k)), np.zeros(k), np.zeros(k)
        for block in shards.chunks(CHUNK_ROWS):
            Y = (block - white.mean) @ components.T
            level += score_means(Y, est.fun) * (len(Y) / n_new)
        level = blended(level, 3)
        for block in shards.chunks(CHUNK_ROWS):
            Y = (block - white.mean) @ components.T
            found = pair_means(Y, est.fun, level)
            for total, mean in zip((pairs, slope), found, strict=True):
                total += mean * (len(Y) / n_new)
        rows = shards.sample(SAMPLE_ROWS, np.random.default_rng(n_samples))
        Y = (shards.read(rows) - white.mean) @ components.T
        dependence = rank_dependence(Y), distance_dependence(Y)
        # A call of a few rows says nothing of it: what was measured before stays.
        if self.dependence is None or not np.isnan(dependence[0].statistic):
            self.dependence = dependence

        new = (blended(new, i) for i, new in enumerate((marginals.means, pairs, slope)))
        means, pairs, slope = new
        self.running = means, pairs, slope, level

        signs = density_signs(pairs, slope) if est.extended else np.ones(k)
        peaked = signs if est.fun == "tanh" else peakedness(Y)
        if not est.extended:
            peaked = np.full(k, assumed_sign(est.fun))
        exact, loss, _ = ica_gradient(Y, est.fun, est.extended)
        # Running too; the gradient of a few rows would be all noise.
        gradient = exact if est.rotation != "ica" else self.gradient
        found = Optimum(
            rotation=rotation,
            n_iter=self.n_steps,
            converged=True,
            gradient_norm=float(np.abs(gradient).max()),
            loss=loss,
            density_sign=peaked,
            history=np.zeros(0),
        )
        variance = np.diag(self.moments.covariance)
        measured = Measured(
            marginals=Marginals(means, self.weight**2 / self.weight_square),
            pairs=(pairs, slope),
            dependence=self.dependence,
            mean_square=variance + np.where(variance > 0, self.moments.mean, 0.0) ** 2,
            eps=self.eps,
            n_samples=n_samples,
            streamed=True,
        )
        return found, measured
