"""Effects under selection by the outcome, from scores of the arms' densities."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neural_network import MLPClassifier

from skident.utils._rows import split_rows

# Grid nodes that networks see at a time: layers of 64 stay in a processor's cache.
_CHUNK_NODES = 10_000
# As published, in units of the noise; see _noise_scale.
_MARGIN = 3.0


@dataclass(frozen=True)
class ScoreMatchingFit:
    """What :func:`fit_score_matching` returns.

    Attributes
    ----------
    effect : float
        NaN without a second arm.
    module : torch.nn.Module
        The networks of the arms, in float64, for standardised rows and outcomes.
    location, scale : ndarray of shape (n_features + 1,)
        Of the covariates and, last, of the outcome.
    grid : ndarray of shape (n_grid,)
        Outcomes over which densities are integrated, standardised.
    classifier : estimator or None
        Of the treatment among selected rows, on standardised covariates.
    history : dict of ndarray
        "total_0" and "total_1", with "validation_0" and "validation_1".
    excess_penalty : float
        Mean penalty of the fitted selection above that of a constant one.
    selection_range : tuple of two floats
        Least and largest fitted selection at the rows, relative to the mean.
    weight_share : float
        Kish's effective share of the covariate draws.
    extrapolation_share : float
        Share of the covariate draws where an arm is not observed.
    """

    effect: float
    module: Any
    location: np.ndarray
    scale: np.ndarray
    grid: np.ndarray
    classifier: Any
    history: dict
    excess_penalty: float
    selection_range: tuple
    weight_share: float
    extrapolation_share: float

    def outcome_mean(self, X, t, *, selected=False):
        """Mean outcome of an arm at covariates.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
        t : {0, 1}
        selected : bool, default=False
            Among the selected, rather than in the population.

        Returns
        -------
        mean : ndarray of shape (n,), float64
        """
        before, after, _ = self._moments(self._rows(X), t)
        return self._in_units(after if selected else before)

    def effect_at(self, X):
        """Difference of the population's outcome means at covariates, shape (n,)."""
        return self.outcome_mean(X, 1) - self.outcome_mean(X, 0)

    def propensity(self, X):
        """Probability of treatment among the selected, of shape (n,)."""
        return self.classifier.predict_proba(self._rows(X))[:, 1]

    def selection_probability(self, X, t, y):
        """Fitted selection, up to one factor an arm.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
        t : {0, 1}
        y : ndarray of shape (n,)

        Returns
        -------
        beta : ndarray of shape (n,)
        """
        y = (np.asarray(y, dtype=np.float64) - self.location[-1]) / self.scale[-1]
        return np.exp(self.module.log_selection(t, self._rows(X), y))

    def _rows(self, X):
        X = np.asarray(X, dtype=np.float64)
        return (X - self.location[:-1]) / self.scale[:-1]

    def _in_units(self, y):
        return y * self.scale[-1] + self.location[-1]

    def _moments(self, rows, t):
        """Means before and after selection, and E[beta], at standardised rows."""
        step = max(1, _CHUNK_NODES // len(self.grid))
        found = [np.empty((3, 0))]
        for low in range(0, len(rows), step):
            before, after, log_beta = self.module.on_grid(
                t, rows[low : low + step], self.grid
            )
            density = density_of(before, self.grid)
            chosen = density_of(after, self.grid)
            means = density @ self.grid, chosen @ self.grid
            found.append(np.array([*means, (density * np.exp(log_beta)).sum(axis=1)]))
        return np.concatenate(found, axis=1)


def density_of(scores, grid):
    """Probabilities of the nodes of a grid, from scores at them.

    Parameters
    ----------
    scores : ndarray of shape (n, n_grid)
    grid : ndarray of shape (n_grid,)
        Evenly spaced.

    Returns
    -------
    probabilities : ndarray of shape (n, n_grid)
        Rows sum to one.
    """
    steps = np.diff(grid) * (scores[:, 1:] + scores[:, :-1]) / 2
    log_density = np.zeros_like(scores)
    np.cumsum(steps, axis=1, out=log_density[:, 1:])
    log_density -= log_density.max(axis=1, keepdims=True)
    density = np.exp(log_density)
    # The trapezoid rule halves both ends.
    density[:, [0, -1]] /= 2
    return density / density.sum(axis=1, keepdims=True)


def fit_score_matching(
    X,
    y,
    treatment=None,
    *,
    reweight="harmonic",
    estimate_selection=True,
    hidden=(64, 64),
    selection_hidden=64,
    penalty_log=0.1,
    penalty_square=0.05,
    clip=1.0,
    c_overlap=0.05,
    support_mask=None,
    x_reference=None,
    n_mixture=10,
    n_draws=5000,
    n_grid=200,
    propensity_learner=None,
    max_epochs=200,
    batch_size=256,
    learning_rate=0.005,
    tol=0.01,
    validation_fraction=0.0,
    device="auto",
    net_params=None,
    verbose=0,
    rng=None,
    epochs=None,
):
    """Fit scores of the arms, the selection behind them and the effect.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Covariates of the selected rows.
    y : ndarray of shape (n,)
        Their outcomes, not all equal.
    treatment : ndarray of shape (n,) or None
        0 or 1, both present; None fits the law of ``y`` alone.
    rng : numpy.random.Generator or None
        None draws from one that is seeded with 0.
    epochs : iterable or None
        Drawn from once an epoch of the larger arm's training.
    reweight, estimate_selection, ... :
        As in :class:`ScoreMatchingSelectionATE`.

    Returns
    -------
    fit : ScoreMatchingFit

    Raises
    ------
    ValueError
        If ``y`` is constant or an arm is missing.
    FloatingPointError
        If the loss is no longer finite.
    """
    from skident.effects import _score_matching_net as nets
    from skident.utils._torch import seeded
    from skident.utils._training_net import train_module

    rng = np.random.default_rng(0) if rng is None else rng
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    arms = np.zeros(len(y), int) if treatment is None else treatment.astype(int)
    n_arms = 1 if treatment is None else 2
    _check_rows(y, arms, n_arms)
    table = np.column_stack([X, y])
    location, scale = table.mean(axis=0), table.std(axis=0)
    scale[-1] = _noise_scale(X, y, arms)
    scale[~(scale > 0)] = 1.0
    table = (table - location) / scale
    rows, outcomes = table[:, :-1], table[:, -1]
    config = {
        "n_features": X.shape[1],
        "hidden": tuple(hidden),
        "selection_hidden": selection_hidden if estimate_selection else None,
    }
    options = {
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "tol": tol,
        "device": device,
        "net_params": net_params,
        "verbose": verbose,
    }
    seeds = rng.integers(np.iinfo(np.int32).max, size=4)
    with seeded(0):  # the initial weights are drawn, and thrown away
        module = nets.ArmModels(n_arms, **config, double=True).eval()
    history = {}
    for arm in np.argsort(-np.bincount(arms), kind="stable"):
        members = np.flatnonzero(arms == arm)
        train, held = split_rows(len(members), validation_fraction, rng)
        train, held = members[train], members[held]
        trained, losses = train_module(
            nets.ArmModel,
            config | {"arm": int(arm)},
            nets.ScoreMatchingLoss,
            _arrays(rows, outcomes, train),
            held=_arrays(rows, outcomes, held) if len(held) else None,
            options=options,
            seed=int(seeds[arm]),
            epochs=epochs,
            callbacks=nets.clipping(clip),
            criterion__penalty_log=penalty_log,
            criterion__penalty_square=penalty_square,
        )
        epochs = None
        module.arms[arm].load_state_dict(trained.state_dict())
        history |= {f"{name}_{arm}": values for name, values in losses.items()}
    log_beta = np.concatenate(
        [
            module.log_selection(k, rows[arms == k], outcomes[arms == k])
            for k in range(n_arms)
        ]
    )
    beta = np.exp(log_beta)
    excess = 0.0
    if estimate_selection:
        penalty = np.mean(penalty_square * beta**2 - penalty_log * log_beta)
        excess = float(penalty - least_penalty(penalty_log, penalty_square))
    fit = ScoreMatchingFit(
        effect=np.nan,
        module=module,
        location=location,
        scale=scale,
        grid=np.linspace(outcomes.min() - _MARGIN, outcomes.max() + _MARGIN, n_grid),
        classifier=None,
        history=history,
        excess_penalty=excess,
        selection_range=(
            float(beta.min() / beta.mean()),
            float(beta.max() / beta.mean()),
        ),
        weight_share=np.nan,
        extrapolation_share=np.nan,
    )
    if n_arms == 1:
        return fit
    classifier = _fit_classifier(propensity_learner, rows, arms, int(seeds[2]))
    fit = replace(fit, classifier=classifier)
    if x_reference is None:
        draws = _draws(rows, n_mixture, n_draws, int(seeds[3]))
    else:
        draws, reweight = fit._rows(x_reference), None
    return replace(fit, **_average(fit, draws, reweight, c_overlap, support_mask))


def least_penalty(penalty_log, penalty_square):
    """Penalty of the constant selection sqrt(penalty_log / (2 penalty_square))."""
    ratio = penalty_log / (2.0 * penalty_square)
    return 0.5 * penalty_log * (1.0 - np.log(ratio))


def _check_rows(y, arms, n_arms):
    counts = np.bincount(arms, minlength=n_arms)
    if counts.min() == 0:
        raise ValueError(
            f"treatment must have rows of both arms, got {counts[0]} of 0 and "
            f"{counts[1]} of 1; n_samples = {len(y)}."
        )
    if np.ptp(y) == 0:
        raise ValueError(
            f"y must vary to have a density, got {y[0]:g} in every row; "
            f"n_samples = {len(y)}."
        )


def _noise_scale(X, y, arms):
    """Unit of the outcome: twice its standard deviation about a cubic in each arm.

    In units of its whole spread, an outcome that the covariates nearly determine would
    have scores and slopes that no small network reaches. On the published generator
    the unit is about 1, so that published settings keep their meaning.
    """
    residuals = []
    for arm in np.unique(arms):
        Z, target = X[arms == arm], y[arms == arm]
        Z = (Z - Z.mean(axis=0)) / np.maximum(np.std(Z, axis=0), 1e-300)
        # Ten rows a coefficient, or residuals say nothing of the noise.
        degree = next((k for k in (3, 1) if len(Z) > 10 * (k * Z.shape[1] + 1)), 0)
        basis = np.column_stack(
            [np.ones(len(Z))] + [Z ** (k + 1) for k in range(degree)]
        )
        coef = np.linalg.lstsq(basis, target, rcond=None)[0]
        residuals.append(target - basis @ coef)
    # The floor keeps the grid's nodes within a fifth of a unit of noiseless outcomes.
    return max(2.0 * np.std(np.concatenate(residuals)), 0.02 * np.std(y))


def _arrays(rows, outcomes, members):
    return {
        "X": rows[members].astype(np.float32),
        "y": outcomes[members].astype(np.float32),
    }


def _fit_classifier(learner, rows, arms, seed):
    """Classifier of the arm; by default the published one."""
    if learner is not None:
        return clone(learner).fit(rows, arms)
    network = MLPClassifier((32, 32), max_iter=300, random_state=seed)
    n_folds = min(3, np.bincount(arms).min())
    if n_folds > 1:
        network = CalibratedClassifierCV(network, cv=n_folds)
    with warnings.catch_warnings():
        # Calibrated afterwards, and judged by how far it extrapolates.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(rows, arms)


def _draws(rows, n_mixture, n_draws, seed):
    """Covariates drawn from a Gaussian mixture of the rows, or the rows themselves."""
    if n_mixture is None:
        return rows
    # Two rows a coordinate of each mean, at least.
    n_components = min(n_mixture, max(1, len(rows) // (2 * (rows.shape[1] + 1))))
    mixture = GaussianMixture(n_components, random_state=seed)
    with warnings.catch_warnings():
        # Any iterate is a density of the rows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(rows).sample(n_draws)[0]


def _average(fit, draws, reweight, c_overlap, support_mask):
    """Weighted mean difference over draws of covariates, as fields of the fit."""
    control, treated = fit._moments(draws, 0), fit._moments(draws, 1)
    share = fit.classifier.predict_proba(draws)[:, 1]
    if support_mask is None:
        seen_1, seen_0 = share >= c_overlap, share <= 1.0 - c_overlap
    else:
        X = draws * fit.scale[:-1] + fit.location[:-1]
        seen_1, seen_0 = (
            np.asarray(support_mask(X, np.full(len(X), t)), dtype=bool) for t in (1, 0)
        )
    if reweight is None:
        weights = np.ones(len(draws))
    elif reweight == "harmonic":
        # P(t | x, S=1) = P(t | x) B_t / P(S=1 | x), summed over the arms that are seen.
        weights = seen_1 * share / treated[2] + seen_0 * (1.0 - share) / control[2]
    else:
        beta = [
            np.exp(fit.module.log_selection(t, draws, moments[0]))
            for t, moments in ((0, control), (1, treated))
        ]
        weights = 1.0 / (beta[1] * share + beta[0] * (1.0 - share))
    difference = (treated[0] - control[0]) * fit.scale[-1]
    if not weights.any():
        raise ValueError(
            "support_mask must leave an arm somewhere, got none at any covariates."
        )
    return {
        "effect": float(np.average(difference, weights=weights)),
        "weight_share": float(weights.sum() ** 2 / (weights**2).sum() / len(draws)),
        "extrapolation_share": float(np.average(~(seen_1 & seen_0), weights=weights)),
    }
