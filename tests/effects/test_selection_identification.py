"""What is identified, from what is declared: every row, and what lies between."""

import itertools

import pytest

from skident.effects._selection_identification import Facts, identify

XTY = frozenset("XTY")
XT = frozenset("XT")


def verdict(depends_on=XTY, **facts):
    return identify(Facts(depends_on=frozenset(depends_on), **facts))


# (declared and supplied) -> (status, strategy, code, bounds)
TABLE = [
    # Whatever it depends on, with known probabilities.
    *[
        (
            {"depends_on": depends_on, "selection_prob": True, **more},
            ("point", "known", "known_selection"),
        )
        for depends_on in ("X", "XT", "Y", "XTY")
        for more in ({}, {"binary_outcome": True}, {"reference": True})
    ],
    ({"depends_on": ""}, ("point", "known", "selected_at_random")),
    # Covariates, or covariates and treatment.
    *[
        (
            {"depends_on": depends_on, "unselected_rows": True, **more},
            ("point", "mar", "missing_at_random"),
        )
        for depends_on in ("X", "T", "XT")
        for more in ({}, {"reference": True}, {"binary_outcome": True})
    ],
    *[
        (
            {"depends_on": depends_on, "reference": True},
            ("point", "reference", "reference_covariates"),
        )
        for depends_on in ("X", "T", "XT")
    ],
    # Neither rows nor a reference: the law of the covariates is open.
    ({"depends_on": "X"}, ("partial", None, "selection_on_x")),
    ({"depends_on": "XT"}, ("partial", None, "selection_on_x_and_t")),
    (
        {"depends_on": "X", "floor": True},
        ("partial", "bounds", "selection_on_x", "selection"),
    ),
    (
        {"depends_on": "XT", "outcome_range": True, "selection_rate": True},
        ("partial", "bounds", "selection_on_x_and_t", "outcome"),
    ),
    (
        {"depends_on": "X", "form": "logistic", "family": "normal"},
        ("point", "joint", "parametric_selection"),
    ),
    # A rule.
    (
        {"depends_on": "XT", "support_mask": True},
        ("point", "extrapolate", "deterministic_selection"),
    ),
    (
        {"depends_on": "XT", "support_mask": True, "reference": True},
        ("point", "extrapolate", "deterministic_selection"),
    ),
    # The outcome, in a parametric form with a listed family.
    *[
        (
            {"form": form, "family": family, **more},
            ("point", "joint", "parametric_selection"),
        )
        for form in ("logistic", "probit")
        for family in ("normal", "laplace", "lognormal", "pareto", "mixture")
        for more in ({}, {"reference": True}, {"support_mask": True})
    ],
    # The outcome, in any form, with a floor.
    *[
        (
            {"form": form, "family": family, "floor": True},
            ("point", "score_matching", "limit_only", "selection"),
        )
        for form in (None, "free")
        for family in ("normal", "lognormal", "pareto")
    ],
    (
        {"form": "free", "family": "laplace", "floor": True},
        ("partial", "bounds", "free_form_laplace", "selection"),
    ),
    (
        {"form": "free", "family": "mixture", "floor": True},
        ("partial", "bounds", "free_form_family", "selection"),
    ),
    ({"floor": True}, ("partial", "bounds", "free_form", "selection")),
    # The range of the outcome and the selected share.
    (
        {"outcome_range": True, "selection_rate": True},
        ("partial", "bounds", "outcome_range_only", "outcome"),
    ),
    (
        {"outcome_range": True, "unselected_rows": True},
        ("partial", "bounds", "outcome_range_only", "outcome"),
    ),
    # Two values.
    ({"binary_outcome": True}, ("none", None, "binary_outcome")),
    (
        {"binary_outcome": True, "form": "logistic", "family": "normal"},
        ("none", None, "binary_outcome"),
    ),
    (
        {"binary_outcome": True, "floor": True},
        ("partial", "bounds", "binary_outcome", "selection"),
    ),
    # Between the rows.
    ({}, ("none", None, "nothing_declared")),
    ({"reference": True}, ("none", None, "nothing_declared")),
    ({"unselected_rows": True}, ("none", None, "nothing_declared")),
    ({"outcome_range": True}, ("none", None, "nothing_declared")),
    ({"selection_rate": True}, ("none", None, "nothing_declared")),
    ({"family": "normal"}, ("none", None, "floor_not_declared")),
    ({"family": "laplace"}, ("none", None, "free_form_laplace")),
    ({"form": "logistic"}, ("none", None, "family_not_declared")),
    (
        {"form": "logistic", "floor": True},
        ("partial", "bounds", "family_not_declared", "selection"),
    ),
    # A rule that drops rows contradicts a floor.
    ({"floor": True, "support_mask": True}, ("none", None, "nothing_declared")),
    (
        {"family": "normal", "floor": True, "support_mask": True},
        ("none", None, "floor_not_declared"),
    ),
    ({"treatment": False}, ("none", None, "no_treatment")),
    ({"treatment": False, "selection_prob": True}, ("none", None, "no_treatment")),
    # Named strategies: their assumptions have to be declared, not contradicted.
    *[
        (
            {"strategy": name, "unselected_rows": True, "reference": True},
            ("none", None, "outcome_dependence_declared"),
        )
        for name in ("mar", "reference", "extrapolate")
    ],
    (
        {"strategy": "mar", "unselected_rows": True, "floor": True},
        ("partial", "bounds", "outcome_dependence_declared", "selection"),
    ),
    (
        {"strategy": "mar", "depends_on": "XT", "unselected_rows": True},
        ("point", "mar", "missing_at_random"),
    ),
    (
        {"strategy": "reference", "depends_on": "X", "reference": True},
        ("point", "reference", "reference_covariates"),
    ),
    (
        {"strategy": "extrapolate", "depends_on": "XT"},
        ("point", "extrapolate", "deterministic_selection"),
    ),
    (
        {"strategy": "known", "selection_prob": True},
        ("point", "known", "known_selection"),
    ),
    ({"strategy": "joint"}, ("point", "joint", "parametric_selection")),
    (
        {"strategy": "joint", "form": "free"},
        ("none", None, "free_form_has_no_likelihood"),
    ),
    ({"strategy": "joint", "binary_outcome": True}, ("none", None, "binary_outcome")),
    ({"strategy": "score_matching"}, ("point", "score_matching", "limit_only")),
    (
        {"strategy": "score_matching", "family": "laplace"},
        ("none", None, "free_form_laplace"),
    ),
    (
        {"strategy": "score_matching", "binary_outcome": True},
        ("none", None, "binary_outcome"),
    ),
    (
        {"strategy": "bounds", "floor": True},
        ("partial", "bounds", "bounds_asked_for", "selection"),
    ),
    (
        {"strategy": "bounds", "outcome_range": True, "selection_rate": True},
        ("partial", "bounds", "bounds_asked_for", "outcome"),
    ),
]


