"""Equations as text."""

import numpy as np


class PrintedEquations:
    """Gives estimators whose ``equations`` are lines of text their ``print``."""

    def print(self, precision=4):
        """Print the equations, one a line, as :meth:`equations` writes them."""
        print("\n".join(self.equations(precision)))


def right_side(terms, coef, kept, precision, *, unit_factors=True):
    """A sum of terms, such as "-10 x + 10 y".

    Parameters
    ----------
    terms : sequence of n_terms str
        "1" is the constant.
    coef : ndarray of shape (n_terms,)
    kept : ndarray of shape (n_terms,)
        True, or not zero, where a term is written.
    precision : int
        Significant digits of coefficients.
    unit_factors : bool, default=True
        Whether a factor of one, to these digits, is written.

    Returns
    -------
    text : str
        "0" where no term is kept.
    """
    text = ""
    for j in np.flatnonzero(kept):
        number = f"{abs(float(coef[j])):.{precision}g}"
        sign = "-" if coef[j] < 0 else "+"
        if text:
            text += f" {sign} "
        elif sign == "-":
            text += "-"
        if terms[j] == "1":
            text += number
        elif number == "1" and not unit_factors:
            text += terms[j]
        else:
            text += f"{number} {terms[j]}"
    return text or "0"
