"""How much of the data equations of fields explain."""

import math

import numpy as np

from skident.dynamics._pde_rates import line_derivatives


def explained(wanted, found, weights=None):
    """One less the squared distance over that from each field's mean.

    Parameters
    ----------
    wanted, found : list of ndarray of shape (n_t, ..., n_fields)
        NaN where missing, which is left out.
    weights : list of ndarray of shape (n_t,) or None, default=None
        What each snapshot counts; None is 1.

    Returns
    -------
    score : float
        NaN where nothing varies.
    """
    n_fields = wanted[0].shape[-1]
    if weights is None:
        weights = [np.ones(len(w)) for w in wanted]
    weights = np.concatenate(
        [np.repeat(w, f[0, ..., 0].size) for w, f in zip(weights, wanted, strict=True)]
    )
    wanted = np.concatenate([w.reshape(-1, n_fields) for w in wanted])
    found = np.concatenate([f.reshape(-1, n_fields) for f in found])
    both = np.isfinite(wanted) & np.isfinite(found) & (weights > 0)[:, None]
    error = total = 0.0
    for j in range(n_fields):
        values, weight = wanted[both[:, j], j], weights[both[:, j]]
        if len(values):
            mean = np.average(values, weights=weight)
            error += weight @ (values - found[both[:, j], j]) ** 2
            total += weight @ (values - mean) ** 2
    return float(1.0 - error / total) if total > 0 else math.nan


def frame_weights(experiments, sample_weight):
    """Weights of rows as those of frames, of which absent ones have none.

    Parameters
    ----------
    experiments : list of Experiment
    sample_weight : ndarray of shape (n_samples,)

    Returns
    -------
    weights : list of ndarray of shape (n_t,)
    """
    weights = []
    for experiment in experiments:
        weights.append(np.zeros(experiment.n_frames))
        weights[-1][experiment.frames] = sample_weight[experiment.rows]
    return weights


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
