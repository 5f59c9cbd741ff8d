"""Candidate terms: what is refused, how they are named, what they are worth."""

import pickle

import numpy as np
import pytest

from skident.dynamics._pde_terms import (
    PDETerm,
    block_library,
    check_terms,
    own_first,
    own_first_names,
    term_values,
)


def labels(terms, fields=("u", "v")):
    return [term.label(fields) for term in terms]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("u_xy", "mixed derivatives"),
        ("v_xx", "coupled diffusion"),
        ("v_x", "another field"),
        ("u_xxx", "end at second"),
        ("u_t", "first order in time"),
        ("u_zz", "at most two spatial axes"),
        ("flux", "block must be one of"),
        (2, "block must be one of"),
    ],
)
def test_blocks_that_the_solver_lacks_are_refused_with_the_reason(block, why):
    with pytest.raises(ValueError, match=why):
        PDETerm(block)


@pytest.mark.parametrize("expression", ["u", 2, (1, -1), (0.5,), None])
def test_expressions_must_be_exponents_or_callables(expression):
    with pytest.raises(ValueError, match="exponents"):
        PDETerm("u", expression)


def test_names_belong_to_callables_and_lambdas_need_one():
    with pytest.raises(ValueError, match="needs a name"):
        PDETerm("u", lambda u: u)
    with pytest.raises(ValueError, match="belongs to callable"):
        PDETerm("u", (1,), name="mine")
    assert PDETerm("u_x", np.sin).label() == "sin u_x"


def test_libraries_of_the_published_examples():
    burgers = block_library(1, 1, 4, ["u_x", "u_xx", "source"])
    assert len(burgers) == 15
    assert labels(burgers)[:5] == ["u_x", "u u_x", "u^2 u_x", "u^3 u_x", "u^4 u_x"]
    u_block = block_library(2, 2, 2, ["u"])
    assert labels(u_block) == ["u", "u^2", "u v", "u^3", "u^2 v", "u v^2"]


def test_a_source_beside_the_field_holds_only_what_the_field_does_not():
    terms = block_library(2, 1, 1)
    assert labels(terms)[-3:] == ["1", "v", "v^2"]
    check_terms(terms, 2, 1)
    assert "u_y" not in labels(terms)


def test_the_second_field_swaps_names_and_values():
    fields = np.random.default_rng(0).standard_normal((4, 3))
    term = PDETerm("u", (0, 1))
    names = own_first_names(["u", "v", "w"], 1)
    assert term.label(names) == "v u"
    assert np.array_equal(term.factor(own_first(fields, 1)), fields[:, 0])
    assert own_first_names(["u", "v", "w"], 2) == ["w", "u", "v"]


def test_term_values_are_the_products_that_the_labels_say():
    u, v, u_xx = np.random.default_rng(1).standard_normal((3, 5))
    terms = [
        PDETerm("u", (2, 1)),
        PDETerm("u_xx", lambda u, v: np.cos(u * v), name="cos(uv)"),
        PDETerm("source", (0, 3)),
        PDETerm("source"),
    ]
    values = term_values(terms, [u, v], {"u_xx": u_xx})
    wanted = [u**3 * v, np.cos(u * v) * u_xx, v**3, np.ones(5)]
    np.testing.assert_allclose(values, np.column_stack(wanted), rtol=1e-14)
    assert labels(terms) == ["u^3 v", "cos(uv) u_xx", "v^3", "1"]


def test_units_follow_from_the_chain_rule():
    steps = (0.5, 3.0, 2.0)
    units = [PDETerm(b).unit(steps) for b in ("u", "source", "u_x", "u_xx", "u_yy")]
    assert units == [0.5, 0.5, 0.5 / 3.0, 0.5 / 9.0, 0.5 / 4.0]


def test_lists_that_do_not_suit_are_refused():
    with pytest.raises(ValueError, match="same function"):
        check_terms([PDETerm("u", (1,)), PDETerm("source", (2,))], 1, 1)
    with pytest.raises(ValueError, match="second spatial axis"):
        check_terms([PDETerm("u_y")], 1, 1)
    with pytest.raises(ValueError, match="2 fields"):
        check_terms([PDETerm("u", (0, 1))], 1, 1)
    with pytest.raises(ValueError, match="at least one"):
        check_terms([], 1, 1)
    with pytest.raises(ValueError, match="PDETerm objects"):
        check_terms(["u_x"], 1, 1)
    with pytest.raises(ValueError, match="must differ"):
        block_library(1, 1, 2, ["u_x", "u_x"])


def test_callables_are_checked_where_they_are_used():
    fields = [np.array([1.0, -1.0])]
    with pytest.raises(ValueError, match="shape"):
        PDETerm("u", lambda u: u[:1], name="short").factor(fields)
    with pytest.raises(ValueError, match="not finite"):
        PDETerm("u", lambda u: u / (u - 1), name="pole").factor(fields)


def test_terms_are_values():
    term = PDETerm("u_x", (1, 0))
    assert term == PDETerm("u_x", (1,)) == pickle.loads(pickle.dumps(term))
    assert len({term, PDETerm("u_x", (1,))}) == 1
