"""What a mechanistic ODE identifies on the states that its data visit."""

import numpy as np

from skident.dynamics._ode_fit import term_sizes
from skident.dynamics._ode_rivals import cheapest_exchange, cost_of_dropping
from skident.utils import Assumption, IdentifiabilityReport

# Shortest direction of the solved terms, scaled to length one, that rounding allows.
_INDEPENDENT = 1e-6
# Standard errors that a kept coefficient should be away from zero.
_SEEN = 2.0
# Candidate terms should have as many rows each.
_ROWS_A_TERM = 2.0
# Error of the solver on the found equations, against the movement in a window.
_RESOLVED = 0.01
# Noise that each fitter bears, in standard deviations of a state. On Lorenz's system
# coefficients of "varpro" are then off by some percent, those of "joint" by ten.
_NOISE = {"varpro": 0.03, "joint": 0.3, "neural": 0.05}
# Share of a state's variance that may be left beside noise.
_LEFT = 0.05
# Windows on which the solver is tried, and steps of the reference to one of it.
_N_TRIALS, _SUBSTEPS = 20, 8
_MIN_ROWS = 5


def make_report(fit, table, library, coef, params, names):
    """Report of a fit.

    Parameters
    ----------
    fit : OdeFit
    table : OdeTable
    library : Library
    coef : ndarray of shape (n_states, n_terms)
    params : estimator
    names : list of str
        Of the states.

    Returns
    -------
    report : IdentifiabilityReport
    condition : float
        Longest over shortest direction of the solved terms.
    """
    longest = float(table.series.lengths.max())
    wanted = _MIN_ROWS if params.window == "auto" else params.window
    values, weakest = fit.triangles.singular()
    spread = table.data.std(axis=0)
    moving = np.where(spread > 0, spread, np.nan)
    noise = _largest(fit.noise / moving)
    left = np.square(table.data - fit.solutions).mean(axis=0) / moving**2
    # A smooth of the data is what the other fitters than "joint" compare with.
    noisy = 0.0 if np.isnan(noise) else noise**2
    t = np.abs(coef / fit.stderr)[fit.support]
    gap = refined_gap(fit, table, library, coef)
    # Beyond that the sampling is what is wrong.
    unseen = min(gap, _RESOLVED)
    # Noise biases sums of squares at noisy states more than an exchange adds.
    rival = None if noise > _NOISE["varpro"] else cheapest_exchange(fit)
    assumptions = [
        Assumption.at_least(
            "trajectories are as long as a window",
            "rows of the longest trajectory",
            longest,
            float(max(wanted, _MIN_ROWS)),
        ),
        Assumption.at_least(
            "the data are enough for the library",
            "rows of trajectories, per candidate term",
            len(table.data) / len(library),
            _ROWS_A_TERM,
        ),
        Assumption.at_least(
            "terms differ on the visited states",
            "smallest singular value of the solved terms, each scaled to length one",
            float(values[-1]),
            _INDEPENDENT,
        ),
        _known(
            Assumption.at_most,
            "takes a trajectory of seven rows that moves",
            "noise is small enough for the fitter",
            "what a local cubic leaves, over the state's standard deviation; the "
            "largest",
            noise,
            _NOISE[params.fitter],
        ),
        _known(
            Assumption.at_most,
            "nothing moves in the equations found",
            "the sampling resolves the equations found",
            "error of the solver against steps eight times finer, over the movement "
            "in a window; the largest of a state",
            gap,
            _RESOLVED,
        ),
        _known(
            Assumption.at_least,
            "no moving equation has a term",
            "kept terms stand above the solver's error",
            "smallest movement by a term in a window, in errors of the solver",
            _smallest_share(fit, coef) / unseen if unseen > 0 else np.nan,
            1.0,
        ),
        _known(
            Assumption.at_least,
            "takes data of little noise, and terms that are few but not all",
            "no dropped term stands in for a kept one",
            "squares that the cheapest exchange adds, in squared errors of the solver",
            np.nan if rival is None or not unseen > 0 else rival.rise / unseen**2,
            1.0,
        ),
        _known(
            Assumption.at_most,
            "no state moves",
            "dropped terms are not missed",
            "squares that dropping added, over those that all terms, noise and one "
            "percent of the movement leave; the largest of a state",
            cost_of_dropping(fit, _RESOLVED),
            1.0,
        ),
        _known(
            Assumption.at_most,
            "no state moves",
            "the equations explain the trajectories",
            "share of a state's variance that solved windows leave; the largest",
            _largest(left),
            max(_LEFT, 5.0 * noisy),
        ),
        _known(
            Assumption.at_least,
            "no kept term has a standard error",
            "kept terms are told from zero",
            "smallest coefficient, in standard errors",
            float(t.min()) if len(t) and np.isfinite(t).all() else np.nan,
            _SEEN,
        ),
        Assumption(
            "every state that drives another is measured",
            "shows only where it leaves trajectories unexplained",
        ),
        Assumption(
            "the equations are combinations of the library's terms",
            "shows only where it leaves trajectories unexplained",
        ),
    ]
    report = IdentifiabilityReport(
        target="the equations' terms and coefficients",
        up_to="nothing",
        assumptions=assumptions,
        notes=_notes(fit, library, values, weakest, rival, unseen, names)
        + _units(fit, table, params),
        advice=_advice(
            assumptions, params, fit.window, known=np.isfinite(fit.stderr).any()
        ),
    )
    condition = values[0] / values[-1] if values[-1] > 0 else np.inf
    return report, float(condition)


