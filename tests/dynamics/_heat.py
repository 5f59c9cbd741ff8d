"""Fields that solve the equation of heat, and their patches."""

import numpy as np

from skident.dynamics._pde_patches import make_patches


def heat_field(n_t=24, n_x=32, nu=0.3, t_end=1.0):
    """Two modes of ``u_t = nu u_xx`` between walls, and the coordinates.

    Returns
    -------
    field : ndarray of shape (n_t, n_x, 1)
    coordinates : list of two ndarrays
    """
    t, x = np.linspace(0.0, t_end, n_t), np.linspace(0.0, np.pi, n_x)
    modes = [
        np.exp(-nu * k**2 * t)[:, None] * np.sin(k * x) / k for k in (1.0, 2.0, 3.0)
    ]
    return sum(modes)[..., None], [t, x]


def cut(field, coordinates, noisy=None, **options):
    """Patches of a field whose smooth version is known."""
    data = field if noisy is None else noisy
    return make_patches(data, field, coordinates, **options)
