"""Whether an average effect is identified under selection, from what is declared.

Nothing here looks at data beyond whether they were supplied: :func:`identify` is a
pure function of what the user knows of the selection.
"""

from dataclasses import dataclass

# The strategies that rest on a selection without the outcome.
_OUTCOME_FREE = ("mar", "reference", "extrapolate")
# Families whose tails tell a shift from a bounded selection of any form.
_TAIL_FAMILIES = ("normal", "lognormal", "pareto")
_PAPER = "Qiu et al. 2026"

UNCONFOUNDED = "the outcomes Y(t) do not depend on T given X, in the population"
NO_OUTCOME = "selection does not depend on Y given X and T"
OVERLAP = "both treatments occur at every X"
OVERLAP_SELECTED = "both treatments occur at every X among the selected"
POSITIVE = "every row of the population could have been selected"


@dataclass(frozen=True)
class Facts:
    """What was declared of the selection, and what was supplied.

    Parameters
    ----------
    strategy : str
        The strategy asked for.
    depends_on : frozenset of {"X", "T", "Y"}
        What selection may depend on.
    form : {None, "free", "logistic", "probit"}
        Of the dependence; None is not declared.
    family : str or None
        Of the outcome given covariates and treatment; None is not declared.
    treatment, selection_prob, unselected_rows, reference, support_mask : bool
        Whether each was supplied.
    floor : bool
        Whether a least selection probability is declared.
    outcome_range, selection_rate : bool
        Whether the outcome's range, and the selected share of the population, are
        declared.
    binary_outcome : bool
        Whether the selected outcomes take two values.
    """

    strategy: str = "auto"
    depends_on: frozenset = frozenset({"X", "T", "Y"})
    form: str | None = None
    family: str | None = None
    treatment: bool = True
    selection_prob: bool = False
    unselected_rows: bool = False
    reference: bool = False
    support_mask: bool = False
    floor: bool = False
    outcome_range: bool = False
    selection_rate: bool = False
    binary_outcome: bool = False

    @property
    def on_outcome(self):
        """Whether selection may depend on the outcome."""
        return "Y" in self.depends_on

    @property
    def bounds(self):
        """Which bounds can be had: "selection", "outcome" or None."""
        # A rule that keeps no row somewhere contradicts a floor there.
        if self.floor and not self.support_mask:
            return "selection"
        if self.outcome_range and (self.unselected_rows or self.selection_rate):
            return "outcome"
        return None


@dataclass(frozen=True)
class Identification:
    """What is identified of the average effect in the whole population.

    Attributes
    ----------
    status : {"point", "partial", "none"}
        "point": a number; "partial": bounds, or effects in parts of the population;
        "none": nothing.
    strategy : str or None
        How it is estimated.
    code : str
        The reason in one word, to be compared with.
    reason : str
        The reason in a sentence.
    assumptions : tuple of str
        What it rests on.
    paper_result : str
        The result of the theory that carries it, or forbids it.
    bounds : {"selection", "outcome", None}
        Whether there are bounds, from a least selection probability or from the range
        of the outcome.
    """

    status: str
    strategy: str | None
    code: str
    reason: str
    assumptions: tuple = ()
    paper_result: str = ""
    bounds: str | None = None


def identify(facts):
    """What is identified of the average effect in the whole population.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    identification : Identification

    Raises
    ------
    ValueError
        If the strategy asked for lacks what it is computed from.
    """
    if not facts.treatment:
        return Identification(
            "none",
            None,
            "no_treatment",
            "No treatment was recorded, so there is no effect to estimate: the fit is "
            "the outcome model of the selected rows.",
        )
    if facts.strategy == "auto":
        return _identify_auto(facts)
    _check_supplied(facts)
    return _identify_named(facts)


def refuse(facts, code, reason, *, paper_result="", assumptions=()):
    """No point: bounds where they can be had.

    Parameters
    ----------
    facts : Facts
    code, reason : str
    paper_result : str, default=""
    assumptions : tuple of str, default=()
        What else is identified rests on.

    Returns
    -------
    identification : Identification
    """
    status, strategy = "none", None
    if facts.bounds is not None:
        status, strategy = "partial", "bounds"
        assumptions = (*assumptions, *_bound_assumptions(facts))
    elif not facts.on_outcome:
        status = "partial"
    return Identification(
        status, strategy, code, reason, assumptions, paper_result, facts.bounds
    )


def _identify_auto(facts):
    if facts.selection_prob:
        return _known(facts)
    if not facts.depends_on:
        return _at_random(facts)
    if not facts.on_outcome:
        if facts.support_mask:
            return _extrapolate(facts)
        if facts.unselected_rows:
            return _mar(facts)
        if facts.reference:
            return _reference(facts)
    parametric = facts.form in ("logistic", "probit") and facts.family is not None
    if parametric and not facts.binary_outcome:
        return _joint(facts)
    return _limit_only(facts) or _refused(facts)