def refined_gap(fit, table, library, coef):
    """Error of the solver on trajectories of the equations that were found.

    Some windows are integrated anew, from their first states, with steps eight times
    finer, and what the solver makes of the rates there is compared with the states.

    Parameters
    ----------
    fit : OdeFit
    table : OdeTable
    library : Library
    coef : ndarray of shape (n_states, n_terms)

    Returns
    -------
    gap : float
        Root mean square difference over root mean square movement in a window, the
        largest of a state; infinite where the equations blow up in a window, NaN where
        nothing moves.
    """
    whole = max(fit.solved, key=len)
    which = np.unique(np.linspace(0, len(whole) - 1, _N_TRIALS).astype(int))
    trial = whole.part(which)
    rows = trial.group.rows
    steps = np.diff(table.series.times[rows], axis=1)
    controls = table.controls[rows]

    def rate(states, at):
        return library.evaluate(np.concatenate([states, at], axis=-1)) @ coef.T

    path = [fit.solutions[rows[:, 0]]]
    with np.errstate(all="ignore"):
        for t in range(steps.shape[1]):
            h = steps[:, t, None] / _SUBSTEPS
            state, rise = path[-1], controls[:, t + 1] - controls[:, t]
            for k in range(_SUBSTEPS):
                low, middle, high = (
                    controls[:, t] + rise * (k + share) / _SUBSTEPS
                    for share in (0.0, 0.5, 1.0)
                )
                k1 = rate(state, low)
                k2 = rate(state + h / 2 * k1, middle)
                k3 = rate(state + h / 2 * k2, middle)
                k4 = rate(state + h * k3, high)
                state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            path.append(state)
        path = np.stack(path, axis=1)
        found = trial.solve(rate(path, controls), path)
        gap = np.square(found - path).mean(axis=(0, 1))
        moved = np.square(path - path.mean(axis=1, keepdims=True)).mean(axis=(0, 1))
    if not np.isfinite(gap).all() or not np.isfinite(moved).all():
        return np.inf
    return _largest(np.sqrt(gap / np.where(moved > 0, moved, np.nan)))


def _known(compare, why, name, test, statistic, threshold):
    """A comparison, or why there is nothing to compare."""
    if np.isnan(statistic):
        return Assumption(name, why)
    return compare(name, test, statistic, threshold)


def _largest(values):
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else np.nan