@pytest.mark.parametrize(("facts", "wanted"), TABLE)
def test_every_row_of_the_table(facts, wanted):
    found = verdict(**facts)
    assert (found.status, found.strategy, found.code) == wanted[:3]
    assert found.bounds == (wanted[3] if len(wanted) > 3 else None)
    assert found.reason.endswith(".")


@pytest.mark.parametrize("name", ["known", "mar", "reference", "bounds"])
def test_a_named_strategy_asks_for_what_it_is_computed_from(name):
    with pytest.raises(ValueError, match=f"strategy='{name}' needs"):
        verdict(depends_on="XT", strategy=name)


def test_assumptions_made_by_naming_a_strategy_are_marked():
    marked = [a for a in verdict(strategy="joint").assumptions if "assumed by" in a]
    assert len(marked) == 2
    declared = verdict(strategy="joint", form="probit", family="pareto").assumptions
    assert not any("assumed by" in a for a in declared)
    assert any("probit" in a for a in declared)
    reason = verdict(depends_on="XT", strategy="extrapolate").reason
    assert "no support_mask declares another" in reason
    gap = verdict(depends_on="XT", strategy="extrapolate").assumptions
    assert any("assumed by" in a for a in gap)


def every_set_of_facts(**fixed):
    flags = ["selection_prob", "unselected_rows", "reference", "support_mask"]
    flags += ["floor", "outcome_range", "selection_rate", "binary_outcome"]
    depends = [frozenset(s) for n in range(4) for s in itertools.combinations("XTY", n)]
    forms = (None, "free", "logistic")
    families = (None, "normal", "laplace")
    for values in itertools.product((False, True), repeat=len(flags)):
        for depends_on, form, family in itertools.product(depends, forms, families):
            yield Facts(
                depends_on=depends_on,
                form=form,
                family=family,
                **dict(zip(flags, values, strict=True)),
                **fixed,
            )


def test_no_point_without_a_theorem():
    """Over all facts, what "auto" needs for a point was declared."""
    for facts in every_set_of_facts():
        found = identify(facts)
        if found.status == "point":
            declared = {
                "known": facts.selection_prob or not facts.depends_on,
                "mar": not facts.on_outcome and facts.unselected_rows,
                "reference": not facts.on_outcome and facts.reference,
                "extrapolate": not facts.on_outcome and facts.support_mask,
                "joint": facts.form == "logistic" and facts.family is not None,
                "score_matching": facts.family == "normal" and facts.floor,
            }
            assert declared[found.strategy], facts
            if found.strategy in ("joint", "score_matching"):
                assert not facts.binary_outcome, facts
        else:
            assert found.strategy in (None, "bounds"), facts
            assert (found.strategy == "bounds") == (found.bounds is not None)
        if found.status == "none":
            assert found.bounds is None, facts


def test_more_knowledge_never_identifies_less():
    rank = {"none": 0, "partial": 1, "point": 2}
    names = ["selection_prob", "unselected_rows", "reference", "outcome_range"]
    names.append("selection_rate")
    for facts in every_set_of_facts():
        before = rank[identify(facts).status]
        for name in names:
            if not getattr(facts, name):
                more = Facts(**vars(facts) | {name: True})
                assert rank[identify(more).status] >= before, (facts, name)


def test_reasons_are_as_distinct_as_codes():
    reasons = {}
    for facts, _ in TABLE:
        found = verdict(**facts)
        reasons.setdefault(found.code, set()).add(found.reason)
    refusals = [
        "no_treatment",
        "binary_outcome",
        "nothing_declared",
        "free_form",
        "free_form_laplace",
        "free_form_family",
        "free_form_has_no_likelihood",
        "floor_not_declared",
        "family_not_declared",
        "outcome_range_only",
        "selection_on_x",
        "selection_on_x_and_t",
        "outcome_dependence_declared",
    ]
    assert set(refusals) <= set(reasons)
    for one, two in itertools.combinations(reasons, 2):
        assert not reasons[one] & reasons[two], (one, two)
