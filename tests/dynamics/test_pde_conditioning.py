"""Collinear terms are named, and fields that leave their equation open are caught."""

import numpy as np
import pytest

from skident.dynamics._pde_conditioning import (
    condition_assumption,
    describe_collinear,
    form_spread,
    library_conditions,
    swap_check,
    trap_checks,
)
from skident.dynamics._pde_lm import fit_pde_terms
from skident.dynamics._pde_terms import PDETerm, block_library
from tests.dynamics._heat import cut, heat_field

T, X = np.linspace(0.0, 1.0, 16), np.linspace(0.0, 6.0, 40)
CHANGE, MOVE, GROW = (
    "the fields change",
    "the fields do more than move along",
    "the fields do more than grow or decay as a whole",
)


def verdicts(field, terms, noise=0.0, coordinates=(T, X), names=("u",)):
    rng = np.random.default_rng(0)
    noisy = field + noise * rng.standard_normal(field.shape)
    patches = cut(field, list(coordinates), noisy, patch_size=16)
    fits = [fit_pde_terms(patches, terms, field=j) for j in range(len(names))]
    return {a.name: a.verdict for a in trap_checks(patches, fits, list(names))}


def bump(x):
    return np.exp(-((x - 2.5) ** 2))[..., None]


def test_an_orthogonal_library_has_a_known_condition_number():
    # On a grid of whole waves, sin and its derivative are orthogonal: condition 1.
    x = np.arange(64) * (2 * np.pi / 64)
    field = np.tile(np.sin(4 * x), (8, 1))[..., None]
    patches = cut(field, [np.arange(8.0), x], patch_size=(8, 64))
    terms = [PDETerm("u"), PDETerm("u_x")]
    # The derivative by five points is off by (4 h)^4 / 30 = 8e-4 of itself, more at the
    # two nodes on either end.
    assert library_conditions(patches, terms)[0].number == pytest.approx(1, abs=0.02)


def test_collinear_terms_are_named():
    # For a single exponential u_x = u, but for the stencils' error of 2e-9.
    x = np.linspace(0.0, 1.0, 80)
    field = np.tile(np.exp(x), (6, 1))[..., None] * np.ones((6, 1, 1))
    patches = cut(field, [np.arange(6.0), x], patch_size=(6, 80))
    terms = [PDETerm("u"), PDETerm("u_x"), PDETerm("source"), PDETerm("u", (1,))]
    found = library_conditions(patches, terms)
    assert found[0].collinear == [(0, 1)]
    text = describe_collinear(found, terms, ["u"])
    assert text == [
        "In the equation of u: u, u_x are linearly dependent on these fields."
    ]
    assert condition_assumption(found).verdict == "violated"


def test_terms_that_vanish_are_named_alone():
    field = np.tile(np.sin(X), (16, 1))
    both = np.stack([field, np.zeros_like(field)], axis=-1)
    patches = cut(both, [T, X], patch_size=16)
    terms = [PDETerm("u"), PDETerm("source", (0, 1))]
    found = library_conditions(patches, terms)
    assert found[0].collinear == [(1,)]
    assert found[0].number == np.inf
    assert found[1].collinear == [(0,)]
    assert "v is zero" in describe_collinear(found, terms, ["u", "v"])[0]


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_wave_that_only_travels_is_caught(noise):
    # One field, many equations: u_t = -u_x, and with u_xx and sources besides.
    field = bump(X - T[:, None])
    terms = block_library(1, 1, 1, ["u_x", "u_xx", "source"])
    found = verdicts(field, terms, noise)
    assert found == {CHANGE: "holds", MOVE: "violated", GROW: "holds"}


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_separable_field_is_caught(noise):
    # One mode decays: u_t = u_xx and u_t = -u are one equation.
    field = (np.exp(-T)[:, None] * np.sin(X))[..., None]
    found = verdicts(field, [PDETerm("u_xx"), PDETerm("u_x")], noise)
    assert found == {CHANGE: "holds", MOVE: "holds", GROW: "violated"}


def test_a_field_at_rest_is_caught():
    field = np.tile(np.sin(X), (16, 1))[..., None]
    found = verdicts(field, [PDETerm("u_xx"), PDETerm("u")], noise=0.02)
    assert found[CHANGE] == "violated"


