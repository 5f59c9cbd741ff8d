"""Do components come back from other rows and from another start?"""

from typing import NamedTuple

import numpy as np

from skident.decomposition._ica_search import search
from skident.metrics import match_components
from skident.solvers import whitening

# Components of two fits that are both nearer than this to a third fit's are nearer to
# each other than 45 degrees, where another component could be as near.
RETURN_ANGLE = np.pi / 8
MIN_STABILITY = np.cos(RETURN_ANGLE)

# Rows of a refit, unless some component needs more to come back.
_ROWS = 10_000
# Most numbers in the rows of a refit beyond that.
_ENTRIES = 2**25
# Rows that stand together stay together: they are often alike.
_RUN = 64
# A direction is then off by a fraction of what sampling does to it.
_TOL = 0.1


class Refits(NamedTuple):
    """What refits say of the components of a fit.

    Parameters
    ----------
    stability : ndarray of shape (k,)
        Smallest absolute correlation of each component with its match in a refit; NaN
        without refits.
    n_refits : int
        Number of refits; zero where there were too few rows.
    n_rows : int
        Rows of each.
    n_seen : int
        Rows that the fit had seen.
    """

    stability: np.ndarray
    n_refits: int = 0
    n_rows: int = 0
    n_seen: int = 0

    @property
    def back(self):
        """Whether each component came back in every refit."""
        return self.stability >= MIN_STABILITY

    def turned(self, order):
        """Of the components in another order."""
        return self._replace(stability=self.stability[order])


def no_refits(n_components):
    """What no refits say."""
    return Refits(np.full(n_components, np.nan))


def refit(est, fitted, shards, seed):
    """Search again, in disjoint halves of some rows.

    The halves have 10,000 rows each, or more if a candidate takes them to come back:
    with a standard error a in the n rows of the fit, a component turns by about
    ``a sqrt(n / m - 1)`` from there to m of these rows. That should be at most a third
    of ``RETURN_ANGLE``, as far as there are rows. Components that agree with one pair
    of halves can do so by chance, if there are many optima: where some candidates but
    not all come back, another pair of halves has to find them too.

    Each refit whitens anew, to the same number of components: which directions a cut of
    the spectrum keeps depends on the rows as well.

    Parameters
    ----------
    est : ICAPostProcessor
        For the parameters of the search.
    fitted : ICAPostProcessor
        Fitted; the candidates are in its ``identified_mask_``.
    shards : Shards
        Rows to take the halves from.
    seed : int

    Returns
    -------
    refits : Refits
    """
    k, most = fitted.n_components_, len(shards) // 2
    candidates = fitted.identified_mask_
    if most < 2 * k:
        return no_refits(k)
    n_rows = min(_wanted(fitted), _ENTRIES // shards.n_features)
    n_rows = min(max(_ROWS, n_rows), most)
    generator = np.random.default_rng(seed)
    stability, n_refits = np.ones(k), 0
    while True:
        halves = [shards.read(rows) for rows in _halves(len(shards), n_rows, generator)]
        for rows, held_out in (halves, halves[::-1]):
            start = int(generator.integers(2**31))
            found = _agreement(est, fitted, rows, held_out, start)
            stability = np.minimum(stability, found)
        n_refits += 2
        refits = Refits(stability, n_refits, len(halves[0]), fitted.n_samples_seen_)
        back = refits.back[candidates]
        if n_refits == 4 or back.all() or not back.any():
            return refits


def renewed(est, fitted, shards, earlier, seed):
    """Refits in a stream: those so far, new ones on the rows of a call, or none.

    Components change most at the start, so that there are new ones each time that the
    stream has doubled. They take halves of the call's rows that bring back every
    candidate; else earlier ones stand if theirs did.

    Parameters
    ----------
    est, fitted, shards, seed
        As for :func:`refit`.
    earlier : Refits
        In the order of ``fitted``.

    Returns
    -------
    refits : Refits
    """
    if fitted.n_samples_seen_ < 2 * earlier.n_seen:
        return earlier
    wanted = min(_wanted(fitted), _ROWS)
    if len(shards) // 2 >= wanted:
        return refit(est, fitted, shards, seed)
    enough = earlier.n_rows >= wanted
    return earlier if enough else no_refits(fitted.n_components_)


def _wanted(fitted):
    """Rows of a refit that bring back every candidate, at three standard errors."""
    angle = fitted.angle_stderr_[fitted.identified_mask_].max(initial=0.0)
    squares = angle**2, (RETURN_ANGLE / 3) ** 2
    return int(np.ceil(fitted.n_samples_seen_ * squares[0] / sum(squares)))


def _halves(n_samples, n_rows, generator):
    """Ascending numbers of the rows of two disjoint sets, in runs of neighbours."""
    run = max(1, min(_RUN, n_rows // _RUN))
    starts = np.arange(0, n_samples - run + 1, run)
    chosen = generator.permutation(len(starts))
    share = min(len(starts) // 2, -(-n_rows // run))
    parts = chosen[:share], chosen[share : 2 * share]
    rows = [(np.sort(starts[p])[:, None] + np.arange(run)).ravel() for p in parts]
    return [part[:n_rows] for part in rows]


def _agreement(est, fitted, rows, held_out, seed):
    """Absolute correlations of components with those found in some rows."""
    k = fitted.n_components_
    try:
        white = whitening(
            rows, k, solver=est.whiten_solver, rank_tol=est.rank_tol, random_state=seed
        )
    except ValueError:
        # A direction that few rows have: the others can still come back.
        if (rows == rows[0]).all():
            return np.zeros(k)
        white = whitening(rows, None, rank_tol=est.rank_tol)
        if len(white.matrix) > k:
            return np.zeros(k)
    other = est._blank()
    other.w_init = None
    other.tol = max(est.tol, _TOL / np.sqrt(len(rows)))
    found = search(other, rows, white, seed)
    components = found.rotation @ white.matrix
    Y = (held_out - white.mean) @ components.T
    match = match_components(fitted._turn(held_out), Y)
    return np.nan_to_num(match.correlations)
