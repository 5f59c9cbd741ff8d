"""The selection that leaves the same rows although it falls where another one rises."""

import numpy as np

from skident.effects._selection_families import Normal
from skident.effects._selection_search import maximise

# Log of the odds at which one of the two is taken for refuted.
LEAST_GAP = np.log(1000.0)
_COARSE = 1e-4


def has_mirror(model):
    """Whether the likelihood of a model is of the kind that has a mirror."""
    return (
        "Y" in model.depends_on
        and model.form == "logistic"
        and isinstance(model.family, Normal)
        and not model.family.multiplicative
    )


def mirrored(model, theta):
    """Parameters under which selection has the other sign and the rows the same law.

    As ``expit(v) = exp(v) expit(-v)``, and the exponential of y times a normal density
    is a normal density with another mean, what it leaves over goes to the propensity
    and the density of the covariates. Those are polynomials in logarithms and take it
    as far as they can.

    Parameters
    ----------
    model : SelectionLikelihood
        One that :func:`has_mirror` allows.
    theta : ndarray of shape (p,)

    Returns
    -------
    mirrored : ndarray of shape (p,)
    """
    p = model.parts(theta)
    slope = p["gy"][0]
    new = {**p, "g": -p["g"], "gy": -p["gy"]}
    left_over = []
    for arm in (0, 1):
        variance = np.exp(2.0 * p[f"s{arm}"][0])
        mean = model.at[arm] @ p[f"b{arm}"]
        new[f"b{arm}"] = p[f"b{arm}"].copy()
        new[f"b{arm}"][0] += slope * variance
        base = model.at_selection[arm] @ p["g"]
        left_over.append(slope * mean + 0.5 * slope**2 * variance + base)
    control, treated = left_over
    C = model.at_propensity
    eta = C @ p["c"]
    new["c"] = np.linalg.lstsq(C, eta + treated - control, rcond=None)[0]
    if model.density_degree:
        factor = np.logaddexp(
            treated - np.logaddexp(0.0, -eta), control - np.logaddexp(0.0, eta)
        )
        wanted = model.at_density @ p["k"] + factor
        # Where there are rows is where it has to fit.
        root = np.exp(0.5 * (wanted - wanted.max()))
        Q = np.column_stack([np.ones(len(C)), model.at_density])
        new["k"] = np.linalg.lstsq(Q * root[:, None], wanted * root, rcond=None)[0][1:]
    return model.join(**new)


def fit_mirror(model, theta):
    """The maximum on the other side, if there is one.

    Parameters
    ----------
    model : SelectionLikelihood
    theta : ndarray of shape (p,)
        A maximum.

    Returns
    -------
    theta : ndarray of shape (p,) or None
        None where selection keeps its sign: the search has come back.
    value : float
        Penalised log-likelihood there, -inf without.
    """
    if not has_mirror(model):
        return None, -np.inf
    start = mirrored(model, theta)
    other, value, _ = maximise(model, start, tol=_COARSE)
    where = model.slices["gy"]
    if not np.isfinite(value) or other[where][0] * theta[where][0] >= 0:
        return None, -np.inf
    return other, value


def mirror_refusal(fit, effect, gap):
    """Why a fit and its mirror cannot be told apart, or None.

    Parameters
    ----------
    fit : JointFit
    effect : float
        That of the mirror.
    gap : float
        Between the log-likelihoods.

    Returns
    -------
    refusal : tuple of two str or None
        None too where both have the same effect within a standard error.
    """
    if gap >= LEAST_GAP or abs(effect - fit.effect) < fit.stderr:
        return None
    advice = ""
    if fit.x_density_degree is not None:
        advice = " x_reference, covariates of the population, would help."
    return (
        "mirrored_selection",
        "A selection that rises with the outcome and one that falls with it explain "
        f"these rows about as well (log-likelihoods {gap:.2g} apart), with effects of "
        f"{fit.effect:.4g} and {effect:.4g}: neither is refuted.{advice}",
    )
