"""How large the scores become where nothing has shifted: a split-half null.

The two halves of one environment have the same mechanisms. With an unmixing of n rows
off by an error of covariance S / n, the halves of a random split differ by an error of
covariance 4 S / n: half that difference is a draw of the error of the whole. Draws of
the errors of two environments give a draw of the scores between them under the null
hypothesis, node by node and jointly over nodes.
"""

from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from skident.discovery._shift_statistics import match_rows
from skident.discovery._shift_unmixing import unmix_part

# Rows of an environment that are split; its errors shrink like 1 / sqrt(n) from there.
MAX_ROWS = 100_000


def splittable(parts):
    """Whether halves of all environments have more rows than components."""
    d = len(parts[0].sources.rows)
    return all(len(part.Z) // 2 > d for part in parts)


def split_errors(parts, n_splits, search, psi, matching, rng, n_jobs):
    """Draws of the error of each environment's unmixing, from random halves.

    Parameters
    ----------
    parts : list of K Part
    n_splits : int
        Splits of each environment.
    search : Search
    psi : str or callable
    matching : str
    rng : numpy.random.Generator
    n_jobs : int or None

    Returns
    -------
    errors : list of K ndarrays of shape (n_splits, d, p)
        In the order of the rows of each ``sources``.
    n_failed : int
        Halves whose rows span fewer dimensions than there are components.
    """
    tasks = []
    for k, part in enumerate(parts):
        for _ in range(n_splits):
            order = rng.permutation(len(part.Z))
            cut = len(order) // 2
            for half in (order[:cut], order[cut : 2 * cut]):
                tasks.append((k, np.sort(half), int(rng.integers(2**31))))
    found = Parallel(n_jobs=n_jobs)(
        delayed(_half)(parts[k], rows, search, psi, matching, seed)
        for k, rows, seed in tasks
    )
    errors, low = [], 0
    for part in parts:
        halves = found[low : low + 2 * n_splits]
        low += 2 * n_splits
        scale = np.sqrt(len(part.Z) / part.n_rows) / 2
        errors.append(
            np.stack(
                [
                    scale * _difference(one, two, part)
                    for one, two in zip(halves[::2], halves[1::2], strict=True)
                ]
            )
        )
    return errors, sum(rows is None for rows in found)


def _half(part, rows, search, psi, matching, seed):
    """Rows of the unmixing of one half, matched with those of the whole."""
    d = len(part.sources.rows)
    found = unmix_part(part.Z[rows], part.matrix, d, search, psi, matching, seed)
    if found is None:
        return None
    match = match_rows(part.sources, found, matching)
    return found.rows[match.permutation] * match.signs[:, None]


def _difference(one, two, part):
    """Of the rows of two halves; as large as the rows where one tells nothing."""
    if one is None or two is None:
        return 2 * part.sources.rows
    return one - two


class Null(NamedTuple):
    """Scores under the null hypothesis.

    Parameters
    ----------
    scores : ndarray of shape (n_draws, K, K, d)
        Draws, joint over pairs and nodes.
    threshold : ndarray of shape (K, K, d)
        Which all scores stay below at the stated level; infinite on the diagonal.
    """

    scores: np.ndarray
    threshold: np.ndarray


def null_distribution(unmixing, errors, statistic, quantile):
    """Joint null draws of all scores, and thresholds of equal height in all of them.

    Every node of every pair has its own scale, the mean of its null scores. The largest
    ratio of a score to its scale, over all nodes and pairs, has the null law whose
    quantile is wanted. A draw is compared with scales from splits that it has no part
    in, as the scores of the environments themselves have none in theirs.

    Parameters
    ----------
    unmixing : ndarray of shape (K, d, p)
        Matched rows.
    errors : ndarray of shape (K, B, d, p)
        Draws of the error of each, in the same order of rows.
    statistic : {"signed", "abs"}
    quantile : float

    Returns
    -------
    null : Null
    """
    K, n_splits, d = errors.shape[:3]
    draws = _draws(K, n_splits)
    scores = np.zeros((len(draws), K, K, d))
    threshold = np.full((K, K, d), np.inf)
    largest = np.zeros(len(draws))
    scales = {}
    for k in range(K):
        for k2 in range(k):
            grid = _grid(unmixing, errors, k, k2, statistic)
            scales[k, k2] = grid.mean(axis=(0, 1, 2))
            ratios = _ratios(grid, _scales_of_others(grid)).max(axis=-1)
            sign = draws[:, K + k] ^ draws[:, K + k2]
            index = draws[:, k], draws[:, k2], sign
            scores[:, k, k2] = scores[:, k2, k] = grid[index]
            largest = np.maximum(largest, ratios[index])
    # The draws share few splits, so that their quantile is not all that certain: with
    # this share of the error left to it, Gaussian errors meet the level for 5 to 20.
    height = np.quantile(
        largest, 1 - (1 - quantile) * max(0.0, 1 - 3 / n_splits), method="higher"
    )
    for (k, k2), scale in scales.items():
        threshold[k, k2] = threshold[k2, k] = height * scale
    return Null(scores, threshold)


def _draws(K, B):
    """Split and sign of every environment for every draw, (2 B^2, 2 K).

    Two environments: all pairs of splits, and both signs. More: every environment goes
    through its splits at a pace of its own.
    """
    base, shift = (x.ravel() for x in np.indices((B, B)))
    splits = np.stack([(base + k * shift) % B for k in range(K)], axis=1)
    signs = np.broadcast_to(np.arange(K) % 2, splits.shape)
    return np.concatenate(
        [np.hstack([splits, np.zeros_like(signs)]), np.hstack([splits, signs])]
    )


def _grid(unmixing, errors, k, k2, statistic):
    """Null scores of a pair for all splits of both and both signs, (B, B, 2, d)."""
    A, B = unmixing[k], unmixing[k2]
    total = (np.abs(A) + np.abs(B)).sum(axis=1)
    one, two = errors[k], errors[k2]
    if statistic == "abs":
        # What an error does to absolute values.
        ones = np.abs(A + one) - np.abs(A)
        twos = [np.abs(B + sign * two) - np.abs(B) for sign in (1, -1)]
    else:
        ones, twos = one, [two, -two]
    n_splits, d = one.shape[:2]
    grid = np.empty((n_splits, n_splits, 2, d))
    for b in range(n_splits):
        for s, other in enumerate(twos):
            grid[b, :, s] = np.abs(ones[b] - other).sum(axis=-1)
    return grid / total


def _scales_of_others(grid):
    """Mean null score of each node over the pairs of other splits, (B, B, d)."""
    B = len(grid)
    means = grid.mean(axis=2)
    rows, columns = means.sum(axis=1), means.sum(axis=0)
    rest = means.sum(axis=(0, 1)) - rows[:, None] - columns[None, :] + means
    return np.maximum(rest, 0.0) / (B - 1) ** 2


def _ratios(grid, scales):
    """Scores over scales; zero over zero is zero."""
    scales = np.broadcast_to(scales[:, :, None], grid.shape)
    ratios = np.full(grid.shape, np.inf)
    np.divide(grid, scales, out=ratios, where=scales > 0)
    ratios[(grid == 0) & (scales == 0)] = 0.0
    return ratios
