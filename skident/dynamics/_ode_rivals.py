"""Whether other sets of terms explain trajectories as well as the one kept."""

from typing import NamedTuple

import numpy as np

from skident.dynamics._exchange import closest_exchanges

# Multiplications of a search for exchanges, at most.
_BUDGET = 1e10


class Exchange(NamedTuple):
    """A kept term of an equation, and a dropped one that could take its place.

    Parameters
    ----------
    equation, kept, dropped : int
    rise : float
        Sum of squares that this adds, over the target's.
    """

    equation: int
    kept: int
    dropped: int
    rise: float


def cost_of_dropping(fit, resolved):
    """What dropping terms adds to the squares left, over what is left anyway.

    Parameters
    ----------
    fit : OdeFit
        Its triangles are those of all candidate terms.
    resolved : float
        Share of a movement that an equation may miss.

    Returns
    -------
    cost : float
        The largest of an equation; NaN where nothing moves. What is left anyway is the
        sum of squares under all terms, that of noise in a window and in its first row,
        and the square of ``resolved``.
    """
    triangles, costs = fit.triangles, []
    everything = np.arange(triangles.n_columns)
    for d, support in enumerate(fit.support):
        total = _total(triangles, d)
        if total == 0:
            continue
        rich = triangles.solve(everything, d)[1]
        poor = triangles.solve(np.flatnonzero(support), d)[1]
        noise = 2 * triangles.n_rows * np.nan_to_num(fit.noise[d]) ** 2
        costs.append((poor - rich) / (rich + noise + resolved**2 * total))
    return max(costs, default=np.nan)


def cheapest_exchange(fit):
    """The exchange of a kept term for a dropped one that adds least squares.

    Parameters
    ----------
    fit : OdeFit

    Returns
    -------
    exchange : Exchange or None
        None where there is no term to exchange, or the search would take too long.
    """
    triangles, found = fit.triangles, []
    p = triangles.n_columns
    kept = fit.support.sum(axis=1)
    if np.sum(kept**2.0 * (p - kept)) * p > _BUDGET:
        return None
    columns = triangles.triangle[:, :p]
    for d, support in enumerate(fit.support):
        total = _total(triangles, d)
        if total == 0:
            continue
        target = triangles.triangle[:, p + d]
        loss = triangles.solve(np.flatnonzero(support), d)[1]
        for term, other, new_loss in closest_exchanges(columns, target, support):
            found.append(Exchange(d, term, other, (new_loss - loss) / total))
    return min(found, key=lambda exchange: exchange.rise, default=None)


def _total(triangles, d):
    target = triangles.triangle[:, triangles.n_columns + d]
    return float(target @ target)
