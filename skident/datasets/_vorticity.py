"""Eddies of a fluid in the plane."""

import numpy as np
from sklearn.utils import check_random_state

from skident.datasets._series import (
    FIELD_MEASUREMENT,
    POSITIVE,
    at_least,
    describe_gaps,
    field_data,
)
from skident.datasets._spectral import PeriodicGrid, evolve
from skident.utils._sklearn import validate_parameter_constraints

_CONSTRAINTS = {
    "nu": POSITIVE,
    "n_x": at_least(8),
    "n_t": at_least(2),
    "length": POSITIVE,
    "dt": POSITIVE,
    **FIELD_MEASUREMENT,
}
_WAVE = 3.0  # waves of the start in a period, typically
_FINEST = 128  # nodes of the computation, at least


def make_navier_stokes_vorticity(
    nu=1e-3,
    n_x=64,
    n_t=101,
    *,
    length=2 * np.pi,
    dt=0.05,
    noise=0.0,
    frame_drop=0.0,
    random_state=None,
):
    """Vorticity w of an incompressible flow in the plane, without forcing.

    With the velocities u and v it solves w_t = -u w_x - v w_y + ν(w_xx + w_yy) on a
    periodic square.

    Parameters
    ----------
    nu : float, default=1e-3
        Viscosity ν, in squared units of length per unit of time.
    n_x, n_t : int, default=64, 101
        Nodes of each spatial axis, and in time.
    length : float, default=2 π
        Period of both axes; the first node is at minus half of it.
    dt : float, default=0.05
        Time step.
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
        With the fields of :func:`make_burgers`, for ``grid_shape`` (n_x, n_x), the
        three fields "w", "u" and "v", a ``spacing`` for each axis, and rows of length
        n_x * n_x * 3 in C order of (x, y, field). ``coef`` is that of "w": velocities
        follow from the vorticity of all places, by no local equation without pressure.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The start is a Gaussian random field of about three waves in a period, scaled to a
    root mean square of one; neither it nor the absence of forcing is of any
    publication. The computation has at least 128 nodes on each axis; steps in time have
    a relative error of 1e-7.

    Examples
    --------
    >>> from skident.datasets import make_navier_stokes_vorticity
    >>> data = make_navier_stokes_vorticity(0.01, 16, 3, random_state=0)
    >>> data.X.shape, data.coef["w"]["u w_x"]
    ((3, 768), -1.0)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_navier_stokes_vorticity"
    )
    rng = check_random_state(random_state)
    factor = -(-_FINEST // n_x)
    grid = PeriodicGrid((factor * n_x,) * 2, (length, length))
    times = dt * np.arange(n_t)
    to_velocity = _velocity_of_vorticity(grid)

    def rate(t, w):
        modes = grid.forward(w)
        flow = grid.backward(to_velocity * modes)
        slope = grid.backward(np.stack([1j * wave * modes for wave in grid.waves]))
        carried = grid.kept * grid.forward((flow * slope).sum(axis=0))
        return grid.backward(nu * grid.laplacian * modes - carried)

    w = evolve(rate, _random_vorticity(grid, length, rng), times, rtol=1e-7, atol=1e-8)
    velocity = grid.backward(to_velocity * grid.forward(w)[:, None])
    fields = np.concatenate([w[:, None], velocity], axis=1)[..., ::factor, ::factor]
    data = field_data(
        np.moveaxis(fields, 1, -1),
        times,
        [nodes[::factor] for nodes in grid.coordinates],
        coef={
            "w": {
                "u w_x": -1.0,
                "v w_y": -1.0,
                "w_xx": float(nu),
                "w_yy": float(nu),
            }
        },
        names=("w", "u", "v"),
        noise=noise,
        frame_drop=frame_drop,
        random_state=rng,
    )
    data.DESCR = (
        f"Vorticity and velocities of a flow with viscosity {nu:g} on {n_x} x {n_x} "
        f"nodes of a periodic square of side {length:g}, at {n_t} times {dt:g} apart. "
        + describe_gaps(data, noise)
    )
    return data


def _velocity_of_vorticity(grid):
    """Factors (2, ...) of the modes: u = ψ_y and v = -ψ_x with ∇²ψ = -w."""
    along_x, along_y = grid.waves
    # The mean of the vorticity moves nothing: its factors are zero.
    inverse = -1.0 / np.where(grid.laplacian == 0, 1.0, grid.laplacian)
    return np.stack([1j * along_y * inverse, -1j * along_x * inverse])


def _random_vorticity(grid, length, rng):
    # Drawn mode by mode on a fixed grid, so that it is the same flow on every grid.
    n_modes = int(4 * _WAVE)
    index = np.arange(-n_modes, n_modes + 1)
    kx, ky = np.meshgrid(index, index, indexing="ij")
    size = np.hypot(kx, ky)
    weight = (size / _WAVE) ** 2 * np.exp(-((size / _WAVE) ** 2))
    draws = rng.standard_normal((2, *size.shape)) * weight
    phase = [
        np.exp(2j * np.pi / length * np.outer(nodes, index))
        for nodes in grid.coordinates
    ]
    field = ((phase[0] @ (draws[0] + 1j * draws[1])) @ phase[1].T).real
    return field / np.sqrt(np.mean(field**2))