def _smallest_share(fit, coef):
    """Smallest movement by a kept term, over its state's; NaN where there is none."""
    shares = np.array(
        [np.abs(row) * term_sizes(fit.triangles, d) for d, row in enumerate(coef)]
    )
    targets = fit.triangles.triangle[:, fit.triangles.n_columns :]
    moving = np.square(targets).sum(axis=0) > 0
    shares = shares[moving][fit.support[moving]]
    return float(shares.min()) if len(shares) else np.nan


def _units(fit, table, params):
    """A threshold that leaves nothing of a state that moves may be in other units."""
    gone = ~fit.support.any(axis=1) & (np.ptp(table.data, axis=0) > 0)
    cut = params.sparsifier == "threshold" and params.threshold is not None
    if not (cut and gone.any()):
        return []
    return [
        f"threshold={params.threshold:g} is in units of states and of time, in which "
        f"rows are {table.series.mean_step:.4g} apart (dt, or times)."
    ]


def _notes(fit, library, values, weakest, rival, unseen, names):
    notes = []
    if values[-1] < _INDEPENDENT * values[0] * 10:
        strength = np.abs(weakest)
        tied = np.flatnonzero(strength > 0.1 * strength.max())
        tied = tied[np.argsort(-strength[tied])][:8]
        listed = ", ".join(library.names[i] for i in tied)
        notes.append(
            f"On the visited states these terms make up for each other: {listed}."
        )
    if rival is not None and rival.rise < unseen**2:
        notes.append(
            f"In the equation of {names[rival.equation]}, "
            f"{library.names[rival.dropped]} in place of "
            f"{library.names[rival.kept]} explains these trajectories as well."
        )
    still = [
        name for name, own in zip(names, fit.support, strict=True) if not own.any()
    ]
    if still:
        notes.append(f"No term is left in the equation of {', '.join(still)}.")
    undecided = [
        f"{library.names[i]} in that of {names[d]}"
        for d, i in np.argwhere(fit.support)
        if np.abs(fit.coef[d, i]) < _SEEN * fit.stderr[d, i]
    ]
    if undecided:
        notes.append(f"The data do not decide on: {', '.join(undecided[:8])}.")
    if fit.layout.n_independent < 10:
        notes.append(
            f"The trajectories have room for {fit.layout.n_independent:.1f} windows "
            "that share no row: standard errors are rough."
        )
    return notes


def _advice(assumptions, params, window, known):
    """What to change, of what can still be changed."""
    drops = params.sparsifier == "threshold"
    shorter = "shorter windows" if window > _MIN_ROWS else None
    higher = "order=3" if params.order < 3 else None
    advice = {
        "trajectories are as long as a window": "A smaller window is used.",
        "the data are enough for the library": "Take a smaller degree.",
        "terms differ on the visited states": (
            "Take a smaller library, or trajectories that visit more states."
        ),
        "noise is small enough for the fitter": (
            'Try fitter="joint".' if params.fitter != "joint" else "Measure better."
        ),
        "the sampling resolves the equations found": _try(
            higher, shorter, "more samples a unit of time"
        ),
        "the equations explain the trajectories": _try(
            "a larger library",
            "a smaller threshold" if drops else "a smaller min_t_ratio",
            shorter,
        ),
        "kept terms stand above the solver's error": _try(
            "threshold_rel, which has no units, to drop them"
            if drops
            else "a smaller library",
            higher and "order=3 to see them",
        ),
        "no dropped term stands in for a kept one": (
            "Take trajectories that visit more states."
        ),
        "dropped terms are not missed": _try(
            *("a smaller threshold", 'sparsifier="elimination"')
            if drops
            else ("a smaller min_t_ratio",)
        ),
        "kept terms are told from zero": (
            _try('sparsifier="elimination"' if drops else None, "a smaller library")
            if known
            else f"Take {shorter or 'longer trajectories'}: windows that overlap have "
            "no standard errors."
        ),
    }
    found = [advice[a.name] for a in assumptions if a.verdict == "violated"]
    return " ".join(found)


def _try(*ways):
    """A sentence of the ways that are not None."""
    *first, last = [way for way in ways if way is not None]
    return f"Try {', '.join(first)}{' or ' if first else ''}{last}."
