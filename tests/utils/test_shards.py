import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from skident.utils import _shards
from skident.utils._shards import RowStream, Shards, check_shards
from tests._stored import numbered, on_disk


class Reader(BaseEstimator):
    """Nothing but a place for ``n_features_in_``."""


# --- where rows are stored ---------------------------------------------------------


def views(path, X):
    """Arrays equal to ``X`` that map a file, by how they do."""
    frame = np.pad(X, ((3, 2), (0, 0)))
    whole = on_disk(path / "frame", frame)
    inner = on_disk(path / "plain", X)
    header = path / "header"
    with header.open("wb") as file:
        file.write(b"x" * 40)
        file.write(X.tobytes())
    changed = on_disk(path / "changed", np.zeros_like(X), mode="c")
    changed[:] = X  # in this process only
    written = np.memmap(path / "written", X.dtype, "w+", shape=X.shape)
    written[:] = X  # not flushed
    integers = np.memmap(path / "plain", f"u{X.itemsize}", "r", shape=X.shape)
    np.save(path / "x.npy", X)
    return {
        "read-only": inner,
        "slice": whole[3:-2],
        "slice of a slice": whole[1:][2:-1][:-1],
        "slice as plain ndarray": np.asarray(whole[3:-2]),
        "offset": np.memmap(header, X.dtype, "r", offset=40, shape=X.shape),
        "other dtype's view": integers.view(X.dtype),
        "reshaped": np.memmap(path / "plain", X.dtype, "r").reshape(X.shape),
        "copy-on-write": changed,
        "written": written,
        "npy": np.load(path / "x.npy", mmap_mode="r"),
        "Fortran order": on_disk(path / "fortran", X, order="F"),
        "every other row": on_disk(path / "twice", X.repeat(2, axis=0))[::2],
        "some columns": on_disk(path / "wide", np.tile(X, 2))[:, : X.shape[1]],
        "reversed": on_disk(path / "reversed", X[::-1].copy())[::-1],
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_map_is_read_right_whatever_view_it_is(tmp_path, dtype):
    X = np.random.default_rng(0).standard_normal((2500, 5)).astype(dtype)
    kept = X
    rows = np.unique(np.random.default_rng(1).integers(0, 2500, 400))
    for how, view in views(tmp_path, X).items():
        shards = check_shards(Reader(), view, reset=True)
        assert shards.shape == (2500, 5) and shards.dtype == kept.dtype
        np.testing.assert_array_equal(shards.read(rows), kept[rows], err_msg=how)
        chunks = list(shards.chunks(999))
        assert [len(chunk) for chunk in chunks] == [999, 999, 502]
        np.testing.assert_array_equal(np.concatenate(chunks), kept, err_msg=how)


def test_contiguous_maps_of_files_are_read_and_not_touched(tmp_path):
    X = numbered(2500)
    touched = {"copy-on-write", "Fortran order", "every other row", "some columns"}
    for how, view in views(tmp_path, X).items():
        (file,) = Shards([view])._files
        assert (file is None) == (how in touched | {"reversed"}), how


def test_a_file_that_is_gone_is_read_through_its_map(tmp_path):
    view = on_disk(tmp_path / "x", numbered(50))
    (tmp_path / "x").unlink()
    np.testing.assert_array_equal(Shards([view]).read(np.arange(50)), numbered(50))


RESIDENT = """
import sys
import numpy as np
from sklearn.base import BaseEstimator
from skident.utils._shards import RowStream, check_shards

def mapped():  # resident KiB of the mapped file
    found, inside = 0, False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            inside = line.rstrip().endswith(sys.argv[1])
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1])

X = np.memmap(sys.argv[1], np.float16, "r", shape=(400_000, 256))
block = X[:4096].nbytes // 1024
shards = check_shards(BaseEstimator(), X, reset=True)
base = peak()
for rows in RowStream(shards, 2048, 16_384, seed=0).epoch(0):
    pass
print(mapped(), (peak() - base) // block)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux")
@pytest.mark.slow
def test_pages_of_a_map_do_not_become_resident(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(400_000 * 256 * 2)  # 195 MiB of zeros, sparse
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RESIDENT), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    resident, blocks = map(int, run.stdout.split())
    assert resident == 0
    # A buffer of four such blocks, a window being released, and reading's own copy
    # of a piece: far from the 97 blocks of the file.
    assert blocks <= 8


class Dribble(io.FileIO):
    """A file that gives seven bytes at a time."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:7])


def test_a_read_may_come_in_parts(tmp_path, monkeypatch):
    X = numbered(50)
    shards = Shards([on_disk(tmp_path / "x", X)])
    monkeypatch.setattr(
        _shards, "open", lambda path, *args, **kwargs: Dribble(path), raising=False
    )
    np.testing.assert_array_equal(shards.read(np.arange(50)), X)


# --- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(("bad", "what"), [(np.nan, "NaN"), (-np.inf, "infinity")])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_that_is_not_finite_is_named(tmp_path, bad, what, dtype):
    X = np.ones((1500, 4), dtype)
    X[1234, 2] = bad
    named = re.escape(f"Input X contains {what}") + ".*in row 1234\\."
    with pytest.raises(ValueError, match=named):
        check_shards(Reader(), X, reset=True)
    shards = check_shards(Reader(), on_disk(tmp_path / "x", X), reset=True)
    with pytest.raises(ValueError, match=named):
        shards.read(np.arange(0, 1500, 2))
    with pytest.raises(ValueError, match=named):
        list(shards.chunks(1000))
    shards.read(np.arange(1, 1500, 2))  # the others are fine
    parts = [X[:0], X[:1000], X[1000:]]
    in_shard = re.escape(f"Input X contains {what}") + ".*row 234 of shard 2 of 3"
    with pytest.raises(ValueError, match=in_shard):
        check_shards(Reader(), parts, reset=True)
    parts[2] = on_disk(tmp_path / "part", X[1000:])
    with pytest.raises(ValueError, match=in_shard):
        list(
            RowStream(check_shards(Reader(), parts, reset=True), 100, 4096, 0).epoch(0)
        )


def test_parts_come_out_in_the_widest_precision():
    parts = [np.ones((2, 3), dtype) for dtype in (np.float16, np.float64, np.float32)]
    assert check_shards(Reader(), parts, reset=True).read(np.arange(6)).dtype == "f8"
    assert check_shards(Reader(), parts[::2], reset=True).read([1]).dtype == "f4"
    # What float32 cannot hold is finite here; whoever narrows it must look.
    large = check_shards(Reader(), np.array([[1.0], [1e300]]), reset=True)
    assert large.read(np.arange(2))[1] == 1e300


def test_sums_that_overflow_do_not_hide_finite_rows():
    X = np.full((4, 2), 3e38, dtype=np.float32)
    np.testing.assert_array_equal(
        check_shards(Reader(), X, reset=True).read(np.arange(4)), X
    )


@pytest.mark.parametrize("left", [0, 100, 5000 * 12 - 1])
def test_a_file_cut_short_is_named_and_does_not_kill(tmp_path, left):
    whole, short = (on_disk(tmp_path / name, numbered(5000)) for name in "ab")
    opened = check_shards(Reader(), [whole, short], reset=True)
    os.truncate(tmp_path / "b", left)
    named = f"cut short: shard 1 of 2, file .*b, holds {left} bytes .* 60000"
    with pytest.raises(ValueError, match=named):
        check_shards(Reader(), [whole, short], reset=True)
    with pytest.raises(ValueError, match="shard 0 of 1"):
        check_shards(Reader(), short, reset=True)
    # It was whole when the fit began.
    with pytest.raises(ValueError, match=r"cut short: shard 1 of 2, file .*b,"):
        opened.read(np.arange(9990, 10_000))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_shards_of_another_width_are_named(dtype):
    parts = [np.ones((2, 3), dtype), np.ones((2, 3), dtype), np.ones((5, 4), dtype)]
    with pytest.raises(ValueError, match="shard 0 has 3, shard 2 has 4"):
        check_shards(Reader(), parts, reset=True)
    with pytest.raises(ValueError, match=r"has 4 features, .* is expecting 3 features"):
        check_shards(check_shards_of(parts[0]), [parts[2]], reset=False)


@pytest.mark.parametrize("X", ["a.npy", Path("a.npy"), ["a.npy", Path("b.npy")]])
def test_names_of_files_are_not_rows(X):
    with pytest.raises(ValueError, match=r"open each by np\.load\(path, mmap_mode='r'"):
        check_shards(Reader(), X, reset=True)


def check_shards_of(X):
    estimator = Reader()
    check_shards(estimator, X, reset=True)
    return estimator


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_empty_shards_count_for_nothing(dtype):
    X = numbered(40, 1, dtype)
    parts = [X[:0], X[:10], X[10:10], X[10:], X[:0]]
    shards = check_shards(Reader(), parts, reset=True)
    np.testing.assert_array_equal(shards.read(np.arange(40)), X)
    one, two = (RowStream(s, 9, 99, 0).epoch(0) for s in (shards, Shards([X])))
    np.testing.assert_array_equal(np.concatenate([*one]), np.concatenate([*two]))
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        check_shards(Reader(), [X[:0], X[:0]], reset=True)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        check_shards(Reader(), X[:0], reset=True)
    with pytest.raises(ValueError, match="0 feature"):
        check_shards(Reader(), [X[:, :0], X[:, :0]], reset=True)


# --- samples and other inputs ------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 100, 3000, 9999])
def test_samples_are_distinct_rows_of_about_the_number(n_rows):
    rows = Shards([numbered(10_000)]).sample(n_rows, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < 10_000
    assert n_rows - 128 < len(rows) <= n_rows


def test_every_row_can_be_sampled():
    shards, rng = Shards([numbered(130)]), np.random.default_rng(0)
    seen = np.concatenate([shards.sample(65, rng) for _ in range(200)])
    # 65 of 130 in runs of two: each comes 100 times, with standard deviation 7.
    assert abs(np.bincount(seen, minlength=130) - 100).max() < 5 * 7.1


def test_frames_lists_and_integers_are_converted_and_named():
    X = numbered(20, 2)
    frame = pd.DataFrame(X, columns=["a", "b"])
    estimator = Reader()
    shards = check_shards(estimator, frame, reset=True)
    np.testing.assert_array_equal(shards.read(np.arange(20)), X)
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        check_shards(estimator, frame[["b", "a"]], reset=False)
    for same in (X.tolist(), [tuple(row) for row in X.tolist()], X.astype(">f4")):
        shards = check_shards(Reader(), same, reset=True)
        np.testing.assert_array_equal(shards.read(np.arange(20)), X)


def test_dataframes_are_shards_too():
    X = numbered(6, 2)
    frames = [pd.DataFrame(X[:2], columns=["a", "b"]), pd.DataFrame(X[2:])]
    frames[1].columns = ["a", "b"]
    estimator = Reader()
    shards = check_shards(estimator, frames, reset=True)
    np.testing.assert_array_equal(shards.read(np.arange(6)), X)
    assert list(estimator.feature_names_in_) == ["a", "b"]
    frames[1].columns = ["a", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        check_shards(estimator, frames, reset=True)


def test_no_shard_is_no_input():
    with pytest.raises(ValueError, match="X is an empty list"):
        check_shards(Reader(), [], reset=True)


def test_no_copy_is_made_of_stored_arrays():
    X = numbered(3000)
    assert check_shards(Reader(), X, reset=True).in_memory is X
    (chunk,) = Shards([X]).chunks(5000)
    assert np.shares_memory(chunk, X)
