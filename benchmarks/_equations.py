"""What bench_equations_*.py share: scores, the choice of settings, tables."""

import re
import time

import numpy as np
from _common import limited

NOISES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4)
# Settings are chosen on this sample, which is in no table.
CHOICE_SEED = 1000
_FACTOR = re.compile(r"([a-z])(?:_([12xy]+))?(?:\^(\d+))?")


def canonical(term):
    """One spelling of a term for all: "u v^2 u_xx" for "uv^2u_11" too."""
    if term == "1":
        return term
    powers, derivatives = {}, []
    for name, axes, power in _FACTOR.findall(term):
        if axes:
            derivatives.append(name + "_" + axes.replace("1", "x").replace("2", "y"))
        else:
            powers[name] = powers.get(name, 0) + int(power or 1)
    factors = [n if p == 1 else f"{n}^{p}" for n, p in sorted(powers.items())]
    return " ".join(factors + derivatives)


def scores(found, truth):
    """Support and error of coefficients.

    Parameters
    ----------
    found, truth : ndarray of shape (n_equations, n_terms)

    Returns
    -------
    scores : dict
        "tpr" is TP / (TP + FN + FP) over all entries, "error" the largest relative
        error of a true coefficient.
    """
    said, true = found != 0, truth != 0
    return {
        "tpr": float((said & true).sum() / (said | true).sum()),
        "error": float(np.max(np.abs(found - truth)[true] / np.abs(truth)[true])),
    }


def matrix(coef, equations, terms):
    """Coefficients from dicts of a generator, in the order of the terms."""
    known = [{canonical(t): c for t, c in coef[name].items()} for name in equations]
    names = [canonical(term) for term in terms]
    for equation in known:
        absent = set(equation) - set(names)
        if absent:
            raise ValueError(f"no column for {absent}")
    return np.array([[equation.get(name, 0.0) for name in names] for equation in known])


def choose(front, fronts, regressions, regress, truth_of):
    """The settings of a peer that recover a known truth best.

    Parameters
    ----------
    front : callable
        ``front(**settings)`` gives columns, rates and names of terms.
    fronts, regressions : list of dict
        The grid.
    regress : callable
        ``regress(columns, rates, **settings)`` gives coefficients.
    truth_of : callable
        The true coefficients for names of terms.

    Returns
    -------
    settings : list of two dicts
        Highest "tpr", then least "error".
    """
    best, chosen = None, None
    for one in fronts:
        columns, rates, terms = front(**one)
        truth = truth_of(terms)
        for two in regressions:
            made = scores(regress(columns, rates, **two), truth)
            rank = made["tpr"], -made["error"]
            if best is None or rank > best:
                best, chosen = rank, [one, two]
    return chosen


def timed(call):
    """What a call returns, and the CPU seconds it took."""
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def apart(call, limit=3600):
    """A call in a process of its own; a dict of what went wrong if it does."""
    made = limited(call, limit)
    return {"failed": made} if isinstance(made, str) else made


def summary(runs):
    """Cells of a table: mean support, median error, CPU seconds, of several seeds."""
    good = [run for run in runs if "failed" not in run]
    if not good:
        return [str(runs[0]["failed"])[:40] if runs else "", "", "", ""]
    tpr = [run["tpr"] for run in good] + [0.0] * (len(runs) - len(good))
    exact = sum(value == 1 for value in tpr)
    return [
        f"{np.mean(tpr):.2f}",
        f"{exact} of {len(runs)}",
        f"{np.median([run['error'] for run in good]):.2g}",
        f"{np.median([run['seconds'] for run in good]):.1f}",
    ]


def mean_of(runs, name, worst):
    """Mean of a score over seeds, ``worst`` where a run failed."""
    return float(np.mean([run.get(name, worst) for run in runs]))


def median_of(runs, name, worst):
    """Median of a score over seeds, ``worst`` where a run failed."""
    return float(np.median([run.get(name, worst) for run in runs]))
