"""Least-squares system of a linear partial differential equation on a grid."""

import numpy as np
from scipy import sparse

from skident.solvers._pde_condense import Condensation
from skident.solvers._pde_factor import PdeFactor
from skident.solvers._pde_stencils import AxisStencil
from skident.utils._memory import check_memory

_AXES = ("t", "x", "y")
# Rows of the equation count this much more than rows that tie a field to its
# derivatives, all in units of the mean step. From 3 on, errors on closed forms do not
# depend on it (heat, Laplace, transport); at 1 transport doubles its error.
EQUATION_WEIGHT = 32.0


class PdeSystem:
    """All that a linear equation's least-squares system owes to its grid.

    The unknowns of a node are the field, its first and its pure second derivatives.
    Rows ask for the equation at inner nodes, for the given values at boundary nodes,
    for derivatives that agree with five-point stencils, and for second-order Taylor
    expansions that agree between neighbours; the sum of their squares is minimised.

    Parameters
    ----------
    coordinates : list of array-like, each of shape (n_i,)
        Increasing coordinates of the nodes: time first, then one or two axes of space.
        Nodes are numbered in C order.
    boundary : {"faces", "initial", "box"} or list of (int, str), default="faces"
        Where values are given: at the first time and both ends of each axis of space,
        at the first time alone, on every face with the last time too, or a list of
        pairs of a node and a variable.
    equation_weight : float, default=32.0
        Weight of the equation, in units of the mean time step, against the rows that
        tie a field to its derivatives; dimensionless.

    Attributes
    ----------
    shape : tuple of int
        Nodes on each axis.
    n_nodes : int
    variables : tuple of str
        Unknowns of a node: "u", then as ("u_t", "u_x"), then as ("u_tt", "u_xx").
    equation_nodes : ndarray of int64
        Nodes where the equation is asked for: all but those at the first time and on
        the faces in space.
    boundary_nodes, boundary_variables : ndarrays of shape (n_boundary,), int64
        Node and number of the variable of each given value.
    units : ndarray of shape (n_variables,)
        What each variable is multiplied by to be in units of mean steps.
    structure_weight : float
        Weight of every row but the equation's, whose own is 1.

    Raises
    ------
    ValueError
        If there is not one axis of time and one or two of space, if coordinates are
        fewer than two, not finite or not increasing, or if a pair of ``boundary`` does
        not exist or comes twice.
    MemoryError
        If the grid's own arrays would not fit into the memory that is free.

    Notes
    -----
    Stretching an axis, and the coefficients as the chain rule says, changes nothing:
    each derivative is measured in its own mean step. An axis of fewer than five nodes
    has stencils of the nodes there are.

    Every row holds the derivatives of one node only, so these are eliminated exactly,
    once for the grid and in O(N M) for each set of coefficients, N nodes of M variables
    each. What is left is a symmetric positive definite system in the field.

    References
    ----------
    .. [1] Pervez, Gavves and Locatello, "Mechanistic PDE networks for discovery of
       governing equations", ICML 2025, arXiv:2502.18377.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import PdeSystem
    >>> system = PdeSystem([np.linspace(0, 1, 16), np.linspace(0, np.pi, 16)])
    >>> system.variables
    ('u', 'u_t', 'u_x', 'u_tt', 'u_xx')
    >>> heat = np.tile([0.0, 1.0, 0.0, 0.0, -1.0], (system.n_nodes, 1))
    >>> factor = system.factor(heat)
    >>> solution = factor.solve(np.zeros(system.n_nodes), np.ones(system.n_nodes))
    >>> bool(abs(solution.values[:, 0] - 1.0).max() < 1e-9)
    True
    """

    def __init__(
        self, coordinates, *, boundary="faces", equation_weight=EQUATION_WEIGHT
    ):
        coordinates = [_check_axis(x, i) for i, x in enumerate(coordinates)]
        if len(coordinates) not in (2, 3):
            raise ValueError(
                "coordinates must hold one axis of time and one or two of space, got "
                f"{len(coordinates)} in all."
            )
        self.axes = [AxisStencil(x) for x in coordinates]
        self.shape = tuple(axis.n for axis in self.axes)
        self.n_nodes = int(np.prod(self.shape))
        names = _AXES[: len(self.axes)]
        self.variables = (
            "u",
            *(f"u_{name}" for name in names),
            *(f"u_{name}{name}" for name in names),
        )
        steps = np.array([axis.mean_step for axis in self.axes])
        # A derivative in units of its axis times this is one in units of mean steps.
        self.units = np.r_[1.0, steps, steps**2]
        self.structure_weight = 1.0 / (equation_weight * steps[0])
        self.equation_nodes = np.flatnonzero(~_faces(self.shape, last=False))
        self.boundary_nodes, self.boundary_variables = self._check_boundary(boundary)
        # Measured: 1250 bytes a node while it is made with one axis of space, 1700 with
        # two, half of which stay.
        check_memory(
            650.0 * len(self.axes) * self.n_nodes,
            f"The system of a grid of {self.n_nodes} nodes",
        )
        self.condensation = Condensation(self)

    def __repr__(self):
        return f"PdeSystem(shape={self.shape}, n_boundary={len(self.boundary_nodes)})"

    @property
    def n_variables(self):
        """Number of unknowns of a node."""
        return len(self.variables)

    def factor(self, coefficients, linear_solver="auto", tol=1e-8):
        """Prepare to solve for one set of coefficients.

        Parameters
        ----------
        coefficients : array-like of shape (n_nodes, n_variables)
            Coefficient of each variable at each node; those outside
            ``equation_nodes`` are not read.
        linear_solver : {"auto", "direct", "multigrid", "multigrid_paper"}, \
                default="auto"
            How the condensed system is solved. "multigrid" is conjugate gradients with
            a :class:`MultigridPreconditioner`, "multigrid_paper" the published cycle
            under GMRES, for small grids; after 60 and 300 iterations the direct solver
            takes over with a warning. "auto" is "direct" while a banded factor takes
            fewer than 4e9 operations (up to about 127 x 127 nodes, or 6000 with two
            axes of space), and "multigrid" beyond.
        tol : float, default=1e-8
            Relative residual at which an iterative solver stops.

        Returns
        -------
        factor : PdeFactor

        Raises
        ------
        ValueError
            If ``coefficients`` are not of that shape, or not finite where they are
            read.
        """
        coefficients = np.asarray(coefficients, dtype=np.float64)
        wanted = (self.n_nodes, self.n_variables)
        if coefficients.shape != wanted:
            raise ValueError(
                f"coefficients must be of shape {wanted}, got {coefficients.shape}."
            )
        return PdeFactor(self, coefficients, linear_solver=linear_solver, tol=tol)

    def rows(self, coefficients):
        """The whole least-squares matrix.

        Parameters
        ----------
        coefficients : array-like of shape (n_nodes, n_variables)

        Returns
        -------
        matrix : csr_matrix of shape (n_rows, n_nodes * n_variables)
            Rows of the equation, in the order of ``equation_nodes`` and of weight 1;
            rows of given values, in the order of ``boundary_nodes``; then, axis after
            axis, derivative rows (first, then second derivatives, node by node) and
            Taylor rows. Unknowns are node-major, in the units of the coordinates.
        """
        coefficients = np.asarray(coefficients, dtype=np.float64)
        m = self.n_variables
        nodes = self.equation_nodes
        equation = sparse.csr_matrix(
            (
                coefficients[nodes].ravel(),
                (nodes[:, None] * m + np.arange(m)).ravel(),
                np.arange(0, len(nodes) * m + 1, m),
            ),
            shape=(len(nodes), self.n_nodes * m),
        )
        blocks = [equation, self.structure_weight * self._boundary_rows()]
        for i in range(len(self.axes)):
            blocks += [self.structure_weight * rows for rows in self._axis_rows(i)]
        return sparse.vstack(blocks, format="csr")

    def boundary_scale(self):
        """What turns each given value into one in units of mean steps."""
        return self.units[self.boundary_variables]

    def check_boundary_values(self, values):
        """Given values of shape (n_boundary,) or (n_boundary, k).

        Parameters
        ----------
        values : array-like of shape (n_boundary,), (n_boundary, k) or (n_nodes,)
            The last is a whole field, read at ``boundary_nodes``.

        Returns
        -------
        values : ndarray of shape (n_boundary,) or (n_boundary, k), float64
        """
        values = np.asarray(values, dtype=np.float64)
        n_boundary = len(self.boundary_nodes)
        if len(values) == self.n_nodes and not self.boundary_variables.any():
            values = values[self.boundary_nodes]
        if len(values) != n_boundary:
            raise ValueError(
                f"boundary_values must hold {n_boundary} values, one for each of "
                f"boundary_nodes, got {len(values)}."
            )
        return values

    def _boundary_rows(self):
        n_boundary = len(self.boundary_nodes)
        columns = self.boundary_nodes * self.n_variables + self.boundary_variables
        return sparse.csr_matrix(
            (self.boundary_scale(), columns, np.arange(n_boundary + 1)),
            shape=(n_boundary, self.n_nodes * self.n_variables),
        )

    def _axis_rows(self, i):
        """Derivative rows of both orders and Taylor rows along axis i, of weight 1."""
        axis = self.axes[i]
        n, k = axis.columns.shape
        first, second = 1 + i, 1 + len(self.axes) + i
        here = sparse.identity(n, format="csr")
        own = np.repeat(np.arange(n), k)
        for order, variable in ((1, first), (2, second)):
            scale = axis.step**order
            weights = scale[:, None] * axis.weights[:, order - 1]
            tied = sparse.csr_matrix((weights.ravel(), (own, axis.columns.ravel())))
            yield self._spread(i, {0: tied, variable: -sparse.diags(scale) @ here})
        node, other = axis.neighbours()
        gap = axis.nodes[other] - axis.nodes[node]
        rows = np.arange(len(node))

        def at(columns, values):
            return sparse.csr_matrix((values, (rows, columns)), shape=(len(rows), n))

        ones = np.ones(len(rows))
        yield self._spread(
            i,
            {
                0: at(node, ones) - at(other, ones),
                first: at(node, gap),
                second: at(node, gap**2 / 2),
            },
        )

    def _spread(self, i, parts):
        """Rows on one axis, repeated over the others, in the axes' own units."""
        total = None
        m = self.n_variables
        for variable, part in parts.items():
            unit = sparse.csr_matrix(
                ([self.units[variable]], ([0], [variable])), shape=(1, m)
            )
            part = sparse.kron(along_axis(part, i, self.shape), unit, format="csr")
            total = part if total is None else total + part
        return total

    def _check_boundary(self, boundary):
        if isinstance(boundary, str):
            if boundary == "initial":
                nodes = np.arange(self.n_nodes // self.shape[0])
            elif boundary in ("faces", "box"):
                last = boundary == "box"
                nodes = np.flatnonzero(_faces(self.shape, last=last))
            else:
                raise ValueError(
                    "boundary must be 'faces', 'initial', 'box' or a list of pairs of "
                    f"a node and a variable, got {boundary!r}."
                )
            return nodes, np.zeros(len(nodes), dtype=np.int64)
        pairs = list(boundary)
        unknown = {name for _, name in pairs} - set(self.variables)
        if unknown:
            raise ValueError(
                f"boundary names {sorted(unknown)}; variables here are "
                f"{', '.join(self.variables)}."
            )
        nodes = np.array([node for node, _ in pairs], dtype=np.int64)
        if ((nodes < 0) | (nodes >= self.n_nodes)).any():
            raise ValueError(
                f"boundary holds nodes outside of 0 to {self.n_nodes - 1}."
            )
        numbers = [self.variables.index(name) for _, name in pairs]
        if len(set(pairs)) < len(pairs):
            raise ValueError("boundary holds a pair of node and variable twice.")
        return nodes, np.array(numbers, dtype=np.int64)


def along_axis(part, i, shape):
    """A matrix on axis i of a grid, repeated over the other axes, in C order."""
    before, after = int(np.prod(shape[:i])), int(np.prod(shape[i + 1 :]))
    part = sparse.kron(part, sparse.identity(after), format="csr")
    return sparse.kron(sparse.identity(before), part, format="csr")


def _faces(shape, last):
    """First time, both ends of each axis of space and, at will, the last time."""
    mask = np.zeros(shape, dtype=bool)
    mask[0] = True
    mask[-1] |= last
    for i in range(1, len(shape)):
        across = np.moveaxis(mask, i, 0)
        across[0] = across[-1] = True
    return mask.ravel()


def _check_axis(x, i):
    x = np.asarray(x, dtype=np.float64)
    name = "time" if i == 0 else f"axis {i} of space"
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"coordinates of {name} must be one-dimensional with at least two nodes, "
            f"got shape {x.shape}."
        )
    if not np.isfinite(x).all() or not (np.diff(x) > 0).all():
        raise ValueError(f"coordinates of {name} must be finite and increasing.")
    return x
