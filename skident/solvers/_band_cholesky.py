"""Banded Cholesky factors in compiled code that lets other threads run.

SciPy's own wrappers of the banded routines hold the interpreter's lock, and substitute
one right side after the other. The same library is called here through the addresses
that SciPy publishes for compiled code.
"""

import ctypes

import numpy as np
from scipy import linalg
from scipy.linalg import cython_blas, cython_lapack

_INT, _REAL = ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
_KINDS = {"char": ctypes.c_char_p, "int": _INT, "double": _REAL}
_TRIANGLE = "char char char char int int double double int double int"
# {routine: its module and the types its arguments point to}.
_WANTED = {
    "dpbtrf": (cython_lapack, "char int int double int int"),
    "dpbtrs": (cython_lapack, "char int int int double int double int int"),
    "dtrsm": (cython_blas, _TRIANGLE),
    "dtrmm": (cython_blas, _TRIANGLE),
    "dgemm": (
        cython_blas,
        "char char int int int double double int double int double double int",
    ),
}
# A pivot of a singular matrix is some units of rounding, of either sign.
ROUNDING = 1e-14
# From so many right sides on, products of blocks are faster than one after the other.
_FEW = 6


def _signature(text):
    arguments = text.partition("(")[2].rstrip(")").split(",")
    starts = ("char", "int", "__pyx_t")
    kinds = dict(zip(starts, _KINDS, strict=True))
    return " ".join(
        next((kinds[s] for s in starts if a.strip().startswith(s)), "unknown")
        for a in arguments
    )


def _routines():
    """The routines by name, or None where SciPy has others than are called here."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype = ctypes.c_void_p
    address.argtypes = [ctypes.py_object, ctypes.c_char_p]
    found = {}
    for name, (module, kinds) in _WANTED.items():
        capsule = getattr(module, "__pyx_capi__", {}).get(name)
        text = b"" if capsule is None else name_of(capsule)
        # Integers of another width would be read wrong.
        if _signature(text.decode()) != kinds:
            return None
        kind = ctypes.CFUNCTYPE(None, *(_KINDS[k] for k in kinds.split()))
        found[name] = kind(address(capsule, text))
    return found


_ROUTINES = _routines()


class BandCholesky:
    """Cholesky factor L of a banded symmetric positive definite matrix.

    Parameters
    ----------
    band : ndarray of shape (n, width + 1), float64, C-contiguous
        Entry (i, j) of the matrix, i >= j, at ``[j, i - j]``. Overwritten.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite to working precision.

    Notes
    -----
    O(n width^2) time, and O(n width) for each right side.
    """

    def __init__(self, band):
        self.n, self.width = band.shape[0], band.shape[1] - 1
        if _ROUTINES is None:
            self.band = linalg.cholesky_banded(
                band.T, overwrite_ab=True, lower=True, check_finite=False
            )
            pivots = self.band[0]
        else:
            self.band = band
            self._factor()
            pivots = band[:, 0]
        if pivots.min() ** 2 <= ROUNDING * pivots.max() ** 2:
            raise np.linalg.LinAlgError("The matrix is singular to working precision.")

    def _factor(self):
        info = ctypes.c_int()
        _ROUTINES["dpbtrf"](
            b"L", _int(self.n), _int(self.width), self.band.ctypes.data,
            _int(self.width + 1), ctypes.byref(info),
        )  # fmt: skip
        if info.value:
            raise np.linalg.LinAlgError(
                f"The leading minor of order {info.value} is not positive."
            )

    def solve(self, rhs):
        """Solve for right sides.

        Parameters
        ----------
        rhs : ndarray of shape (n, k)

        Returns
        -------
        ndarray of shape (n, k), float64
        """
        if _ROUTINES is None:
            return linalg.cho_solve_banded((self.band, True), rhs, check_finite=False)
        x = np.array(rhs, dtype=np.float64, order="F")
        if x.shape[1] < _FEW or self.width == 0:
            self._solve_each(x)
        else:
            self._solve_together(x)
        return x

    def _solve_each(self, x):
        info = ctypes.c_int()
        _ROUTINES["dpbtrs"](
            b"L", _int(self.n), _int(self.width), _int(x.shape[1]),
            self.band.ctypes.data, _int(self.width + 1),
            x.ctypes.data, _int(self.n), ctypes.byref(info),
        )  # fmt: skip

    def _solve_together(self, x):
        # Entry (i, j) of L stands i + j width places from the first: blocks of width
        # rows are dense matrices of that leading dimension, and what is left of a block
        # on the diagonal is an upper triangle.
        starts = range(0, self.n, self.width)
        spare = np.empty((self.width, x.shape[1]), order="F")
        for low in starts:
            self._divide(x, low, b"N")
            self._pass_on(x, low, spare, b"N")
        for low in reversed(starts):
            self._pass_on(x, low, spare, b"T")
            self._divide(x, low, b"T")

    def _at(self, row, column):
        return self.band.ctypes.data + 8 * (row + column * self.width)

    def _divide(self, x, low, transpose):
        """Solve with a block on the diagonal."""
        n_rows = min(self.width, self.n - low)
        _ROUTINES["dtrsm"](
            b"L", b"L", transpose, b"N", _int(n_rows), _int(x.shape[1]), _ONE,
            self._at(low, low), _int(self.width),
            x.ctypes.data + 8 * low, _int(self.n),
        )  # fmt: skip

    def _pass_on(self, x, low, spare, transpose):
        """Take what a block of unknowns adds to the next, or transposed, from it."""
        width, k = self.width, x.shape[1]
        below = low + width
        # Rows of the next block: its first columns are an upper triangle.
        m = min(width, self.n - below)
        if m <= 0:
            return
        source, target = (low, below) if transpose == b"N" else (below, low)
        spare[:m] = x[source : source + m]
        _ROUTINES["dtrmm"](
            b"L", b"U", transpose, b"N", _int(m), _int(k), _ONE,
            self._at(below, low), _int(width), spare.ctypes.data, _int(width),
        )  # fmt: skip
        x[target : target + m] -= spare[:m]
        if m == width:
            return
        # The last block may be lower than wide: the other columns are full.
        rows, columns = (m, width - m) if transpose == b"N" else (width - m, m)
        source = low + m if transpose == b"N" else below
        target = below if transpose == b"N" else low + m
        _ROUTINES["dgemm"](
            transpose, b"N", _int(rows), _int(k), _int(columns), _MINUS,
            self._at(below, low + m), _int(width),
            x.ctypes.data + 8 * source, _int(self.n), _ONE,
            x.ctypes.data + 8 * target, _int(self.n),
        )  # fmt: skip


def _int(value):
    return ctypes.byref(ctypes.c_int(value))


_one, _minus = ctypes.c_double(1.0), ctypes.c_double(-1.0)
_ONE, _MINUS = ctypes.addressof(_one), ctypes.addressof(_minus)
