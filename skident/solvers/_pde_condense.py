"""Exact elimination of the derivatives from a least-squares system on a grid.

Every row holds derivative unknowns of one node only, so these are eliminated node by
node. Without the equation the elimination is a matter of each axis by itself and is
done once for a grid; the equation then adds one row a node to what is left, a system
in the field alone:

    S = S_0 + sum over equation nodes p of a_p a_p^T / tau_p,

with a_p the equation at p written in the field alone, on a star of nodes around p.
Nothing is subtracted from anything of its own size.
"""

import numpy as np
from scipy import sparse

from skident.utils._memory import check_memory


class Condensation:
    """The part of the elimination that does not depend on coefficients.

    Everything here is in units of mean steps; derivatives are variables 1 to
    ``n_variables - 1`` of a :class:`PdeSystem`.

    Parameters
    ----------
    system : PdeSystem
    """

    def __init__(self, system):
        self.system = system
        self.n_axes = len(system.axes)
        self.n_nodes = system.n_nodes
        places = np.unravel_index(np.arange(self.n_nodes), system.shape)
        given = system.boundary_variables > 0
        extra_nodes = system.boundary_nodes[given]
        extra_variables = system.boundary_variables[given]
        self.row, self.inverse, self.slope = [], [], []
        base, maps = None, [None] * (2 * self.n_axes)
        for i, axis in enumerate(system.axes):
            gram, cross, own = _axis_tables(axis)
            # Derivatives that are given at a node have a row of their own there, and
            # the node a line of its own in the tables of its axis.
            mine = (extra_variables - 1) % self.n_axes == i
            nodes, which = np.unique(extra_nodes[mine], return_inverse=True)
            place = places[i][nodes]
            added = gram[place]
            order = (extra_variables[mine] - 1) // self.n_axes
            added[which, order, order] += 1.0
            row = places[i].copy()
            row[nodes] = axis.n + np.arange(len(nodes))
            gram = np.concatenate([gram, added])
            cross = np.concatenate([cross, cross[place]])
            own = np.concatenate([own, own[place]])
            slope = -np.linalg.solve(gram, cross)
            local = own + np.einsum("rdk,rdl->rkl", cross, slope)
            self.row.append(row)
            self.inverse.append(
                np.linalg.solve(gram, np.broadcast_to(np.eye(2), gram.shape))
            )
            self.slope.append(slope)
            part = self._spread_pairs(i, local, nodes)
            base = part if base is None else base + part
            for order in (0, 1):
                maps[i + order * self.n_axes] = self._spread_rows(
                    i, slope[:, order], nodes
                )
        field = np.zeros(self.n_nodes)
        field[system.boundary_nodes[~given]] = 1.0
        self.base = (base + sparse.diags(field)).tocsr()
        # Derivatives that the structure alone would give a field, variable by variable.
        self.derivatives = sparse.vstack(maps, format="csr")
        self.star = self._stars()
        # Where entries of S stand in a band, and in blocks on a device, once that was
        # asked for.
        self.band, self.layouts, self._pulled_back = None, {}, {}

    def __getstate__(self):
        # Tensors stay on their device, and are made again where they are missing.
        return {**self.__dict__, "layouts": {}}

    def condense(self, coefficients):
        """Add an equation.

        Parameters
        ----------
        coefficients : ndarray of shape (n_nodes, n_variables)
            In the units of the coordinates.

        Returns
        -------
        condensed : Condensed
        """
        return Condensed(self, coefficients)

    def apply_inverse(self, rhs, nodes=slice(None)):
        """Inverse of the structure's part in the derivatives, node by node.

        Parameters
        ----------
        rhs : ndarray of shape (n, n_variables - 1, ...)
        nodes : ndarray of shape (n,) or slice
            Nodes that the rows of ``rhs`` belong to.

        Returns
        -------
        ndarray of the shape of ``rhs``
        """
        out = np.empty(rhs.shape)
        tail = (1,) * (rhs.ndim - 2)
        for i in range(self.n_axes):
            j = i + self.n_axes
            inverse = self.inverse[i][self.row[i][nodes]]
            one, both, two = (
                inverse[:, a, b].reshape(-1, *tail) for a, b in ((0, 0), (0, 1), (1, 1))
            )
            np.multiply(one, rhs[:, i], out=out[:, i])
            out[:, i] += both * rhs[:, j]
            np.multiply(two, rhs[:, j], out=out[:, j])
            out[:, j] += both * rhs[:, i]
        return out

    def pulled_back(self, variable):
        """What a derivative's right side at the equation nodes adds to the field's.

        Parameters
        ----------
        variable : int
            From 1.

        Returns
        -------
        csr_matrix of shape (n_nodes, n_equations)
        """
        if variable not in self._pulled_back:
            rows = (variable - 1) * self.n_nodes + self.system.equation_nodes
            self._pulled_back[variable] = self.derivatives[rows].T.tocsr()
        return self._pulled_back[variable]

    def _stars(self):
        """Nodes that the equation of each equation node reaches, its own first."""
        nodes = self.system.equation_nodes
        places = np.unravel_index(nodes, self.system.shape)
        columns = [nodes[:, None]]
        stride = self.n_nodes
        for axis, place in zip(self.system.axes, places, strict=True):
            stride //= axis.n
            others = _without_own(axis.columns, axis)
            columns.append(nodes[:, None] + (others[place] - place[:, None]) * stride)
        return np.concatenate(columns, axis=1)

    def equation_rows(self, coefficients):
        """The equation written in the field alone, of shape (n_equations, n_star).

        Parameters
        ----------
        coefficients : ndarray of shape (n_equations, n_variables)
            In units of mean steps.
        """
        values = np.empty(self.star.shape)
        values[:, 0] = coefficients[:, 0]
        start = 1
        nodes = self.system.equation_nodes
        for i, axis in enumerate(self.system.axes):
            k = axis.columns.shape[1]
            # Lines of nodes with a derivative of their own come after the axis'.
            row = self.row[i][nodes]
            place = np.unravel_index(nodes, self.system.shape)[i]
            slope = self.slope[i][row]
            weights = coefficients[:, 1 + i, None] * slope[:, 0]
            weights += coefficients[:, 1 + self.n_axes + i, None] * slope[:, 1]
            own = place - axis.columns[place, 0]
            values[:, 0] += weights[np.arange(len(nodes)), own]
            values[:, start : start + k - 1] = weights[
                np.arange(k) != own[:, None]
            ].reshape(len(nodes), k - 1)
            start += k - 1
        return values

    def _spread_rows(self, i, rows, extra):
        """Lines of an axis' table as a matrix over all nodes."""
        axis = self.system.axes[i]
        n, k = axis.columns.shape
        own = np.repeat(np.arange(n), k)
        shape = self.system.shape
        before, after = int(np.prod(shape[:i])), int(np.prod(shape[i + 1 :]))
        matrix = sparse.csr_matrix(
            (rows[:n].ravel(), (own, axis.columns.ravel())), shape=(n, n)
        )
        matrix = _repeat(matrix, before, after)
        if len(extra):
            place, columns = self._columns_at(i, extra)
            change = rows[n:] - rows[place]
            own = np.repeat(extra, k)
            matrix = matrix + sparse.csr_matrix(
                (change.ravel(), (own, columns.ravel())), shape=matrix.shape
            )
        return matrix

    def _spread_pairs(self, i, local, extra):
        """Sum over nodes of each node's line of an axis' table of square blocks."""
        axis = self.system.axes[i]
        n = axis.n
        shape = self.system.shape
        before, after = int(np.prod(shape[:i])), int(np.prod(shape[i + 1 :]))
        matrix = _sum_blocks(local[:n], axis.columns, n)
        matrix = _repeat(matrix, before, after)
        if len(extra):
            place, columns = self._columns_at(i, extra)
            change = local[n:] - local[place]
            matrix = matrix + _sum_blocks(change, columns, self.n_nodes)
        return matrix

    def _columns_at(self, i, nodes):
        axis = self.system.axes[i]
        stride = int(np.prod(self.system.shape[i + 1 :]))
        place = np.unravel_index(nodes, self.system.shape)[i]
        columns = nodes[:, None] + (axis.columns[place] - place[:, None]) * stride
        return place, columns


