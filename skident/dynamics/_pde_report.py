"""What fields say of the assumptions behind their equations."""

from dataclasses import dataclass

import numpy as np

from skident.dynamics._pde_conditioning import (
    condition_assumption,
    describe_collinear,
    library_conditions,
    swap_check,
    trap_checks,
)
from skident.dynamics._pde_correction import refinement_gap
from skident.dynamics._pde_patches import Patch
from skident.dynamics._pde_solve import WORST_RESIDUAL
from skident.dynamics._pde_terms import own_first_names
from skident.utils import Assumption, IdentifiabilityReport

# Nodes of a stencil; with fewer on an axis its order falls.
FEWEST_NODES = 5
# Distance of smoothed data and data, in units of the noise: 1 is wanted. Where signal
# is smoothed away at 1.5, its size is that of the noise.
SMOOTHED_AWAY = 1.5
# What is smoothed away of data without noise does not matter up to this share of the
# data's spread: coefficients move by about as much.
NEGLIGIBLE = 0.01
# Errors of solutions on the grid, as a share of the spread of the data: larger ones
# show in the first digits of coefficients.
WORST_GRID = 0.05
# Standard errors from which on a coefficient counts as seen.
SEEN = 3.0
# Distance of solution and data, in units of the noise or of the grid's own error. Right
# equations of waves, heat and spirals have at most 1.1, at any noise up to 40 % of the
# field; at 1.5 what is left unexplained is larger than the noise.
UNEXPLAINED = 1.5
# Mean of a field over its spread from which on its powers hardly differ: two of them
# are then the same to some per cent.
FAR_FROM_ZERO = 20.0
# Boxes of patches that the grid's error is measured on, one and two spatial axes:
# refined twice they take no longer than a patch of the fit.
_BOXES = {1: (16, 16), 2: (6, 8, 8)}
_N_BOXES = 4


@dataclass
class Evidence:
    """What a fit measured.

    Parameters
    ----------
    experiments : list of Experiment
    patches, observed : list of Patch
        With the data that equations were fitted to, and with those that were observed.
    terms : list of PDETerm
    fits : list of n_fields LMFit
    paths : list of n_fields EliminationPath
    names : list of n_fields str
    encoder : str
    noise, noise_ratio, oracle : ndarray of shape (n_fields,)
    n_left_out : int
        Rows that are alone in their trajectory.
    corrected : list of n_fields bool
        Whether the error of the grid was taken off what equations were fitted to.
    options : dict
        ``tol``, ``linear_solver`` and ``n_jobs`` of the fit.
    """

    experiments: list
    patches: list
    observed: list
    terms: list
    fits: list
    paths: list
    names: list
    encoder: str
    noise: np.ndarray
    noise_ratio: np.ndarray
    oracle: np.ndarray
    n_left_out: int
    corrected: list
    options: dict


def oracle_residual(patches, terms, thetas, linear_solver):
    """How far solutions move when the grid is refined twice.

    Boundary values and the fields that expressions are frozen at are interpolated, so
    that both grids solve one equation; the difference is the coarse grid's error.

    Parameters
    ----------
    patches : list of Patch
        A few of them are looked at, a box of each.
    terms : list of PDETerm
    thetas : list of n_fields ndarrays of shape (n_terms,)
    linear_solver : str

    Returns
    -------
    residual : ndarray of shape (n_fields,)
        Root mean square difference at the coarse nodes, relative to the data's spread.
    """
    places = np.unique(np.rint(np.linspace(0, len(patches) - 1, _N_BOXES)).astype(int))
    data = [patch.data.reshape(-1, len(thetas)) for patch in patches]
    spread = np.nanstd(np.concatenate(data), axis=0)
    moved = np.zeros((len(places), len(thetas)))
    for row, place in enumerate(places):
        coarse = _box(patches[place])
        for j, theta in enumerate(thetas):
            gap = refinement_gap(
                coarse, terms, theta, field=j, linear_solver=linear_solver
            )
            moved[row, j] = np.mean(gap**2)
    size = np.sqrt(moved.mean(axis=0))
    return np.divide(size, spread, out=np.full(len(thetas), np.nan), where=spread > 0)


