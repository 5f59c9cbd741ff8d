"""Which patches to fit on, where there are more than can be afforded."""

import numpy as np

from skident.dynamics._pde_rates import FieldEquations
from skident.dynamics._pde_terms import own_first, term_values

# Share of the patches that are taken evenly over the data, whatever they hold.
_EVEN_SHARE = 0.5
# Of a term's mean square over all patches: what a term that no chosen patch has seen
# counts as known, so that volumes are finite.
_KNOWN = 1e-6


def even_choice(patches, n_most):
    """At most so many patches, evenly over their order.

    Parameters
    ----------
    patches : list of Patch
    n_most : int

    Returns
    -------
    chosen : list of Patch
    """
    return [patches[k] for k in _even(len(patches), n_most)]


def informative_choice(patches, terms, n_most):
    """At most so many patches: half evenly, half those that tell terms apart best.

    Evenly alone, rare events such as the core of a spiral would be missed, and with
    them what separates the terms. The other half is taken one by one such that the
    determinant of the terms' Gram matrix grows most, in the mean over fields.

    Parameters
    ----------
    patches : list of Patch
    terms : list of PDETerm
    n_most : int

    Returns
    -------
    chosen : list of Patch
        In their order.
    """
    if len(patches) <= n_most:
        return patches
    grams = np.array([patch_grams(patch, terms) for patch in patches])
    scale = np.sqrt(np.einsum("pfkk->fk", grams) / len(patches))
    scale = np.where(scale > 0, scale, 1.0)
    grams /= scale[:, :, None] * scale[:, None, :]
    chosen = _even(len(patches), max(1, int(n_most * _EVEN_SHARE)))
    total = grams[chosen].sum(axis=0) + _KNOWN * np.eye(len(terms))
    left = np.setdiff1d(np.arange(len(patches)), chosen)
    while len(chosen) < n_most:
        gain = np.linalg.slogdet(total + grams[left])[1].mean(axis=1)
        best = left[int(np.argmax(gain))]
        chosen = np.append(chosen, best)
        total += grams[best]
        left = left[left != best]
    return [patches[k] for k in np.sort(chosen)]


def patch_grams(patch, terms):
    """Mean products of all terms over a patch, for each field's equation.

    Parameters
    ----------
    patch : Patch
    terms : list of PDETerm

    Returns
    -------
    grams : ndarray of shape (n_fields, n_terms, n_terms)
    """
    made = []
    for columns in library(patch, terms):
        made.append(columns.T @ columns / len(columns))
    return np.array(made)


def library(patch, terms):
    """All terms at all nodes of a patch, on the smooth fields.

    Parameters
    ----------
    patch : Patch
    terms : list of PDETerm

    Returns
    -------
    columns : list of n_fields ndarrays of shape (n_nodes, n_terms)
    """
    n_fields = patch.encoded.shape[-1]
    space = FieldEquations(
        terms, np.zeros((n_fields, len(terms))), patch.coordinates[1:], False
    )
    blocks = {term.block for term in terms}
    columns = []
    for field in range(n_fields):
        along = space.derivatives(patch.encoded[..., field], blocks)
        values = term_values(terms, own_first(patch.encoded, field), along)
        columns.append(values.reshape(-1, len(terms)))
    return columns


def _even(n, n_most):
    """At most ``n_most`` of ``n`` places, evenly from the first to the last."""
    if n <= n_most:
        return np.arange(n)
    return np.unique(np.rint(np.linspace(0, n - 1, n_most)).astype(int))
