"""Units in which coefficients of an equation are numbers of one kind."""

import numpy as np

from skident.dynamics._pde_terms import own_first


def field_units(patches):
    """Root mean square of each smooth field over patches; 1 for a field of zeros.

    Parameters
    ----------
    patches : sequence of Patch

    Returns
    -------
    units : ndarray of shape (n_fields,)
    """
    total = sum(
        np.mean(patch.encoded**2, axis=_all_but_last(patch)) for patch in patches
    )
    size = np.sqrt(total / len(patches))
    return np.where(size > 0, size, 1.0)


def term_units(patches, terms):
    """Coefficients in the units of the data, per unit of fields and mean steps.

    Parameters
    ----------
    patches : sequence of Patch
    terms : sequence of PDETerm

    Returns
    -------
    units : ndarray of shape (n_fields, n_terms)
        A coefficient of one of these moves its field by about its own size in one step.
    """
    steps = [axis[-1] / (len(axis) - 1) for axis in patches[0].coordinates]
    scale = field_units(patches)
    units = np.empty((len(scale), len(terms)))
    for field in range(len(scale)):
        for j, term in enumerate(terms):
            squares = [
                np.mean(term.factor(own_first(patch.encoded, field)) ** 2)
                for patch in patches
            ]
            size = np.sqrt(np.mean(squares))
            own = scale[field] if term.is_source else 1.0
            units[field, j] = own / (term.unit(steps) * (size if size > 0 else 1.0))
    return units


def _all_but_last(patch):
    return tuple(range(patch.encoded.ndim - 1))