def _identify_named(facts):
    name = facts.strategy
    if name == "known":
        return _known(facts)
    if name == "bounds":
        return refuse(
            facts,
            "bounds_asked_for",
            "strategy='bounds' asks for bounds, not for a number.",
            assumptions=() if facts.on_outcome else (NO_OUTCOME,),
        )
    if name in _OUTCOME_FREE:
        if facts.on_outcome:
            return refuse(
                facts,
                "outcome_dependence_declared",
                f"strategy={name!r} rests on a selection that does not depend on Y, "
                "and selection_depends_on says that it may: leave 'Y' out of it where "
                "that is known.",
                paper_result=f"{_PAPER}, Theorem 3.1",
            )
        make = {"mar": _mar, "reference": _reference, "extrapolate": _extrapolate}
        return make[name](facts)
    if facts.on_outcome and facts.binary_outcome:
        return _binary(facts)
    if name == "joint":
        if facts.form == "free":
            return refuse(
                facts,
                "free_form_has_no_likelihood",
                "strategy='joint' needs a parametric form of the selection, and "
                "selection_form='free' declares that there is none.",
                paper_result=f"{_PAPER}, after Proposition 3.5",
            )
        return _joint(facts)
    if facts.on_outcome and facts.family not in (None, *_TAIL_FAMILIES):
        return _refused(facts)
    return _limit_only(facts, named=True)


def _check_supplied(facts):
    """Refuse a named strategy that lacks what it is computed from."""
    wanted = {
        "known": (facts.selection_prob, "selection_prob in fit"),
        "mar": (facts.unselected_rows, "selected in fit, with rows that were not"),
        "reference": (facts.reference, "x_reference"),
        "bounds": (
            facts.bounds is not None,
            "min_selection_prob, without a support_mask, or outcome_range with "
            "unselected rows or selection_rate",
        ),
    }
    there, what = wanted.get(facts.strategy, (True, ""))
    if not there:
        raise ValueError(f"strategy={facts.strategy!r} needs {what}.")


def _known(facts):
    return Identification(
        "point",
        "known",
        "known_selection",
        "The selection probability of every selected row is known.",
        (UNCONFOUNDED, OVERLAP, POSITIVE, "selection_prob is right, up to a factor"),
        f"{_PAPER}, Theorem 3.1",
    )


def _at_random(facts):
    return Identification(
        "point",
        "known",
        "selected_at_random",
        "Selection is declared to depend on nothing: the selected rows are a sample of "
        "the population.",
        (UNCONFOUNDED, OVERLAP, "selection depends on neither X, T nor Y"),
    )


def _mar(facts):
    return Identification(
        "point",
        "mar",
        "missing_at_random",
        "Covariates and treatments of the unselected rows are there, and selection "
        "does not depend on the outcome.",
        (UNCONFOUNDED, NO_OUTCOME, OVERLAP, POSITIVE),
        f"{_PAPER}, Corollaries 3.9 to 3.14 (selection back-door)",
    )


def _reference(facts):
    return Identification(
        "point",
        "reference",
        "reference_covariates",
        "Covariates of the population are there, and selection does not depend on the "
        "outcome.",
        (
            UNCONFOUNDED,
            NO_OUTCOME,
            OVERLAP_SELECTED,
            "x_reference is a sample of the population's covariates",
        ),
        f"{_PAPER}, Corollaries 3.9 to 3.14 (back-door with external data)",
    )


def _extrapolate(facts):
    rule = (
        "selection keeps exactly the rows that support_mask allows"
        if facts.support_mask
        else "where one treatment is rare, selection has dropped it "
        "(assumed by strategy='extrapolate')"
    )
    known = (
        "Selection is a known rule on X and T"
        if facts.support_mask
        else "Selection is taken for a rule that keeps all rows but those of a rare "
        "treatment, as no support_mask declares another"
    )
    return Identification(
        "point",
        "extrapolate",
        "deterministic_selection",
        f"{known}, and the regressions are polynomials, which are known everywhere "
        "once they are known somewhere.",
        (
            UNCONFOUNDED,
            NO_OUTCOME,
            rule,
            "mean outcomes are polynomials in X",
            "the logit of the propensity is a polynomial in X",
        ),
        f"{_PAPER}, Proposition 3.3",
    )


def _joint(facts):
    form, family = facts.form or "logistic", facts.family or "normal"
    assumed = " (assumed by strategy='joint')"
    return Identification(
        "point",
        "joint",
        "parametric_selection",
        f"Selection is {form} and outcomes are {family}: the law of the selected rows "
        "tells the one from the other.",
        (
            UNCONFOUNDED,
            "selection depends on "
            + " and ".join(v for v in "XTY" if v in facts.depends_on)
            + " only",
            f"the selection probability is {form} in them"
            + ("" if facts.form else assumed),
            f"outcomes are {family} given X and T" + ("" if facts.family else assumed),
            "mean outcomes and the logit of the propensity are polynomials in X",
        ),
        f"{_PAPER}, Proposition 3.5",
        facts.bounds,
    )


