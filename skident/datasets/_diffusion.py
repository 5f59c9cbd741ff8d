"""Heat, and gas in a porous medium: fields that spread."""

from numbers import Integral, Real

import numpy as np

from skident.datasets._series import (
    FIELD_MEASUREMENT,
    POSITIVE,
    at_least,
    describe_gaps,
    field_data,
)
from skident.datasets._spectral import PeriodicGrid, evolve
from skident.utils._sklearn import Interval, validate_parameter_constraints

_COMMON = {
    "n_dims": [Interval(Integral, 1, 2, closed="both")],
    "n_x": at_least(8),
    "n_t": at_least(2),
    "length": POSITIVE,
    "dt": POSITIVE,
    **FIELD_MEASUREMENT,
}
_DIFFUSION = {"diffusion": POSITIVE, **_COMMON}
_POROUS = {"m": [Interval(Real, 1, None, closed="neither")], **_COMMON}
# The lowest density: at zero the exponent's equation loses its diffusion.
_FLOOR = 0.1


def make_diffusion(
    diffusion=0.5,
    n_x=64,
    n_t=101,
    *,
    n_dims=1,
    length=10.0,
    dt=0.05,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """A field u that solves u_t = D ∇²u on a periodic line or square.

    Parameters
    ----------
    diffusion : float, default=0.5
        D, in squared units of length per unit of time.
    n_x, n_t : int, default=64, 101
        Nodes of each spatial axis, and in time.
    n_dims : {1, 2}, default=1
        Spatial axes.
    length : float, default=10.0
        Period of each axis; the first node is at minus half of it.
    dt : float, default=0.05
        Time step.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of the field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed of noise and gaps.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_burgers`.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The start is two bumps of unlike height and width. Each Fourier mode decays exactly.

    Examples
    --------
    >>> from skident.datasets import make_diffusion
    >>> data = make_diffusion(n_dims=2, n_x=16, n_t=4)
    >>> data.X.shape, data.coef["u"]
    ((4, 256), {'u_xx': 0.5, 'u_yy': 0.5})
    """
    parameters = dict(locals())
    validate_parameter_constraints(_DIFFUSION, parameters, caller_name="make_diffusion")
    grid = PeriodicGrid((n_x,) * n_dims, (length,) * n_dims)
    times = dt * np.arange(n_t)
    decay = np.exp(diffusion * np.multiply.outer(times, grid.laplacian))
    fields = grid.backward(decay * grid.forward(_bumps(grid, length)))
    terms = ("u_xx", "u_yy")[:n_dims]
    data = field_data(
        fields[..., None],
        times,
        grid.coordinates,
        coef={"u": dict.fromkeys(terms, float(diffusion))},
        names=("u",),
        noise=noise,
        frame_drop=frame_drop,
        random_state=random_state,
    )
    data.DESCR = (
        f"Diffusion with coefficient {diffusion:g} on {n_dims} periodic axes of "
        f"{n_x} nodes and length {length:g}, at {n_t} times {dt:g} apart. "
        + describe_gaps(data, noise)
    )
    return data


def make_porous_medium(
    m=2.675,
    n_x=128,
    n_t=101,
    *,
    n_dims=1,
    length=10.0,
    dt=0.02,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """A density u of gas in a porous medium, which solves u_t = ∇²(u^m).

    Parameters
    ----------
    m : float, default=2.675
        Exponent, above 1.
    n_x, n_t : int, default=128, 101
        Nodes of each spatial axis, and in time.
    n_dims : {1, 2}, default=1
        Spatial axes.
    length : float, default=10.0
        Period of each axis; the first node is at minus half of it.
    dt : float, default=0.02
        Time step.
    noise : float, default=0.0
        Standard deviation of the measurement noise, normal and independent, in units of
        the root mean square of the field.
    frame_drop : float, default=0.0
        Probability in [0, 1) with which a snapshot is missing.
    random_state : int, RandomState instance or None, default=None
        Seed of noise and gaps.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_burgers`, and ``exponent``, m. Terms of ``coef``
        are those of the expanded form, ``m u^(m-1) ∇²u + m (m-1) u^(m-2) |∇u|²``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The start is two bumps on a floor of 0.1, where diffusion does not vanish. Fourier
    modes, steps in time with a relative error of 1e-9.

    Examples
    --------
    >>> from skident.datasets import make_porous_medium
    >>> data = make_porous_medium(2.0, 32, 4)
    >>> data.X.shape, data.coef["u"]
    ((4, 32), {'u u_xx': 2.0, 'u_x^2': 2.0})
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _POROUS, parameters, caller_name="make_porous_medium"
    )
    grid = PeriodicGrid((n_x,) * n_dims, (length,) * n_dims)
    times = dt * np.arange(n_t)

    def rate(t, u):
        return grid.backward(grid.laplacian * grid.forward(u**m))

    fields = evolve(rate, _FLOOR + _bumps(grid, length), times)
    coef = {}
    for axis in "xy"[:n_dims]:
        coef[_power(m - 1) + f"u_{axis}{axis}"] = float(m)
        coef[_power(m - 2) + f"u_{axis}^2"] = float(m * (m - 1))
    data = field_data(
        fields[..., None],
        times,
        grid.coordinates,
        coef={"u": coef},
        names=("u",),
        noise=noise,
        frame_drop=frame_drop,
        random_state=random_state,
        exponent=float(m),
    )
    data.DESCR = (
        f"Gas in a porous medium with exponent {m:g} on {n_dims} periodic axes of "
        f"{n_x} nodes and length {length:g}, at {n_t} times {dt:g} apart. "
        + describe_gaps(data, noise)
    )
    return data


def _bumps(grid, length):
    """Two bumps of unlike height and width, far from the ends of the period."""
    total = 0.0
    for height, width, place in ((1.0, 0.08, -0.15), (0.6, 0.06, 0.2)):
        distance = 0.0
        for axis, nodes in enumerate(grid.coordinates):
            # The second axis has its bumps elsewhere, so that the axes differ.
            centre = place * length * (1 if axis == 0 else -0.6)
            distance = np.add.outer(distance, (nodes - centre) ** 2)
        total = total + height * np.exp(-0.5 * distance / (width * length) ** 2)
    return total


def _power(exponent):
    """Factor of a term's name; nothing for a power of 0."""
    exponent = float(f"{exponent:.12g}")
    if exponent == 0:
        return ""
    return "u " if exponent == 1 else f"u^{exponent:g} "
