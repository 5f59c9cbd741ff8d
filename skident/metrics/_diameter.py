"""The largest distance between two rows."""

import numpy as np

# Rows compared with each other; more than these are no likely ends of a diameter.
_MAX_ROWS = 8192
_BLOCK = 512
_SWEEPS = 16


def diameter(F: np.ndarray) -> float:
    """Largest Euclidean distance between two rows of a float64 matrix.

    Exact where at most 8192 rows are far enough from the mean to be an end of the
    longest pair; with more of them (many rows in many dimensions) the largest distance
    among those furthest from the mean, a lower bound. Takes O(n d) plus at most
    O(8192^2 d).
    """
    centred = F - F.mean(axis=0)
    radii = np.linalg.norm(centred, axis=1)
    at = int(radii.argmax())
    best, furthest = 0.0, radii[at]
    for _ in range(_SWEEPS):
        distances = np.linalg.norm(centred - centred[at], axis=1)
        at = int(distances.argmax())
        if distances[at] <= best:
            break
        best = float(distances[at])
    # A pair longer than best has radii that sum to more than that.
    order = np.argsort(-radii)[:_MAX_ROWS]
    order = order[radii[order] + furthest > best]
    for start in range(0, len(order), _BLOCK):
        one = order[start : start + _BLOCK]
        rest = order[start:]
        rest = rest[radii[rest] + radii[one[0]] > best]
        if len(rest) == 0:
            break
        cosines = centred[one] @ centred[rest].T
        squares = radii[one][:, None] ** 2 + radii[rest] ** 2 - 2.0 * cosines
        i, j = np.unravel_index(squares.argmax(), squares.shape)
        # The expanded square has lost digits: the pair it points to is measured anew.
        length = float(np.linalg.norm(centred[one[i]] - centred[rest[j]]))
        best = max(best, length)
    return best
