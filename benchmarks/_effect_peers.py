"""The contenders of bench_selection_bias.py: each gives an effect and an interval.

They get the rows that were selected. Whoever can use them also gets the rule by which
arms are removed, the covariates of the population, or covariates, treatments and rule
of its unselected rows, as Heckman's two steps need; what each was given is in its name.
"""

import warnings

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit, log_ndtr, logit
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skident.effects import ScoreMatchingSelectionATE
from skident.effects._selection_extrapolate import fit_extrapolate
from skident.effects._selection_joint import fit_joint

TRIM = 0.01


def _interval(effect, stderr):
    return effect, effect - 1.96 * stderr, effect + 1.96 * stderr


def naive(data, seed):
    """Difference of the means of the selected arms."""
    arms = [data.y[data.treatment == arm] for arm in (0, 1)]
    stderr = np.sqrt(sum(a.var(ddof=1) / len(a) for a in arms))
    return _interval(arms[1].mean() - arms[0].mean(), stderr)


def _propensity(data, seed):
    model = make_pipeline(
        PolynomialFeatures(4, include_bias=False),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = cross_val_predict(
        model, data.X, data.treatment, cv=folds, method="predict_proba"
    )[:, 1]
    return np.clip(found, TRIM, 1 - TRIM), folds


def _outcome_means(data, folds):
    """Means of both arms by boosted trees, out of fold."""
    means = np.empty((len(data.y), 2))
    for train, test in folds.split(data.X, data.treatment):
        for arm in (0, 1):
            rows = train[data.treatment[train] == arm]
            learner = HistGradientBoostingRegressor(
                max_iter=100, min_samples_leaf=10, early_stopping=False, random_state=0
            )
            learner.fit(data.X[rows], data.y[rows])
            means[test, arm] = learner.predict(data.X[test])
    return means


def ipw(data, seed):
    """Normalised inverse propensity weighting of the selected."""
    e, _ = _propensity(data, seed)
    t, y = data.treatment, data.y
    w1, w0 = t / e, (1 - t) / (1 - e)
    m1, m0 = w1 @ y / w1.sum(), w0 @ y / w0.sum()
    influence = w1 * (y - m1) / w1.mean() - w0 * (y - m0) / w0.mean()
    return _interval(m1 - m0, influence.std() / np.sqrt(len(y)))


def aipw(data, seed):
    """Cross-fitted augmented weighting of the selected, with boosted trees."""
    e, folds = _propensity(data, seed)
    t, y, m = data.treatment, data.y, _outcome_means(data, folds)
    score = m[:, 1] - m[:, 0] + t * (y - m[:, 1]) / e
    score -= (1 - t) * (y - m[:, 0]) / (1 - e)
    return _interval(score.mean(), score.std() / np.sqrt(len(y)))


def tmle(data, seed):
    """Targeted maximum likelihood on the selected, with boosted trees."""
    e, folds = _propensity(data, seed)
    t, y, m = data.treatment, data.y, _outcome_means(data, folds)
    low, high = y.min(), y.max()

    def unit(v):
        return np.clip((v - low) / (high - low), 1e-3, 1 - 1e-3)

    z, q = unit(y), unit(m)
    updated = []
    for arm, share in ((0, 1 - e), (1, e)):
        clever = (t == arm) / share
        offset = logit(q[:, arm])

        def loss(step, clever=clever, offset=offset):
            # The fluctuation is weighted, so that one constant is all there is.
            eta = offset + step[0]
            value = clever @ (np.logaddexp(0, eta) - z * eta)
            return value, np.array([clever @ (expit(eta) - z)])

        step = minimize(loss, np.zeros(1), jac=True).x[0]
        updated.append(low + (high - low) * expit(offset + step))
    score = updated[1] - updated[0] + t * (y - updated[1]) / e
    score -= (1 - t) * (y - updated[0]) / (1 - e)
    effect = (updated[1] - updated[0]).mean()
    return _interval(effect, score.std() / np.sqrt(len(y)))


def cubic(data, seed):
    """Cubic regression in each arm, averaged over the selected covariates."""
    basis = PolynomialFeatures(3)
    B = basis.fit_transform(data.X)
    average, effect, variance = B.mean(axis=0), 0.0, 0.0
    for arm, sign in ((0, -1.0), (1, 1.0)):
        rows = data.treatment == arm
        coef = np.linalg.lstsq(B[rows], data.y[rows], rcond=None)[0]
        residual = data.y[rows] - B[rows] @ coef
        effect += sign * average @ coef
        weight = np.linalg.pinv(B[rows]).T @ average
        variance += (weight * residual) @ (weight * residual)
    return _interval(effect, np.sqrt(variance))


def heckman(data, seed):
    """Heckman's two steps: a probit of selection on all rows, then its inverse Mills.

    The probit is a maximum of its own likelihood, on quartic terms of covariates and
    treatment; rows that the rule removes are left out of it. Outcomes have the degrees
    that the generator has: linear without treatment, and quartic in what it adds.
    """
    X, t = data.X_population, data.treatment_population
    eligible = np.where(t == 1, data.support_mask(X, 1), data.support_mask(X, 0))
    terms = make_pipeline(PolynomialFeatures(4, include_bias=False), StandardScaler())
    P = terms.fit_transform(X)
    T = t[:, None]
    D = np.hstack([np.ones_like(T), P, T, P * T])[eligible]
    kept = data.selected[eligible]
    sign = np.where(kept, 1.0, -1.0)

    def loss(coef):
        eta = sign * (D @ coef)
        value = log_ndtr(eta)
        slope = np.exp(stats.norm.logpdf(eta) - value)
        # A ridge of a millionth a row: some terms separate selected from unselected.
        penalty = 1e-6 * len(D)
        gradient = -(D.T @ (sign * slope)) + penalty * coef
        return -value.sum() + 0.5 * penalty * coef @ coef, gradient

    probit = minimize(loss, np.zeros(D.shape[1]), jac=True, method="L-BFGS-B").x
    eta = (D @ probit)[kept]
    mills = np.exp(stats.norm.logpdf(eta) - log_ndtr(eta))
    Z = np.hstack([np.ones_like(T), X, T, P * T])[eligible]
    outcome = np.column_stack([Z[kept], mills])
    y = data.y_population[eligible][kept]
    coef = np.linalg.lstsq(outcome, y, rcond=None)[0]
    # What the treatment and its products add, over the population.
    average = np.r_[np.zeros(1 + X.shape[1]), 1.0, P.mean(axis=0), 0.0]
    residual = y - outcome @ coef
    weight = np.linalg.pinv(outcome).T @ average
    stderr = np.sqrt((weight * residual) @ (weight * residual))
    return _interval(average @ coef, stderr)


def _fitted(fit, data, seed, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(
            data.X,
            data.y,
            data.treatment,
            support_mask=data.support_mask,
            **settings,
        )
    return _interval(found.effect, found.stderr)


def extrapolate(data, seed):
    """Ours for rules alone: polynomials by BIC, weights of the covariates."""
    return _fitted(fit_extrapolate, data, seed)


def joint(data, seed):
    """Ours, without the population: degrees and density of the covariates by BIC."""
    return _fitted(fit_joint, data, seed, depends_on=("Y",))


def joint_reference(data, seed):
    """Ours, with the covariates of the population."""
    return _fitted(
        fit_joint, data, seed, depends_on=("Y",), x_reference=data.X_population
    )


def joint_all(data, seed):
    """Ours, with nothing ruled out: selection by covariates, treatment and outcome."""
    return _fitted(fit_joint, data, seed)


def _score_matching(data, seed, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ScoreMatchingSelectionATE(
            support_mask=data.support_mask, random_state=seed, **settings
        ).fit(data.X, data.y, treatment=data.treatment)
    return model.effect_, np.nan, np.nan


def score_matching(data, seed):
    """The published SM: no selection by the outcome."""
    return _score_matching(data, seed, estimate_selection=False, reweight="paper")


def score_matching_beta(data, seed):
    """The published SM+beta."""
    return _score_matching(data, seed, reweight="paper")


def score_matching_harmonic(data, seed):
    """SM+beta with weights that undo the selection."""
    return _score_matching(data, seed, reweight="harmonic")


CONTENDERS = {
    "naive": naive,
    "IPW": ipw,
    "AIPW": aipw,
    "TMLE": tmle,
    "Heckman, unselected rows, true degrees": heckman,
    "cubic": cubic,
    "extrapolate, rule": extrapolate,
    "SM, rule": score_matching,
    "SM+beta, rule": score_matching_beta,
    "SM+beta, harmonic, rule": score_matching_harmonic,
    "joint on X, T, Y, rule": joint_all,
    "joint on Y, rule": joint,
    "joint on Y, rule, population X": joint_reference,
}
