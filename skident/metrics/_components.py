"""Which components of two representations of the same rows belong together."""

from typing import NamedTuple

import numpy as np

from skident.metrics._inputs import check_matrix, check_same_rows, row_chunks
from skident.metrics._matching import signed_assignment


class ComponentMatch(NamedTuple):
    """A signed matching of the components of two representations.

    Attributes
    ----------
    permutation : ndarray of shape (n_components_1,)
        Component ``i`` of the first is matched with component ``permutation[i]`` of
        the second; -1 for none.
    signs : ndarray of shape (n_components_1,)
        Sign, +1 or -1, of their correlation; 0 for no match.
    correlations : ndarray of shape (n_components_1,)
        Absolute Pearson correlation of the matched components, in [0, 1]; NaN for no
        match.
    """

    permutation: np.ndarray
    signs: np.ndarray
    correlations: np.ndarray


def match_components(Y1, Y2):
    """Match the components of two representations, up to sign, by correlation.

    Parameters
    ----------
    Y1 : array-like of shape (n_samples, n_components_1)
        One representation.
    Y2 : array-like of shape (n_samples, n_components_2)
        Another one of the same rows.

    Returns
    -------
    match : ComponentMatch
        Optimal one-to-one matching of ``min(n_components_1, n_components_2)`` pairs:
        ``match.signs * Y2[:, match.permutation]`` is ``Y2`` in the order and the signs
        of ``Y1``, where both have as many components.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional, is empty or is not finite, or if the
        numbers of rows differ.

    See Also
    --------
    match_atoms : The same for the atoms of two dictionaries, by cosine.

    Notes
    -----
    The sum of absolute Pearson correlations is maximised exactly (Hungarian
    algorithm). A constant component has correlation 0 with all others. Unchanged, up
    to order and signs, when components are permuted, shifted or scaled. O(n k^2 + k^3)
    time and O(k^2) memory, in chunks of rows and in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import match_components
    >>> Y = np.random.default_rng(0).laplace(size=(100, 3))
    >>> match = match_components(Y, -2 * Y[:, [1, 2, 0]] + 1)
    >>> match.permutation, match.signs, match.correlations.round(12)
    (array([2, 0, 1]), array([-1., -1., -1.]), array([1., 1., 1.]))
    """
    Y1, Y2 = check_matrix(Y1, "Y1"), check_matrix(Y2, "Y2")
    check_same_rows(Y1, Y2, ("Y1", "Y2"))
    return ComponentMatch(*signed_assignment(_cross_correlation(Y1, Y2)))


def mean_correlation_coefficient(Y1, Y2):
    """Mean absolute Pearson correlation of matched components (MCC).

    Parameters
    ----------
    Y1 : array-like of shape (n_samples, n_components_1) or (n_samples,)
        True factors, or one representation.
    Y2 : array-like of shape (n_samples, n_components_2) or (n_samples,)
        Another representation of the same rows.

    Returns
    -------
    mcc : float
        In [0, 1], over ``min(n_components_1, n_components_2)`` pairs; 1 when each
        component of the smaller one is, up to sign, shift and scale, a component of
        the other.

    Raises
    ------
    ValueError
        As :func:`match_components`.

    See Also
    --------
    make_representation_scorer : Score a transformer by it in a cross-validation.

    Notes
    -----
    Symmetric in its arguments. With more latents than factors those without a partner
    cost nothing; with fewer, factors that no latent stands for cost nothing either:
    read the widths together with the score. Independent components do not score 0:
    the best of k unrelated ones correlates at about ``sqrt(2 log(k) / n_samples)``.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import mean_correlation_coefficient
    >>> u = np.random.default_rng(0).laplace(size=(10_000, 2))
    >>> mixed = u @ np.array([[1.0, 1.0], [-1.0, 1.0]])
    >>> round(mean_correlation_coefficient(u, mixed), 1)
    0.7
    """
    Y1 = check_matrix(Y1, "Y1", column=True)
    Y2 = check_matrix(Y2, "Y2", column=True)
    check_same_rows(Y1, Y2, ("Y1", "Y2"))
    return float(np.nanmean(signed_assignment(_cross_correlation(Y1, Y2))[2]))


def _cross_correlation(Y1, Y2):
    """Pearson correlations of the columns of one with those of the other."""
    means = [Y.mean(axis=0, dtype=np.float64) for Y in (Y1, Y2)]
    # Squares of very small or large entries would leave the range of floats.
    spans = [
        np.maximum(Y.max(axis=0) - mean, mean - Y.min(axis=0))
        for Y, mean in zip((Y1, Y2), means, strict=True)
    ]
    spans = [np.where(span > 0, span, 1.0) for span in spans]
    products = np.zeros((Y1.shape[1], Y2.shape[1]))
    sums, squares = ([np.zeros(Y.shape[1]) for Y in (Y1, Y2)] for _ in range(2))
    for rows in row_chunks(len(Y1), Y1.shape[1] + Y2.shape[1]):
        centred = [
            (Y[rows] - mean) / span
            for Y, mean, span in zip((Y1, Y2), means, spans, strict=True)
        ]
        products += centred[0].T @ centred[1]
        for i, part in enumerate(centred):
            sums[i] += part.sum(axis=0)
            squares[i] += np.einsum("ij,ij->j", part, part)
    # What rounding left of the means.
    products -= np.outer(*sums) / len(Y1)
    scales = []
    for Y, total, square in zip((Y1, Y2), sums, squares, strict=True):
        variance = square - total**2 / len(Y)
        # Of a constant column only rounding is left.
        constant = (Y.max(axis=0) == Y.min(axis=0)) | (variance <= 0)
        scales.append(np.sqrt(np.where(constant, np.inf, variance)))
    return np.clip(products / scales[0][:, None] / scales[1], -1.0, 1.0)
