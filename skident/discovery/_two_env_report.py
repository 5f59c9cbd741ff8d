"""What several environments say of the assumptions behind a causal graph."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from skident.discovery._causal_order import CausalOrder
from skident.discovery._rescaling import Block, describe, one_scale, rescaled_alike
from skident.discovery._scores import covariance_of, is_singular
from skident.utils import Assumption, IdentifiabilityReport

# Every test errs about once in a thousand times where its null hypothesis is true.
LEVEL = 1e-3
# Standard errors from which a change, or a difference of ratios, counts as seen.
SEEN = 3.0
# Departures of this size are of no consequence, however many rows prove them: a
# distance of distributions, a rank correlation, a shift in standard deviations.
NEGLIGIBLE = 0.1
# Share of the edges whose direction may stay open (a convention).
MAX_OPEN = 0.25
# Scores that are learnt from rows blur ratios, of which standard errors know nothing.
# Between noises whose coefficients lie on lines closer than this, in degrees, 64 % of
# the edges had the right direction, of others 96 % (230 edges, 46 models, 600 rows).
BLUR = 10.0
_RANK_ROWS = 2000


@dataclass
class Evidence:
    """What a fit measured.

    Parameters
    ----------
    labels : list
        Of the environments, base first.
    names : list of d str
        Of the nodes.
    blocks : list of ndarray of shape (n_e, d)
        Rows, base first.
    found : CausalOrder
    route : str
        How the order was found.
    adjacency : ndarray of shape (d, d)
    noises : list of ndarray of shape (n_e, d), or None
        In units of the base environment.
    noise_scales : ndarray of shape (E + 1, d) or None
    p_values : ndarray of shape (d - 1,) or None
        Of the sinks.
    open_edges : ndarray of bool of shape (d, d) or None
        Edges whose tail, too, was as good as a sink.
    pruned : bool
        Whether edges were tested.
    blur : float
        Angle in degrees below which the route does not tell two ratios apart, be they
        as well known as they may.
    fewest_rows : int
        Rows of each environment that are wanted.
    notes : list of str
    """

    labels: list
    names: list
    blocks: list
    found: CausalOrder
    route: str
    adjacency: np.ndarray
    noises: list | None
    noise_scales: np.ndarray | None
    p_values: np.ndarray | None
    open_edges: np.ndarray | None
    pruned: bool
    blur: float
    fewest_rows: int
    notes: list


def make_report(fit):
    """The report on a fit.

    Parameters
    ----------
    fit : Evidence

    Returns
    -------
    report : IdentifiabilityReport
    gaps : ndarray of shape (d, d)
        Between the noise ratios of two nodes, in standard errors; NaN if unknown.
    """
    K = len(fit.labels)
    gaps = ratio_gaps(fit)
    assumptions = [
        Assumption.at_least(
            "a base and two auxiliary environments", "number of environments", K, 3
        ),
        Assumption.at_least(
            "enough rows in every environment",
            "rows of the smallest, against max(50, 5 n_features)",
            min(map(len, fit.blocks)),
            fit.fewest_rows,
        ),
        Assumption.at_most(
            "every environment has full rank",
            "environments whose correlations are singular",
            sum(map(_singular, fit.blocks)),
            0,
        ),
        Assumption.at_most(
            "every column is continuous",
            "largest share of an environment's rows that repeat one value",
            max(map(_repeats, fit.blocks)),
            NEGLIGIBLE,
        ),
    ]
    if K > 1:
        rows = [Block(block) for block in fit.blocks]
        same_scale = rescaled_alike([describe(one) for one in rows], rows)
        assumptions += [one_scale("column", same_scale), *_rescaled(fit, gaps)]
        assumptions += _only_rescaled(fit)
    assumptions += [
        _independent(fit),
        _sinks(fit),
        _directions(fit),
        Assumption(
            "no hidden confounder", "shows only where it leaves noises dependent"
        ),
    ]
    report = IdentifiabilityReport(
        target=_target(fit),
        up_to=_up_to(fit),
        assumptions=assumptions,
        notes=_notes(fit, gaps),
    )
    return report, gaps


def _target(fit):
    if len(fit.labels) < 3:
        return "a causal order of " + fit.route
    found, provisos = "the causal graph", []
    if _has_open(fit):
        edges = _listed(fit, fit.open_edges, most=3)
        provisos.append(f"but for the direction of {edges}, and what hangs on it")
    if fit.noises is None:
        provisos.append("if noises changed as assumed")
    if provisos:
        found += f" ({'; '.join(provisos)})"
    return found if fit.noises is None else found + ", and the mechanisms along it"


def _up_to(fit):
    if len(fit.labels) < 3:
        return "what is assumed"
    return "nothing" if fit.noises is None else "a monotone relabelling of each noise"


def _has_open(fit):
    return fit.open_edges is not None and fit.open_edges.any()


def _listed(fit, edges, most=10):
    """Edges by the names of their nodes."""
    pairs = np.argwhere(edges)
    found = ", ".join(f"{fit.names[i]} -> {fit.names[j]}" for i, j in pairs[:most])
    return found + (f" and {len(pairs) - most} more" if len(pairs) > most else "")


def _singular(block):
    spread = block.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return is_singular(covariance_of(block / spread))


def _repeats(block):
    counts = (np.unique(column, return_counts=True)[1].max() for column in block.T)
    return float((max(counts) - 1) / len(block))


# --- noises that are rescaled --------------------------------------------------------


def scale_errors(fit):
    """Squared standard errors (E + 1, d) of the logarithm of each noise's scale."""
    errors = []
    for noises in fit.noises:
        centred = noises - noises.mean(axis=0)
        square = np.square(centred)
        spread = square.mean(axis=0)
        fourth = np.square(square).mean(axis=0)
        kurtosis = fourth / np.where(spread > 0, np.square(spread), 1.0)
        error = np.maximum(kurtosis - 1.0, 0.0) / (4 * len(noises))
        # Two rows have a kurtosis of 1, be they what they may: the normal law's value.
        errors.append(error if len(noises) > 2 else np.full(len(error), np.pi**2 / 8))
    return np.stack(errors)


