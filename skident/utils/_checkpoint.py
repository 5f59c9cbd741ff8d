"""Checkpoints that are either whole or absent."""

import contextlib
import glob
import json
import os
import zipfile
from pathlib import Path

import numpy as np


def save_checkpoint(path: Path, arrays: dict[str, np.ndarray], meta: dict) -> None:
    """Write arrays and a JSON-able dict to ``path``, all or nothing.

    The file is written under another name, flushed to disk and renamed: a process
    killed at any moment leaves the previous checkpoint or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    header = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    try:
        with part.open("wb") as file:
            np.savez(file, __meta__=header, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """Arrays and dict of a checkpoint, or None where there is none.

    Raises
    ------
    ValueError
        If the file is damaged (copied in part, say): it is named, and left alone.
    """
    try:
        # Reading an entry of the archive checks its CRC.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop("__meta__").tobytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"The checkpoint {path} is damaged ({error}). Delete it to start anew."
        ) from error
    return arrays, meta


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, if it is there, and what killed writers left of others."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)
