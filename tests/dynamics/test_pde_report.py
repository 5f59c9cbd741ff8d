"""What a fit says of its assumptions: each is violated by data or settings that do."""

import functools
import warnings
from dataclasses import replace

import numpy as np
import pytest

from skident.dynamics import MechanisticPDERegressor, PDETerm, _pde_fit
from skident.dynamics._pde_report import make_report, oracle_residual
from skident.dynamics._pde_solve import solve_patch
from skident.exceptions import IdentifiabilityWarning
from tests.dynamics._heat import cut, heat_field

SMOOTH = "smoothing keeps the signal"
SOLVED = "the linear systems are solved"
RESOLVED = "the grid resolves the solutions"
EXPLAINED = "the equations explain the data"
TOLD = "the data tell every term that is kept"
CONDUCTION = (PDETerm("u_xx"),)


@functools.cache
def report(noise=0.0, terms=CONDUCTION, encoder="dct", cutoff=None, seed=0):
    """The report on a fit of terms, of which none is removed, to conducted heat."""
    field, (t, x) = heat_field()
    rng = np.random.default_rng(seed)
    X = field[..., 0] + noise * field.std() * rng.standard_normal(field.shape[:-1])
    model = MechanisticPDERegressor(
        spacing=x[1],
        dt=t[1],
        terms=list(terms),
        sparsifier="threshold",
        threshold=0.0,
        encoder=encoder,
        encoder_cutoff=cutoff,
        patch_size=(12, 16),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return model.fit(X).identifiability_


def verdicts(found):
    return {a.name: a.verdict for a in found.assumptions}


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_the_right_equation_violates_nothing(noise):
    assert report(noise).ok


def test_signal_that_is_smoothed_away_is_said():
    # Of three modes in space a single one is left.
    assert verdicts(report(0.02, cutoff=(24.0, 2.0)))[SMOOTH] == "violated"
    assert verdicts(report(0.02))[SMOOTH] == "holds"
    assert verdicts(report(0.02, encoder="identity"))[SMOOTH] == "untestable"


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.12])
def test_an_equation_without_its_main_term_is_said(noise):
    # Heat is moved and made, but not conducted. At the largest noise 1.8 noises are
    # left, beside 0.85 to 1.03 by the right equation over three seeds; twice as much
    # noise hides what is missing.
    terms = (PDETerm("u_x"), PDETerm("source"))
    assert verdicts(report(noise, terms))[EXPLAINED] == "violated"


def test_terms_that_are_not_told_from_zero_are_said():
    terms = (*CONDUCTION, PDETerm("u_x", (1,)), PDETerm("u", (2,)))
    found = verdicts(report(0.1, terms))
    assert found[TOLD] == "violated"
    assert found[EXPLAINED] == "holds"


def test_systems_that_were_not_solved_are_said(monkeypatch):
    seen = []

    def spy(evidence):
        seen.append(evidence)
        return make_report(evidence)

    monkeypatch.setattr(_pde_fit, "make_report", spy)
    assert verdicts(report.__wrapped__())[SOLVED] == "holds"
    (evidence,) = seen
    fits = [replace(fit, solver_residual=1e-4) for fit in evidence.fits]
    again = make_report(replace(evidence, fits=fits))[1]
    assert [a.name for a in again.violated] == [SOLVED]
    again = make_report(replace(evidence, oracle=np.array([0.1])))[1]
    assert [a.name for a in again.violated] == [RESOLVED]


def test_the_grids_error_is_told_without_the_truth():
    # At an order of two a grid twice as fine has a quarter of the error, so that the
    # two differ by three quarters of it; the stencils' order is above two.
    told = []
    for n in (9, 17):
        field, axes = heat_field(n, n, nu=1.0)
        (patch,) = cut(field[:16, :16], [axis[:16] for axis in axes])
        told.append(oracle_residual([patch], CONDUCTION, [np.ones(1)], "auto")[0])
        solved = solve_patch(patch, CONDUCTION, np.ones(1), field=0).values[:, 0]
        gap = solved.reshape(patch.shape) - patch.data[..., 0]
        error = np.sqrt(np.mean(gap**2)) / patch.data.std()
        assert 0.5 * error < told[-1] < 1.2 * error
    assert told[1] < told[0] / 3
