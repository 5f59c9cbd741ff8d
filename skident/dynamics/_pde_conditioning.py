"""What the fields that were seen cannot tell apart: collinear terms and named traps."""

import warnings
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from skident.dynamics._exchange import closest_exchanges
from skident.dynamics._pde_choice import library
from skident.dynamics._pde_correction import grid_errors, without_errors
from skident.dynamics._pde_lm import CLEAN, field_data, fit_pde_terms
from skident.dynamics._pde_patches import every_few
from skident.dynamics._pde_solve import patch_residuals
from skident.dynamics._pde_terms import PDETerm, own_first_names
from skident.utils import Assumption

# Beyond this, rounding of the fields alone moves coefficients by some per cent.
WORST_CONDITION = 1e8
# Singular values below this share of the largest: a combination of terms that is zero
# to the rounding of the fields and their stencils.
COLLINEAR = 1e-8
# Terms with less than this share of the largest weight are not part of a combination.
_PART = 0.05
# A quadratic form of the fields that is so near a constant, relative to the size of
# its parts, makes terms that differ by it one.
_CONSTANT_FORM = 0.02
# A law that leaves no more than this share of the data's variance, one per cent of
# their spread, explains them as well as grids let one tell.
_TOLD = 1e-4
# Rivals are tried on so many patches, evenly over all, and fitted to this share of
# their loss.
_FEW, _NEAR = 12, 1e-3


@dataclass(frozen=True)
class LibraryCondition:
    """How far the candidate terms differ over the patches, for one field's equation.

    Attributes
    ----------
    number : float
        Ratio of the largest and the smallest singular value of the terms' values at
        all nodes, each term scaled to unit size; infinite where a term is zero
        everywhere.
    collinear : list of tuples of int
        Terms that a combination ties, one tuple for each singular value below 1e-8 of
        the largest; a term that is zero everywhere stands alone.
    """

    number: float
    collinear: list


def library_conditions(patches, terms):
    """Condition of the candidate terms on the smooth fields.

    Parameters
    ----------
    patches : list of Patch
    terms : list of PDETerm

    Returns
    -------
    conditions : list of n_fields LibraryCondition
    """
    triangles = None
    for patch in patches:
        columns = library(patch, terms)
        if triangles is None:
            triangles = [np.zeros((0, len(terms)))] * len(columns)
        # The triangle has the singular values of all rows so far, at full precision:
        # products of columns would square the condition number.
        triangles = [
            np.linalg.qr(np.vstack([triangle, rows]), mode="r")
            for triangle, rows in zip(triangles, columns, strict=True)
        ]
    return [_condition(triangle) for triangle in triangles]


def _condition(triangle):
    size = np.linalg.norm(triangle, axis=0)
    zero = size <= COLLINEAR * size.max(initial=0.0)
    kept = np.flatnonzero(~zero)
    collinear = [(int(j),) for j in np.flatnonzero(zero)]
    if not len(kept):
        return LibraryCondition(np.inf, collinear)
    _, values, vectors = np.linalg.svd(triangle[:, kept] / size[kept])
    values = np.pad(values, (0, len(kept) - len(values)))
    for value, vector in zip(values, np.abs(vectors), strict=True):
        if value <= COLLINEAR * values[0]:
            part = kept[vector > _PART * vector.max()]
            collinear.append(tuple(part.tolist()))
    if zero.any() or values[-1] == 0:
        return LibraryCondition(np.inf, collinear)
    return LibraryCondition(float(values[0] / values[-1]), collinear)


def condition_assumption(conditions):
    """Whether the candidate terms differ over what was seen."""
    return Assumption.at_most(
        "the fields tell the candidate terms apart",
        "condition number of the terms on the patches",
        max(condition.number for condition in conditions),
        WORST_CONDITION,
    )


def describe_collinear(conditions, terms, names):
    """Sentences that name the terms that the fields tie.

    Parameters
    ----------
    conditions : list of n_fields LibraryCondition
    terms : list of PDETerm
    names : list of n_fields str

    Returns
    -------
    sentences : list of str
    """
    sentences = []
    for field, condition in enumerate(conditions):
        fields = own_first_names(names, field)
        for group in condition.collinear:
            labels = ", ".join(terms[j].label(fields) for j in group)
            what = "is zero" if len(group) == 1 else "are linearly dependent"
            sentences.append(
                f"In the equation of {names[field]}: {labels} {what} on these fields."
            )
    return sentences


# -- traps ---------------------------------------------------------------------


