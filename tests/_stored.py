"""Arrays in files, and rows that tell their numbers."""

import numpy as np


def numbered(n_rows, n_features=3, dtype=np.float32):
    """Rows that tell their number: row i is i, i + 1/4, i + 1/2, ... (exact)."""
    rows = np.arange(n_rows)[:, None] + np.arange(n_features) / 4
    assert (rows.astype(dtype) == rows).all()
    return rows.astype(dtype)


def on_disk(path, array, mode="r", **kwargs):
    stored = np.memmap(path, array.dtype, "w+", shape=array.shape, **kwargs)
    stored[:] = array
    stored.flush()
    return np.memmap(path, array.dtype, mode, shape=array.shape, **kwargs)
