"""Fields that equations lead to: marching linear solves, or lines of nodes."""

import warnings

import numpy as np
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from sklearn.exceptions import ConvergenceWarning

from skident.solvers._pde_system import PdeSystem

# Fields beyond this multiple of their start, or of the data, have blown up.
_BLOWN_UP = 1e6
# Rates that an explicit method may ask for before an implicit one is cheaper.
_EXPLICIT_RATES = 5000
_RTOL = 1e-7
# Steps of a window of the marching solve, and nodes that a periodic axis is padded by,
# with one and with two spatial axes. Ends of the padding hold values of the sweep
# before: the further they are, the fewer sweeps.
_WINDOW_STEPS = {1: 16, 2: 8}
_PAD = {1: 16, 2: 6}
# Sweeps that still change fields by this share of their size follow no solution.
_LOST = 0.1


class _TooManyRates(Exception):
    pass


def blow_up(time, times, method):
    """The error of a simulation that leaves all bounds."""
    return FloatingPointError(
        f"The simulation blows up at time {time:g} of {times[-1]:g}: the fields exceed "
        f"{_BLOWN_UP:g} times their start, or no step is short enough to follow them "
        f"(method={method!r}). Simulate a shorter time, or look whether a coefficient "
        "of an even derivative has the wrong sign."
    )


class Boundary:
    """What is known at the ends of the spatial axes.

    Parameters
    ----------
    start : ndarray of shape (*grid_shape, n_fields)
    times : ndarray of shape (n_times,)
    periodic : bool
        Nothing is known then; the axes close on themselves.
    values : ndarray of shape (n_times, *grid_shape, n_fields) or None
        Of which the ends are read; None holds those of the start.
    """

    def __init__(self, start, times, periodic, values=None):
        axes = [np.arange(n) for n in start.shape[:-1]]
        at_end = np.zeros(start.shape[:-1], dtype=bool)
        for axis, nodes in enumerate(axes):
            ends = (nodes == 0) | (nodes == nodes[-1])
            shape = [1] * len(axes)
            shape[axis] = -1
            at_end |= ends.reshape(shape)
        self.known = np.zeros_like(at_end) if periodic else at_end
        self.start, self.curve = start, None
        if values is not None and not periodic:
            order = np.argsort(times)
            self.curve = CubicSpline(times[order], values[order][:, self.known])

    def at(self, time):
        """Values at the known nodes, of shape (n_known, n_fields)."""
        return self.start[self.known] if self.curve is None else self.curve(time)


def simulate(equations, x0, times, boundary, method, *, n_fields, step, linear_solver):
    """Check a start and simulate from it.

    Parameters
    ----------
    equations : FieldEquations
    x0 : array-like of shape (n_features,)
    times : array-like of shape (n_times,)
    boundary : array-like of shape (n_times, n_features) or None
    method : {"auto", "picard", "mol"}
    n_fields : int
    step : float
        Longest step in time of "picard".
    linear_solver : str

    Returns
    -------
    fields : ndarray of shape (n_times, *grid_shape, n_fields)
    """
    shape = (*map(len, equations.space), n_fields)
    start = _finite("x0", x0, (int(np.prod(shape)),)).reshape(shape)
    times = _finite("times", times, None)
    if (np.diff(times) <= 0).any():
        raise ValueError("times must increase, from that of x0 on.")
    if method not in ("auto", "picard", "mol"):
        raise ValueError(f'method must be "auto", "picard" or "mol", got {method!r}.')
    if boundary is not None:
        boundary = _finite("boundary", boundary, (len(times), start.size))
        boundary = boundary.reshape(len(times), *shape)
    if len(times) == 1:
        return start[None]
    held = Boundary(start, times, equations.periodic, boundary)
    if method == "auto":
        method = "picard" if len(equations.space) == 1 else "mol"
    if method == "mol":
        return by_lines(equations, start, times, held)
    return by_patches(
        equations, start, times, held, step=step, linear_solver=linear_solver
    )


def _finite(name, values, shape):
    """Finite float64 array of a shape; of one axis for None."""
    values = np.asarray(values, dtype=np.float64)
    if shape is None:
        fits, shape = values.ndim == 1 and len(values) > 0, "(n_times,)"
    else:
        fits = values.shape == shape
    if not fits:
        raise ValueError(f"{name} must be of shape {shape}, got {values.shape}.")
    if not np.isfinite(values).all():
        what = "" if shape == "(n_times,)" else ": fill gaps by denoise or transform"
        raise ValueError(f"{name} must be finite{what}.")
    return values


