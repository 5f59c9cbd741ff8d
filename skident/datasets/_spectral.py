"""Fields on periodic grids: Fourier derivatives, and their evolution in time."""

from itertools import pairwise

import numpy as np
from scipy import fft
from scipy.integrate import DOP853


class PeriodicGrid:
    """Equally spaced nodes on a periodic box, with derivatives of spectral accuracy.

    Parameters
    ----------
    shape : tuple of int
        Nodes of each axis.
    lengths : tuple of float
        Period of each axis.

    Attributes
    ----------
    coordinates : tuple of ndarrays
        Nodes of each axis, from minus half the period.
    waves : list of ndarrays
        Wave numbers of each axis, shaped to broadcast with transforms. That of the
        alternating mode is 0, for odd derivatives.
    laplacian : ndarray
        Minus the squared length of the wave numbers.
    kept : ndarray of bool
        Modes of the lower two thirds of each axis: products of two fields of such modes
        do not alias onto them.
    """

    def __init__(self, shape, lengths):
        self.shape = tuple(shape)
        self.coordinates = tuple(
            -0.5 * length + (length / n) * np.arange(n)
            for n, length in zip(shape, lengths, strict=True)
        )
        n_axes = len(self.shape)
        self.waves, self.laplacian, self.kept = [], 0.0, True
        for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
            modes = fft.rfftfreq if axis == n_axes - 1 else fft.fftfreq
            index = (modes(n) * n).reshape(
                [-1 if a == axis else 1 for a in range(n_axes)]
            )
            wave = 2 * np.pi / length * index
            self.laplacian = self.laplacian - wave**2
            self.kept = self.kept & (np.abs(index) <= n / 3)
            self.waves.append(np.where(2 * np.abs(index) == n, 0.0, wave))

    def forward(self, field):
        """Transform of fields, over the last axes."""
        return fft.rfftn(field, axes=range(-len(self.shape), 0))

    def backward(self, modes):
        """Fields of transforms, over the last axes."""
        axes = range(-len(self.shape), 0)
        return fft.irfftn(modes, s=self.shape, axes=axes)


def evolve(rate, start, times, *, rtol=1e-9, atol=1e-9):
    """Fields at ``times`` that start at ``start`` and change at ``rate(t, field)``.

    Parameters
    ----------
    rate : callable
        Time derivative, of the shape of ``start``.
    start : ndarray
        Field at ``times[0]``, of floats or complex numbers.
    times : ndarray of shape (n_times,)
        Increasing.
    rtol, atol : float, default=1e-9
        Tolerances of a step.

    Returns
    -------
    fields : ndarray of shape (n_times, *start.shape)

    Raises
    ------
    ValueError
        If the integration fails.
    """

    def flat_rate(t, flat):
        return rate(t, flat.reshape(start.shape)).ravel()

    state = np.asarray(start).ravel()
    fields = np.empty((len(times), state.size), dtype=state.dtype)
    fields[0] = state
    longest = np.inf
    # Every time is the end of a step: where diffusion bounds the steps, what is
    # interpolated between their ends is wrong by far more than the tolerance.
    for i, (begin, end) in enumerate(pairwise(times), start=1):
        solver = DOP853(
            flat_rate,
            begin,
            state,
            end,
            rtol=rtol,
            atol=atol,
            first_step=None if i == 1 else min(1.2 * longest, end - begin),
        )
        longest = 0.0
        while solver.status == "running":
            # Steps that are tried and then refused may leave the equation's domain.
            with np.errstate(over="ignore", invalid="ignore"):
                message = solver.step()
            if solver.status == "failed" or not np.isfinite(solver.y).all():
                raise ValueError(
                    f"The solution could not be followed from time {solver.t:g} to "
                    f"{times[-1]:g}: {message or 'it is not finite any more'}."
                )
            longest = max(longest, solver.step_size)
        fields[i] = state = solver.y
    return fields.reshape(len(times), *start.shape)