def _limit_only(facts, named=False):
    """Free form with light or known tails: identified, with no usable rate."""
    if not named:
        free = facts.form in (None, "free") and facts.on_outcome
        tails = facts.family in _TAIL_FAMILIES and not facts.binary_outcome
        if not (free and tails and facts.floor and not facts.support_mask):
            return None
    family = facts.family or "normal"
    assumed = " (assumed by strategy='score_matching')"
    rely = "so rely on the bounds" if facts.bounds else "and nothing bounds its error"
    floor = "the selection probability has a floor above zero"
    floor += "" if facts.floor else assumed
    assumed = "" if facts.family else assumed
    return Identification(
        "point",
        "score_matching",
        "limit_only",
        f"A selection of free form that never falls to zero is told from {family} "
        "outcomes by their tails, in the limit of infinitely many rows only: the "
        f"number comes without a rate, {rely}."
        + ("" if facts.bounds else " Declare min_selection_prob for bounds."),
        (
            UNCONFOUNDED,
            OVERLAP,
            floor,
            f"outcomes are {family} given X and T{assumed}",
        ),
        f"{_PAPER}, Proposition 3.5",
        facts.bounds,
    )


def _binary(facts):
    return refuse(
        facts,
        "binary_outcome",
        "The outcome takes two values and selection may depend on it: the selected "
        "rows tell odds ratios at most, not an average effect.",
        paper_result=f"{_PAPER}, Theorem 3.1",
    )


def _refused(facts):
    """Why there is no point, in the order in which it could be mended."""
    if not facts.on_outcome:
        where = "X" if facts.depends_on == {"X"} else "X and T"
        return refuse(
            facts,
            "selection_on_x" if where == "X" else "selection_on_x_and_t",
            f"Selection on {where} leaves the effect at each X and in the selected "
            "rows identified, not the average: the law of X in the population is "
            "unknown. Supply the unselected rows or x_reference.",
            paper_result=f"{_PAPER}, Theorem 3.1",
            assumptions=(UNCONFOUNDED, NO_OUTCOME),
        )
    if facts.binary_outcome:
        return _binary(facts)
    free = facts.form in (None, "free")
    if not free:
        return refuse(
            facts,
            "family_not_declared",
            f"A {facts.form} selection on the outcome identifies the effect only with "
            "a family of outcomes, and outcome_family=None declares none.",
            paper_result=f"{_PAPER}, Proposition 3.5",
        )
    if facts.family == "laplace":
        return refuse(
            facts,
            "free_form_laplace",
            "A selection of free form moves the location of Laplace outcomes without "
            "leaving a trace: two centres half a scale apart give the same selected "
            "rows. Declare selection_form where it is known.",
            paper_result="a counterexample to a point under a free form",
        )
    if facts.family is not None and facts.family not in _TAIL_FAMILIES:
        return refuse(
            facts,
            "free_form_family",
            f"A selection of free form is told from outcomes of the families "
            f"{', '.join(_TAIL_FAMILIES)} at best, not from those of {facts.family!r}.",
            paper_result=f"{_PAPER}, Proposition 3.5",
        )
    if facts.family is not None:
        return refuse(
            facts,
            "floor_not_declared",
            f"A selection of free form is told from {facts.family} outcomes only where "
            "it never falls to zero, and min_selection_prob declares no floor that "
            "holds everywhere.",
            paper_result=f"{_PAPER}, Proposition 3.5",
        )
    if facts.bounds == "selection":
        return refuse(
            facts,
            "free_form",
            "Selection may depend on the outcome in a form that is not declared, and "
            "no family of outcomes is either: its least probability gives bounds.",
            paper_result=f"{_PAPER}, Theorem 3.1",
        )
    if facts.bounds == "outcome":
        return refuse(
            facts,
            "outcome_range_only",
            "Selection may depend on the outcome in any way and may exclude rows "
            "altogether: the range of the outcome gives bounds.",
            paper_result="Manski bounds",
        )
    extra = ""
    if facts.outcome_range:
        extra = " outcome_range gives bounds with unselected rows or selection_rate."
    elif facts.unselected_rows:
        extra = " With the unselected rows, outcome_range gives bounds too."
    return refuse(
        facts,
        "nothing_declared",
        "Selection may depend on the outcome in any way. Declare what it depends on "
        "(selection_depends_on), its form and the family of outcomes, a least "
        f"probability (min_selection_prob), or supply selection_prob.{extra}",
        paper_result=f"{_PAPER}, Theorem 3.1",
    )


def _bound_assumptions(facts):
    if facts.bounds == "selection":
        return (
            UNCONFOUNDED,
            OVERLAP,
            "selection probabilities differ by a factor of 1 / min_selection_prob at "
            "most",
        )
    given = (UNCONFOUNDED, OVERLAP) if facts.unselected_rows else ()
    return (*given, "outcomes lie in outcome_range")
