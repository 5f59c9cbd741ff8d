"""Order of the nodes of a causal graph: sinks, found one after the other.

In a model whose noises alone change, the difference of two environments' scores in a
sink's coordinate is a function of the sink's noise alone. For Gaussian noises its ratio
for two pairs of environments is then a constant, for any noises a function of a
variable that is independent of all other nodes. For nodes with children it is neither.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.special import ndtri

from skident.discovery._scores import (
    choose_eta,
    covariance_of,
    precision_of,
    score_differences,
)
from skident.solvers._stein import median_of_pairs, squared_euclidean

# Points of the independence criterion, whose cost is quadratic in them.
_INDEPENDENCE_POINTS = 500
# Share of the differences' energy that the bias of regularised scores may put off their
# line: without it, among few or strong differences, the noisiest node would win.
# Chosen on models of two to ten nodes and 200 to 1,200 rows: 0 and 0.1 are worse.
_BIAS = 0.02
# A score takes two rows.
_FEWEST_HALVED = 4
# Of its kernel between lines: two at a right angle are sqrt(2) apart.
_LINE_WIDTH = 1.0


@dataclass(frozen=True)
class CausalOrder:
    """An order of the nodes, and how it was found.

    Attributes
    ----------
    order : ndarray of shape (d,)
        Nodes, sources first.
    criterion_path : list of ndarray
        Criterion of the nodes that remained at each step, which the sink has least.
    remaining_path : list of ndarray
        Those nodes.
    directions : ndarray of shape (d, E)
        Unit vector along which each node's score differences lie, at its removal: the
        coefficients of its noise in the environments, up to a factor.
    shift_strength : ndarray of shape (E, d)
        Root mean square of each node's score differences, at its removal, in units of
        one over its pooled standard deviation.
    eta : float or None
        Ridge of the Stein scores.
    n_kernel_rows : tuple of int
        Rows of each environment that the scores come from.
    notes : tuple of str
        What went wrong without stopping the search.
    """

    order: np.ndarray
    criterion_path: list
    remaining_path: list
    directions: np.ndarray
    shift_strength: np.ndarray
    eta: float | None = None
    n_kernel_rows: tuple = ()
    notes: tuple = field(default=())

    @property
    def margins(self):
        """Second least criterion over the least, for each step, (d - 1,)."""
        return np.array([_margin(crit) for crit in self.criterion_path])

    @property
    def sink_criteria(self):
        """Criterion of the node removed at each step but the last, (d - 1,)."""
        sinks = self.order[:0:-1]
        steps = zip(self.criterion_path, self.remaining_path, sinks, strict=True)
        return np.array([crit[nodes == sink][0] for crit, nodes, sink in steps])

    @property
    def noise_ratio(self):
        """Ratio of each node's coefficients in the first two environments, (d,)."""
        if self.directions.shape[1] < 2:
            return np.full(len(self.directions), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.directions[:, 0] / self.directions[:, 1]


def sink_order(
    blocks,
    *,
    criterion="studentized",
    score_estimator="stein",
    marginals="normal",
    eta=0.3,
    bandwidth=1.0,
    keep_fraction=0.5,
    max_points=1000,
    max_kernel_samples=2000,
    n_jobs=None,
    rng=None,
    net_settings=None,
    given=None,
):
    """Order the nodes by removing sinks, whose score ratios are constant.

    Parameters
    ----------
    blocks : list of E + 1 ndarrays of shape (n_e, d), float64
        Rows of each environment, base first; E >= 2, or E >= 1 for "gaussian" with
        "collinearity", where two environments identify linear models.
    criterion : {"studentized", "collinearity", "independence"}, \
            default="studentized"
        The first is the second relative to what the sampling error of the scores makes
        of it, by scores from halves of the rows.
    score_estimator : {"stein", "gaussian", "logistic", "neural"} or callable, \
            default="stein"
    marginals : {"normal", "standard"}, default="normal"
        How each column, pooled over environments, is put on a scale for the scores:
        as its normal scores, or standardised. "gaussian" always takes the latter.
    eta : float or "cv", default=0.3
    bandwidth : float, default=1.0
    keep_fraction : float, default=0.5
        Share of the points, the densest in all environments, that is looked at.
    max_points : int, default=1000
        Points, pooled over environments, at which scores are compared.
    max_kernel_samples : int, default=2000
        Rows an environment that scores are estimated from; more are drawn from.
    n_jobs : int or None, default=None
        Environments at a time.
    rng : numpy.random.Generator or None, default=None
    net_settings : dict or None, default=None
        Of "neural".
    given : sequence of d ints or None, default=None
        An order to follow, for its criteria; None searches for one.

    Returns
    -------
    found : CausalOrder
    """
    rng = np.random.default_rng(rng)
    if score_estimator == "gaussian":
        marginals = "standard"
    blocks = on_one_scale(blocks, marginals)
    if score_estimator == "gaussian" and criterion == "collinearity":
        return _closed_form(blocks, given)
    points = pooled_points(blocks, max_points, rng)
    if criterion == "independence":
        # Independence is of the base's law: points are not chosen by where the others
        # lie, which would make coordinates dependent.
        points = pooled_points(blocks[:1], min(max_points, _INDEPENDENCE_POINTS), rng)
    blocks = thinned(blocks, max_kernel_samples, rng)
    if eta == "cv":
        eta = 1.0
        if score_estimator == "stein":
            eta, _ = choose_eta(blocks, bandwidth=bandwidth, n_jobs=n_jobs, rng=rng)
    settings = {"seed": int(rng.integers(2**31 - 1)), **(net_settings or {})}
    d = blocks[0].shape[1]
    remaining = np.arange(d)
    path = Path(d, len(blocks) - 1, given)
    options = {"eta": eta, "bandwidth": bandwidth, "n_jobs": n_jobs}
    parts, notes = [blocks], ()
    if criterion == "studentized" and min(map(len, blocks)) < _FEWEST_HALVED:
        criterion, notes = "collinearity", ("halves of so few rows have no scores",)
    if criterion == "studentized":
        parts = list(zip(*map(halves, blocks), strict=True))
    while len(remaining):
        some = points[:, remaining]
        found = [
            score_differences(
                [block[:, remaining] for block in part],
                some,
                score_estimator,
                settings=settings,
                **options,
            )
            for part in parts
        ]
        differences = np.stack([one for one, _ in found])
        if criterion == "independence":
            crit, directions = independence(differences[0], some)
        else:
            density = np.min([density for _, density in found], axis=0)
            differences = differences[:, :, densest(density, keep_fraction)]
            if criterion == "studentized":
                crit, directions = studentized(*differences)
            else:
                grams = moments_of_differences(differences[0])
                crit, directions = collinearity_at_unit_length(grams)
        differences = differences.mean(axis=0)
        strength = np.sqrt(np.square(differences).mean(axis=1))
        _, remaining = path.remove(remaining, crit, directions, strength)
    return path.found(
        eta=eta if score_estimator in ("stein", "logistic") else None,
        n_kernel_rows=tuple(map(len, blocks)),
        notes=notes,
    )


def order_of_precisions(precisions, covariance, *, differences=True, given=None):
    """Order of the nodes of a linear model, from its precision matrices.

    Parameters
    ----------
    precisions : ndarray of shape (E + 1, d, d)
        Inverse covariances, base first.
    covariance : ndarray of shape (d, d)
        Positive definite weight of the inner product: the covariance of the points at
        which scores are compared.
    differences : bool, default=True
        Whether to compare differences from the base, or the scores themselves, whose
        ratios a linear model fixes as well.
    given : sequence of d ints or None, default=None
        An order to follow.

    Returns
    -------
    found : CausalOrder
    """
    P = np.array(precisions, dtype=np.float64)
    d = P.shape[1]
    remaining = np.arange(d)
    path = Path(d, len(P) - differences, given)
    while len(remaining):
        rows = P[1:] - P[0] if differences else P
        weight = covariance[np.ix_(remaining, remaining)]
        grams = np.einsum("ejk,fjk->jef", rows @ weight, rows)
        crit, directions = collinearity_at_unit_length(grams)
        strength = np.sqrt(np.maximum(np.einsum("jee->ej", grams), 0.0))
        k, remaining = path.remove(remaining, crit, directions, strength)
        P = marginal_precisions(P, k)
    return path.found()


def marginal_precisions(P, k):
    """Precisions (E + 1, r - 1, r - 1) of all nodes but the k-th: a rank-one change."""
    others = np.delete(np.arange(P.shape[1]), k)
    column = P[:, others, k]
    pivot = P[:, k, k][:, None, None]
    return P[:, others][:, :, others] - column[:, :, None] * column[:, None] / pivot


def _closed_form(blocks, given):
    sizes = np.array([len(block) for block in blocks])
    covariances = np.stack([covariance_of(block) for block in blocks])
    precisions = [
        precision_of(covariance, n)
        for covariance, n in zip(covariances, sizes, strict=True)
    ]
    pooled = np.tensordot(sizes / sizes.sum(), covariances, axes=1)
    return order_of_precisions(
        precisions, pooled, differences=len(blocks) > 2, given=given
    )


class Path:
    """Record of a search that removes one node after the other."""

    def __init__(self, n_nodes, n_pairs, given=None):
        self.given = given
        self.order = []
        self.criterion, self.remaining = [], []
        self.directions = np.zeros((n_nodes, n_pairs))
        self.strength = np.zeros((n_pairs, n_nodes))

    def remove(self, remaining, crit, directions, strength):
        """Take a node out of those that remain: the given one, or of least criterion.

        Returns
        -------
        k : int
            Its position among them.
        remaining : ndarray
            The others.
        """
        if self.given is None:
            k = int(np.argmin(crit))
        else:
            sink = self.given[len(remaining) - 1]
            k = int(np.flatnonzero(remaining == sink)[0])
        sink = remaining[k]
        self.order.insert(0, int(sink))
        self.directions[sink] = directions[k]
        self.strength[:, sink] = strength[:, k]
        if len(remaining) > 1:
            self.criterion.append(crit)
            self.remaining.append(remaining)
        return k, np.delete(remaining, k)

    def found(self, **extra):
        """The record as a :class:`CausalOrder`."""
        return CausalOrder(
            np.array(self.order),
            self.criterion,
            self.remaining,
            self.directions,
            self.strength,
            **extra,
        )


def moments_of_differences(differences):
    """Uncentred second moments (r, E, E) of score differences (E, m, r)."""
    return np.einsum("emj,fmj->jef", differences, differences) / differences.shape[1]


def collinearity(grams):
    """Share of score differences that is off their main direction, per node.

    Parameters
    ----------
    grams : ndarray of shape (r, E, E)
        Uncentred second moments of each node's score differences. Lines through the
        origin are looked for: a constant ratio is one.

    Returns
    -------
    criterion : ndarray of shape (r,)
        In [0, 1 - 1 / E]; 0 where the differences are all zero.
    directions : ndarray of shape (r, E)
        Unit vectors, of positive sum.
    """
    values, vectors = np.linalg.eigh(grams)
    total = np.einsum("jee->j", grams)
    rest = np.maximum(values[:, :-1], 0.0).sum(axis=1)
    criterion = np.divide(rest, total, out=np.zeros(len(total)), where=total > 0)
    directions = vectors[:, :, -1]
    signs = np.where(directions.sum(axis=1) < 0, -1.0, 1.0)
    return criterion, directions * signs[:, None]


def collinearity_at_unit_length(grams):
    """Collinearity where no environment counts for its larger differences.

    Otherwise a node whose noise hardly changes in all but one environment would pass
    for a sink: what is small lies close to any line.

    Parameters
    ----------
    grams : ndarray of shape (r, E, E)
        As in :func:`collinearity`.

    Returns
    -------
    criterion : ndarray of shape (r,)
        In [0, 1 - 1 / E]; (1 - abs(c)) / 2 for the cosine c of two environments.
    directions : ndarray of shape (r, E)
        As :func:`collinearity`: of the differences at their own length.
    """
    _, directions = collinearity(grams)
    lengths = np.sqrt(np.maximum(np.einsum("jee->je", grams), 0.0))
    lengths = np.where(lengths > 0, lengths, 1.0)
    criterion, _ = collinearity(grams / (lengths[:, :, None] * lengths[:, None]))
    return criterion, directions


def studentized(first, second):
    """Collinearity of score differences relative to their sampling error.

    Parameters
    ----------
    first, second : ndarray of shape (E, m, r)
        From two halves of the rows: half their difference has the sampling error of
        their mean.

    Returns
    -------
    criterion : ndarray of shape (r,)
        What is off the main direction of the mean, over what sampling and a small bias
        put there: at most about 1 for a sink.
    directions : ndarray of shape (r, E)
        As :func:`collinearity`.
    """
    grams = moments_of_differences((first + second) / 2)
    errors = moments_of_differences((first - second) / 2)
    share, directions = collinearity(grams)
    total = np.einsum("jee->j", grams)
    rest = share * total
    along = np.einsum("je,jef,jf->j", directions, errors, directions)
    error = np.einsum("jee->j", errors) - along + _BIAS * total
    nothing = np.zeros(len(rest))
    return np.divide(rest, error, out=nothing, where=error > 0), directions


def halves(block):
    """Two parts of the rows (n, d), by chance but the same in any order of them."""
    # The ranks of a row do not change with the order of rows and columns, or by a
    # monotone map of a column; a multiple of their squares looks random modulo 2^32.
    ranks = (2 * stats.rankdata(block, axis=0)).astype(np.uint64)
    mixed = ((ranks * ranks).sum(axis=1) * np.uint64(2654435761)) % np.uint64(2**32)
    # Equal rows are dealt out in turn, or else halves would differ in their laws.
    which = np.unique(ranks, axis=0, return_inverse=True)[1].reshape(-1)
    order, places = np.lexsort((which, mixed)), np.arange(len(block))
    new = np.r_[True, np.diff(which[order]) != 0]
    turn = np.empty(len(block), dtype=int)
    turn[order] = places - np.maximum.accumulate(np.where(new, places, 0))
    first = (mixed < 2**31) == (turn % 2 == 0)
    if not 0.3 < first.mean() < 0.7:
        # Some dozen rows: as many of each.
        first[order] = places % 2 == 0
    return block[first], block[~first]


def independence(differences, points):
    """Dependence of each node's score ratios on the other nodes.

    Parameters
    ----------
    differences : ndarray of shape (E, m, r)
    points : ndarray of shape (m, r)
        Rows of the base environment.

    Returns
    -------
    criterion : ndarray of shape (r,)
        Hilbert-Schmidt independence criterion over the norm of the others' kernel, in
        [0, 1]; 0 for the last node.
    directions : ndarray of shape (r, E)
        As :func:`collinearity`.
    """
    E, m, r = differences.shape
    _, directions = collinearity(moments_of_differences(differences))
    criterion = np.zeros(r)
    if r == 1:
        return criterion, directions
    for j in range(r):
        T = differences[:, :, j].T
        length = np.linalg.norm(T, axis=1, keepdims=True)
        unit = np.divide(T, length, out=np.zeros_like(T), where=length > 0)
        # A ratio is a line through the origin, which u u^T stands for; for two pairs
        # of environments it is the doubled angle's cosine and sine.
        lines = np.einsum("me,mf->mef", unit, unit).reshape(m, E * E)
        others = np.delete(points, j, axis=1)
        # Lines are compared with a kernel of fixed width: where they hardly differ
        # there is nothing to depend on, however the remaining error behaves.
        among_lines = _centred_kernel(lines, _LINE_WIDTH)
        among_others = _centred_kernel(others)
        size = np.linalg.norm(among_others)
        if size > 0:
            criterion[j] = np.vdot(among_lines, among_others) / (m * size)
    return criterion, directions


def _centred_kernel(rows, width=None):
    gaps = squared_euclidean(rows, rows)
    np.fill_diagonal(gaps, 0.0)
    squared_width = median_of_pairs(gaps) if width is None else width**2
    if squared_width == 0:
        return gaps
    kernel = np.exp(gaps * (-0.5 / squared_width))
    kernel -= kernel.mean(axis=0)
    kernel -= kernel.mean(axis=1, keepdims=True)
    return kernel


def on_one_scale(blocks, marginals):
    """Blocks with columns of one scale, by maps that all environments share.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, d)
    marginals : {"normal", "standard"}
        "normal": the quantiles of a normal law at the ranks of the pooled rows. A
        monotone map of a column multiplies all scores in its coordinate by the same
        factor, point by point: it changes no ratio, and heavy tails are gone.
        "standard": centred by the mean and divided by the standard deviation.

    Returns
    -------
    blocks : list of ndarray
    """
    rows = np.concatenate(blocks)
    if marginals == "normal":
        rows = ndtri((stats.rankdata(rows, axis=0) - 0.5) / len(rows))
    # Ties make normal scores, too, vary by a little less than one.
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    rows = (rows - mean) / np.where(scale > 0, scale, 1.0)
    return np.split(rows, np.cumsum([len(block) for block in blocks])[:-1])


def thinned(blocks, max_rows, rng):
    """Blocks of at most so many rows, drawn without replacement."""
    return [pooled_points([block], max_rows, rng) for block in blocks]


def pooled_points(blocks, max_points, rng):
    """At most so many rows of all blocks, drawn without replacement."""
    rows = np.concatenate(blocks)
    if len(rows) <= max_points:
        return rows
    return rows[np.sort(rng.permutation(len(rows))[:max_points])]


def densest(density, keep_fraction):
    """Positions of the share of the points with the largest density."""
    n_kept = max(1, round(keep_fraction * len(density)))
    return np.sort(np.argsort(-density, kind="stable")[:n_kept])


def _margin(crit):
    least, second = np.partition(crit, 1)[:2]
    if least == 0:
        return 1.0 if second == 0 else np.inf
    return float(second / least)