def trap_checks(
    patches,
    fits,
    names,
    *,
    tol=0.004,
    corrected=False,
    linear_solver="auto",
    n_jobs=None,
):
    """Named ways in which fields leave their equation open.

    A field that a simpler law explains as well as the fitted equation does obeys a
    whole family of equations: one that stands still, every equation that holds at
    rest; one that only moves along, every equation with that wave; one that only
    grows or decays as a whole, every equation with that mode. Each law is fitted to
    the data, through its solutions, as the equation was; it counts as a rival unless
    it adds more to the loss than ``tol`` of it and a hundredth of the data's spread,
    squared. Where the fitted equation is such a law itself, the field is in the trap
    all the same.

    Parameters
    ----------
    patches : list of Patch
        What was observed.
    fits : list of n_fields LMFit
    names : list of n_fields str
    tol : float or sequence of n_fields floats, default=0.004
        Share of each equation's loss that a removal may add.
    corrected : bool or sequence of n_fields bool, default=False
        Whether the loss of an equation is without the error of the grid. That of a
        law's solutions is then taken off as well, where it could be why the law loses.
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None

    Returns
    -------
    assumptions : list of Assumption
        The statistic is the smallest over fields. With two fields or more also
        whether a quadratic form of them is constant, as the amplitude of rotating
        waves is away from their cores.
    """
    n_axes = len(patches[0].shape) - 1
    moving = [PDETerm(block) for block in ("u_x", "u_y")[:n_axes]]
    laws = {
        "the fields change": ("staying as they are", []),
        "the fields do more than move along": ("moving at a constant speed", moving),
        "the fields do more than grow or decay as a whole": (
            "growing or decaying at a constant rate",
            [PDETerm("u")],
        ),
    }
    few = every_few(patches, _FEW)
    tol = np.broadcast_to(tol, len(fits))
    corrected = np.broadcast_to(corrected, len(fits))
    found = []
    for name, (what, law) in laws.items():
        added = []
        for field, fit in enumerate(fits):
            options = {"field": field, "linear_solver": linear_solver, "n_jobs": n_jobs}
            loss = fit.loss_on(few)
            variance = float(field_data(patches, field).var())
            may = tol[field] * loss + _TOLD * variance
            told = loss + may if corrected[field] else np.inf
            rival = _law_loss(patches[few], law, fit.weights[few], told, options)
            added.append((rival - loss) / may)
        found.append(
            Assumption.at_least(
                name,
                f"loss that {what} adds, over what shows in data like these",
                min(added),
                1.0,
            )
        )
    if len(names) > 1:
        found.append(
            Assumption.at_least(
                "no quadratic form of the fields is constant",
                "least relative spread of such a form over the patches",
                form_spread(patches),
                _CONSTANT_FORM,
            )
        )
    return found


def _law_loss(patches, law, weights, told, options):
    """Loss of a law; with no term that of the start as it stands.

    Where it is above ``told`` and the error of the grid could be why, that is taken
    off.
    """
    terms = law or [PDETerm("u")]
    support, field = np.full(len(terms), bool(law)), options["field"]

    def fit(patches, start):
        return fit_pde_terms(
            patches, terms, support, start, weights=weights, tol=_NEAR, **options
        )

    if not law:
        return fit(patches, None).loss
    # From zero the way to a wave's speed is barred where it moves half its length.
    found = fit(patches, _rates(patches, law, field))
    if found.loss <= told:
        return found.loss
    # One patch shows what the grid can do: all of them would cost most of a fit.
    missed = [np.sqrt(np.mean(part**2)) for part in found.residuals]
    worst = int(np.argmax(np.sqrt(weights) * missed))
    with warnings.catch_warnings():
        # A rival without a solution on the finer grid is no fault of the equations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        [gap] = grid_errors([patches[worst]], terms, found.theta, **options)
        left = max(1.0 - np.sqrt(np.mean(gap**2)) / missed[worst], 0.0)
        if left**2 * found.loss > told:
            return found.loss
        gaps = grid_errors(patches, terms, found.theta, **options)
    again = fit(without_errors(patches, gaps, field), found.theta)
    return min(found.loss, again.loss)


def _rates(patches, law, field):
    """Coefficients of a law of derivatives of one field, by differences.

    The same ones in time and in space, not the solver's stencils: in a wave that moves
    a node a row their errors cancel.
    """
    axes = {"u_x": 1, "u_y": 2}
    columns, rates = [], []
    for patch in patches:
        values = patch.encoded[..., field]
        slopes = np.gradient(values, *patch.coordinates)
        columns.append(
            [
                (slopes[axes[term.block]] if term.block in axes else values).ravel()
                for term in law
            ]
        )
        rates.append(slopes[0].ravel())
    columns = np.concatenate(columns, axis=1).T
    return np.linalg.lstsq(columns, np.concatenate(rates), rcond=None)[0]


