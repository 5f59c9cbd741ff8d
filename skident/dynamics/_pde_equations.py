"""Equations of fields as text."""

from skident.dynamics._equation_text import right_side

_LETTERS = "uvw"


def field_names(n_fields):
    """Letters for up to three fields, else u0, u1, ...

    Parameters
    ----------
    n_fields : int

    Returns
    -------
    names : list of str
    """
    if n_fields <= len(_LETTERS):
        return list(_LETTERS[:n_fields])
    return [f"u{j}" for j in range(n_fields)]


def equation_strings(fields, names, coef, support, precision=4):
    """One line for each field, in the form "u_t = ...".

    Parameters
    ----------
    fields : list of n_fields str
    names : list of lists of str
        Names of the terms of each field's equation.
    coef : ndarray of shape (n_fields, n_terms)
        Of the right-hand side.
    support : ndarray of bool of shape (n_fields, n_terms)
    precision : int, default=4
        Significant digits of coefficients.

    Returns
    -------
    lines : list of str
    """
    return [
        f"{field}_t = {right_side(*parts, precision)}"
        for field, *parts in zip(fields, names, coef, support, strict=True)
    ]
