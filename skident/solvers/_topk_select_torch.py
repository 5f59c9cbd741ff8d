"""Choice of the k largest entries of each row."""

import math

import numpy as np
import torch

# Entries looked at at a time: what is made of them then stays in cache.
_CHUNK_ENTRIES = 2**20


class TopK:
    """The k largest entries of each row, by magnitude or by value.

    On a CPU columns are first ranked in groups: the k groups with the largest maxima
    hold the k largest entries, so that all but one pass over the rows is spared.

    Parameters
    ----------
    signed : bool, default=True
        Rank by magnitude; else by value.
    """

    def __init__(self, signed=True):
        self.signed = signed

    def __call__(self, u, k):
        """Columns of shape (n_rows, k), int64, ascending in each row."""
        if u.device.type != "cpu" or k == u.shape[1]:
            return _by_sorting(u.abs() if self.signed else u, k)
        out = torch.empty(len(u), k, dtype=torch.int64)
        step = max(1, _CHUNK_ENTRIES // u.shape[1])
        scratch = torch.empty_like(u[:step]) if self.signed else None
        for low in range(0, len(u), step):
            rows = u[low : low + step]
            if self.signed:
                rows = torch.abs(rows, out=scratch[: len(rows)])
            out[low : low + step] = _largest(rows, k)
        return out


def _largest(keys, k):
    """Ascending columns of the k largest entries of each row."""
    n_rows, n_columns = keys.shape
    size = _group_size(n_columns, k)
    if size == 1:
        return _by_partition(keys, k)
    # Column j is in group j % n_groups: maxima and members are then slices.
    n_groups = n_columns // size
    grouped = keys.view(n_rows, size, n_groups)
    groups = _by_partition(grouped.amax(1), k)
    members = grouped.gather(2, groups[:, None].expand(-1, size, -1))
    inner = _largest(members.view(n_rows, size * k), k)
    place = inner.div(k, rounding_mode="floor")
    return place * n_groups + groups.gather(1, inner - place * k)


def _group_size(n_columns, k):
    """Power of two near where groups and members of groups cost the same."""
    if n_columns <= max(4 * k, 512):
        return 1
    size = 2 ** round(math.log2(2 * n_columns / k) / 2)
    while size > 1 and (n_columns % size or n_columns < 2 * k * size):
        size //= 2
    return size


def _by_partition(keys, k):
    n_rows, n_columns = keys.shape
    keys_np = keys.numpy()
    # numpy partitions floats several times as fast as torch.
    floor = np.partition(keys_np, n_columns - k, axis=1)[:, n_columns - k, None]
    kept = np.flatnonzero(keys_np >= floor)
    if len(kept) == n_rows * k:
        row, kept = np.divmod(kept.reshape(n_rows, k), n_columns)
        if (row == np.arange(n_rows)[:, None]).all():
            return torch.from_numpy(kept)
    # Ties gave too many, or not-a-number too few.
    return _by_sorting(keys, k)


def _by_sorting(keys, k):
    return torch.topk(keys, k, sorted=False).indices.sort(1).values
