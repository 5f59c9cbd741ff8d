"""The two files that hold extracted activations: the array, and what its rows are."""

import os
import uuid
import zipfile
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

# Part of every fingerprint: files of another layout are never taken for current ones.
FORMAT = 1

_DESCR = """Activations of {model_name} after {layer}.

{n_rows} tokens of {n_texts} texts, width {width}, {dtype}. Row i is the activation of
token `token_ids[i]`, the token number `position[i]` of text number `text_index[i]`;
rows stand in the order of the texts and of the tokens in them.{first}
"""


def load_activations(path):
    """Read activations that `extract_activations` has written.

    Parameters
    ----------
    path : str or path-like
        The ``.npy`` file; its ``.npz`` file must lie beside it.

    Returns
    -------
    activations : :class:`~sklearn.utils.Bunch`
        As `extract_activations` returns it; `X` is a read-only
        :class:`numpy.memmap` of shape (n_tokens, width).

    Raises
    ------
    FileNotFoundError
        If one of the two files is not there.
    ValueError
        If the files do not belong together, or one is not whole.

    See Also
    --------
    extract_activations : Run the model and write the files.

    Examples
    --------
    >>> from skident.datasets import load_activations
    >>> acts = load_activations("smollm2-layer9.npy")  # doctest: +SKIP
    >>> acts.X.dtype, acts.X.shape  # doctest: +SKIP
    (dtype('float16'), (5000, 576))
    """
    path = checked_path(path)
    try:
        # Opened here: numpy leaves the file of a damaged archive open.
        with path.with_suffix(".npz").open("rb") as stream:
            rows = Bunch(**np.load(stream, allow_pickle=False))
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} or {path.with_suffix('.npz')} is not whole ({error}). Extract "
            "the activations anew."
        ) from error
    for name, value in rows.items():
        if value.ndim == 0:
            rows[name] = value.item()
    if X.shape != tuple(rows.shape):
        raise ValueError(
            f"{path} holds an array of shape {X.shape} and {path.with_suffix('.npz')} "
            f"describes one of shape {tuple(map(int, rows.shape))}: the files do not "
            "belong together. Extract the activations anew."
        )
    return bunch_of(X, rows, path)


def checked_path(path):
    """Return `path` as a Path that ends in .npy; None stays None."""
    if path is None:
        return None
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"path must end in '.npy', got {str(path)!r}.")
    return path


def is_whole(path, fingerprint):
    """Whether both files are there, whole and made from what `fingerprint` names."""
    try:
        return load_activations(path).fingerprint == fingerprint
    except (FileNotFoundError, ValueError):
        return False


def write(path, fill, rows, dtype):
    """Write both files under temporary names; they get theirs when they are whole.

    `fill` takes a function from a shape to an empty array, and returns the array
    filled; `rows` is what belongs to its rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.partial")
    partial_rows = partial.with_suffix(".partial-rows")
    new_array = np.lib.format.open_memmap
    try:
        X = fill(lambda shape: new_array(partial, "w+", dtype=dtype, shape=shape))
        X.flush()
        rows = dict(rows, shape=X.shape)
        # Windows renames no file that is still mapped.
        del X
        with partial_rows.open("wb") as stream:
            np.savez_compressed(stream, **rows)
        # The .npz is the mark of a whole pair, so it goes first and comes last: a stop
        # in between leaves no pair that could be taken for one.
        path.with_suffix(".npz").unlink(missing_ok=True)
        os.replace(partial, path)
        os.replace(partial_rows, path.with_suffix(".npz"))
    finally:
        partial.unlink(missing_ok=True)
        partial_rows.unlink(missing_ok=True)


def bunch_of(X, rows, path):
    """Put together what `extract_activations` returns."""
    skipped = rows.first_token_skipped
    return Bunch(
        X=X,
        token_ids=rows.token_ids,
        tokens=rows.strings[np.searchsorted(rows.vocabulary, rows.token_ids)],
        text_index=rows.text_index,
        position=rows.position,
        layer=rows.layer,
        model_name=rows.model_name,
        fingerprint=rows.fingerprint,
        path=path,
        DESCR=_DESCR.format(
            model_name=rows.model_name,
            layer=rows.layer,
            n_rows=X.shape[0],
            n_texts=len(np.unique(rows.text_index)),
            width=X.shape[1],
            dtype=X.dtype,
            first="\nThe first token of each text is left out." if skipped else "",
        ),
    )
