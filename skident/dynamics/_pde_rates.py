"""Rates of change of fields: spatial stencils, and the terms of an equation on them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skident.dynamics._pde_terms import own_first, term_values
from skident.solvers._pde_stencils import WIDTH, AxisStencil

_BLOCK_OF = (("u_x", "u_xx"), ("u_y", "u_yy"))


def line_derivatives(nodes, periodic):
    """Matrices of the first two derivatives along an axis, by the solver's stencils.

    Parameters
    ----------
    nodes : ndarray of shape (n,)
    periodic : bool
        Whether the axis closes on itself; the gap between its ends is then the mean
        step.

    Returns
    -------
    first, second : csr_matrix of shape (n, n)
    """
    n = len(nodes)
    pad = WIDTH // 2 if periodic else 0
    period = (nodes[-1] - nodes[0]) * n / (n - 1)
    at = np.arange(-pad, n + pad)
    stencil = AxisStencil(nodes[at % n] + period * (at // n))
    rows = np.repeat(np.arange(n), stencil.columns.shape[1])
    columns = at[stencil.columns[pad : pad + n]] % n
    made = []
    for order in (1, 2):
        values = stencil.weights[pad : pad + n, order - 1] / stencil.mean_step**order
        entries = (values.ravel(), (rows, columns.ravel()))
        made.append(sparse.csr_matrix(entries, shape=(n, n)))
    return tuple(made)


@dataclass(frozen=True)
class FieldEquations:
    """du/dt = sum over terms of ``coef * term``, one equation a field, on a grid.

    Parameters
    ----------
    terms : list of PDETerm
    coef : ndarray of shape (n_fields, n_terms)
        Zero for terms that an equation lacks.
    space : list of ndarray
        Coordinates of the spatial axes.
    periodic : bool
    """

    terms: list
    coef: np.ndarray
    space: list
    periodic: bool

    def __post_init__(self):
        matrices = [line_derivatives(nodes, self.periodic) for nodes in self.space]
        object.__setattr__(self, "matrices", matrices)

    def kept(self, field):
        """Numbers of the terms of one equation."""
        return np.flatnonzero(self.coef[field])

    def derivatives(self, values, blocks):
        """Spatial derivatives by block.

        Parameters
        ----------
        values : ndarray of shape (..., *grid_shape)
        blocks : set of str

        Returns
        -------
        derivatives : dict of ndarray of that shape
        """
        found = {}
        n_axes = len(self.space)
        for axis, matrices in enumerate(self.matrices):
            for name, matrix in zip(_BLOCK_OF[axis], matrices, strict=True):
                if name in blocks:
                    last = np.moveaxis(values, axis - n_axes, -1)
                    flat = last.reshape(-1, last.shape[-1])
                    along = (matrix @ flat.T).T.reshape(last.shape)
                    found[name] = np.moveaxis(along, -1, axis - n_axes)
        return found

    def rate(self, fields):
        """Rates of change of snapshots.

        Parameters
        ----------
        fields : ndarray of shape (..., *grid_shape, n_fields)
            NaN where missing.

        Returns
        -------
        rate : ndarray of that shape
            In units of each field per unit of time; NaN where a value that it takes is
            missing.
        """
        missing = np.isnan(fields).any(axis=-1)
        filled = fields
        if missing.any():
            # Only so that expressions see numbers: what they make there is not kept.
            filled = np.where(np.isnan(fields), _typical(fields), fields)
        rate = np.zeros(fields.shape)
        for field in range(fields.shape[-1]):
            kept = self.kept(field)
            terms = [self.terms[k] for k in kept]
            blocks = {term.block for term in terms}
            along = self.derivatives(fields[..., field], blocks)
            if terms:
                values = term_values(terms, own_first(filled, field), along)
                rate[..., field] = values @ self.coef[field, kept]
        rate[missing] = np.nan
        return rate

    def frozen(self, fields, variables):
        """The equations with the expressions of their terms frozen at known fields.

        Parameters
        ----------
        fields : ndarray of shape (*shape, n_fields)
        variables : sequence of str
            The solver's, "u", "u_t", "u_x", ...

        Returns
        -------
        frozen : list of (coefficients, source), one a field
            Such that ``sum(coefficients * unknowns) = source``: an ndarray of shape
            (n_nodes, n_variables) and one of shape (n_nodes,).
        """
        made = []
        n_nodes = fields[..., 0].size
        for field in range(fields.shape[-1]):
            coefficients = np.zeros((n_nodes, len(variables)))
            coefficients[:, list(variables).index("u_t")] = 1.0
            source = np.zeros(n_nodes)
            for k in self.kept(field):
                term = self.terms[k]
                value = self.coef[field, k] * term.factor(own_first(fields, field))
                if term.is_source:
                    source += value.ravel()
                else:
                    column = list(variables).index(term.block)
                    coefficients[:, column] -= value.ravel()
            made.append((coefficients, source))
        return made


def _typical(fields):
    """Mean of each field over what is there, 0 where nothing is."""
    flat = fields.reshape(-1, fields.shape[-1])
    there = np.isfinite(flat)
    return np.where(there, flat, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