class Condensed:
    """A least-squares system reduced to the field, and the way back.

    Parameters
    ----------
    base : Condensation
    coefficients : ndarray of shape (n_nodes, n_variables)

    Attributes
    ----------
    tau : ndarray of shape (n_equations,)
        One plus what the derivatives alone can take off the equation.
    equation : csr_matrix of shape (n_equations, n_nodes)
        The equation in the field alone.
    """

    def __init__(self, base, coefficients):
        self.base = base
        self.system = system = base.system
        nodes = system.equation_nodes
        scale = system.units * system.structure_weight
        scaled = coefficients[nodes] / scale
        if not np.isfinite(scaled).all():
            raise ValueError("coefficients must be finite at the equation nodes.")
        self._own = np.ascontiguousarray(scaled[:, 1:])
        self._pull = base.apply_inverse(self._own, nodes)
        self.tau = 1.0 + np.einsum("nd,nd->n", self._own, self._pull)
        self.values = base.equation_rows(scaled)
        n_star = base.star.shape[1]
        self.equation = sparse.csr_matrix(
            (
                self.values.ravel(),
                base.star.ravel(),
                np.arange(0, base.star.size + 1, n_star),
            ),
            shape=(len(nodes), system.n_nodes),
        )
        self._matrix = None

    @property
    def matrix(self):
        """S, of shape (n_nodes, n_nodes), symmetric; built when asked for."""
        if self._matrix is None:
            n_nodes = self.system.n_nodes
            # Measured: 1100 bytes a node while it is made with one axis of space, 2000
            # with two, half of which stay.
            check_memory(
                700.0 * self.base.n_axes * n_nodes,
                f"The condensed matrix of {n_nodes} nodes",
            )
            rows = sparse.diags(1.0 / np.sqrt(self.tau)) @ self.equation
            matrix = (self.base.base + rows.T.tocsr() @ rows).tocsr()
            matrix.sort_indices()
            self._matrix = matrix
        return self._matrix

    def multiply(self, field):
        """S @ field, without building S; field of shape (n_nodes, k)."""
        inner = (self.equation @ field) / self.tau[:, None]
        return self.base.base @ field + self.equation.T @ inner

    def reduce(self, rhs, source=None):
        """Right side of S, from that of the normal equations.

        Parameters
        ----------
        rhs : ndarray of shape (n_nodes, n_variables, k)
            In units of mean steps, without what comes from ``source``.
        source : ndarray of shape (n_equations, k) or None, default=None
            Right side of the equation rows, of their weight.

        Returns
        -------
        ndarray of shape (n_nodes, k)
        """
        stacked = rhs[:, 1:].transpose(1, 0, 2).reshape(-1, rhs.shape[2])
        reduced = rhs[:, 0] + self.base.derivatives.T @ stacked
        inner = -self._project(rhs)
        if source is not None:
            inner += source
        return reduced + self.equation.T @ (inner / self.tau[:, None])

    def reduce_at(self, variable, along, single):
        """Right sides of S, from those that stand at the equation nodes only.

        Parameters
        ----------
        variable : int
        along : ndarray of shape (n_equations, k)
            Multiples of each equation's own coefficients.
        single : ndarray of shape (n_equations, k)
            Entries of one variable, in units of mean steps.

        Returns
        -------
        ndarray of shape (n_nodes, k)
        """
        inner, nodes = along, self.system.equation_nodes
        if variable:
            inner = along - self._pull[:, variable - 1, None] * single
            spread = self.base.pulled_back(variable) @ single
        else:
            spread = np.zeros((self.system.n_nodes, single.shape[1]))
            spread[nodes] = single
        return spread + self.equation.T @ (inner / self.tau[:, None])

    def expand(self, field, rhs, source=None):
        """All unknowns, from the field.

        Parameters
        ----------
        field : ndarray of shape (n_nodes, k)
            Solution of S.
        rhs, source
            As :meth:`reduce` got them.

        Returns
        -------
        ndarray of shape (n_nodes, n_variables, k)
            In units of mean steps.
        """
        n_nodes, m, k = rhs.shape
        out = np.empty(rhs.shape)
        out[:, 0] = field
        derivatives = (self.base.derivatives @ field).reshape(m - 1, n_nodes, k)
        out[:, 1:] = self.base.apply_inverse(rhs[:, 1:])
        out[:, 1:] += derivatives.transpose(1, 0, 2)
        gap = self.equation @ field + self._project(rhs)
        if source is not None:
            gap -= source
        gap /= self.tau[:, None]
        out[self.system.equation_nodes, 1:] -= self._pull[:, :, None] * gap[:, None]
        return out

    def _project(self, rhs):
        at = rhs[self.system.equation_nodes, 1:]
        return np.einsum("nd,ndk->nk", self._pull, at)