def test_fields_of_several_modes_are_in_no_trap():
    field, coordinates = heat_field()
    found = verdicts(field, [PDETerm("u_xx"), PDETerm("u")], 0.005, coordinates)
    assert set(found.values()) == {"holds"}


def test_the_amplitude_of_a_rotating_wave_is_constant_away_from_its_core():
    x, y = np.meshgrid(np.linspace(-4, 4, 24), np.linspace(-4, 4, 24), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    phase = angle - radius - np.arange(6.0)[:, None, None] * 0.1
    wave = np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    spiral = np.tanh(2 * radius)[..., None] * wave
    coordinates = [np.arange(6.0), x[:, 0], y[0]]
    far = cut(spiral[:, 16:], [coordinates[0], coordinates[1][16:], y[0]])
    near = cut(spiral, coordinates, patch_size=(6, 24, 24))
    # tanh(2 r)^2 is 1 - 4 exp(-4 r): above 0.985 from r = 1.4 on. The core, up to
    # r = 0.5, is 1 % of the box.
    assert form_spread(far) < 0.02 < form_spread(near)
    assert form_spread(cut(wave, coordinates)) < 1e-12
    fits = [fit_pde_terms(far, [PDETerm("u")], field=j) for j in (0, 1)]
    last = trap_checks(far, fits, ["u", "v"])[-1]
    assert last.verdict == "violated"


@pytest.mark.parametrize(("offset", "verdict"), [(0.0, "holds"), (300.0, "violated")])
def test_terms_that_could_be_exchanged_are_named(offset, verdict):
    # A field that varies by one about 300, as temperatures do: u_xx and u u_xx / 300
    # are the same to 0.3 per cent, though not to rounding.
    field, axes = heat_field()
    field = field + offset
    noise = 0.01 * np.random.default_rng(0).standard_normal(field.shape)
    patches = cut(field, axes, field + noise, patch_size=16)
    terms = [PDETerm("u_xx"), PDETerm("u_xx", (1,)), PDETerm("source")]
    fits = [fit_pde_terms(patches, terms, [True, False, False])]
    assumption, sentences = swap_check(patches, terms, fits, ["u"])
    assert assumption.verdict == verdict
    expected = ["In the equation of u: u_xx could as well be u u_xx."]
    assert sentences == (expected if offset else [])


def test_an_exchange_costs_what_refitting_with_it_does():
    # Waves of nearly one length under noise: damping does almost what diffusion does,
    # and no few of the patches would tell which of the two it is.
    t, x = 0.1 * np.arange(64), np.linspace(0.0, 2 * np.pi, 128)
    waves = [
        np.cos(k * x + phase) * np.exp(-0.01 * k**2 * t[:, None])
        for k, phase in ((5, 0.3), (6, 1.0))
    ]
    field = sum(waves)[..., None]
    noise = 0.3 * np.random.default_rng(0).standard_normal(field.shape)
    patches = cut(field, [t, x], field + noise, patch_size=(8, 24))
    assert len(patches) > 30
    terms = [PDETerm("u_xx"), PDETerm("u")]
    diffusion, damping = (
        fit_pde_terms(patches, terms, kept) for kept in ([1, 0], [0, 1])
    )
    tol = 1e-3
    assumption, _ = swap_check(patches, terms, [diffusion], ["u"], tol=tol)
    cost = (damping.loss - diffusion.loss) / (tol * diffusion.loss)
    # Waves decay by exp(-0.36 * 0.7) within a patch: linear to half of that exponent.
    assert assumption.statistic == pytest.approx(cost, rel=0.13)


def test_nothing_is_exchanged_where_no_term_was_removed():
    field, axes = heat_field(12, 12)
    patches = cut(field, axes)
    terms = [PDETerm("u_xx"), PDETerm("u")]
    for support in ([True, True], [False, False]):
        fits = [fit_pde_terms(patches, terms, support)]
        assumption, sentences = swap_check(patches, terms, fits, ["u"])
        assert (assumption.verdict, sentences) == ("untestable", [])
