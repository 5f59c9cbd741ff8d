"""Populations that tests of selection share."""

from functools import partial

import numpy as np

from skident.effects import _score_matching_fit


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def population(n=4000, seed=0, on_outcome=False):
    """Confounded treatment, effect of two, selection that favours the gainers."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    treatment = (rng.random(n) < sigmoid(0.5 * X[:, 1])).astype(int)
    y = X.sum(axis=1) + treatment * (2 + X[:, 0]) + rng.standard_normal(n)
    drive = 0.5 * (y - 1) if on_outcome else X[:, 0] + 0.5 * treatment
    chance = sigmoid(drive)
    return X, y, treatment, rng.random(n) < chance, chance


def short_trial(monkeypatch):
    """Few rows of a trial, and networks that train for three epochs."""
    short = partial(_score_matching_fit.fit_score_matching, max_epochs=3, tol=np.inf)
    monkeypatch.setattr(_score_matching_fit, "fit_score_matching", short)
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 1))
    t = rng.integers(0, 2, 150)
    y = X[:, 0] + t + rng.standard_normal(150)
    return X, y, t