def _box(patch):
    """The middle of a patch."""
    wanted = _BOXES[len(patch.shape) - 1]
    cut = []
    for n, most in zip(patch.shape, wanted, strict=True):
        low = max(0, (n - most) // 2)
        cut.append(slice(low, low + min(n, most)))
    nodes = [
        axis[part] - axis[part.start]
        for axis, part in zip(patch.coordinates, cut, strict=True)
    ]
    cut = tuple(cut)
    return Patch(nodes, patch.encoded[cut], patch.data[cut], patch.experiment, ())


def make_report(fit):
    """The report on a fit.

    Parameters
    ----------
    fit : Evidence

    Returns
    -------
    condition : ndarray of shape (n_fields,)
        Condition number of each equation's library.
    report : IdentifiabilityReport
    """
    conditions = library_conditions(fit.patches, fit.terms)
    tied = describe_collinear(conditions, fit.terms, fit.names)
    swap, swapped = swap_check(
        fit.patches, fit.terms, fit.fits, fit.names, **fit.options
    )
    shortest = min(min(map(len, e.coordinates)) for e in fit.experiments)
    assumptions = [
        Assumption.at_least(
            "the grid has nodes enough",
            "nodes of the shortest axis, against those of a stencil",
            shortest,
            FEWEST_NODES,
        ),
        condition_assumption(conditions),
        swap,
        *trap_checks(
            fit.observed,
            fit.fits,
            fit.names,
            corrected=fit.corrected,
            **fit.options,
        ),
        _smoothing(fit),
        Assumption.at_most(
            "the linear systems are solved",
            "largest relative residual",
            max(each.solver_residual for each in fit.fits),
            WORST_RESIDUAL,
        ),
        _at_most(
            "the grid resolves the solutions",
            "what refining it twice moves, over the data's spread",
            fit.oracle,
            WORST_GRID,
        ),
        _explained(fit),
        _significant(fit),
        Assumption(
            "first order in time, with coefficient one",
            "what u_t stands for is not tested",
        ),
        Assumption(
            "the true equation is among the candidates",
            "terms that are not offered show only in what is left unexplained",
        ),
    ]
    report = IdentifiabilityReport(
        target="the coefficients of the equations",
        up_to="nothing, among the candidate terms",
        assumptions=assumptions,
        notes=_notes(fit),
        advice=" ".join(
            [
                *tied,
                *swapped,
                *_offsets(fit),
                "More varied fields tell more terms apart, as fewer terms do.",
            ]
        ),
    )
    return np.array([condition.number for condition in conditions]), report


def _offsets(fit):
    """Advice on fields whose mean hides how they vary."""
    said = []
    for j, name in enumerate(fit.names):
        data = np.concatenate([p.encoded[..., j].ravel() for p in fit.patches])
        if abs(data.mean()) > FAR_FROM_ZERO * data.std():
            said.append(
                f"Field {name} varies by {data.std():.2g} about {data.mean():.4g}: "
                "less a reference value its powers differ more."
            )
    return said


def _smoothing(fit):
    name = "smoothing keeps the signal"
    if fit.encoder == "identity":
        return Assumption(name, "nothing is smoothed: expressions carry the noise")
    ratios = []
    for j in range(len(fit.names)):
        gap = np.nanstd(
            np.concatenate([(p.data - p.encoded)[..., j].ravel() for p in fit.observed])
        )
        floor = np.hypot(np.nan_to_num(fit.noise[j]), NEGLIGIBLE * _spread(fit, j))
        ratios.append(gap / floor if floor > 0 else np.nan)
    return _at_most(
        name,
        "distance of smoothed data and data over that of noise and 1 % of the spread",
        ratios,
        SMOOTHED_AWAY,
    )


def _explained(fit):
    """Whether solutions are as close to the data as noise and grid let them be."""
    gaps = []
    for j, each in enumerate(fit.fits):
        spread = _spread(fit, j)
        # The default share of a grid's error that is of no consequence, or what it is.
        known = np.nansum([fit.noise[j] ** 2, (fit.oracle[j] * spread) ** 2])
        floor = np.hypot(np.sqrt(known), 0.5 * WORST_GRID * spread)
        gaps.append(np.sqrt(each.loss) / floor if floor > 0 else np.nan)
    return _at_most(
        "the equations explain the data",
        "distance of solutions and data over that of noise, grid and 2.5 % of the "
        "spread",
        gaps,
        UNEXPLAINED,
    )


def _significant(fit):
    name = "the data tell every term that is kept"
    ratios = [
        np.abs(each.t_ratios[each.support]).min()
        for each in fit.fits
        if each.support.any()
    ]
    if not ratios:
        return Assumption(name, "no term is kept")
    test = "least ratio of a coefficient and its standard error"
    if np.isnan(ratios).any():
        return Assumption(name, f"{test}, which these data do not tell")
    return Assumption.at_least(name, test, min(ratios), SEEN)


def _spread(fit, field):
    data = np.concatenate([patch.data[..., field].ravel() for patch in fit.observed])
    return np.nanstd(data)


def _at_most(name, test, values, threshold):
    """The largest of the fields' numbers that are known, against a threshold."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return Assumption(name, f"{test}: these data do not tell")
    return Assumption.at_most(name, test, max(known), threshold)


def _notes(fit):
    notes = []
    for j, (name, each) in enumerate(zip(fit.names, fit.fits, strict=True)):
        if not each.support.any():
            notes.append(f"No term of the equation of {name} is left: it says 0.")
        margin = fit.paths[j].margin
        if np.isfinite(margin):
            path = fit.paths[j]
            refused = path.steps[path.chosen + 1]
            label = fit.terms[refused.removed].label(own_first_names(fit.names, j))
            notes.append(
                f"The equation of {name} keeps {label}: without it the loss rises "
                f"{margin:.3g} times as much as a removal may."
            )
    if fit.n_left_out:
        notes.append(
            f"{fit.n_left_out} rows that are alone in their trajectory were left out."
        )
    missing = np.mean([np.isnan(e.field).mean() for e in fit.experiments])
    if missing:
        notes.append(f"{100 * missing:.3g} % of the values are missing.")
    return notes
