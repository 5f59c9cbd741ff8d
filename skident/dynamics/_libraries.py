"""Libraries of candidate terms of ordinary differential equations."""

from collections.abc import Callable, Mapping
from itertools import combinations_with_replacement
from math import comb

import numpy as np

# Beyond it neither the design nor any reader can follow.
MAX_TERMS = 20_000


class Monomials:
    """All products of powers of the variables up to a total degree.

    Parameters
    ----------
    names : sequence of str
        Names of the variables.
    degree : int
        Largest total degree.
    include_bias : bool
        Whether the constant is a term.
    """

    def __init__(self, names, degree, include_bias):
        self.n_inputs = len(names)
        low = 0 if include_bias else 1
        self.exponents = np.array(
            [
                np.bincount(np.array(chosen, int), minlength=self.n_inputs)
                for total in range(low, degree + 1)
                for chosen in combinations_with_replacement(range(self.n_inputs), total)
            ],
            dtype=int,
        ).reshape(-1, self.n_inputs)
        self.names = [_product_name(names, row) for row in self.exponents]

    @staticmethod
    def count(n_inputs, degree, include_bias):
        """Number of terms."""
        return comb(n_inputs + degree, degree) - (not include_bias)

    def evaluate(self, X):
        """Terms (..., n_terms) at points (..., n_inputs)."""
        powers = self._powers(X)
        terms = np.ones((*X.shape[:-1], len(self.exponents)))
        for j in range(self.n_inputs):
            terms *= powers[self.exponents[:, j], ..., j].transpose(self._order(X))
        return terms

    def jacobian(self, X):
        """Derivatives (..., n_terms, n_inputs) of the terms."""
        powers = self._powers(X)
        order = self._order(X)
        factors = [
            powers[self.exponents[:, j], ..., j].transpose(order)
            for j in range(self.n_inputs)
        ]
        found = np.zeros((*X.shape[:-1], len(self.exponents), self.n_inputs))
        for j in range(self.n_inputs):
            e = self.exponents[:, j]
            slope = e * powers[np.maximum(e - 1, 0), ..., j].transpose(order)
            for i, factor in enumerate(factors):
                if i != j:
                    slope = slope * factor
            found[..., j] = slope
        return found

    def _powers(self, X):
        top = self.exponents.max(initial=0)
        return np.stack([X**k for k in range(top + 1)])

    @staticmethod
    def _order(X):
        """Axes that bring the terms, which come first, to the end."""
        return (*range(1, X.ndim), 0)


class Waves:
    """Sines and cosines of whole multiples of each variable.

    Parameters
    ----------
    names : sequence of str
    degree : int
        Largest multiple.
    include_bias : bool
        Whether the constant is a term.
    """

    def __init__(self, names, degree, include_bias):
        self.n_inputs, self.bias = len(names), int(include_bias)
        self.multiples = np.arange(1.0, degree + 1)
        self.names = ["1"] * self.bias + [
            f"{wave}({'' if k == 1 else f'{k} '}{name})"
            for name in names
            for k in range(1, degree + 1)
            for wave in ("sin", "cos")
        ]

    @staticmethod
    def count(n_inputs, degree, include_bias):
        """Number of terms."""
        return 2 * n_inputs * degree + include_bias

    def evaluate(self, X):
        """Terms (..., n_terms) at points (..., n_inputs)."""
        phase = X[..., None] * self.multiples
        waves = np.stack([np.sin(phase), np.cos(phase)], axis=-1)
        waves = waves.reshape(*X.shape[:-1], -1)
        return np.concatenate([np.ones((*X.shape[:-1], self.bias)), waves], axis=-1)

    def jacobian(self, X):
        """Derivatives (..., n_terms, n_inputs) of the terms."""
        phase = X[..., None] * self.multiples
        slopes = np.stack([np.cos(phase), -np.sin(phase)], axis=-1)
        slopes = (slopes * self.multiples[:, None]).reshape(*X.shape, -1)
        width = slopes.shape[-1]
        found = np.zeros((*X.shape[:-1], len(self.names), self.n_inputs))
        for j in range(self.n_inputs):
            at = self.bias + j * width
            found[..., at : at + width, j] = slopes[..., j, :]
        return found


