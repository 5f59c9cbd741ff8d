"""What a fit under selection assumes, and what the data say about it."""

import numpy as np

from skident.effects._selection_identification import (
    NO_OUTCOME,
    OVERLAP,
    OVERLAP_SELECTED,
    POSITIVE,
    UNCONFOUNDED,
)
from skident.utils import Assumption, IdentifiabilityReport

# Effective rows, as a share of the selected, below which a few rows are the estimate.
LEAST_ESS = 0.1
# Share of the rows whose probabilities may be clipped (a convention).
MOST_CLIPPED = 0.05
# Ranges of an arm's covariates, around their middle, that a polynomial may reach.
FARTHEST = 2.0
# Least p-value of the ranks under a fitted law. Parameters fitted to the same rows make
# it large: 240 arms of the right family (normal, laplace, lognormal; 500 rows) had 0.11
# at the least, and 0.85 in the middle.
LEAST_RANKS = 0.05
# Level of the test of arms.
LEAST_ARMS = 1e-3
# Logistic selection below this throughout is an exponential, which leaves no trace.
LEAST_CURVATURE = 0.1
LEAST_INFORMATION = 1e-8
_WHY = {
    UNCONFOUNDED: "a hidden common cause leaves no trace",
    NO_OUTCOME: "outcomes of the unselected rows would tell",
}


def make_report(found, facts, inputs, estimate, bounds, settings):
    """The report on a fit.

    Parameters
    ----------
    found : Identification
    facts : Facts
    inputs : Inputs
    estimate : Estimate
    bounds : SelectionBounds or None
    settings : SelectionBiasATE

    Returns
    -------
    report : IdentifiabilityReport
    """
    if not facts.treatment:
        return IdentifiabilityReport(
            target="the mean outcome of selected rows given X",
            up_to="nothing",
            assumptions=[
                Assumption("a treatment was recorded", "none was", verdict="violated")
            ],
            advice="Pass treatment to fit for an effect.",
        )
    assumptions = []
    if found.status != "point" and settings.strategy != "bounds":
        assumptions.append(
            Assumption(
                "the average effect follows from what is declared",
                f"{found.code}: {found.reason}",
                verdict="violated",
            )
        )
    tested = _tested(found, inputs, estimate, settings)
    for name in found.assumptions:
        test = "declared, these data cannot test it"
        assumptions.append(tested.pop(name, Assumption(name, _WHY.get(name, test))))
    assumptions += tested.values()
    target, up_to = _target(found)
    return IdentifiabilityReport(
        target=target,
        up_to=up_to,
        assumptions=assumptions,
        notes=_notes(found, facts, estimate),
        advice=_advice(found, inputs),
    )


def _target(found):
    whole = "the average effect in the whole population"
    if found.status == "point":
        return whole, "nothing"
    if found.bounds is not None:
        return whole, "the interval of bounds_"
    if found.status == "partial":
        return whole, "the law of X in the population"
    return whole, "any number"


def _tested(found, inputs, estimate, settings):
    """Assumptions that these data can test, by name."""
    tests = []
    n = int(inputs.selected.sum())
    if found.strategy not in ("extrapolate", "joint", "score_matching"):
        name = OVERLAP_SELECTED if found.strategy == "reference" else OVERLAP
        tests.append(
            Assumption.at_most(
                name,
                f"share of rows with a probability clipped at {settings.trim:g}",
                estimate.clipped,
                MOST_CLIPPED,
            )
        )
    if found.strategy in ("known", "mar", "reference", "extrapolate"):
        weights = estimate.weights
        tests.append(
            Assumption.at_least(
                "no few rows stand for the population",
                "effective number of rows over their number",
                weights.sum() ** 2 / (weights @ weights) / n,
                LEAST_ESS,
            )
        )
    if found.strategy in ("joint", "extrapolate"):
        tests.append(
            Assumption.at_least(
                "covariates of the population are there",
                "rows of x_reference; without them a density class, or the kept arm, "
                "stands in",
                0 if inputs.population is None else len(inputs.population),
                1,
            )
        )
        tests.append(
            Assumption.at_most(
                "polynomials are not carried far beyond their rows",
                "farthest point from the middle of an arm's covariates, in half ranges",
                _reach(inputs, estimate),
                FARTHEST,
            )
        )
    if estimate.fit is not None:
        tests += _likelihood_tests(estimate.fit)
    if found.code == "limit_only":
        tests.append(
            Assumption(
                "as many rows as the limit takes",
                "the split into outcomes and selection has no rate: the number rests "
                "on the penalty of the fit",
                verdict="violated",
            )
        )
    return {test.name: test for test in tests}


def _likelihood_tests(fit):
    """What the likelihood of the selected sample says of its own assumptions."""
    p_family = min(fit.family_check)
    tests = [
        Assumption.at_least(
            "outcomes have the declared family",
            "least p-value of the ranks under the fitted law, Kolmogorov-Smirnov",
            p_family,
            LEAST_RANKS,
        ),
        Assumption.at_least(
            "arms occur among the selected as often as the fit says",
            "p-value of the treated in tenths of each covariate, chi-squared",
            fit.arm_check,
            LEAST_ARMS,
        ),
        Assumption.at_least(
            "the likelihood has a curvature in every direction",
            "least over largest eigenvalue of its information",
            fit.information_condition,
            LEAST_INFORMATION,
        ),
    ]
    p_value = fit.likelihood_ratio[1]
    if np.isfinite(p_value):
        tests.append(
            Assumption(
                "selection depends on the outcome",
                "p-value of the likelihood ratio; where it is not seen, it is not "
                "excluded",
                p_value,
                0.05,
                "holds" if fit.outcome_dependent_detected else "violated",
                "at_most",
            )
        )
        if fit.outcome_dependent_detected:
            tests.append(
                Assumption.at_least(
                    "selection is not an exponential throughout",
                    "largest fitted probability of selection",
                    fit.selection_range[1],
                    LEAST_CURVATURE,
                )
            )
    return tests


def _reach(inputs, estimate):
    """How far beyond its own rows an arm's polynomial is evaluated."""
    X, _, treatment, _ = inputs.kept()
    at = X if inputs.population is None else inputs.population
    reach = 0.0
    for arm in (0, 1):
        rows = X[treatment == arm]
        low, high = rows.min(axis=0), rows.max(axis=0)
        half = 0.5 * (high - low)
        varies = half > 0
        away = np.abs(at[:, varies] - 0.5 * (high + low)[varies]) / half[varies]
        reach = max(reach, away.max(initial=0.0))
    return reach


def _notes(found, facts, estimate):
    notes = []
    if found.paper_result:
        notes.append(f"Theory: {found.paper_result}.")
    if facts.on_outcome and estimate.among is not None:
        notes.append(
            "Selection may depend on the outcome: treatment need not be as good as "
            "random among the selected, and effect_selected_ is an association."
        )
    rival = None if estimate.fit is None else estimate.fit.alternative
    if found.status == "point" and rival is not None:
        effect, stderr = rival
        notes.append(
            "Dependence of selection on the outcome was not detected: effect_ is "
            f"without it, with it the effect is {effect:.4g} (standard error "
            f"{stderr:.2g}), and stderr_ is so wide that the interval holds both."
        )
    if found.status == "point" and POSITIVE in found.assumptions:
        notes.append("Rows that could never be selected are not part of the target.")
    return notes


def _advice(found, inputs):
    if found.code == "nothing_declared":
        return "selection_bounds gives bounds for a least selection probability."
    if found.strategy == "joint" and inputs.population is None:
        return "x_reference, covariates of the population, is worth most."
    return ""
