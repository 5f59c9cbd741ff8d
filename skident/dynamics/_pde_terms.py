"""Candidate terms of a partial differential equation, first order in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from numbers import Integral

import numpy as np

# Block -> (spatial axis, order of the derivative) of the equation's own field.
_DERIVATIVES = {
    "u": (None, 0),
    "u_x": (0, 1),
    "u_y": (1, 1),
    "u_xx": (0, 2),
    "u_yy": (1, 2),
    "source": (None, 0),
}
BLOCKS = tuple(_DERIVATIVES)


@dataclass(frozen=True)
class PDETerm:
    """One candidate term ``expression * block`` of the right-hand side of u_t = ....

    The block holds the unknown field of the equation, or one derivative of it; the
    expression is a function of the fields at the same point, and is frozen at the
    smoothed data while the equation is solved, so that the equation stays linear in
    the unknown. In block ``"source"`` nothing is unknown: the term is the expression.

    With several fields each has an equation, from the same list of terms: the fields
    then stand in the order *the equation's own field first, the others behind it in
    their order*. For two fields u and v, ``PDETerm("u", (0, 2))`` is ``v^2 u`` in the
    equation of u and ``u^2 v`` in that of v.

    Parameters
    ----------
    block : {"u", "u_x", "u_y", "u_xx", "u_yy", "source"}
        What is unknown, written for a field called u whatever its real name.
    expression : tuple of int or callable, default=()
        Exponents of the fields, zeros at the end left out: ``()`` is the constant 1,
        ``(2,)`` is u^2, ``(0, 1)`` is v. Or a function of as many arrays as there are
        fields that returns an array of their shape.
    name : str or None, default=None
        Name of a callable expression; ``None`` takes its ``__name__``.

    Raises
    ------
    ValueError
        If the block is unknown, a mixed derivative, of an order above two, or of
        another field (coupled diffusion): these are not among the solver's unknowns.
        If an exponent is negative or no integer, or a lambda comes without a name.

    Examples
    --------
    >>> from skident.dynamics import PDETerm
    >>> PDETerm("u_x", (1,)).label()
    'u u_x'
    >>> PDETerm("u", (2, 1)).label(("v", "w"))
    'v^3 w'
    >>> PDETerm("u_xx", abs, name="|u|").label()
    '|u| u_xx'
    """

    block: str
    expression: tuple | Callable = ()
    name: str | None = None

    def __post_init__(self):
        _check_block(self.block)
        if callable(self.expression):
            name = self.name or getattr(self.expression, "__name__", "<lambda>")
            if name == "<lambda>":
                raise ValueError(
                    "a PDETerm whose expression is a lambda needs a name, got "
                    f"name={self.name!r}."
                )
            object.__setattr__(self, "name", name)
            return
        if isinstance(self.expression, str | bytes) or not isinstance(
            self.expression, Sequence
        ):
            raise ValueError(
                "expression must be a tuple of exponents, one a field, or a callable, "
                f"got {self.expression!r}."
            )
        if self.name is not None:
            raise ValueError(
                f"name belongs to callable expressions, got name={self.name!r} with "
                f"the exponents {tuple(self.expression)}."
            )
        for exponent in self.expression:
            if not isinstance(exponent, Integral) or exponent < 0:
                raise ValueError(
                    "exponents must be integers of at least 0, got "
                    f"{tuple(self.expression)}; write other powers as a callable."
                )
        exponents = [int(exponent) for exponent in self.expression]
        while exponents and exponents[-1] == 0:
            exponents.pop()
        object.__setattr__(self, "expression", tuple(exponents))

    @property
    def axis(self):
        """Spatial axis of the derivative, 0 for x and 1 for y; None without one."""
        return _DERIVATIVES[self.block][0]

    @property
    def order(self):
        """Order of the spatial derivative: 0, 1 or 2."""
        return _DERIVATIVES[self.block][1]

    @property
    def is_source(self):
        """Whether the term holds nothing unknown."""
        return self.block == "source"

    def label(self, fields=("u",)):
        """Name of the term, such as ``"u v^2 u_x"``.

        Parameters
        ----------
        fields : sequence of str, default=("u",)
            Names of the fields, the equation's own first.

        Returns
        -------
        label : str
        """
        own = fields[0]
        head = "" if self.is_source else own + self.block[1:]
        if callable(self.expression):
            return f"{self.name} {head}".rstrip()
        exponents = list(self.expression)
        if self.block == "u":
            exponents = exponents or [0]
            exponents[0] += 1
            head = ""
        factors = [
            name if exponent == 1 else f"{name}^{exponent}"
            for name, exponent in zip(fields, exponents, strict=False)
            if exponent
        ]
        return " ".join([*factors, head]).rstrip() or "1"

    def factor(self, fields):
        """The expression at the fields.

        Parameters
        ----------
        fields : sequence of ndarrays of one shape
            The equation's own field first, in the units of the data.

        Returns
        -------
        factor : ndarray of that shape
            What multiplies the block.

        Raises
        ------
        ValueError
            If a callable returns another shape, or values that are not finite.
        """
        shape = np.shape(fields[0])
        if callable(self.expression):
            with np.errstate(all="ignore"):  # what is not finite is named below
                value = np.asarray(self.expression(*fields), dtype=np.float64)
            if value.shape not in (shape, ()):
                raise ValueError(
                    f"the expression {self.name!r} of a PDETerm must return an array "
                    f"of shape {shape}, got shape {value.shape}."
                )
            if not np.isfinite(value).all():
                raise ValueError(
                    f"the expression {self.name!r} of a PDETerm is not finite "
                    "everywhere on these fields."
                )
            return np.broadcast_to(value, shape)
        value = np.ones(shape)
        for field, exponent in zip(fields, self.expression, strict=False):
            if exponent:
                value = value * np.asarray(field, dtype=np.float64) ** exponent
        return value

    def unit(self, steps):
        """The term's coefficient in units of the steps, per unit in those of the data.

        Parameters
        ----------
        steps : sequence of float
            Units of time and of each spatial axis.

        Returns
        -------
        unit : float
        """
        if self.order == 0:
            return steps[0]
        return steps[0] / steps[1 + self.axis] ** self.order


def block_library(n_fields, spatial_dims, degree, blocks=None):
    """All terms ``monomial * block`` up to a degree of the monomial.

    Parameters
    ----------
    n_fields : int
        Number of fields.
    spatial_dims : {1, 2}
        Number of spatial axes.
    degree : int
        Largest total degree of the monomials, 0 for constants alone.
    blocks : sequence of str or None, default=None
        The blocks that carry monomials; ``None`` is the field itself, every first and
        second spatial derivative, and a source.

    Returns
    -------
    terms : list of PDETerm
        Block by block, by degree within a block. Beside block ``"u"`` the source has
        the constant and what holds no power of the equation's own field, up to degree
        ``degree + 1``: the rest would be there twice. Without block ``"u"`` it has
        every monomial up to ``degree``.

    Raises
    ------
    ValueError
        If a block is unknown, given twice, or of an axis that the grid lacks.

    Examples
    --------
    >>> [term.label() for term in block_library(1, 1, 1)]
    ['u', 'u^2', 'u_x', 'u u_x', 'u_xx', 'u u_xx', '1']
    """
    if blocks is None:
        blocks = [
            block for block in BLOCKS if (_DERIVATIVES[block][0] or 0) < spatial_dims
        ]
    for block in blocks:
        _check_block(block)
        _check_axis(block, spatial_dims)
    if len(set(blocks)) < len(blocks):
        raise ValueError(f"blocks must differ, got {list(blocks)}.")
    terms = []
    for block in blocks:
        if block == "source" and "u" in blocks:
            foreign = [e for e in _exponents(n_fields, degree + 1) if not e or not e[0]]
            terms += [PDETerm(block, e) for e in foreign]
        else:
            terms += [PDETerm(block, e) for e in _exponents(n_fields, degree)]
    return terms


def check_terms(terms, n_fields, spatial_dims):
    """Refuse a list of terms that does not suit the fields, or holds a term twice.

    Parameters
    ----------
    terms : sequence of PDETerm
    n_fields, spatial_dims : int

    Returns
    -------
    terms : list of PDETerm

    Raises
    ------
    ValueError
        As named above, saying which term; or if the list is empty.
    """
    if isinstance(terms, PDETerm) or not len(terms):
        raise ValueError(f"terms must be a list of at least one PDETerm, got {terms!r}")
    seen = {}
    for term in terms:
        if not isinstance(term, PDETerm):
            raise ValueError(f"terms must hold PDETerm objects, got {term!r}.")
        _check_axis(term.block, spatial_dims)
        if not callable(term.expression) and len(term.expression) > n_fields:
            raise ValueError(
                f"the exponents {term.expression} of a PDETerm name "
                f"{len(term.expression)} fields, but there are n_fields = {n_fields}."
            )
        product = _product(term)
        if product in seen:
            raise ValueError(
                f"terms must differ, got {seen[product]} and {term}, which are the "
                "same function."
            )
        seen[product] = term
    return list(terms)


def own_first(fields, field):
    """Order the last axis as one field's equation has it.

    Parameters
    ----------
    fields : ndarray of shape (..., n_fields)
    field : int
        The equation's own field.

    Returns
    -------
    ordered : list of n_fields ndarrays of shape (...)
    """
    others = [k for k in range(fields.shape[-1]) if k != field]
    return [fields[..., k] for k in [field, *others]]


def own_first_names(names, field):
    """Names of the fields in the order of :func:`own_first`."""
    return [names[field], *names[:field], *names[field + 1 :]]


def term_values(terms, fields, derivatives):
    """Every term at every point, for du/dt as a sum of terms.

    Parameters
    ----------
    terms : sequence of PDETerm
    fields : sequence of ndarrays of one shape
        The equation's own field first.
    derivatives : dict of str to ndarray
        The own field's derivatives of that shape, by block: ``{"u_x": ..., ...}``;
        those that no term needs may be left out.

    Returns
    -------
    values : ndarray of shape (..., n_terms)
        In units of the fields, per unit of coefficient.
    """
    values = np.empty((*np.shape(fields[0]), len(terms)))
    for j, term in enumerate(terms):
        values[..., j] = term.factor(fields)
        if term.block == "u":
            values[..., j] *= fields[0]
        elif not term.is_source:
            values[..., j] *= derivatives[term.block]
    return values


def _exponents(n_fields, degree):
    found = []
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(n_fields), total):
            found.append(tuple(np.bincount(chosen, minlength=n_fields).tolist()))
    return [e if any(e) else () for e in found]


def _product(term):
    """What the term is as a function, to find two that are the same."""
    kind = "u" if term.order == 0 else term.block
    if callable(term.expression):
        return term.block, term.expression
    exponents = list(term.expression)
    if term.block == "u":
        exponents = exponents or [0]
        exponents[0] += 1
    return kind, tuple(exponents)


def _check_block(block):
    if block in _DERIVATIVES:
        return
    reason = ""
    if isinstance(block, str) and "_" in block:
        own, along = block.split("_", 1)
        if along and not set(along) - set("xyzt"):
            if own != "u":
                reason = (
                    ": a derivative of another field (coupled diffusion or advection) "
                    "is not among the solver's unknowns"
                )
            elif "t" in along:
                reason = ": the equation is u_t = ..., of first order in time"
            elif "z" in along:
                reason = ": there are at most two spatial axes"
            elif len(set(along)) > 1:
                reason = ": mixed derivatives are not among the solver's unknowns"
            else:
                reason = ": the solver's unknowns end at second derivatives"
    raise ValueError(f"block must be one of {list(BLOCKS)}, got {block!r}{reason}.")


def _check_axis(block, spatial_dims):
    axis = _DERIVATIVES[block][0]
    if axis is not None and axis >= spatial_dims:
        raise ValueError(
            f"block {block!r} needs a second spatial axis, but the grid has "
            f"{spatial_dims}."
        )
