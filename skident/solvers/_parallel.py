"""Threads over chunks of rows, with the BLAS library held to one thread meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from threadpoolctl import ThreadpoolController

# Rows are split into at most this many groups, whatever the number of threads, and
# the groups' sums are added in order: results do not depend on the threads.
_N_GROUPS = 16
_GROUP_BYTES = 2**26

_lock = threading.Lock()
_holders = 0
_limits = None
_width = 1


@lru_cache(maxsize=1)
def _controller():
    # Scanning the loaded libraries takes milliseconds.
    return ThreadpoolController()


@contextmanager
def workers():
    """Map over groups of rows on as many threads as the BLAS library may use.

    Inside, that library runs on one thread: small products on several cores at once
    are faster than one after the other on all. Its limit, as the user has set it, is
    the number of threads here, and is put back when the last concurrent holder leaves.

    Yields
    ------
    callable
        ``map_groups(function, groups)``: results as a list, in order.
    """
    global _holders, _limits, _width
    with _lock:
        if _holders == 0:
            blas = _controller().select(user_api="blas")
            _width = max((lib["num_threads"] for lib in blas.info()), default=1)
            _limits = blas.limit(limits=1) if _width > 1 else None
            if _limits is not None:
                _limits.__enter__()
        _holders += 1
        width = _width
    pool = ThreadPoolExecutor(width) if width > 1 else None

    def map_groups(function, groups):
        if pool is None or len(groups) == 1:
            return [function(group) for group in groups]
        return list(pool.map(function, groups))

    try:
        yield map_groups
    finally:
        if pool is not None:
            pool.shutdown()
        with _lock:
            _holders -= 1
            if _holders == 0 and _limits is not None:
                _limits.__exit__(None, None, None)
                _limits = None


def in_groups(chunks, n_bytes):
    """Split a list into runs of nearly equal length, one for each partial sum.

    ``n_bytes`` is the size of a partial sum; all of them take 64 MiB at most.
    """
    n_groups = max(1, min(_N_GROUPS, len(chunks), _GROUP_BYTES // n_bytes))
    ends = [len(chunks) * i // n_groups for i in range(n_groups + 1)]
    return [chunks[low:high] for low, high in pairwise(ends)]
