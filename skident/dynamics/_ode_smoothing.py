"""Local cubics: smoothed states, and how noisy the data are."""

import numpy as np
from scipy.signal import savgol_coeffs, savgol_filter

_DEGREE = 3
# Rows that a cubic is fitted to; beyond the noise of five rows is hardly known.
_LENGTHS = (7, 9, 11, 15, 21, 29, 41, 57, 81, 113, 161)
# Places at which lengths are compared where times are uneven.
_MAX_PLACES = 2000


def smooth(data, series):
    """Smooth each state by local cubics of a length that predicts left-out rows best.

    Parameters
    ----------
    data : ndarray of shape (n_rows, n_states)
        Sorted by trajectory and time.
    series : Series

    Returns
    -------
    states : ndarray of shape (n_rows, n_states)
        As they came where no trajectory has seven rows.
    noise : ndarray of shape (n_states,)
        Standard deviation of what was smoothed away; NaN likewise.
    """
    even = series.even()
    spans = list(zip(series.starts[:-1], series.starts[1:], strict=True))
    lengths = [length for length in _LENGTHS if length <= series.lengths.max()]
    states, noise = data.copy(), np.full(data.shape[1], np.nan)
    if not lengths:
        return states, noise
    errors, variances = [], []
    for length in lengths:
        squared, left = _left_out(data, series.times, spans, length, even)
        errors.append(squared)
        variances.append(left)
    best = np.argmin(errors, axis=0)
    for j, k in enumerate(best):
        noise[j] = np.sqrt(variances[k][j])
        for low, high in spans:
            states[low:high, j] = _smoothed(
                data[low:high, j], series.times[low:high], lengths[k], even
            )
    return states, noise


def _left_out(data, times, spans, length, even):
    """Mean squares of left-out errors, and of the noise, of each state."""
    half = length // 2
    errors, weights = [], []
    for low, high in spans:
        n = high - low
        if n < length:
            continue
        if even:
            centre = savgol_coeffs(length, _DEGREE)[half]
            found = savgol_filter(data[low:high], length, _DEGREE, axis=0)
            errors.append((data[low:high] - found)[half : n - half])
            weights.append(np.full(n - 2 * half, centre))
        else:
            step = max(1, (high - low) // _MAX_PLACES)
            places = np.arange(low + half, high - half, step)
            hat = _weights(times, places, low, high, length)
            rows = places[:, None] + np.arange(-half, half + 1)
            found = np.einsum("kl,kld->kd", hat, data[rows])
            errors.append(data[places] - found)
            weights.append(hat[:, half])
    errors, weights = np.concatenate(errors), np.concatenate(weights)[:, None]
    # A projection leaves 1 - weight of the variance at the row it is centred on, and
    # the error without that row is the one with it over the same share.
    squared = np.mean((errors / (1 - weights)) ** 2, axis=0)
    return squared, np.mean(errors**2 / (1 - weights), axis=0)


def _smoothed(values, times, length, even):
    n = len(values)
    length = min(length, n - 1 + n % 2)
    if length <= _DEGREE + 1:
        return values
    if even:
        return savgol_filter(values, length, _DEGREE)
    found = np.empty(n)
    size = max(1, 2**22 // length)
    for low in range(0, n, size):
        places = np.arange(low, min(n, low + size))
        hat = _weights(times, places, 0, n, length)
        begins = np.clip(places - length // 2, 0, n - length)
        found[places] = np.sum(hat * values[begins[:, None] + np.arange(length)], 1)
    return found


def _weights(times, places, low, high, length):
    """Weights (n_places, length) of the rows around places in the cubics' values."""
    begins = np.clip(places - length // 2, low, high - length)
    around = times[begins[:, None] + np.arange(length)] - times[places][:, None]
    around = around / np.abs(around).max(axis=1, keepdims=True)
    powers = around[..., None] ** np.arange(_DEGREE + 1)
    # The value at the place is the cubic's constant coefficient.
    return np.linalg.pinv(powers)[:, 0]
