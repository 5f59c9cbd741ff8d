"""Spiral waves and turbulence of two fields that react and diffuse."""

import numpy as np

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

    def rate(t, fields):
        u, v = fields
        size = u * u + v * v
        spread = grid.backward(diffusion * grid.laplacian * grid.forward(fields))
        gain, turn = 1.0 - size, beta * size
        spread[0] += gain * u + turn * v
        spread[1] += gain * v - turn * u
        return spread

    fields = evolve(rate, start, times)
    data = field_data(
        np.moveaxis(fields, 1, -1),
        times,
        grid.coordinates,
        coef=_oscillator_coef(1.0, diffusion, -1.0, beta),
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


def _oscillator_coef(growth, diffusion, damping, turn):
    """Terms of u_t = D∇²u + growth u + damping a u + turn a v, and of its partner."""
    terms = {
        "u": {
            "u_xx": diffusion,
            "u_yy": diffusion,
            "u": growth,
            "u^3": damping,
            "u v^2": damping,
            "u^2 v": turn,
            "v^3": turn,
        },
        "v": {
            "v_xx": diffusion,
            "v_yy": diffusion,
            "v": growth,
            "u^2 v": damping,
            "v^3": damping,
            "u^3": -turn,
            "u v^2": -turn,
        },
    }
    return {
        field: {name: float(value) for name, value in row.items() if value}
        for field, row in terms.items()
    }
