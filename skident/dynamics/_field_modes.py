"""Orthonormal smooth modes along the axes of a grid, and least squares in them."""

import math

import numpy as np

# Modes an axis at most: what is finer is not kept, and the basis stays small.
_MOST_MODES = 512
# Conjugate gradients stop at this residual, relative to the right-hand side: far below
# the noise that gaps are filled from.
_TOLERANCE = 1e-6
_MAX_ITERATIONS = 200


def mode_basis(nodes, periodic=False):
    """Modes along one axis, from smooth to rough.

    Parameters
    ----------
    nodes : ndarray of shape (n,)
        Coordinates, increasing, not necessarily evenly.
    periodic : bool, default=False
        Whether the axis closes one step behind its last node: constant, then cosines
        and sines of the period. Otherwise a constant, a line and a parabola, so that
        the slopes at both ends are free, then cosines of half the period.

    Returns
    -------
    basis : ndarray of shape (n, n_modes)
        Orthonormal columns.
    orders : ndarray of shape (n_modes,)
        Half periods along the axis, increasing; the line and the parabola count as 1.
    """
    n = len(nodes)
    step = (nodes[-1] - nodes[0]) / (n - 1)
    place = (nodes - nodes[0] + 0.5 * step) / (step * n)  # in (0, 1)
    n_modes = min(n, _MOST_MODES)
    if periodic:
        k = np.arange(1, n_modes // 2 + 1)
        angles = 2.0 * math.pi * np.outer(place, k)
        pairs = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(n, -1)
        columns = np.column_stack([np.ones(n), pairs])[:, :n_modes]
        orders = np.concatenate([[0], np.repeat(2 * k, 2)])[:n_modes]
    else:
        free = min(2, n_modes - 1)
        centred = 2.0 * place - 1.0
        polynomials = centred[:, None] ** np.arange(free + 1)
        k = np.arange(1, n_modes - free)
        columns = np.hstack([polynomials, np.cos(math.pi * np.outer(place, k))])
        orders = np.concatenate([[0], np.ones(free, dtype=int), k])
    # Householder reflections keep the spans of leading columns, and stay orthonormal
    # however nearly dependent the last columns are.
    return np.linalg.qr(columns)[0], orders


class Modes:
    """Products of the modes of several axes.

    Parameters
    ----------
    axes : list of (basis, orders)
        As :func:`mode_basis` returns them.
    """

    def __init__(self, axes):
        self.bases = [basis for basis, _ in axes]
        self.orders = [orders for _, orders in axes]

    def forward(self, values):
        """Coefficients of a field, ndarray of shape (n_modes of each axis)."""
        for axis, basis in enumerate(self.bases):
            values = _along(basis.T, values, axis)
        return values

    def inverse(self, coefficients):
        """Field of coefficients."""
        for axis, basis in enumerate(self.bases):
            coefficients = _along(basis, coefficients, axis)
        return coefficients

    def keep(self, cutoff):
        """Mask of the modes with ``sum (k_i / K_i)^2 <= 1``."""
        radius = np.zeros(())
        for k, cut in zip(self.orders, cutoff, strict=True):
            radius = np.add.outer(radius, (k / max(cut, 1e-12)) ** 2)
        return radius <= 1.0 + 1e-9


def solve_modes(modes, filled, seen, cutoff):
    """Least squares of the observed entries in the modes inside a cut-off.

    Parameters
    ----------
    modes : Modes
    filled : ndarray
        Data, with a first guess where nothing was observed.
    seen : ndarray of bool
    cutoff : sequence of float, one an axis

    Returns
    -------
    values : ndarray
        The smooth field.
    n_modes : int
    """
    kept = modes.keep(cutoff)
    coefficients = modes.forward(filled) * kept
    if not seen.all():
        coefficients = _fill_iterations(modes, filled, seen, kept, coefficients)
    return modes.inverse(coefficients), int(kept.sum())


def _fill_iterations(modes, filled, seen, kept, start):
    """Conjugate gradients on the normal equations of the observed entries.

    Started at the filled field: directions that no observation sees stay as they were.
    """

    def normal(coefficients):
        return modes.forward(seen * modes.inverse(coefficients)) * kept

    target = modes.forward(np.where(seen, filled, 0.0)) * kept
    x = start.copy()
    r = target - normal(x)
    p, rr = r.copy(), float(np.vdot(r, r))
    stop = _TOLERANCE**2 * float(np.vdot(target, target))
    for _ in range(_MAX_ITERATIONS):
        if rr <= stop:
            break
        q = normal(p)
        step = rr / float(np.vdot(p, q))
        x += step * p
        r -= step * q
        rr, old = float(np.vdot(r, r)), rr
        p = r + (rr / old) * p
    return x


def _along(matrix, values, axis):
    return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