def _axis_tables(axis):
    """Gram blocks of an axis' rows at each node, of weight 1.

    Returns
    -------
    gram : ndarray of shape (n, 2, 2)
        Between the two derivatives.
    cross : ndarray of shape (n, 2, k)
        Between derivatives and the field on the stencil.
    own : ndarray of shape (n, k, k)
        Between fields on the stencil.
    """
    n, k = axis.columns.shape
    gram, cross = np.zeros((n, 2, 2)), np.zeros((n, 2, k))
    own = np.zeros((n, k, k))
    for order in (0, 1):
        square = axis.step ** (2 * (order + 1))
        weights = axis.weights[:, order]
        gram[:, order, order] += square
        cross[:, order] -= square[:, None] * weights
        own += square[:, None, None] * weights[:, :, None] * weights[:, None, :]
    node, other = axis.neighbours()
    gap = axis.nodes[other] - axis.nodes[node]
    taylor = np.stack([gap, gap**2 / 2], axis=1)
    difference = np.zeros((len(node), k))
    rows = np.arange(len(node))
    first = axis.columns[node, 0]
    difference[rows, node - first] = 1.0
    difference[rows, other - first] = -1.0
    np.add.at(gram, node, taylor[:, :, None] * taylor[:, None, :])
    np.add.at(cross, node, taylor[:, :, None] * difference[:, None, :])
    np.add.at(own, node, difference[:, :, None] * difference[:, None, :])
    return gram, cross, own


def _without_own(columns, axis):
    keep = columns != np.arange(axis.n)[:, None]
    return columns[keep].reshape(axis.n, -1)


def _sum_blocks(blocks, columns, n):
    k = columns.shape[1]
    rows = np.repeat(columns, k, axis=1)
    matrix = sparse.csr_matrix(
        (blocks.ravel(), (rows.ravel(), np.tile(columns, k).ravel())), shape=(n, n)
    )
    matrix.sum_duplicates()
    return matrix


def _repeat(matrix, before, after):
    matrix = sparse.kron(matrix, sparse.identity(after), format="csr")
    return sparse.kron(sparse.identity(before), matrix, format="csr")
