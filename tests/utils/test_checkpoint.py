import os
import re

import numpy as np
import pytest

from skident.utils._checkpoint import (
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)

ARRAYS = {
    "module.weight": np.arange(300, dtype=np.float32).reshape(3, 100),
    "noise": np.arange(9, dtype=np.uint8),
    "step": np.array(7.0),
    "empty": np.empty((0, 5)),
}
META = {"n_steps": 7, "identity": {"seed": 12}, "name": "\u00e9"}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "made" / "on the way" / "a.npz"
    save_checkpoint(path, ARRAYS, META)
    arrays, meta = load_checkpoint(path)
    assert meta == META and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    save_checkpoint(path, {}, {"n_steps": 8})
    assert load_checkpoint(path) == ({}, {"n_steps": 8})
    assert os.listdir(path.parent) == ["a.npz"]


def test_nothing_is_loaded_where_nothing_was_saved(tmp_path):
    assert load_checkpoint(tmp_path / "a.npz") is None
    assert load_checkpoint(tmp_path / "missing" / "a.npz") is None


def test_a_checkpoint_cut_or_changed_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_checkpoint(path, ARRAYS, META)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(0, len(whole), 97)]
    damaged.append(whole[:-1])
    # A byte of an array's data: only the checksum tells.
    place = whole.index(ARRAYS["module.weight"].tobytes()) + 50
    damaged.append(whole[:place] + b"\xff" + whole[place + 1 :])
    damaged.append(b"no archive at all")
    for content in damaged:
        path.write_bytes(content)
        told = re.escape(f"The checkpoint {path} is damaged") + ".*Delete it"
        with pytest.raises(ValueError, match=told):
            load_checkpoint(path)
        assert path.read_bytes() == content  # left for the user to look at


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=1)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)
    np.savez(path, __meta__=np.array([{}], dtype=object))  # never unpickled
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("when", ["savez", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_writing_that_fails_leaves_the_last_one_whole(
    tmp_path, monkeypatch, when, error
):
    path = tmp_path / "a.npz"
    save_checkpoint(path, ARRAYS, META)
    seen = []

    def fail(file, *args, **kwargs):
        seen.append(sorted(os.listdir(tmp_path)))
        if when == "savez":
            file.write(b"half")
        raise error

    monkeypatch.setattr(np if when == "savez" else os, when, fail)
    with pytest.raises(error):
        save_checkpoint(path, {}, {})
    monkeypatch.undo()
    # It was being written beside the old one, and is gone.
    assert seen == [[f".a.npz.{os.getpid()}.part", "a.npz"]]
    assert os.listdir(tmp_path) == ["a.npz"]
    assert load_checkpoint(path)[1] == META


def test_a_removed_checkpoint_takes_its_parts_along(tmp_path):
    path = tmp_path / "a[1].npz"
    save_checkpoint(path, ARRAYS, META)
    for name in (".a[1].npz.77.part", ".a[1].npz.78.part", ".b.npz.77.part", "c.npz"):
        (tmp_path / name).touch()
    remove_checkpoint(path)
    assert sorted(os.listdir(tmp_path)) == [".b.npz.77.part", "c.npz"]
    remove_checkpoint(path)
    remove_checkpoint(tmp_path / "missing" / "a.npz")