def ratio_gaps(fit):
    """Angles between the coefficients of two noises, in standard errors, (d, d).

    A noise's coefficients are ``1 - lambda^-2`` over auxiliary environments; a pair of
    nodes is told apart where theirs are not proportional.
    """
    d = len(fit.names)
    if fit.noises is None or len(fit.labels) < 3:
        return np.full((d, d), np.nan)
    errors = scale_errors(fit)
    slopes = fit.noise_scales[1:] ** -2.0
    C = (1.0 - slopes).T
    # Of log lambda: those of an environment and, common to all, of the base.
    own = [np.diag(errors[1:, j]) + errors[0, j] for j in range(d)]
    covariances = [4 * np.outer(slopes[:, j], slopes[:, j]) * own[j] for j in range(d)]
    lengths = np.linalg.norm(C, axis=1)
    units = C / np.where(lengths > 0, lengths, 1.0)[:, None]
    variances = np.array(
        [np.trace(V) - u @ V @ u for V, u in zip(covariances, units, strict=True)]
    )
    variances /= np.where(lengths > 0, lengths, np.nan) ** 2
    cosines = np.clip(np.abs(units @ units.T), 0.0, 1.0)
    # Rows of two values have a fourth moment without spread.
    errors = np.sqrt(np.maximum(variances[:, None] + variances, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.arccos(cosines) / errors
    # No coefficient at all has every ratio.
    gaps = np.nan_to_num(gaps, nan=0.0, posinf=np.inf)
    np.fill_diagonal(gaps, np.nan)
    return gaps


def _rescaled(fit, gaps):
    changes = "every noise changes its size in every auxiliary environment"
    ratios = "the noises of cause and effect change in different ratios"
    if fit.noises is None:
        why = "takes mechanisms: mechanism=None"
        return [Assumption(changes, why), Assumption(ratios, why)]
    errors = scale_errors(fit)
    logs = np.abs(np.log(fit.noise_scales[1:]))
    seen = logs / np.maximum(np.sqrt(errors[1:] + errors[0]), np.finfo(float).tiny)
    found = [
        Assumption.at_least(
            changes,
            "smallest logarithm of a scale, in standard errors",
            float(seen.min()),
            SEEN,
        )
    ]
    tails, heads = np.nonzero(fit.adjacency)
    if len(fit.labels) < 3:
        return [*found, Assumption(ratios, "takes two auxiliary environments")]
    if len(tails) == 0:
        return [*found, Assumption(ratios, "the graph has no edge")]
    close = gaps[tails, heads] < SEEN
    test = f"share of edges whose ratios differ by less than {SEEN:g} standard errors"
    if fit.blur > 0:
        close |= ratio_angles(fit.noise_scales)[tails, heads] < fit.blur
        test += f", or by less than the {fit.blur:g} degrees that scores blur"
    return [*found, Assumption.at_most(ratios, test, float(close.mean()), MAX_OPEN)]


def ratio_angles(noise_scales):
    """Angles (d, d) between the lines of two noises' coefficients, in degrees."""
    C = 1.0 - noise_scales[1:].T ** -2.0
    lengths = np.linalg.norm(C, axis=1, keepdims=True)
    C = C / np.where(lengths > 0, lengths, 1.0)
    return np.degrees(np.arccos(np.clip(np.abs(C @ C.T), 0.0, 1.0)))


def _only_rescaled(fit):
    shape = "noises are only rescaled: mechanisms and laws are shared"
    centre = "no noise has moved"
    if fit.noises is None:
        why = "takes mechanisms: mechanism=None"
        return [Assumption(shape, why), Assumption(centre, why)]
    base, middles, unit = _centred(fit.noises[0])
    distance, bound, move, most = 0.0, np.inf, 0.0, np.inf
    n, n_tests = len(base), (len(fit.noises) - 1) * base.shape[1]
    z = stats.norm.isf(LEVEL / (2 * n_tests))
    for noises in fit.noises[1:]:
        units, medians, spread = _centred(noises)
        # Kolmogorov's law for two samples; medians and scales are estimated, so that
        # it is an upper bound.
        critical = stats.kstwobign.isf(LEVEL / n_tests)
        critical = max(NEGLIGIBLE, critical * np.sqrt(1 / n + 1 / len(units)))
        for j in range(base.shape[1]):
            # Found up to a relabelling, a noise need be rescaled in one of them only.
            ks = stats.ks_2samp(base[:, j], units[:, j], method="asymp").statistic
            if ks > critical:
                ks = min(ks, _distance_of_scores(fit.noises[0][:, j], noises[:, j]))
            if ks - critical > distance - bound:
                distance, bound = ks, critical
            # A median of n normal rows has a standard error of 1.25 / sqrt(n). Zero is
            # known from the base alone, and badly so in units of quieter noises.
            zero = max(1.0, unit[j] / spread[j])
            limit = 1.25 * z * np.sqrt(zero**2 / n + 1 / len(units))
            limit = max(2 * NEGLIGIBLE, limit)
            gap = abs(middles[j] - medians[j])
            if gap - limit > move - most:
                move, most = gap, limit
    return [
        Assumption.at_most(
            shape,
            "Kolmogorov distance of a noise from that of the base, of one median and "
            "interquartile range, or in normal scores of the base; the largest",
            float(distance),
            float(bound),
        ),
        Assumption.at_most(
            centre,
            "shift of a rescaled noise's median, in its standard deviations as the "
            "quartiles give them; the largest",
            float(move),
            float(most),
        ),
    ]


def _centred(noises):
    """Noises of median zero, their medians, and the units (d,) of both.

    The unit is the standard deviation of a normal law with the same quartiles: of
    noises that a mechanism bends, the tails are not those of rescaled ones.
    """
    low, medians, high = np.quantile(noises, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    # Where half of the rows are equal the quartiles may be, too.
    spread = np.where(spread > 0, spread, noises.std(axis=0))
    spread = np.where(spread > 0, spread, 1.0)
    return (noises - medians) / spread, medians / spread, spread


def _distance_of_scores(base, noises):
    """Kolmogorov distance from normal of a noise that is labelled by base scores.

    In normal scores of the base's rows, a noise that is normal in some labelling is
    so in every environment. Rows beyond those of the base have no score: no distance
    is taken there.
    """
    n, m = len(base), len(noises)
    below = np.searchsorted(np.sort(base), np.sort(noises))
    scores = special.ndtri(np.clip(below, 0.5, n - 0.5) / n)
    low, median, high = np.quantile(scores, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    inside = (below > 0) & (below < n)
    if spread == 0 or not inside.any():
        return 1.0
    gaps = special.ndtr((scores - median) / spread) * m - np.arange(m)
    return float(np.maximum(np.abs(gaps), np.abs(gaps - 1))[inside].max() / m)


# --- noises that are independent -----------------------------------------------------


def _independent(fit):
    name = "noises are independent of causes and of each other"
    if fit.noises is None:
        return Assumption(name, "takes mechanisms: mechanism=None")
    d = len(fit.names)
    largest, least_rows, n_tests = 0.0, np.inf, 0
    for block, noises in zip(fit.blocks, fit.noises, strict=True):
        # Evenly spaced: rows have no order of their own.
        step = -(-len(block) // _RANK_ROWS)
        x, s = _ranks(block[::step]), noises[::step]
        s, size = _ranks(s), _ranks(np.abs(s - np.median(s, axis=0)))
        n = len(s)
        least_rows = min(least_rows, n)
        parents = fit.adjacency != 0
        for one in (s, size):
            with_causes = np.abs(x.T @ one / n)[parents]
            largest = max(largest, with_causes.max(initial=0.0))
            pairs = np.abs(one.T @ one / n)[np.triu_indices(d, 1)]
            largest = max(largest, pairs.max(initial=0.0))
            n_tests += len(with_causes) + len(pairs)
    critical = stats.norm.isf(LEVEL / (2 * n_tests)) / np.sqrt(least_rows)
    return Assumption.at_most(
        name,
        "largest rank correlation of a noise, or its size, with a cause of the node or "
        "with another noise",
        largest,
        max(2 * NEGLIGIBLE, float(critical)),
    )


def _ranks(rows):
    """Ranks of each column, standardised; zeros for a constant one."""
    ranks = stats.rankdata(rows, axis=0)
    ranks -= ranks.mean(axis=0)
    spread = ranks.std(axis=0)
    return ranks / np.where(spread > 0, spread, 1.0)


def _sinks(fit):
    name = "each sink looks like one of the fitted model"
    if fit.p_values is None:
        return Assumption(name, "takes draws from the fitted model: n_bootstraps")
    if len(fit.p_values) == 0:
        return Assumption(name, "no sink was chosen")
    smallest = float(min(1.0, len(fit.p_values) * fit.p_values.min()))
    return Assumption.at_least(
        name,
        "smallest p-value of a sink, times their number",
        smallest,
        LEVEL,
    )


def _directions(fit):
    name = "causes do not pass for effects"
    if not fit.pruned:
        return Assumption(name, "takes a test of the edges: prune=None")
    if fit.open_edges is None:
        why = 'takes three environments, and criterion "studentized" or "invariance"'
        return Assumption(name, why)
    if not fit.adjacency.any():
        return Assumption(name, "the graph has no edge")
    # By scores, in 48 models of 5 nodes and 500 rows, of 202 edges with the right
    # direction 12 % were open, of 30 reversed ones 53 %.
    return Assumption.at_most(
        name,
        "share of edges whose cause would have been a sink as well",
        float(fit.open_edges[fit.adjacency != 0].mean()),
        MAX_OPEN,
    )


# --- notes ---------------------------------------------------------------------------


def varsortability(X, adjacency):
    """Share of the directed paths along which the variance grows; NaN without any.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    adjacency : ndarray of shape (d, d)

    Returns
    -------
    share : float
        As Reisach et al. (2021): pairs that a path of some length joins, over lengths.
    """
    edges = (np.asarray(adjacency) != 0).astype(int)
    variance = X.var(axis=0)
    paths, n_paths, n_growing = edges.copy(), 0, 0.0
    for _ in range(len(edges) - 1):
        tails, heads = np.nonzero(paths)
        if len(tails) == 0:
            break
        n_paths += len(tails)
        n_growing += (variance[tails] < variance[heads]).sum()
        paths = ((paths @ edges) > 0).astype(int)
    return float(n_growing / n_paths) if n_paths else float("nan")


def _notes(fit, gaps):
    notes = [f"The order was found by {fit.route}."]
    if len(fit.labels) > 1:
        notes.append(f"The base environment is {fit.labels[0]!r}.")
    rows = fit.found.n_kernel_rows
    if rows and any(n < len(block) for n, block in zip(rows, fit.blocks, strict=True)):
        counts = ", ".join(str(n) for n in rows)
        notes.append(f"Scores come from {counts} rows of the environments.")
    if np.isfinite(gaps).any():
        i, j = np.unravel_index(np.nanargmin(gaps), gaps.shape)
        notes.append(
            f"The closest ratios of noises are those of {fit.names[i]} and "
            f"{fit.names[j]}, {gaps[i, j]:.2g} standard errors apart."
        )
        lines = 1.0 - fit.noise_scales[1:].T ** -2.0
        lengths = np.linalg.norm(lines, axis=1, keepdims=True)
        lines /= np.where(lengths > 0, lengths, 1.0)
        top = np.linalg.eigvalsh(lines.T @ lines / len(lines))[-1]
        angle = np.degrees(np.arccos(np.sqrt(min(top, 1.0))))
        notes.append(
            f"The noises' coefficients lie {angle:.0f} degrees (root mean square) "
            "around one line: the larger, the more environments tell."
        )
    margins = fit.found.margins
    if len(margins):
        step = int(np.argmin(margins))
        sink = fit.names[fit.found.order[::-1][step]]
        notes.append(
            f"The narrowest choice was {sink} as sink: the second best criterion was "
            f"{margins[step]:.3g} times its own."
        )
    if _has_open(fit):
        notes.append(
            f"The direction stays open of {_listed(fit, fit.open_edges)}. If one is "
            "turned round, edges to its ends may be false, too."
        )
    if fit.noises is None and len(fit.labels) > 1:
        notes.append(
            "With mechanism=None there are no noises to ask whether they changed, in "
            "different ratios, and in nothing but their size."
        )
    share = varsortability(fit.blocks[0], fit.adjacency)
    if np.isfinite(share):
        notes.append(
            f"Variances in the base grow along {share:.0%} of the paths of the graph: "
            "near 100 % sorting by variance would do as well."
        )
    return notes + [f"{note[0].upper()}{note[1:]}." for note in fit.notes]