def by_lines(equations, start, times, boundary):
    """Integrate the nodes as one system of ordinary equations.

    An explicit method, and an implicit one where that takes too many steps.

    Parameters
    ----------
    equations : FieldEquations
    start : ndarray of shape (*grid_shape, n_fields)
    times : ndarray of shape (n_times,)
        Increasing; the first is that of ``start``.
    boundary : Boundary

    Returns
    -------
    fields : ndarray of shape (n_times, *grid_shape, n_fields)

    Raises
    ------
    FloatingPointError
        If the fields blow up.
    """
    free = ~boundary.known
    size = np.abs(start).max()
    n_rates = 0
    budget = _EXPLICIT_RATES

    def full(time, y):
        fields = np.empty(start.shape)
        fields[free] = y.reshape(-1, start.shape[-1])
        fields[boundary.known] = boundary.at(time)
        return fields

    def rate(time, y):
        nonlocal n_rates
        n_rates += 1
        if n_rates > budget:
            raise _TooManyRates
        with np.errstate(all="ignore"):
            found = equations.rate(full(time, y))[free].ravel()
        # A trial step may leave all bounds; the solver then takes a shorter one.
        return np.nan_to_num(found, nan=1e30, posinf=1e30, neginf=-1e30)

    def bounded(time, y):
        return _BLOWN_UP * max(size, _floor(start)) - np.abs(y).max(initial=0.0)

    bounded.terminal = True
    settings = {
        "t_span": (times[0], times[-1]),
        "y0": start[free].ravel(),
        "t_eval": times,
        "events": bounded,
        "rtol": _RTOL,
        "atol": _RTOL * max(size, _floor(start)),
    }
    with warnings.catch_warnings():
        # Of a field on its way to infinity: said by the error below.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            found = solve_ivp(rate, method="RK45", **settings)
        except _TooManyRates:
            budget = np.inf
            pattern = _pattern(equations, free, start.shape[-1])
            found = solve_ivp(rate, method="BDF", jac_sparsity=pattern, **settings)
    if found.status != 0:
        # An event ends the run at a time of its own, a failure at the last step.
        ends = found.t_events[0] if len(found.t_events[0]) else found.t
        raise blow_up(ends[-1] if len(ends) else times[0], times, "mol")
    return np.array([full(t, y) for t, y in zip(times, found.y.T, strict=True)])


def _floor(start):
    """Unit of fields that start from nothing."""
    return 1.0 if not np.abs(start).max() else 0.0


def _pattern(equations, free, n_fields):
    """Which rates depend on which values."""
    shape = free.shape
    n = free.size
    pattern = sparse.identity(n, format="csr")
    for axis, (first, second) in enumerate(equations.matrices):
        along = (abs(first) + abs(second)).astype(bool).astype(np.float64)
        parts = [sparse.identity(m) for m in shape]
        parts[axis] = along
        whole = parts[0]
        for part in parts[1:]:
            whole = sparse.kron(whole, part)
        pattern = pattern + whole
    kept = np.flatnonzero(free.ravel())
    pattern = pattern.tocsr()[kept][:, kept]
    return sparse.kron(pattern, np.ones((n_fields, n_fields))).tocsr()


