"""Laws of base noise: densities that are finite everywhere, and draws from them."""

from dataclasses import dataclass

import numpy as np

_LOG_2PI = np.log(2.0 * np.pi)
_N_GRID = 1024
# The grid goes so many bandwidths beyond the rows; there the kernel has nothing left.
_MARGIN = 8.0


class NormalLaw:
    """The standard normal law."""

    median = 0.0

    def log_density(self, s):
        """Logarithm of the density at ``s``."""
        return -0.5 * (np.square(s) + _LOG_2PI)

    def draw(self, n, rng):
        """``n`` independent draws."""
        return rng.standard_normal(n)


@dataclass(frozen=True)
class SmoothedLaw:
    """A kernel density on a grid, with a little weight on a Cauchy law.

    The kernel smooths ``u = arcsinh((s - location) / scale)``, which is linear in the
    middle and a logarithm outside: long tails neither stretch the grid nor need a
    bandwidth of their own.

    Parameters
    ----------
    grid : ndarray of shape (n_grid,)
        Equidistant values of u.
    density : ndarray of shape (n_grid,)
        Of the kernel estimate for u, zero at both ends.
    wide : float
        Weight of the Cauchy law.
    location, scale : float
        Median and scale of the Cauchy law, and of u.
    """

    grid: np.ndarray
    density: np.ndarray
    wide: float
    location: float
    scale: float

    @classmethod
    def fit(cls, s):
        """Law of a sample (n,), with Silverman's bandwidth.

        The Cauchy law has the weight of one row among n: a value far from all others
        has a likelihood, and the others lose 1 / n of theirs.
        """
        n = len(s)
        low, median, high = np.quantile(s, [0.25, 0.5, 0.75])
        spread = (high - low) / 1.349
        spread = min(s.std(), spread) if spread > 0 else s.std()
        # Values that are equal but for rounding: any bandwidth will do.
        if spread <= 1e-8 * np.abs(s).max():
            spread = max(np.abs(s).max(), 1.0)
        u = np.arcsinh((s - median) / spread)
        low, high = np.quantile(u, [0.25, 0.75])
        width = (high - low) / 1.349
        width = min(u.std(), width) if width > 0 else u.std()
        h = 0.9 * (width if width > 1e-8 else 1.0) * n**-0.2
        grid = np.linspace(u.min() - _MARGIN * h, u.max() + _MARGIN * h, _N_GRID)
        step = grid[1] - grid[0]
        # A bandwidth below a step would slip through the grid.
        h = max(h, step)
        # Rows are shared between the two nodes beside them, then smoothed.
        place = (u - grid[0]) / step
        node = np.minimum(place.astype(int), _N_GRID - 2)
        share = place - node
        mass = np.bincount(node, 1.0 - share, _N_GRID)
        mass += np.bincount(node + 1, share, _N_GRID)
        reach = int(np.ceil(_MARGIN * h / step))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / h) ** 2)
        density = np.convolve(mass, kernel)[reach:-reach]
        density[[0, -1]] = 0.0
        density /= density.sum() * step
        return cls(grid, density, 1.0 / (n + 1.0), float(median), float(spread))

    @property
    def median(self):
        """Median of the sample."""
        return self.location

    def log_density(self, s):
        """Logarithm of the density at ``s``."""
        z = (s - self.location) / self.scale
        stretch = np.hypot(1.0, z)
        inside = np.interp(np.arcsinh(z), self.grid, self.density, left=0.0, right=0.0)
        both = (1.0 - self.wide) * inside + self.wide / (np.pi * stretch)
        return np.log(both) - np.log(stretch * self.scale)

    def draw(self, n, rng):
        """``n`` independent draws, without the Cauchy part."""
        steps = 0.5 * (self.density[1:] + self.density[:-1])
        cdf = np.concatenate([[0.0], np.cumsum(steps)])
        u = np.interp(rng.random(n) * cdf[-1], cdf, self.grid)
        return self.location + self.scale * np.sinh(u)