class Functions:
    """Named functions of all variables, with numerical derivatives.

    Parameters
    ----------
    functions : mapping of str to callable
        Each takes points (n, n_inputs) and returns values (n,).
    """

    def __init__(self, functions):
        self.names = list(functions)
        self.functions = list(functions.values())

    def evaluate(self, X):
        """Terms (..., n_terms) at points (..., n_inputs)."""
        rows = X.reshape(-1, X.shape[-1])
        columns = []
        for name, function in zip(self.names, self.functions, strict=True):
            values = np.asarray(function(rows), dtype=np.float64)
            if values.shape not in ((), (len(rows),)):
                raise ValueError(
                    f"the library function {name!r} must return values of shape "
                    f"(n_samples,) = ({len(rows)},), got shape {values.shape}."
                )
            columns.append(np.broadcast_to(values, (len(rows),)))
        terms = np.stack(columns, axis=-1)
        return terms.reshape(*X.shape[:-1], len(self.names))

    def jacobian(self, X):
        """Derivatives (..., n_terms, n_inputs), by central differences.

        Their relative error is about 1e-10: a step of the cube root of the rounding
        error balances it with the error of the difference.
        """
        found = np.empty((*X.shape, len(self.names)))
        for j in range(X.shape[-1]):
            step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(np.abs(X[..., j]), 1)
            ahead, behind = X.copy(), X.copy()
            ahead[..., j] += step
            behind[..., j] -= step
            width = ahead[..., j] - behind[..., j]
            rise = self.evaluate(ahead) - self.evaluate(behind)
            found[..., j, :] = rise / width[..., None]
        return found.swapaxes(-1, -2)


class Library:
    """Candidate terms of all equations, by name.

    Parameters
    ----------
    parts : list of Monomials, Waves or Functions
    """

    def __init__(self, parts):
        self.parts = parts
        self.names = [name for part in parts for name in part.names]

    def __len__(self):
        return len(self.names)

    def evaluate(self, X):
        """Terms at points.

        Parameters
        ----------
        X : ndarray of float64 of shape (..., n_inputs)
            States, then controls.

        Returns
        -------
        terms : ndarray of shape (..., n_terms)
        """
        return np.concatenate([part.evaluate(X) for part in self.parts], axis=-1)

    def jacobian(self, X):
        """Derivatives of the terms by the variables, (..., n_terms, n_inputs)."""
        return np.concatenate([part.jacobian(X) for part in self.parts], axis=-2)


def make_library(library, names, degree, include_bias):
    """Build a library from what a user asks for.

    Parameters
    ----------
    library : {"polynomial", "fourier"}, dict of str to callable, or list of these
    names : sequence of str
        Names of the variables.
    degree : int
    include_bias : bool

    Returns
    -------
    library : Library

    Raises
    ------
    ValueError
        If there is no term, more than 20,000 of them, or two of one name; if a part is
        unknown or holds what cannot be called.
    """
    parts = library if isinstance(library, list | tuple) else [library]
    kinds = {"polynomial": Monomials, "fourier": Waves}
    made, n_terms = [], 0
    for part in parts:
        if isinstance(part, Mapping):
            _check_functions(part)
            n_terms += len(part)
            made.append(Functions(part))
            continue
        if not isinstance(part, str) or part not in kinds:
            raise ValueError(
                'library must hold "polynomial", "fourier" or dicts of functions by '
                f"name, got {part!r}."
            )
        n_terms += kinds[part].count(len(names), degree, include_bias)
        # Counted before it is built: a large degree would fill the memory here.
        if n_terms > MAX_TERMS:
            break
        made.append(kinds[part](names, degree, include_bias))
        # The constant stands once.
        include_bias = False
    if n_terms > MAX_TERMS:
        raise ValueError(
            f"library has {n_terms:,} terms or more for {len(names)} variables and "
            f"degree={degree}; at most {MAX_TERMS:,} are taken."
        )
    made = [part for part in made if part.names]
    if not made:
        raise ValueError(f"library must have at least one term, got {library!r}.")
    found = Library(made)
    if len(set(found.names)) < len(found):
        twice = sorted({name for name in found.names if found.names.count(name) > 1})
        raise ValueError(f"library must name each term once, got {twice} twice.")
    return found


def _check_functions(functions):
    for name, function in functions.items():
        if not isinstance(name, str) or not isinstance(function, Callable):
            raise ValueError(
                "library must name functions by strings, got "
                f"{{{name!r}: {function!r}}}."
            )


def _product_name(names, exponents):
    factors = [
        name if exponent == 1 else f"{name}^{exponent}"
        for name, exponent in zip(names, exponents, strict=True)
        if exponent
    ]
    return " ".join(factors) or "1"
