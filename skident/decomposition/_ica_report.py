"""What a fitted rotation identifies: attributes, verdicts, report and warnings."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats
from sklearn.exceptions import ConvergenceWarning

from skident.decomposition._ica_refits import RETURN_ANGLE
from skident.decomposition._ica_statistics import (
    LEVEL,
    Dependence,
    Marginals,
    RotationErrors,
    canonical_order,
    canonical_signs,
    cut_angle,
    density_signs,
    distance_dependence,
    likelihood_errors,
    marginal_sums,
    negentropy_bound,
    pair_means,
    rank_dependence,
    rotation_errors,
    rounding_angles,
    score_means,
)
from skident.solvers._ica_kernel import fits_single
from skident.utils import Assumption, IdentifiabilityReport

# A component stands for itself as long as it points nearer to its own limit than 45
# degrees, where another could be as near: 15 degrees are that at three standard errors.
MAX_ANGLE = np.pi / 12

# Rows for what takes products of all pairs of components.
SAMPLE_ROWS = 4096
# Products of whitened rows in float32 lose digits with the root of this ratio.
_FLOAT32_CONDITION = 1e6
CHUNK_ROWS = 4096
# Entries of a block whose dozen work arrays stay in the cache.
_CACHED_ENTRIES = 2**15
# Normalisers of exp(-y^2 / 2) / cosh(y), by quadrature, and of exp(-y^2 / 2) cosh(y).
_LOG_PEAKED = np.log(1.8580739884965434)
_LOG_FLAT = (np.log(2 * np.pi) + 1) / 2


@dataclass
class Measured:
    """What the rows say about components, in the order of the rotation.

    Parameters
    ----------
    marginals : Marginals
        Of each component.
    pairs : tuple of two ndarrays
        As :func:`pair_means` returns them.
    dependence : tuple of two Dependence
        By rank and by distance correlation.
    mean_square : ndarray of shape (n_features,)
        Mean square of each feature.
    eps : float
        Relative spacing of the numbers of ``X``.
    n_samples : int
        Number of rows seen.
    streamed : bool, default=False
        Whether means are running ones, so that no gradient is zero.
    """

    marginals: Marginals
    pairs: tuple[np.ndarray, np.ndarray]
    dependence: tuple[Dependence, Dependence]
    mean_square: np.ndarray
    eps: float
    n_samples: int
    streamed: bool = False


def measure_marginals(chunks, white, rotation):
    """Marginals of components, in one pass over the rows."""
    components = rotation @ white.matrix
    fast = white.condition_number <= _FLOAT32_CONDITION and fits_single(white.matrix)
    turned = components.T.astype(np.float32 if fast else np.float64)
    n_rows = max(64, _CACHED_ENTRIES // max(components.shape))
    sums, n_samples = 0.0, 0
    for chunk in chunks:
        for low in range(0, len(chunk), n_rows):
            centred = chunk[low : low + n_rows] - white.mean
            sums = sums + marginal_sums(centred.astype(turned.dtype) @ turned)
        n_samples += len(chunk)
    return Marginals(sums / n_samples, n_samples)


def measure_pairs(rows, white, found, fun):
    """Pair means, dependence, and the components of some rows themselves."""
    Y = (rows - white.mean) @ (found.rotation @ white.matrix).T
    dependence = rank_dependence(Y), distance_dependence(Y)
    scaled = Y if found.scale is None else Y * found.scale
    return pair_means(scaled, fun, score_means(scaled, fun)), dependence, Y


class Described(NamedTuple):
    """What a verdict takes beyond the attributes of an estimator.

    Parameters
    ----------
    order : ndarray of shape (k,)
        Canonical order, as numbers in the rotation that was found.
    errors : RotationErrors
    rounding : ndarray of shape (k,)
        Angle by which rounding turns each component.
    bound : float
        Negentropy of Gaussian rows.
    """

    order: np.ndarray
    errors: RotationErrors
    rounding: np.ndarray
    bound: float


def describe(est, white, found, measured, dtype):
    """Set the fitted attributes of an estimator, in canonical order and sign.

    But for the verdict: ``identified_mask_`` has the candidates that :func:`conclude`
    chooses from.

    Parameters
    ----------
    est : ICAPostProcessor
    white : Whitening
    found : Optimum
    measured : Measured
    dtype : dtype
        Of ``components_`` and ``mixing_``.

    Returns
    -------
    described : Described
    """
    searched = est.rotation == "ica"
    k = len(white.matrix)
    scale = white.matrix * white.explained_variance[:, None]
    mixing = linalg.solve(found.rotation.T, scale).T
    energy = np.square(mixing).sum(axis=0)
    order = canonical_order(energy, measured.marginals.kurtosis, est.order)
    signs = canonical_signs(measured.marginals, mixing, est.sign)[order]
    marginals = measured.marginals.turned(order, signs)

    est.n_components_ = k
    est.n_samples_seen_ = int(measured.n_samples)
    est.mean_, est.whitening_ = white.mean, white.matrix
    est.explained_variance_ = white.explained_variance
    est.spectrum_ = white.spectrum
    est.condition_number_ = white.condition_number
    est.rotation_ = found.rotation[order] * signs[:, None]
    components = est.rotation_ @ white.matrix
    est.components_ = components.astype(dtype)
    est.mixing_ = (mixing[:, order] * signs).astype(dtype)
    est.component_energy_ = energy[order]
    est.kurtosis_, est.negentropy_ = marginals.kurtosis, marginals.negentropy
    est.density_sign_ = found.density_sign[order]
    bound = negentropy_bound(k, marginals.n_samples, searched=searched)
    est.gaussian_mask_ = est.negentropy_ <= bound
    est.n_iter_, est.converged_ = int(found.n_iter), bool(found.converged)
    est.gradient_norm_, est.loss_ = float(found.gradient_norm), float(found.loss)
    est.history_ = {"gradient_norm": np.asarray(found.history, dtype=np.float64)}

    means, slope = measured.pairs
    if found.scale is None:
        pair_signs = density_signs(means, slope) if est.extended else np.ones(k)
        errors = rotation_errors(means, slope, pair_signs, marginals.n_samples)
    else:
        errors = likelihood_errors(
            means, slope, found.scale, est.extended, marginals.n_samples
        )
    rounding = rounding_angles(components, measured.mean_square, measured.eps)
    if searched:
        est.angle_stderr_ = errors.angle[order]
        alone = est.gaussian_mask_.sum() < 2
        est.identified_mask_ = (
            (~est.gaussian_mask_ | alone)
            & (est.angle_stderr_ <= MAX_ANGLE)
            & (rounding <= MAX_ANGLE)
        )
    else:
        est.angle_stderr_ = np.full(k, np.pi / 2)
        est.identified_mask_ = np.zeros(k, dtype=bool)
    return Described(order, errors, rounding, bound)


def conclude(est, white, measured, described, refits):
    """Set the verdict on every component and the report.

    Parameters
    ----------
    est : ICAPostProcessor
        Described.
    white : Whitening
    measured : Measured
    described : Described
    refits : Refits
        In canonical order.
    """
    est.stability_ = refits.stability
    est.identified_mask_ = est.identified_mask_ & refits.back
    est.identifiability_ = _report(est, white, measured, described, refits)


def _report(est, white, measured, described, refits):
    k, n_samples = est.n_components_, measured.n_samples
    space, cut = [_rounding(described.rounding, measured.eps)], None
    if k < white.rank:
        cut = Assumption.at_most(
            "the spectrum has a gap where it is cut",
            f"standard error (rad) of principal direction {k} of {white.rank}",
            cut_angle(white.spectrum, k, n_samples),
            MAX_ANGLE,
        )
        space.append(cut)
    amplified = np.sqrt(est.condition_number_)
    notes = [
        f"Whitening amplifies differences between runs up to {amplified:.3g} times: "
        f"the condition number of the covariance is {est.condition_number_:.3g}."
    ]
    if est.rotation != "ica":
        notes.append(f'rotation="{est.rotation}" is a control: no axes are identified.')
        return IdentifiabilityReport(
            target="whitened coordinates",
            up_to="orthogonal map",
            assumptions=space,
            notes=notes,
        )
    n_kept = int(est.identified_mask_.sum())
    notes.append(f"identified_mask_ keeps {n_kept} of {k} components.")
    if n_kept and cut is not None and cut.verdict == "violated":
        notes.append(
            "They are what this n_components gives: the spectrum is cut where it has "
            "no gap, and another cut can give others."
        )
    target = f"the {k} components"
    if not refits.n_refits:
        # No assumption fails, and yet none of them may be relied on.
        target = f"none of the {k} components as yet, for want of rows to refit on"
    return IdentifiabilityReport(
        target=target,
        up_to="permutation and sign (canonical in components_)",
        assumptions=[
            Assumption.at_most(
                "at most one Gaussian component",
                "components of a negentropy that Gaussian rows would reach "
                f"({described.bound:.2g} nats)",
                int(est.gaussian_mask_.sum()),
                1,
            ),
            Assumption.at_least(
                "enough rows for a rotation",
                "rows, against 5 n_components^2",
                n_samples,
                5 * k * k,
            ),
            _sampling(est),
            _return(est, refits),
            *space,
            Assumption.at_most(
                "the optimum was reached",
                "largest entry of the gradient, against tol and its sampling error",
                est.gradient_norm_,
                max(est.tol, _gradient_bound(described.errors, measured.streamed, k)),
            ),
            *_independence(*measured.dependence),
            Assumption(
                "components are the factors behind the data",
                "needs a decoder that is nearly an isometry: bilipschitz_constants",
            ),
        ],
        stability=_summary(refits),
        notes=notes,
    )


def _gradient_bound(errors, streamed, n_components):
    """How large a gradient the rows themselves explain."""
    low, high = errors.gradient
    if not streamed or n_components == 1:
        return low
    # Both the rotation and the gradient are then off by sampling, in every pair.
    n_pairs = n_components * (n_components - 1) / 2
    return float(high * np.sqrt(2) * stats.norm.isf(LEVEL / (2 * n_pairs)))


def _rounding(rounding, eps):
    return Assumption.at_most(
        "no component is made of rounding",
        f"largest angle (rad) by which numbers of relative spacing {eps:.1g} turn one",
        float(rounding.max()),
        MAX_ANGLE,
    )


def _sampling(est):
    angles = est.angle_stderr_[_directed(est)]
    name = "other rows would give the same components"
    if len(angles) == 0:
        return Assumption(name, "no component is told from a Gaussian one")
    return Assumption.at_most(
        name,
        "largest standard error (rad) of a direction, Gaussian components left out",
        float(angles.max()),
        MAX_ANGLE,
    )


def _directed(est):
    """Components but for Gaussian ones without a direction, which have their line."""
    if est.gaussian_mask_.sum() > 1:
        return ~est.gaussian_mask_
    return np.ones(est.n_components_, dtype=bool)


def _return(est, refits):
    name = "components come back from other rows and another start"
    directed = _directed(est)
    if not directed.any():
        return Assumption(name, "no component is told from a Gaussian one")
    if not refits.n_refits:
        return Assumption(name, "too few rows at a time to refit on halves of them")
    return Assumption.at_most(
        name,
        f"components that turn by more than {np.degrees(RETURN_ANGLE):.1f} degrees in "
        f"one of {refits.n_refits} refits on {refits.n_rows} rows, Gaussian ones left "
        "out",
        int((~refits.back[directed]).sum()),
        0,
    )


def _summary(refits):
    if not refits.n_refits:
        return None
    found = refits.stability
    return {"mean correlation": float(found.mean()), "smallest": float(found.min())}


def _independence(rank, distance):
    if np.isnan(rank.statistic):
        why = "takes two components and more rows"
        return [Assumption("magnitudes are independent", why)]
    level = f"{1 - LEVEL:.1%} bound for independent ones, {{}} rows"
    return [
        Assumption.at_most(
            "magnitudes are uncorrelated",
            "largest rank correlation of squared components; "
            + level.format(rank.n_samples),
            rank.statistic,
            rank.bound,
        ),
        Assumption.at_most(
            "magnitudes are independent",
            "largest distance correlation of squared components; "
            + level.format(distance.n_samples),
            distance.statistic,
            distance.bound,
        ),
    ]


def log_likelihood(chunks, est, weights):
    """Mean log-likelihood of rows, weighted, under the fitted components.

    The densities are proportional to ``exp(-y^2 / 2 - s log cosh y)``: for fixed signs
    s their likelihood is the tanh loss, up to a constant.
    """
    components = est.rotation_ @ est.whitening_
    signs = est.density_sign_
    total, low = 0.0, 0
    for block in chunks:
        Y = (block - est.mean_) @ components.T
        size = np.abs(Y)
        log_cosh = size + np.log1p(np.exp(-2 * size)) - np.log(2)
        of_rows = (0.5 * np.square(Y) + signs * log_cosh).sum(axis=1)
        total -= weights[low : low + len(Y)] @ of_rows
        low += len(Y)
    constant = np.where(signs > 0, _LOG_PEAKED, _LOG_FLAT).sum()
    volume = np.linalg.slogdet(est.rotation_)[1]
    volume -= np.log(est.explained_variance_).sum() / 2
    return float(total / weights.sum() - constant + volume)


def warn_of_rank(est, white, constant):
    """Warn of constant features, and of a rank below the number of features."""
    n_features = est.n_features_in_
    if white.rank == n_features or white.solver == "randomized":
        return
    found = np.flatnonzero(constant)
    if len(found):
        some = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
        warnings.warn(
            f"{len(found)} of {n_features} features of X are constant and left out: "
            f"{some}.",
            UserWarning,
            stacklevel=4,
        )
    if est.n_components is None and white.rank + len(found) < n_features:
        warnings.warn(
            f"X has numerical rank {white.rank} with {n_features} features: some are "
            "linear combinations of others, or vary too little beside the largest for "
            f"rank_tol={est.rank_tol:.3g}. There are {white.rank} components.",
            UserWarning,
            stacklevel=4,
        )


def warn_of_fit(est):
    """Warn of a search that did not converge, or a broken assumption."""
    if not est.converged_:
        warnings.warn(
            f"ICA did not converge in {est.n_iter_} iterations: the largest entry of "
            f"the gradient is {est.gradient_norm_:.3g}, wanted tol={est.tol:.3g}. "
            "Increase max_iter or tol.",
            ConvergenceWarning,
            stacklevel=4,
        )
    est.identifiability_.warn(est)


def constant_features(chunks):
    """Whether all rows agree, for each feature."""
    first, constant = None, True
    for block in chunks:
        first = block[0] if first is None else first
        constant = constant & (block == first).all(axis=0)
    return constant
