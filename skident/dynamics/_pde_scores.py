"""How much of the data equations of fields explain."""

import math

import numpy as np

from skident.dynamics._pde_rates import line_derivatives


def explained(wanted, found):
    """One less the squared distance over that from each field's mean.

    Parameters
    ----------
    wanted, found : list of ndarray of shape (..., n_fields)
        NaN where missing, which is left out.

    Returns
    -------
    score : float
        NaN where nothing varies.
    """
    n_fields = wanted[0].shape[-1]
    wanted = np.concatenate([w.reshape(-1, n_fields) for w in wanted])
    found = np.concatenate([f.reshape(-1, n_fields) for f in found])
    both = np.isfinite(wanted) & np.isfinite(found)
    error = total = 0.0
    for j in range(n_fields):
        values = wanted[both[:, j], j]
        if len(values):
            error += np.sum((values - found[both[:, j], j]) ** 2)
            total += np.sum((values - values.mean()) ** 2)
    return float(1.0 - error / total) if total > 0 else math.nan


def derivative_score(equations, experiments, encoded):
    """Share of the spread of fields' rates in time that equations explain.

    Parameters
    ----------
    equations : FieldEquations
    experiments : list of Experiment
    encoded : list of ndarray of shape (n_t, *grid_shape, n_fields)
        Smooth fields.

    Returns
    -------
    score : float
    """
    rates, predicted = [], []
    for experiment, fields in zip(experiments, encoded, strict=True):
        along, _ = line_derivatives(experiment.coordinates[0], False)
        rates.append((along @ fields.reshape(len(fields), -1)).reshape(fields.shape))
        predicted.append(equations.rate(fields))
    return explained(rates, predicted)
