"""Reads the coefficients that a generator returns and evaluates their equation."""

import numpy as np


def factors(term):
    """Names and powers of the factors of a term such as ``"u^2 u_x"``."""
    parts = [factor.partition("^") for factor in term.split()]
    return [(name, int(power or 1)) for name, _, power in parts]


def right_side(coef, values):
    """Sum of the terms, with ``values`` a dict of arrays by factor name."""
    total = 0.0
    for term, coefficient in coef.items():
        product = coefficient
        for name, power in factors(term) if term != "1" else ():
            product = product * values[name] ** power
        total = total + product
    return total


def spectral_values(data):
    """Fields of a periodic bunch and their spatial derivatives, by name.

    Arrays are of shape (n_times, *grid_shape).
    """
    shape = (len(data.X_true), *data.grid_shape, data.n_fields)
    fields = data.X_true.reshape(shape)
    spacing = np.atleast_1d(data.spacing)
    values = {}
    for f, name in enumerate(data.field_names):
        values[name] = fields[..., f]
        for axis, letter in enumerate("xy"[: len(data.grid_shape)]):
            n = data.grid_shape[axis]
            wave = 2j * np.pi * np.fft.fftfreq(n, d=spacing[axis])
            wave = wave.reshape([-1 if a == axis else 1 for a in range(len(spacing))])
            modes = np.fft.fft(fields[..., f], axis=1 + axis)
            for order in range(1, 4):
                found = np.fft.ifft(modes * wave**order, axis=1 + axis).real
                values[f"{name}_{letter * order}"] = found
    return values


def time_derivative(fields, dt):
    """Sixth-order central differences, of all times but three at each end."""
    weights = np.array([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / 60
    n = len(fields) - 6
    return sum(w * fields[i : i + n] for i, w in enumerate(weights)) / dt


def worst_residual(data, times=slice(None)):
    """Largest misfit of each field's equation, relative to its rate of change."""
    values, worst = spectral_values(data), {}
    for name in data.field_names:
        rate = time_derivative(values[name], data.dt)
        right = right_side(data.coef[name], values)[3:-3]
        worst[name] = np.abs(rate - right)[times].max() / np.abs(rate).max()
    return worst


def check_measurement(make, **options):
    """Noise and gaps of a generator of fields are what they are said to be."""
    clean = make(**options)
    np.testing.assert_array_equal(clean.X, clean.X_true)
    assert clean.observed.all()
    data = make(**options, noise=0.2, frame_drop=0.3, random_state=0)
    again = make(**options, noise=0.2, frame_drop=0.3, random_state=0)
    np.testing.assert_array_equal(data.X, again.X)
    np.testing.assert_array_equal(data.X_true, clean.X_true)
    np.testing.assert_array_equal(np.isnan(data.X).all(axis=1), ~data.observed)
    assert not np.isnan(data.X[data.observed]).any()
    assert 0 < (~data.observed).sum() < len(data.X)
    for field in range(data.n_fields):
        truth = data.X_true[:, field :: data.n_fields]
        size = 0.2 * np.sqrt(np.mean(truth**2))
        assert data.noise_std[field] == np.float64(size) or np.isclose(
            data.noise_std[field], size, rtol=1e-12
        )
        error = (data.X - data.X_true)[data.observed, field :: data.n_fields]
        # A standard deviation of N numbers is known to one part in sqrt(2 N).
        assert abs(error.std() / size - 1) < 4.5 / np.sqrt(2 * error.size)
    assert data.grid_shape == tuple(map(len, data.coordinates))
    assert data.X.shape == (len(data.times), np.prod(data.grid_shape) * data.n_fields)
    assert set(data.coef) == set(data.field_names)
    assert f"{(~data.observed).sum()} of {len(data.X)} snapshots" in data.DESCR
