"""Which term of an equation another could stand for."""

import numpy as np

# Share of a column's squares below which what the others leave of it is rounding.
_ROUNDING = 1e-20


def closest_exchanges(columns, target, kept):
    """For each kept column, the dropped one that stands for it with least loss.

    Parameters
    ----------
    columns : ndarray of shape (n_rows, n_terms)
        In any units.
    target : ndarray of shape (n_rows,)
        What the kept columns are to explain.
    kept : bool ndarray of shape (n_terms,)

    Yields
    ------
    term, other : int
        The kept column and the dropped one.
    loss : float
        Least sum of squares left of ``target`` by the other kept columns and ``other``.

    Notes
    -----
    Nothing is yielded where no column is kept, or none dropped.
    """
    dropped = np.flatnonzero(~kept)
    if len(dropped) == 0:
        return
    sizes = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(sizes > 0, sizes, 1.0)
    for term in np.flatnonzero(kept):
        others = kept.copy()
        others[term] = False
        basis = np.linalg.qr(columns[:, others])[0]
        rest = target - basis @ (basis.T @ target)
        free = columns[:, dropped] - basis @ (basis.T @ columns[:, dropped])
        squares = np.square(free).sum(axis=0)
        gains = np.where(
            squares > _ROUNDING,
            np.square(free.T @ rest) / np.maximum(squares, _ROUNDING),
            0.0,
        )
        best = int(np.argmax(gains))
        yield int(term), int(dropped[best]), float(rest @ rest - gains[best])
