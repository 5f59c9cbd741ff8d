"""Groups of maps between two representations, and their least-squares members."""

import numpy as np
from scipy import linalg

from skident.metrics._matching import signed_assignment

GROUPS = ("signed_permutation", "rigid", "linear")


def group_error(F1, F2, group, norm, fit, test):
    """Norm of what the group's least-squares map leaves.

    Parameters
    ----------
    F1, F2 : ndarray of shape (n_samples, n_latents)
    group : {"signed_permutation", "rigid", "linear"}
    norm : {"mean", "max", "q99"}
    fit, test : slice or ndarray of int
        Rows on which the map, translation included, is found and measured.
    """
    means = [F[fit].mean(axis=0) for F in (F1, F2)]
    h = best_map(F1[fit] - means[0], F2[fit] - means[1], group)
    lengths = np.linalg.norm(F1[test] - means[0] - (F2[test] - means[1]) @ h, axis=1)
    if norm == "mean":
        return float(lengths.mean())
    return float(lengths.max() if norm == "max" else np.quantile(lengths, 0.99))


def best_map(A, B, group):
    """Least-squares h in ``A ~ B @ h``, for centred rows."""
    if group == "linear":
        return np.linalg.lstsq(B, A, rcond=None)[0]
    cross = B.T @ A
    if group == "rigid":
        left, _, right = linalg.svd(cross)
        return left @ right
    # |a - s b|^2 = |a|^2 + |b|^2 - 2 s a.b: covariances decide, not correlations.
    permutation, signs, _ = signed_assignment(cross)
    h = np.zeros_like(cross)
    h[np.arange(len(h)), permutation] = signs
    return h
