"""Rows that stand in one array or in several shards, in memory or on disk."""

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skident.utils._sklearn import validate_data

# Rows read from a file at once, and kept together when an epoch is shuffled on disk.
BLOCK_ROWS = 1024
_STORED = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


class Shards:
    """Stacked two-dimensional arrays of equal width, read in pieces.

    Memory maps are read through a buffer, so that their pages do not become resident,
    and never whole. Rows come out in the widest of the parts' precisions.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_rows_of_part, n_features)
        float16, float32 or float64.
    """

    def __init__(self, parts):
        self.parts = list(parts)
        self.n_features = self.parts[0].shape[1]
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.dtype = np.result_type(*{part.dtype for part in self.parts})
        self._files = [_file_of(part) for part in self.parts]
        for index, (part, file) in enumerate(zip(self.parts, self._files, strict=True)):
            if file is not None:
                path, offset = file
                self._check_length(index, path, os.path.getsize(path) - offset, part)

    def __len__(self):
        return int(self.starts[-1])

    @property
    def shape(self):
        """(n_rows, n_features)."""
        return len(self), self.n_features

    @property
    def in_memory(self):
        """The one array, where there is one and it is in memory in a kept dtype."""
        if len(self.parts) == 1 and self._files[0] is None:
            part = self.parts[0]
            return part if part.dtype == self.dtype else None
        return None

    def read(self, rows) -> np.ndarray:
        """Rows by their ascending numbers, as a new finite array in ``dtype``."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), self.n_features), dtype=self.dtype)
        # A piece lies in one part and spans at most BLOCK_ROWS rows.
        part_of = np.searchsorted(self.starts, rows, side="right") - 1
        piece_of = part_of * (len(self) // BLOCK_ROWS + 1) + rows // BLOCK_ROWS
        cuts = np.flatnonzero(np.diff(piece_of)) + 1
        for low, high in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            if high > low:
                local = rows[low:high] - self.starts[part_of[low]]
                out[low:high] = self._read_piece(part_of[low], local)
        self.check_finite(out, rows)
        return out

    def _read_piece(self, index, local):
        part, file = self.parts[index], self._files[index]
        first, count = int(local[0]), int(local[-1]) - int(local[0]) + 1
        if file is None:
            block = part[first : first + count]
        else:
            path, offset = file
            block = np.empty((count, self.n_features), dtype=part.dtype)
            row_bytes = self.n_features * part.dtype.itemsize
            with open(path, "rb", buffering=0) as stream:
                stream.seek(offset + first * row_bytes)
                left, got = memoryview(block).cast("B"), 0
                # A read may give less than is there: over 2 GiB, or interrupted.
                while n_bytes := stream.readinto(left[got:]):
                    got += n_bytes
            self._check_length(
                index, path, first * row_bytes + got, part, first + count
            )
        block = block[local - first] if count > len(local) else block
        with np.errstate(over="ignore"):  # the infinity is then reported as such
            return block.astype(self.dtype, copy=False)

    def chunks(self, n_rows) -> Iterator[np.ndarray]:
        """All rows in order, ``n_rows`` at a time; finite."""
        for low in range(0, len(self), n_rows):
            high = min(low + n_rows, len(self))
            whole = self.in_memory
            yield self.read(np.arange(low, high)) if whole is None else whole[low:high]

    def sample(self, n_rows, generator, run=64) -> np.ndarray:
        """Numbers of about ``n_rows`` distinct rows, in runs of consecutive ones."""
        if n_rows >= len(self):
            return np.arange(len(self))
        # Short runs where the rows are few: a sample of two runs would be no sample.
        run = max(1, min(run, n_rows // 32))
        n_runs = -(-len(self) // run)
        chosen = generator.choice(n_runs, size=max(1, n_rows // run), replace=False)
        rows = (np.sort(chosen)[:, None] * run + np.arange(run)).ravel()
        return rows[rows < len(self)]

    def _check_length(self, index, path, n_bytes, part, n_rows=None):
        wanted = (len(part) if n_rows is None else n_rows) * part[:1].nbytes
        if n_bytes < wanted:
            raise ValueError(
                f"X is cut short: {self._name(index)}, file {path}, holds {n_bytes} "
                f"bytes of data where {wanted} are wanted "
                f"({len(part)} rows of {part[:1].nbytes} bytes)."
            )

    def _name(self, index):
        return f"shard {index} of {len(self.parts)}"

    def check_finite(self, block, rows) -> None:
        """Raise ``ValueError`` naming the first of ``rows`` that is not finite."""
        # A float32 sum can overflow where no entry does, so it only clears a block.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.sum(block, dtype=np.float32)):
                return
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad) == 0:
            return
        row = int(rows[bad[0]])
        values = block[bad[0]]
        what = "NaN" if np.isnan(values).any() else f"infinity for {self.dtype}"
        where = f"row {row}"
        if len(self.parts) > 1:
            index = int(np.searchsorted(self.starts, row, side="right")) - 1
            where = f"row {row - self.starts[index]} of {self._name(index)}"
        raise ValueError(f"Input X contains {what}, in {where}.")


def _file_of(part):
    """(path, offset of the first entry) of an array that maps a file, else None."""
    root, base = part, part.base
    while isinstance(base, np.ndarray):
        root, base = base, base.base
    if not isinstance(base, mmap.mmap) or not isinstance(root, np.memmap):
        return None
    # Private changes of a copy-on-write map are not in the file.
    if root.filename is None or root.mode == "c" or not part.flags.c_contiguous:
        return None
    # A view keeps its parent's offset attribute: the addresses tell.
    start = part.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    path = os.fspath(root.filename)
    return (path, root.offset + start) if os.path.exists(path) else None


def check_shards(estimator, X, *, reset) -> Shards:
    """Validate ``X`` for an estimator that reads it in pieces.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_`` if ``reset``.
    X : array-like of shape (n_samples, n_features), or list of such arrays
        float16 and float32 arrays and memory maps are neither copied nor read here:
        whether they are finite is checked when their rows are read.
    reset : bool
        True in ``fit``.

    Returns
    -------
    shards : Shards

    Raises
    ------
    ValueError
        If X is malformed or names files, shards differ in width, or a file is cut
        short.
    """
    if isinstance(X, list | tuple) and len(X) == 0:
        raise ValueError("X is an empty list: at least one array is wanted.")
    named = X if isinstance(X, list | tuple) else [X]
    if all(isinstance(part, str | os.PathLike) for part in named):
        raise ValueError(
            "X has names of files where arrays are wanted: open each by "
            "np.load(path, mmap_mode='r')."
        )
    if _is_list_of_arrays(X):
        parts = list(X)
        widths = [part.shape[1] for part in parts]
        if len(set(widths)) > 1:
            odd = next(i for i, width in enumerate(widths) if width != widths[0])
            raise ValueError(
                "All shards of X must have the same number of features: shard 0 has "
                f"{widths[0]}, shard {odd} has {widths[odd]}."
            )
    else:
        parts = [X]
    # Shards may be empty, but not all of them.
    n_least = 0 if len(parts) > 1 and any(len(part) for part in parts) else 1
    if all(_is_stored(part) for part in parts) and len(parts[0]) >= n_least:
        # Files are known to be whole from here on: touching a page that is missing
        # would kill the process.
        shards = Shards(parts)
        # A row of that width tells scikit-learn all; none of the data is touched.
        head = np.zeros_like(parts[0], shape=(1, shards.n_features), subok=False)
        validate_data(estimator, head, reset=reset, dtype=[np.float32, np.float64])
        return _with_memory_checked(shards)
    parts = [
        validate_data(
            estimator,
            part,
            reset=reset and i == 0,
            dtype=[np.float32, np.float64],
            ensure_all_finite=False,
            ensure_min_samples=n_least,
        )
        for i, part in enumerate(parts)
    ]
    return _with_memory_checked(Shards(parts))


def rows_of(estimator, X, *, reset) -> Shards:
    """Validated rows; float arrays and memory maps are not copied.

    Anything else, a list of arrays too, is one table as scikit-learn reads it.
    """
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype in _STORED:
        return check_shards(estimator, X, reset=reset)
    dtypes = [np.float64, np.float32]
    return Shards([validate_data(estimator, X, reset=reset, dtype=dtypes)])


def output_dtype(dtype) -> type:
    """Precision of results for rows of a precision."""
    return np.float64 if dtype == np.float64 else np.float32


def _with_memory_checked(shards):
    """Shards whose parts in memory are finite; files are checked when they are read."""
    for part, start, file in zip(
        shards.parts, shards.starts[:-1], shards._files, strict=True
    ):
        if file is None:
            for low in range(0, len(part), BLOCK_ROWS):
                block = part[low : low + BLOCK_ROWS]
                shards.check_finite(block, start + low + np.arange(len(block)))
    return shards


def _is_list_of_arrays(X):
    return (
        isinstance(X, list | tuple)
        and len(X) > 0
        and all(_is_table(part) for part in X)
    )


def _is_table(part):
    # Dataframes have columns.
    is_table = isinstance(part, np.ndarray) or hasattr(part, "columns")
    return is_table and len(part.shape) == 2


def _is_stored(part):
    return (
        isinstance(part, np.ndarray)
        and part.ndim == 2
        and part.shape[1] > 0
        and part.dtype in _STORED
    )


class RowStream:
    """Batches of rows whose order is a function of seed, epoch and position.

    An epoch is a permutation of all rows where they fit in half of ``buffer_rows``;
    else blocks of consecutive rows are permuted, and rows are permuted within windows
    of that many rows, so that a file is read in long pieces and each row once. While a
    window is used the next one is read. With ``size`` processes every batch is cut in
    ``size`` equal pieces, of which this process gets the one of its ``rank``.

    Parameters
    ----------
    shards : Shards
    batch_size : int
        Rows a batch for each process; the last batch of an epoch can be smaller.
    buffer_rows : int
        Most rows held in memory.
    seed : int or None
        None keeps the order of the rows.
    rank, size : int
        This process, and how many there are.
    left_out : ndarray of int or None, default=None
        Rows that never appear.
    """

    def __init__(
        self, shards, batch_size, buffer_rows, seed, rank=0, size=1, left_out=None
    ):
        self.shards = shards
        self._kept = np.ones(len(shards), dtype=bool)
        if left_out is not None:
            self._kept[left_out] = False
        self.n_rows = int(self._kept.sum())
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.size = rank, size
        self._window_rows = max(batch_size * size, buffer_rows // 2)
        whole, rest = divmod(self.n_rows, batch_size * size)
        self._tail = rest // size
        self.n_batches = whole + (self._tail > 0)

    def epoch(self, epoch, start=0) -> Iterator[np.ndarray]:
        """Batches number ``start`` and later of an epoch."""
        wide = self.batch_size * self.size
        used = (self.n_rows // wide) * wide + self._tail * self.size
        sent = start * wide
        windows = self._windows(epoch)
        ends = np.cumsum([n_rows for _, n_rows, _ in windows])
        chosen = [w for w, end in zip(windows, ends, strict=True) if end > sent]
        skip = sent - int(ends[-1] - sum(n_rows for _, n_rows, _ in chosen))
        left = None
        for order, source in self._loaded(epoch, chosen):
            order, skip = order[skip:], 0
            while sent < used:
                wanted = min(wide, used - sent)
                held = len(order) + (0 if left is None else len(left))
                if held < wanted:
                    break
                fresh = wanted - (0 if left is None else len(left))
                yield self._batch(left, source, order[:fresh], wanted // self.size)
                order, left, sent = order[fresh:], None, sent + wanted
            # A copy of the few rows left lets go of the window.
            rest = np.take(source, order, axis=0)
            left = rest if left is None else np.concatenate([left, rest])

    def _batch(self, left, source, order, share):
        """This process's ``share`` of the rows of ``left`` and then of ``order``."""
        n_left = 0 if left is None else len(left)
        low, high = self.rank * share, (self.rank + 1) * share
        fresh = order[max(0, low - n_left) : max(0, high - n_left)]
        fresh = np.take(source, fresh, axis=0)
        return fresh if n_left <= low else np.concatenate([left[low:high], fresh])

    def _windows(self, epoch):
        """Number of rows, and blocks, of each window of an epoch."""
        n_blocks = -(-len(self.shards) // BLOCK_ROWS)
        per_window = n_blocks
        if len(self.shards) > self._window_rows:
            per_window = max(1, self._window_rows // BLOCK_ROWS)
        blocks = np.arange(n_blocks)
        if self.seed is not None:
            blocks = np.random.default_rng([self.seed, epoch]).permutation(n_blocks)
        sizes = np.add.reduceat(
            self._kept, np.arange(n_blocks) * BLOCK_ROWS, dtype=np.int64
        )
        starts = range(0, n_blocks, per_window)
        chosen = [np.sort(blocks[start : start + per_window]) for start in starts]
        return [(i, int(sizes[b].sum()), b) for i, b in enumerate(chosen)]

    def _load(self, epoch, window, n_rows, blocks):
        """Order of a window's rows, and the array that it indexes."""
        rows = (blocks[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
        rows = rows[rows < len(self.shards)]
        rows = rows[self._kept[rows]]
        order = np.arange(n_rows)
        if self.seed is not None:
            generator = np.random.default_rng([self.seed, epoch, window])
            order = generator.permutation(n_rows)
        if self.shards.in_memory is not None:
            return rows[order], self.shards.in_memory
        return order, self.shards.read(rows)

    def _loaded(self, epoch, windows):
        if len(windows) < 2 or self.shards.in_memory is not None:
            for window in windows:
                yield self._load(epoch, *window)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._load, epoch, *windows[0])
            for following in [*windows[1:], None]:
                loaded = ahead.result()
                if following is not None:
                    ahead = reader.submit(self._load, epoch, *following)
                yield loaded
                del loaded