def by_patches(
    equations,
    start,
    times,
    boundary,
    *,
    step,
    tol=1e-6,
    max_sweeps=20,
    linear_solver="auto",
):
    """March solves of the linear equations, frozen at the sweep before.

    Parameters
    ----------
    equations, start, times, boundary
        As in :func:`by_lines`.
    step : float
        Longest step in time; ``times`` further apart are divided.
    tol : float, default=1e-6
        Sweeps end where fields change by less, relative to their size.
    max_sweeps : int, default=20
        A window that takes more is halved.
    linear_solver : str, default="auto"

    Returns
    -------
    fields : ndarray of shape (n_times, *grid_shape, n_fields)

    Raises
    ------
    FloatingPointError
        If the fields blow up.

    Warns
    -----
    ConvergenceWarning
        If the sweeps of a short window do not settle.
    """
    axis, wanted = _subdivided(times, step)
    grid = _Grid(equations, start.shape, linear_solver)
    fields = np.empty((len(axis), *start.shape))
    fields[0] = start
    at, n_steps, unsettled = 0, _WINDOW_STEPS[len(grid.space)], 0.0
    bound = _BLOWN_UP * max(np.abs(start).max(), _floor(start))
    while at < len(axis) - 1:
        stop = min(at + n_steps, len(axis) - 1)
        with np.errstate(all="ignore"):
            window, change = _sweeps(
                grid, equations, fields[at], axis[at : stop + 1], boundary,
                tol, max_sweeps, bound,
            )  # fmt: skip
        if not change <= tol and n_steps > 1:
            n_steps //= 2
            continue
        if not change <= _LOST:
            raise blow_up(axis[at], times, "picard")
        unsettled = max(unsettled, change if change > tol else 0.0)
        fields[at + 1 : stop + 1] = window[1:]
        at = stop
    if unsettled:
        warnings.warn(
            f"simulate: {max_sweeps} sweeps still change the fields by {unsettled:.2g} "
            f"of their size, more than tol={tol:g}; give times closer to each other, "
            'or use method="mol".',
            ConvergenceWarning,
            stacklevel=4,
        )
    return fields[wanted]


def _subdivided(times, step):
    """Axis with steps of at most about ``step``, and the places of ``times`` in it."""
    counts = np.maximum(1, np.ceil(np.diff(times) / step - 1e-6)).astype(int)
    places = np.concatenate([[0], np.cumsum(counts)])
    return np.interp(np.arange(places[-1] + 1), places, times), places


def _even(axis):
    """Times from 0; where steps are the same but for rounding, multiples of one."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    even = step * np.arange(len(axis))
    return (
        even if np.allclose(axis - axis[0], even, atol=1e-9 * step) else axis - axis[0]
    )


class _Grid:
    """Spatial nodes of a window, padded where axes are periodic."""

    def __init__(self, equations, shape, linear_solver):
        self.linear_solver = linear_solver
        self.system = None
        self.space, self.index, inside = [], [], []
        for nodes in equations.space:
            n = len(nodes)
            pad = min(_PAD[len(shape) - 1], n) if equations.periodic else 0
            at = np.arange(-pad, n + pad)
            period = (nodes[-1] - nodes[0]) * n / (n - 1)
            self.space.append(nodes[at % n] + period * (at // n))
            self.index.append(at % n)
            inside.append(slice(pad, pad + n))
        self.inside = (slice(None), *inside)

    def over(self, axis):
        """Take these times, from 0; their system is kept until others come."""
        if self.system is None or not np.array_equal(self.axis, axis):
            self.axis, self.system = axis, PdeSystem([axis, *self.space])

    def padded(self, fields):
        """Fields (n_t, *grid_shape, n_fields) on the padded nodes."""
        for axis, index in enumerate(self.index):
            fields = np.take(fields, index, axis=1 + axis)
        return fields

    def solve(self, frozen, values):
        """Solve one linear equation; boundary values are those of ``values``."""
        coefficients, source = frozen
        factor = self.system.factor(coefficients, linear_solver=self.linear_solver)
        found = factor.solve(source, values.ravel())
        return found.values[:, 0].reshape(values.shape)


def _sweeps(grid, equations, start, axis, boundary, tol, max_sweeps, bound):
    """Fields of one window and their last relative change; None if they blow up."""
    window = np.repeat(start[None], len(axis), axis=0)
    for frame, time in zip(window[1:], axis[1:], strict=True):
        frame[boundary.known] = boundary.at(time)
    change = np.inf
    grid.over(_even(axis))
    for _ in range(max_sweeps):
        padded = grid.padded(window)
        frozen = equations.frozen(padded, grid.system.variables)
        new = np.empty_like(window)
        for field, equation in enumerate(frozen):
            if not all(np.isfinite(part).all() for part in equation):
                return None, np.inf
            solved = grid.solve(equation, padded[..., field])
            new[..., field] = solved[grid.inside]
        if not np.abs(new).max() <= bound:
            return None, np.inf
        # What is known is kept: the solve meets it in the least squares sense only.
        new[0] = start
        new[1:, boundary.known] = window[1:, boundary.known]
        change = np.abs(new - window).max() / max(np.abs(new).max(), _floor(new))
        window = new
        if change <= tol:
            break
    return window, change
