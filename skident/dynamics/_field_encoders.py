"""Smooth versions of noisy fields, with gaps filled, and how large the noise is."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import savgol_filter

from skident.dynamics._field_gaps import fill_gaps
from skident.dynamics._field_modes import Modes, mode_basis, solve_modes

# Candidates of a cut-off, a factor 2^(1/3) apart: the error of a smooth field falls by
# less than its own size between two of them.
_CANDIDATE_RATIO = 2.0 ** (1.0 / 3.0)
# Modes kept at most, as a share of the observed entries; the rest tells the noise.
_LARGEST_SHARE = 0.5
# Rounds of filling gaps and choosing cut-offs again; the second changes little.
_ROUNDS = 3
_POLYNOMIAL = 3
# Fourth differences of unit white noise have this variance along one axis.
_FOURTH = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / math.sqrt(70.0)
# Median of |z| for a standard normal z.
_MEDIAN_NORMAL = 0.6744897501960817
_FEWEST_DIFFERENCES = 30


@dataclass(frozen=True)
class EncodedField:
    """A smooth field, and how far it is from the data.

    Attributes
    ----------
    field : ndarray of shape (n_t, *grid_shape, n_fields), float64
        The smooth field, with no gaps, in the units of the data.
    noise : ndarray of shape (n_fields,)
        Standard deviation of the noise, from fourth differences along the axes; it
        knows nothing of the encoder. NaN where too few entries are in a row.
    ratio : ndarray of shape (n_fields,)
        Root mean square of data minus ``field``, per degree of freedom left, over
        ``noise``: about 1 is wanted, far above 1 is a field smoothed too much, far
        below 1 one that follows its noise. NaN where ``noise`` is NaN or 0, and for
        the identity.
    cutoff : list of n_fields tuples
        What the encoder used: modes an axis ("dct"), window lengths an axis
        ("savgol"), or ``()``.
    """

    field: np.ndarray
    noise: np.ndarray
    ratio: np.ndarray
    cutoff: list


def encode_field(field, coordinates, *, encoder="dct", cutoff=None, periodic=False):
    """Smooth a field in space and time.

    Parameters
    ----------
    field : ndarray of shape (n_t, *grid_shape, n_fields)
        NaN where nothing was observed; whole frames may be missing.
    coordinates : list of ndarray
        Time first, then space.
    encoder : {"dct", "savgol", "identity"}, default="dct"
        ``"dct"`` projects on cosines, with a line and a parabola along each axis so
        that slopes at the ends are free, and keeps the modes with
        ``sum (k_i / K_i)^2 <= 1``; ``"savgol"`` fits cubics in moving windows, axis by
        axis; ``"identity"`` only fills gaps.
    cutoff : tuple of float, one an axis, or None, default=None
        The ``K_i``, or odd window lengths in nodes; ``None`` takes those of smallest
        generalised cross-validation, a field at a time.
    periodic : bool, default=False
        Whether the spatial axes close: sines and cosines of the period instead.

    Returns
    -------
    encoded : EncodedField
    """
    n_fields = field.shape[-1]
    smooth, noise = np.empty(field.shape), np.empty(n_fields)
    ratio, used = np.full(n_fields, np.nan), []
    for j in range(n_fields):
        data = np.asarray(field[..., j], dtype=np.float64)
        seen = np.isfinite(data)
        noise[j] = noise_level(data)
        if encoder == "dct":
            values, cut, n_free = _cosines(data, seen, coordinates, cutoff, periodic)
        elif encoder == "savgol":
            values, cut, n_free = _windows(data, seen, coordinates, cutoff, periodic)
        else:
            values, cut, n_free = fill_gaps(data, coordinates), (), seen.sum()
        smooth[..., j] = values
        used.append(cut)
        left = seen.sum() - n_free
        if noise[j] > 0 and left > 0:
            rest = math.sqrt(np.square(data[seen] - values[seen]).sum() / left)
            ratio[j] = rest / noise[j]
    return EncodedField(smooth, noise, ratio, used)


def encode_rows(
    rows, coordinates, *, encoder="dct", cutoff=(), periodic=False, known=None
):
    """Smooth frames in space, each on its own.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, *grid_shape, n_fields)
        NaN where nothing was observed. A frame without one entry becomes ``known``,
        or NaN where that is None.
    coordinates : list of ndarray
        Of the spatial axes.
    encoder : {"dct", "savgol", "identity"}
    cutoff : list of n_fields tuples
        As :func:`encode_field` reports them, time first; time's is not used.
    periodic : bool, default=False
    known : ndarray of shape (*grid_shape, n_fields) or None, default=None

    Returns
    -------
    smooth : ndarray of the shape of ``rows``
    """
    smooth = np.empty(rows.shape)
    modes = None
    if encoder == "dct":
        modes = Modes([mode_basis(axis, periodic) for axis in coordinates])
    for j in range(rows.shape[-1]):
        for i, frame in enumerate(np.asarray(rows[..., j], dtype=np.float64)):
            seen = np.isfinite(frame)
            if not seen.any():
                smooth[i, ..., j] = np.nan if known is None else known[..., j]
            elif encoder == "dct":
                smooth[i, ..., j] = solve_modes(
                    modes,
                    fill_gaps(frame, coordinates),
                    seen,
                    cutoff[j][1:],
                )[0]
            else:
                smooth[i, ..., j] = fill_gaps(frame, coordinates)
                if encoder == "savgol":
                    smooth[i, ..., j] = _filter(
                        smooth[i, ..., j], cutoff[j][1:], periodic, first=0
                    )
    return smooth


def noise_level(data):
    """Standard deviation of white noise on a smooth field, from fourth differences.

    Parameters
    ----------
    data : ndarray of shape (n_t, *grid_shape)
        NaN where missing.

    Returns
    -------
    noise : float
        From the median of the absolute differences, taken along every axis of five
        nodes or more, time left out where frames in a row are too few. An upper bound
        where the field itself bends within five nodes. NaN where nothing is left.
    """
    axes = [axis for axis, n in enumerate(data.shape) if n >= len(_FOURTH)]
    for chosen in (axes, [axis for axis in axes if axis]):
        differences = data
        for axis in chosen:
            differences = _convolve(differences, axis)
        finite = differences[np.isfinite(differences)]
        if chosen and len(finite) >= _FEWEST_DIFFERENCES:
            return float(np.median(np.abs(finite)) / _MEDIAN_NORMAL)
    return math.nan


def _convolve(data, axis):
    n = data.shape[axis] - len(_FOURTH) + 1
    parts = (
        weight * data.take(range(lag, lag + n), axis)
        for lag, weight in enumerate(_FOURTH)
    )
    return sum(parts)


# -- cosines -------------------------------------------------------------------


def _cosines(data, seen, coordinates, cutoff, periodic):
    """Smooth field, its cut-offs and their number of modes."""
    bases = [mode_basis(axis, periodic and i > 0) for i, axis in enumerate(coordinates)]
    modes = Modes(bases)
    filled = fill_gaps(data, coordinates)
    if cutoff is not None:
        values, n_modes = solve_modes(modes, filled, seen, cutoff)
        return values, tuple(float(k) for k in cutoff), n_modes
    whole = seen.all()
    for _ in range(1 if whole else _ROUNDS):
        cutoff = _cross_validate(modes, filled, seen, coordinates)
        values, n_modes = solve_modes(modes, filled, seen, cutoff)
        filled = np.where(seen, data, values)
    return values, cutoff, n_modes


def _cross_validate(modes, filled, seen, coordinates):
    """Cut-offs of smallest generalised cross-validation."""
    # Spatial modes of one wavelength, whatever its direction, are kept together.
    lengths = [np.ptp(axis) for axis in coordinates[1:]]
    longest = max(lengths)
    radius = np.zeros(())
    for k, length in zip(modes.orders[1:], lengths, strict=True):
        radius = np.sqrt(np.add.outer(radius**2, (k * longest / length) ** 2))
    radius = np.ceil(radius.ravel() - 1e-9).astype(int)
    power = np.square(modes.forward(filled)).reshape(len(modes.orders[0]), -1)
    n_radii = radius.max() + 1
    energy = np.zeros((len(power), n_radii))
    np.add.at(energy.T, radius, power.T)
    counts = np.bincount(radius, minlength=n_radii)
    # Modes below a cut-off in time are a run of rows: sums of them, once.
    k_time = modes.orders[0]
    energy = np.vstack([np.zeros(n_radii), np.cumsum(energy, axis=0)])
    # Frames that are missing carry no modes of their own.
    n_frames = seen.reshape(len(seen), -1).any(axis=1).sum()
    n_seen, total = seen.sum(), np.square(filled).sum()

    best, chosen = math.inf, (1.0, 1.0)
    for cut_time in _candidates(min(k_time.max(), n_frames)):
        for cut_space in _candidates(n_radii - 1):
            inside = np.arange(n_radii)
            reach = 1.0 - (inside / cut_space) ** 2
            inside, reach = inside[reach >= 0], np.sqrt(reach[reach >= 0])
            rows = np.searchsorted(k_time, cut_time * reach * (1 + 1e-12), "right")
            n_modes = (rows * counts[inside]).sum()
            if n_modes > _LARGEST_SHARE * n_seen and best < math.inf:
                continue
            rest = max(total - energy[rows, inside].sum(), 0.0)
            left = max(n_seen - n_modes, 1)
            if rest / left**2 < best:
                best, chosen = rest / left**2, (cut_time, cut_space)
    per_axis = [chosen[1] * length / longest for length in lengths]
    return (float(chosen[0]), *(float(k) for k in per_axis))


def _candidates(largest):
    largest = max(float(largest), 1.0)
    count = math.ceil(math.log(largest) / math.log(_CANDIDATE_RATIO) - 1e-9)
    ladder = _CANDIDATE_RATIO ** np.arange(count)
    return np.unique(np.append(np.round(ladder), largest))


# -- moving windows ------------------------------------------------------------


def _windows(data, seen, coordinates, cutoff, periodic):
    """Smooth field, its window lengths and the degrees of freedom it takes."""
    filled = fill_gaps(data, coordinates)
    shape = data.shape
    if cutoff is not None:
        windows = [tuple(_fitting(shape, cutoff))]
    else:
        steps = [(t, x) for t in _lengths(shape[0]) for x in _lengths(max(shape[1:]))]
        windows = [
            tuple(_fitting(shape, (t, *[x] * (len(shape) - 1)))) for t, x in steps
        ]
    n_seen, best, chosen = seen.sum(), math.inf, windows[0]
    for window in windows:
        trace, _ = _traces(shape, window, periodic)
        if len(windows) == 1 or trace > _LARGEST_SHARE * n_seen:
            continue
        values = _filter(filled, window, periodic)
        rest = np.square(filled[seen] - values[seen]).sum() / (n_seen - trace) ** 2
        if rest < best:
            best, chosen = rest, window
    trace, square = _traces(shape, chosen, periodic)
    # Residuals of noise alone have mean square n - 2 tr(S) + tr(S S').
    return _filter(filled, chosen, periodic), chosen, 2.0 * trace - square


def _fitting(shape, windows):
    """Windows no longer than their axes."""
    for window, n in zip(windows, shape, strict=True):
        if window < 1 or window % 2 != 1:
            raise ValueError(
                'With encoder "savgol" cut-offs are odd window lengths in nodes, got '
                f"{tuple(windows)}."
            )
        yield int(min(window, n if n % 2 else n - 1))


def _filter(values, windows, periodic, first=1):
    """Cubics in moving windows, axis by axis; ``first`` is the first spatial axis."""
    for axis, window in enumerate(windows):
        if window > 1:
            values = savgol_filter(
                values,
                window,
                min(_POLYNOMIAL, window - 1),
                axis=axis,
                mode="wrap" if periodic and axis >= first else "interp",
            )
    return values


def _traces(shape, windows, periodic):
    """tr(S) and tr(S S') of the smoother S of all axes."""
    pairs = [
        _axis_traces(n, window, periodic and axis > 0)
        for axis, (n, window) in enumerate(zip(shape, windows, strict=True))
    ]
    return tuple(math.prod(values) for values in zip(*pairs, strict=True))


@lru_cache(maxsize=256)
def _axis_traces(n, window, periodic):
    if window == 1:
        return float(n), float(n)
    smoother = _filter(np.eye(n), (window,), periodic, first=0)
    return float(np.trace(smoother)), float(np.square(smoother).sum())


def _lengths(n):
    """Odd window lengths to try: 1 leaves an axis as it is."""
    lengths = [1]
    window = 5
    while window <= min(max(n // 2, 5), n):
        lengths.append(window)
        window = 2 * round((window * 1.3 + 1) / 2) + 1
    return lengths
