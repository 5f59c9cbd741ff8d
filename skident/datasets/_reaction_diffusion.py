"""Spiral waves and turbulence of two fields that react and diffuse."""

import numpy as np
from sklearn.utils import check_random_state

from skident.datasets._series import (
    FIELD_MEASUREMENT,
    NON_NEGATIVE,
    POSITIVE,
    REAL,
    at_least,
    describe_gaps,
    field_data,
)
from skident.datasets._spectral import PeriodicGrid, evolve
from skident.utils._sklearn import validate_parameter_constraints

_SPIRAL = {
    "n_x": at_least(8),
    "n_t": at_least(2),
    "length": POSITIVE,
    "dt": POSITIVE,
    "diffusion": NON_NEGATIVE,
    "beta": REAL,
    **FIELD_MEASUREMENT,
}
_GINZBURG_LANDAU = {
    "n_x": at_least(8),
    "n_t": at_least(2),
    "dx": POSITIVE,
    "dt": POSITIVE,
    "diffusion": NON_NEGATIVE,
    "beta": REAL,
    "settle": NON_NEGATIVE,
    **FIELD_MEASUREMENT,
}
_START = 1e-4
_TURN = 0.05


def make_spiral_rd(
    n_x=64,
    n_t=201,
    *,
    length=10.0,
    dt=0.05,
    diffusion=0.1,
    beta=1.0,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """Two fields that react and diffuse in the plane: a spiral wave.

    With a = u² + v², the fields solve u_t = D∇²u + (1 - a)u + βav and v_t = D∇²v +
    (1 - a)v - βau on a periodic square [1]_.

    Parameters
    ----------
    n_x, n_t : int, default=64, 201
        Nodes of each spatial axis, and in time.
    length : float, default=10.0
        Period of both axes; the first node is at minus half of it.
    dt : float, default=0.05
        Time step.
    diffusion : float, default=0.1
        D, in squared units of length per unit of time.
    beta : float, default=1.0
        Change of the frequency with the squared amplitude.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of each field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed of noise and gaps.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_burgers`, for ``grid_shape`` (n_x, n_x), the two
        fields "u" and "v", a ``spacing`` for each axis, and rows of length n_x * n_x *
        2 in C order of (x, y, field).

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The start is tanh(r) (cos(φ - r), sin(φ - r)) in polar coordinates. Away from the
    core a is near 1, so the library's terms 1 and u² + v² are nearly collinear there:
    where the wave only rotates the equation is not identified, at the core it is.
    Fourier modes, steps in time with a relative error of 1e-9.

    References
    ----------
    .. [1] Rudy, Brunton, Proctor and Kutz, "Data-driven discovery of partial
       differential equations", Science Advances 3(4), 2017.

    Examples
    --------
    >>> from skident.datasets import make_spiral_rd
    >>> data = make_spiral_rd(32, 5)
    >>> data.X.shape, data.grid_shape, data.n_fields
    ((5, 2048), (32, 32), 2)
    >>> data.coef["v"]["u^3"]
    -1.0
    """
    parameters = dict(locals())
    validate_parameter_constraints(_SPIRAL, parameters, caller_name="make_spiral_rd")
    grid = PeriodicGrid((n_x, n_x), (length, length))
    x, y = np.meshgrid(*grid.coordinates, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    start = np.tanh(radius) * np.array([np.cos(angle - radius), np.sin(angle - radius)])
    times = dt * np.arange(n_t)

    fields = evolve(_oscillators(grid, diffusion, beta), start, times)
    data = field_data(
        np.moveaxis(fields, 1, -1),
        times,
        grid.coordinates,
        coef=_oscillator_coef(diffusion, beta),
        names=("u", "v"),
        noise=noise,
        frame_drop=frame_drop,
        random_state=random_state,
    )
    data.DESCR = (
        f"A spiral wave of two fields with diffusion {diffusion:g} and beta {beta:g} "
        f"on {n_x} x {n_x} nodes of a periodic square of side {length:g}, at {n_t} "
        f"times {dt:g} apart. " + describe_gaps(data, noise)
    )
    return data


def make_ginzburg_landau(
    n_x=64,
    n_t=101,
    *,
    dx=100 / 256,
    dt=0.05,
    diffusion=1.0,
    beta=1.5,
    settle=14.0,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """Oscillators in the plane that start from noise: spirals that push each other.

    The complex amplitude A = u + iv solves A_t = A + D∇²A - (1 + iβ)|A|²A on a periodic
    square, from white noise; the harder case of [1]_.

    Parameters
    ----------
    n_x, n_t : int, default=64, 101
        Nodes of each spatial axis, and in time.
    dx, dt : float, default=100 / 256, 0.05
        Steps in space and time.
    diffusion : float, default=1.0
        D, in squared units of length per unit of time.
    beta : float, default=1.5
        Change of the frequency with the squared amplitude.
    settle : float, default=14.0
        Time that passes before the first snapshot.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of each field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, the noise and the gaps.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_spiral_rd`.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    Real and imaginary part of the start are uniform on ±1e-4 at every node. Until
    ``settle`` diffusion and reaction take turns, each exactly, in steps of at most
    0.05; from there on steps in time have a relative error of 1e-9. The amplitude has
    grown to 1 by time 14. Cores of opposite turn then meet and vanish; what is left
    without them, by time 40 in most boxes of the default size, is a rotation of
    amplitude 1 from which the equation is not identified. Boxes with 128 nodes or more
    keep some.

    References
    ----------
    .. [1] Pervez, Gavves and Locatello, "Mechanistic PDE networks for discovery of
       governing equations", ICML 2025.

    Examples
    --------
    >>> from skident.datasets import make_ginzburg_landau
    >>> data = make_ginzburg_landau(16, 4, random_state=0)
    >>> data.X.shape, data.coef["u"]["u^2 v"]
    ((4, 512), 1.5)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _GINZBURG_LANDAU, parameters, caller_name="make_ginzburg_landau"
    )
    rng = check_random_state(random_state)
    grid = PeriodicGrid((n_x, n_x), (n_x * dx, n_x * dx))
    start = rng.uniform(-_START, _START, size=(2, n_x, n_x))
    times = dt * np.arange(n_t)
    fields = evolve(
        _oscillators(grid, diffusion, beta),
        _settle(start, grid, diffusion, beta, settle),
        times,
    )
    data = field_data(
        np.moveaxis(fields, 1, -1),
        times,
        grid.coordinates,
        coef=_oscillator_coef(diffusion, beta),
        names=("u", "v"),
        noise=noise,
        frame_drop=frame_drop,
        random_state=rng,
    )
    data.DESCR = (
        f"Oscillators with diffusion {diffusion:g} and beta {beta:g} on {n_x} x {n_x} "
        f"nodes of a periodic square, {dx:g} apart, at {n_t} times {dt:g} apart, "
        f"{settle:g} after their start from noise. " + describe_gaps(data, noise)
    )
    return data


def _oscillators(grid, diffusion, beta):
    """Rate of change of two fields with a = u² + v²: D∇² + (1 - a) and a turn βa."""

    def rate(t, fields):
        u, v = fields
        size = u * u + v * v
        spread = grid.backward(diffusion * grid.laplacian * grid.forward(fields))
        gain, turn = 1.0 - size, beta * size
        spread[0] += gain * u + turn * v
        spread[1] += gain * v - turn * u
        return spread

    return rate


def _settle(fields, grid, diffusion, beta, duration):
    """Fields after some time, by turns of diffusion and reaction."""
    n_steps = int(np.ceil(duration / _TURN))
    if n_steps == 0:
        return fields
    step = duration / n_steps
    decay = np.exp(0.5 * step * diffusion * grid.laplacian)
    for _ in range(n_steps):
        u, v = grid.backward(decay * grid.forward(fields))
        # a' = 2 a (1 - a), and the phase falls by β times the integral of a.
        growth = 1.0 + (u * u + v * v) * np.expm1(2 * step)
        size = np.exp(step) / np.sqrt(growth)
        phase = 0.5 * beta * np.log(growth)
        cos, sin = size * np.cos(phase), size * np.sin(phase)
        turned = np.array([u * cos + v * sin, v * cos - u * sin])
        fields = grid.backward(decay * grid.forward(turned))
    return fields


def _oscillator_coef(diffusion, beta):
    """Terms of each field's equation, written with its own field first."""
    found = {}
    for own, other, turn in (("u", "v", beta), ("v", "u", -beta)):
        terms = {
            f"{own}_xx": diffusion,
            f"{own}_yy": diffusion,
            own: 1.0,
            f"{own}^3": -1.0,
            f"{own} {other}^2": -1.0,
            f"{own}^2 {other}": turn,
            f"{other}^3": turn,
        }
        found[own] = {name: float(value) for name, value in terms.items() if value}
    return found
