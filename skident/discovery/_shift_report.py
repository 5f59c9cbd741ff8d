"""What the environments say of the assumptions behind shifted nodes."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skident.discovery._rescaling import one_scale, rescaled_alike
from skident.discovery._shift_statistics import noise_scores, smallest_gap
from skident.utils import Assumption, IdentifiabilityReport

# Every test errs once in a thousand times where its null hypothesis is true.
LEVEL = 1e-3
# Excess kurtosis below which a component counts as near Gaussian, whatever the rows.
NEAR_GAUSSIAN = 0.2
# A score that a shift of practical size reaches; noise should stay below it.
VISIBLE_SCORE = 0.2
# Splits, times the error that is left to the threshold, that a quantile of their scores
# takes: Gaussian errors of five nodes meet 0.05 from four splits on, but three give
# 0.09, and ten 0.025 where 0.01 is asked for (20: 0.014).
LEAST_SPLITS = 0.2
# 15 degrees: three of these are 45, where another direction is as near.
MAX_ANGLE = np.pi / 12
# Gaps of psi, in standard errors, from which ranks in two environments agree.
MIN_GAP = 3.0
# Share of the variance that the directions kept may leave out as noise.
MAX_LEFT_OUT = 0.05
# Times the score that noise gives to first order: simulated scores of nodes that did
# not shift are up to 4 times that, where noise has 5 % of the variance.
ABOVE_NOISE = 4.0
# Rows for ranks of magnitudes.
RANK_ROWS = 4096
_LEAST_ROWS = 32


@dataclass
class Evidence:
    """What a fit measured, components in the reference order.

    Parameters
    ----------
    labels : list
        Of the K environments.
    n_samples : ndarray of int of shape (K,)
    aligned : Aligned
    spectra : list of K ndarrays of shape (p,)
        Eigenvalues of each covariance.
    pooled : ndarray of shape (p,)
        Eigenvalues of the pooled covariance.
    angles : ndarray of shape (K,)
        Largest principal angle of each span to that of the first environment, radians.
    rank_tol : float
    tol : float
    chosen : bool
        Whether the user gave the number of components.
    matching : str
    scores : ndarray of shape (K, K, d)
    shifted : ndarray of bool of shape (K, K, d)
    undecided : ndarray of int or None
        Components of which these data cannot tell; None if not calibrated.
    splits : float or None
        Number of splits times the error level; None if not calibrated.
    n_disagreeing : int
        Components that shifted or not, as two environments are matched.
    n_failed : int
        Halves of splits that could not be unmixed.
    same_scale : float
    """

    labels: list
    n_samples: np.ndarray
    aligned: tuple
    spectra: list
    pooled: np.ndarray
    angles: np.ndarray
    rank_tol: float
    tol: float
    chosen: bool
    matching: str
    scores: np.ndarray
    shifted: np.ndarray
    undecided: np.ndarray | None
    splits: float | None
    n_disagreeing: int
    n_failed: int
    same_scale: float

    @classmethod
    def of(cls, est, read, aligned, n_disagreeing, n_failed):
        """Of an estimator that has all but its report, and what it was made from."""
        calibrated = est.threshold == "calibrated"
        level = 1 - est.calibration_quantile
        return cls(
            labels=read.labels,
            n_samples=read.sizes,
            aligned=aligned,
            spectra=[one.spectrum for one in read.own],
            pooled=est.spectrum_,
            angles=est.subspace_angles_,
            rank_tol=est.rank_tol,
            tol=est.tol,
            chosen=est.n_components is not None,
            matching=est.matching,
            scores=est.shift_scores_,
            shifted=est.pairwise_shifted_,
            undecided=est.undecided_nodes_ if calibrated else None,
            # Rounded, as 1 - 0.95 is not 0.05.
            splits=round(est.n_calibration * level, 9) if calibrated else None,
            n_disagreeing=n_disagreeing,
            n_failed=n_failed,
            same_scale=rescaled_alike(read.described, read.rows),
        )

    @property
    def d(self):
        """Number of components."""
        return self.shifted.shape[-1]

    @property
    def never(self):
        """Which components shifted in no pair."""
        return ~self.shifted.any(axis=(0, 1))


def make_report(found):
    """The report on a fit.

    Parameters
    ----------
    found : Evidence

    Returns
    -------
    report : IdentifiabilityReport
    """
    K, d = len(found.labels), found.d
    assumptions = [
        Assumption.at_least(
            "there are environments to compare", "number of environments", K, 2
        ),
        _gaussian(found),
        Assumption.at_least(
            "enough rows for a rotation",
            "rows of the smallest environment, against 5 n_components^2",
            int(found.n_samples.min()),
            5 * d * d,
        ),
        _optimum(found),
        _rounding(found),
        _independent(found),
        _left_out(found),
        _cut(found),
    ]
    if K > 1:
        assumptions += [
            _one_mixing(found),
            one_scale("feature", found.same_scale),
            *_matched(found),
            _same_laws(found),
            _some_kept(found),
            _above_noise(found),
            _enough_splits(found),
            _visible(found),
        ]
    assumptions.append(
        Assumption(
            "latents follow a linear acyclic model", "any noises are those of one"
        )
    )
    return IdentifiabilityReport(
        target=(
            "the nodes whose mechanism shifted"
            if K > 1
            else "the noises of one environment; no shift, for want of another one"
        ),
        up_to="permutation and sign of the components",
        assumptions=assumptions,
        notes=_notes(found),
        advice="Set n_components: noise makes any rank full."
        if _took_all(found)
        else "",
    )


# --- one environment at a time -----------------------------------------------------


def n_near_gaussian(kurtosis, n_samples):
    """Components that may be Gaussian, by excess kurtosis.

    ICA chooses directions for their kurtosis or the like. The largest kurtosis over all
    directions of m-dimensional Gaussian rows is sqrt(24 / n) times the maximum of a
    Gaussian process on the sphere whose increments are at most twice the angle: below
    ``2 sqrt(m) + sqrt(2 log(1 / LEVEL))`` but for one case in ``1 / LEVEL`` (Sudakov,
    Fernique and Borell). The m components of the smallest kurtosis may be Gaussian if
    all of them are below that bound.

    Parameters
    ----------
    kurtosis : ndarray of shape (d,)
    n_samples : int

    Returns
    -------
    count : int
    """
    size = np.sort(np.abs(kurtosis))
    m = np.arange(1, len(size) + 1)
    noise = np.sqrt(24.0 / n_samples)
    bound = noise * (2 * np.sqrt(m) + np.sqrt(-2 * np.log(LEVEL)))
    below = np.flatnonzero(size <= np.maximum(NEAR_GAUSSIAN, bound))
    return int(below[-1]) + 1 if len(below) else 0


def _gaussian(found):
    counts = [
        n_near_gaussian(one.kurtosis, n)
        for one, n in zip(found.aligned.unmixed, found.n_samples, strict=True)
    ]
    return Assumption.at_most(
        "at most one Gaussian noise",
        f"components of an excess kurtosis below {NEAR_GAUSSIAN:g}, or that Gaussian "
        "rows would reach; the most in an environment",
        max(counts),
        1,
    )


def _optimum(found):
    # Sampling turns the gradient by about 1 / sqrt(n): a tenth of that does no harm.
    limits = np.maximum(found.tol, 0.1 / np.sqrt(found.n_samples))
    ratios = [one.gradient_norm for one in found.aligned.unmixed] / limits
    return Assumption.at_most(
        "the optimum was reached",
        "largest entry of the gradient, over tol or a tenth of its sampling error",
        float(ratios.max()),
        1,
    )


def _rounding(found):
    return Assumption.at_most(
        "no component is made of rounding",
        "largest angle (rad) by which rounding of X turns one",
        max(float(one.rounding.max()) for one in found.aligned.unmixed),
        MAX_ANGLE,
    )


def rank_dependence(Y):
    """Largest rank correlation of magnitudes, and its bound for independent columns."""
    Y = np.abs(Y[:: max(1, -(-len(Y) // RANK_ROWS))])
    n, d = Y.shape
    if d < 2 or n < _LEAST_ROWS:
        return np.nan, np.nan
    ranks = stats.rankdata(Y, axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.sqrt(np.maximum(np.square(ranks).sum(axis=0), 1.0))
    pairs = np.abs(ranks.T @ ranks)[np.triu_indices(d, 1)]
    bound = stats.norm.isf(LEVEL / (2 * len(pairs))) / np.sqrt(n - 1)
    return float(pairs.max()), float(bound)


def _independent(found):
    tests = [rank_dependence(one.sample) for one in found.aligned.unmixed]
    name = "noises are independent"
    ratios = [statistic / bound for statistic, bound in tests]
    if np.isnan(ratios).all():
        return Assumption(name, "takes two components and more rows")
    worst = int(np.nanargmax(ratios))
    return Assumption.at_most(
        name,
        "largest rank correlation of magnitudes within an environment; "
        f"{1 - LEVEL:.1%} bound",
        *tests[worst],
    )


def _left_out(found):
    d, p = found.d, len(found.pooled)
    name = "there is no measurement noise"
    if d == p:
        return Assumption(name, "as many components as features leave nothing out")
    share = found.pooled[d:].sum() / found.pooled.sum()
    return Assumption.at_most(
        name,
        "share of the variance that the components leave out",
        float(share),
        MAX_LEFT_OUT,
    )


def cut_angle(spectrum, d, n_samples, *, largest=False):
    """Standard error, in radians, of principal directions that are kept.

    Directions i and j are mixed at the variance ``l_i l_j / ((l_i - l_j)^2 n)`` that
    principal components of Gaussian rows have.

    Parameters
    ----------
    spectrum : ndarray of shape (p,)
        Descending.
    d : int
        Number kept.
    n_samples : int
    largest : bool, default=False
        Whether of the whole span, by the sum over all kept directions, instead of the
        last one.
    """
    kept = spectrum[:d] if largest else spectrum[d - 1 : d]
    rest = spectrum[d:]
    gap = kept[:, None] - rest
    if (gap <= 0).any():
        return np.pi / 2
    variance = (kept[:, None] * rest / gap**2).sum() / n_samples
    return float(min(np.sqrt(variance), np.pi / 2))


def _cut(found):
    name = "the spectrum has a gap where it is cut"
    if found.d == len(found.pooled):
        return Assumption(name, "nothing is cut")
    return Assumption.at_most(
        name,
        f"standard error (rad) of principal direction {found.d} of {len(found.pooled)}",
        cut_angle(found.pooled, found.d, int(found.n_samples.sum())),
        MAX_ANGLE,
    )


# --- across environments -----------------------------------------------------------


def angle_bounds(found):
    """Angles that sampling and rounding leave between the spans of environments."""
    d = found.d
    errors, rounding = [], []
    for spectrum, n in zip(found.spectra, found.n_samples, strict=True):
        errors.append(cut_angle(spectrum, d, n, largest=True))
        # Rounding of a covariance turns its eigenvectors by at most about this.
        rounding.append(1e-14 * spectrum[0] / max(spectrum[d - 1], 1e-300))
    errors, rounding = np.array(errors), np.array(rounding)
    # Directions that count as empty can hold the root of rank_tol of a unit vector.
    bounds = 4 * (errors + errors[0]) + rounding + rounding[0]
    return np.minimum(bounds + np.sqrt(found.rank_tol), np.pi / 2)


def _one_mixing(found):
    name = "one mixing for all environments"
    if found.d == len(found.pooled):
        return Assumption(name, "with as many components as features all spans agree")
    bounds = angle_bounds(found)
    bounded = 1 + np.flatnonzero(bounds[1:] < np.pi / 2)
    if len(bounded) == 0:
        return Assumption(name, "so few rows, or so much noise, leave any angle")
    worst = int(bounded[(found.angles / bounds)[bounded].argmax()])
    return Assumption.at_most(
        name,
        "largest principal angle (rad) of the span of environment "
        f"{found.labels[worst]!r} to that of the first; four standard errors",
        float(found.angles[worst]),
        float(bounds[worst]),
    )


def _matched(found):
    if found.matching in ("psi", "distribution"):
        gaps = [
            smallest_gap(one.sources.psi, one.psi_stderr)
            for one in found.aligned.unmixed
        ]
        yield Assumption.at_least(
            "laws of the noises are told apart",
            "smallest gap of psi over its standard error",
            float(np.min(gaps)),
            MIN_GAP,
        )
    if found.matching != "psi":
        margins = found.aligned.margins[1:, found.never]
        name = "components that did not shift have one partner"
        if margins.size and np.isfinite(margins).all():
            yield Assumption.at_least(
                name, "smallest cost of another partner less its own", margins.min(), 0
            )
        else:
            yield Assumption(name, "takes two components, one of which did not shift")
    if len(found.labels) > 2:
        yield Assumption.at_most(
            "environments are matched alike directly and through the first",
            "components shifted in one way but not the other, the most in a pair",
            found.n_disagreeing,
            0,
        )


def _same_laws(found):
    name = "noises keep their laws"
    ratios, statistics, bounds = [], [], []
    never = np.flatnonzero(found.never)
    n_tests = len(never) * (len(found.labels) - 1)
    samples = [
        one.sample[:, order] * sign
        for one, order, sign in zip(*found.aligned[:3], strict=True)
    ]
    first = samples[0]
    for Y in samples[1:]:
        scale = np.sqrt(1 / len(first) + 1 / len(Y))
        for i in never:
            test = stats.ks_2samp(first[:, i], Y[:, i], method="asymp")
            bound = np.sqrt(-np.log(LEVEL / (2 * n_tests)) / 2) * scale
            statistics.append(float(test.statistic))
            bounds.append(float(bound))
            ratios.append(test.statistic / bound)
    if not ratios:
        return Assumption(name, "takes a component that did not shift")
    worst = int(np.argmax(ratios))
    return Assumption.at_most(
        name,
        "largest Kolmogorov-Smirnov distance of a component that did not shift to that "
        f"of the first environment; {1 - LEVEL:.1%} bound",
        statistics[worst],
        bounds[worst],
    )


def _some_kept(found):
    name = "between any two environments some mechanism is the same"
    if found.d == 1:
        return Assumption(name, "takes two components")
    K = len(found.labels)
    return Assumption.at_most(
        name,
        f"pairs, out of {K * (K - 1) // 2}, in which every component shifted: as it "
        "would seem if features were mixed otherwise, in other units, or rescaled one "
        "environment at a time",
        int(np.triu(found.shifted.all(axis=-1), 1).sum()),
        0,
    )


def undecided(shifted, threshold):
    """Components not found shifted, but whose threshold hides scores of 0.2.

    Parameters
    ----------
    shifted : ndarray of bool of shape (K, K, d)
    threshold : ndarray of shape (K, K, d)

    Returns
    -------
    nodes : ndarray of int
    """
    off = ~np.eye(len(shifted), dtype=bool)[:, :, None]
    hidden = (off & (threshold > VISIBLE_SCORE)).any(axis=(0, 1))
    return np.flatnonzero(hidden & ~shifted.any(axis=(0, 1)))


def _above_noise(found):
    d, p = found.d, len(found.pooled)
    name = "noise does not pass for shifts"
    if d == p:
        return Assumption(name, "as many components as features show no noise")
    if not found.shifted.any():
        return Assumption(name, "takes a component that shifted")
    noise = noise_scores(found.aligned.unmixing, found.pooled[d:].mean())
    ratios = np.full(noise.shape, np.inf)
    np.divide(found.scores, noise, out=ratios, where=found.shifted & (noise > 0))
    return Assumption.at_least(
        name,
        "smallest score found, over what noise as in the directions left out gives",
        float(ratios.min()),
        ABOVE_NOISE,
    )


def _enough_splits(found):
    name = "enough splits for the error level"
    if found.splits is None:
        return Assumption(name, 'takes threshold="calibrated"')
    return Assumption.at_least(
        name,
        "n_calibration times (1 - calibration_quantile)",
        found.splits,
        LEAST_SPLITS,
    )


def _visible(found):
    name = f"a shift that scores {VISIBLE_SCORE:g} would be seen"
    if found.undecided is None:
        return Assumption(name, 'takes threshold="calibrated"')
    return Assumption.at_most(
        name,
        "components not found shifted whose threshold is above that",
        len(found.undecided),
        0,
    )


def warn_of_fit(est):
    """Warn of searches that did not converge, and of broken assumptions."""
    labels = est.environments_.tolist()
    for k in np.flatnonzero(~est.converged_):
        warnings.warn(
            f"ICA of environment {labels[k]!r} did not converge in "
            f"{est.n_iter_[k]} iterations: the largest entry of the gradient is "
            f"{est._gradient[k]:.3g}, wanted tol={est.tol:.3g}. Increase max_iter or "
            "tol.",
            ConvergenceWarning,
            stacklevel=4,
        )
    est.identifiability_.warn(est)


def _took_all(found):
    """Whether all features count as components, and nobody has said so."""
    return not found.chosen and found.d == len(found.pooled) > 1


def _notes(found):
    d, p = found.d, len(found.pooled)
    notes = []
    if found.undecided is not None and len(found.undecided):
        notes.append(
            "These data cannot tell whether components "
            f"{found.undecided.tolist()} shifted: their rows differ as much between "
            "halves of one environment."
        )
    if found.n_failed:
        notes.append(
            f"{found.n_failed} halves of environments span fewer than {d} dimensions "
            "and count as no information."
        )
    if _took_all(found):
        ratios = found.pooled[:-1] / np.maximum(found.pooled[1:], 1e-300)
        at = int(ratios.argmax())
        notes.append(
            f"n_components=None took all {p} features for components, as the rank is "
            "full. Noise makes any rank full: set n_components where there is some. "
            f"The largest gap of the spectrum is after {at + 1}, a ratio of "
            f"{ratios[at]:.3g}."
        )
    return notes