def form_spread(patches):
    """Least spread of a quadratic form of the fields, relative to its parts.

    Parameters
    ----------
    patches : list of Patch

    Returns
    -------
    spread : float
        Root mean square distance from 1 of the form q(u, v, ...) that is nearest to
        1, homogeneous of degree two: 0 where the amplitude of a wave is constant, and
        with it the terms ``u`` and ``u^3 + u v^2`` are one.
    """
    fields = np.concatenate(
        [patch.encoded.reshape(-1, patch.encoded.shape[-1]) for patch in patches]
    )
    pairs = combinations_with_replacement(range(fields.shape[1]), 2)
    forms = np.column_stack([fields[:, i] * fields[:, j] for i, j in pairs])
    one = np.ones(len(forms))
    size = np.linalg.norm(forms, axis=0)
    forms = forms / np.where(size > 0, size, 1.0)
    rest = one - forms @ np.linalg.lstsq(forms, one, rcond=1e-10)[0]
    return float(np.sqrt(np.mean(rest**2)))


# -- swaps ---------------------------------------------------------------------


def swap_check(
    patches, terms, fits, names, *, tol=0.004, linear_solver="auto", n_jobs=None
):
    """Whether a term that was removed could stand for one that was kept.

    Of two terms that are nearly one on these fields, either may go first: which of
    them is left says nothing. That happens without their being dependent to rounding,
    as ``u_xx`` and ``u u_xx`` are not where a field varies little about a mean far
    from zero. So each kept term is exchanged for each removed one, the others
    adapting, to first order in what the exchange changes.

    Parameters
    ----------
    patches : list of Patch
        What the equations were fitted on. All of them are looked at: what a removal
        may add is what chance adds on all, and a few would not tell.
    terms : list of PDETerm
    fits : list of n_fields LMFit
    names : list of n_fields str
    tol : float or sequence of n_fields floats, default=0.004
        Share of each equation's loss that a removal may add: an exchange has to add
        more.
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None

    Returns
    -------
    assumption : Assumption
    sentences : list of str
        One for each term that could be another, with the best of the others.
    """
    tol = np.broadcast_to(tol, len(fits))
    ratios, sentences = [], []
    for field, fit in enumerate(fits):
        if fit.support.all() or not fit.support.any():
            continue
        triangle = _sensitivities(
            patches, terms, fit.theta, fit.weights, field, linear_solver, n_jobs
        )
        counts = [len(part) for part in fit.residuals]
        variance = float(field_data(patches, field).var())
        may = tol[field] * fit.loss + CLEAN * variance
        may *= float(fit.weights @ counts)
        # What the kept terms explain, whichever their coefficients.
        target = triangle[:, -1] - triangle[:, :-1] @ (fit.theta * fit.support)
        base = _least_squares(triangle[:, :-1][:, fit.support], target)
        fields = own_first_names(names, field)
        exchanges = closest_exchanges(triangle[:, :-1], target, fit.support)
        for term, other, loss in exchanges:
            ratios.append((loss - base) / may if may > 0 else np.nan)
            if ratios[-1] < 1.0:
                sentences.append(
                    f"In the equation of {names[field]}: {terms[term].label(fields)} "
                    f"could as well be {terms[other].label(fields)}."
                )
    name = "no other term could stand for one that is kept"
    test = "loss that the closest exchange adds, over what a removal may"
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)]
    if not ratios:
        return Assumption(name, f"{test}: there is none"), sentences
    return Assumption.at_least(name, test, min(ratios), 1.0), sentences


def _sensitivities(patches, terms, theta, weights, field, linear_solver, n_jobs):
    """Derivatives of solutions by all coefficients, then residuals, as a triangle.

    As long as it has columns: products of columns would square their condition.
    """
    every = np.ones(len(terms), bool)
    triangles = Parallel(n_jobs=n_jobs)(
        delayed(_patch_triangle)(
            patch, terms, theta, every, field=field, linear_solver=linear_solver
        )
        for patch in patches
    )
    rows = [np.sqrt(w) * part for w, part in zip(weights, triangles, strict=True)]
    return np.linalg.qr(np.vstack(rows), mode="r")


def _patch_triangle(*args, **options):
    _, _, residuals, jacobian, _ = patch_residuals(*args, **options)
    return np.linalg.qr(np.column_stack([jacobian, residuals]), mode="r")


def _least_squares(columns, target):
    """Least sum of squares that columns leave of a target."""
    size = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(size > 0, size, 1.0)
    rest = target - columns @ np.linalg.lstsq(columns, target, rcond=1e-12)[0]
    return float(rest @ rest)
