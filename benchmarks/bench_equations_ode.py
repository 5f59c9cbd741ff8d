"""Lorenz's equations from noisy trajectories, beside pysindy.

    python benchmarks/bench_equations_ode.py [--quick] [--fresh]

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call. Settings are chosen on one sample of each level of noise, by the truth, and frozen
for five others; fits of skident with its defaults are in the table too.
"""

import argparse

import numpy as np
from _common import OUTPUT, Report, Runs
from _equations import (
    CHOICE_SEED,
    NOISES,
    apart,
    choose,
    matrix,
    mean_of,
    median_of,
    scores,
    summary,
    timed,
)
from _sindy_peers import ODE_PEERS, regress
from scipy.integrate import solve_ivp

from skident.datasets import make_lorenz
from skident.dynamics import MechanisticODERegressor

KEPT = OUTPUT / "equations_ode.jsonl"
NAMES = ["x", "y", "z"]
DT = 0.01
N_SAMPLES = 10_000
# Time in which errors of Lorenz's states grow by a factor e.
LYAPUNOV = 1.1
# Of the weak form where there is no noise.
WEAK_CLEAN = [{"width": 0.1, "p": 8}, {"threshold": 0.1}]

# {name: settings to choose from}; the first is what the documentation starts with.
OURS = {
    "skident, varpro": [
        {"order": 3},
        {"order": 3, "threshold": 0.3},
        {"order": 3, "threshold": 0.3, "threshold_rel": 0.1},
        {"order": 3, "sparsifier": "elimination"},
    ],
    "skident, joint": [
        {"order": 3, "fitter": "joint"},
        {"order": 3, "fitter": "joint", "threshold": 0.3},
        {"order": 3, "fitter": "joint", "threshold": 0.3, "threshold_rel": 0.1},
        {"order": 3, "fitter": "joint", "sparsifier": "elimination"},
    ],
}
# What the documentation advises where there is noise; not chosen on any sample.
NOISY = "skident, joint, as advised for noise"
ADVISED = {"order": 3, "fitter": "joint", "sparsifier": "elimination"}


def make_case(noise, seed, n):
    """A trajectory from a start on the attractor that the seed draws."""
    rng = np.random.default_rng(seed)
    start = make_lorenz(501, DT, x0=rng.normal([0, 0, 25], 5.0)).X[-1]
    return make_lorenz(n, DT, x0=start, noise=noise, random_state=seed)


def fit_ours(data, settings):
    model = MechanisticODERegressor(dt=DT, random_state=0, **settings)
    model.fit(data.X)
    terms = list(model.terms_)
    for old, new in zip(("x0", "x1", "x2"), NAMES, strict=True):
        terms = [term.replace(old, new) for term in terms]
    return model.coef_, terms


def fit_peer(name, data, settings):
    front, _, _ = ODE_PEERS[name]
    columns, rates, terms = front(data.X, DT, 2, NAMES, **settings[0])
    return regress(columns, rates, **settings[1]), terms


def forecast_error(coef, terms):
    """Error after one Lyapunov time, in standard deviations of the states."""
    library = [_monomial(term) for term in terms]

    def rate(_, state):
        return coef @ np.array([np.prod(state**powers) for powers in library])

    def blown(_, state):
        return 1e4 - np.abs(state).max()

    blown.terminal = True
    errors = []
    for seed in range(5):
        truth = make_case(0.0, 2000 + seed, 1 + round(LYAPUNOV / DT))
        run = solve_ivp(rate, (0, truth.times[-1]), truth.X[0], rtol=1e-6, events=blown)
        end = run.y[:, -1] if run.success and run.status == 0 else np.full(3, np.inf)
        miss = np.linalg.norm(end - truth.X[-1]) / np.sqrt(3 * 72.0)
        errors.append(min(float(miss), 10.0))
    return float(np.median(errors))


def _monomial(term):
    powers = np.zeros(3)
    for factor in term.split():
        if factor != "1":
            name, _, power = factor.partition("^")
            powers[NAMES.index(name)] = int(power or 1)
    return powers


def run_fit(fit, noise, seed, n):
    """Scores of a fit."""
    data = make_case(noise, seed, n)
    (coef, terms), seconds = timed(lambda: fit(data))
    made = scores(coef, matrix(data.coef, NAMES, terms))
    return made | {"seconds": seconds, "forecast": forecast_error(coef, terms)}


def choose_ours(grid, noise, n):
    """Index of the best settings."""
    ranks = []
    for settings in grid:
        made = run_fit(lambda d, s=settings: fit_ours(d, s), noise, CHOICE_SEED, n)
        ranks.append((made["tpr"], -made["error"]))
    return {"chosen": grid[ranks.index(max(ranks))]}


def choose_peer(name, noise, n):
    data = make_case(noise, CHOICE_SEED, n)
    front, fronts, regressions = ODE_PEERS[name]
    return {
        "chosen": choose(
            lambda **settings: front(data.X, DT, 2, NAMES, **settings),
            fronts,
            regressions,
            regress,
            lambda terms: matrix(data.coef, NAMES, terms),
        )
    }


def contenders(runs, noise, n):
    """Name, settings and fit of each."""
    for name, grid in OURS.items():
        yield f"{name}, as documented", grid[0], lambda d, s=grid[0]: fit_ours(d, s)
        key = ["choose", name, noise, n]
        made = runs.get(key, lambda g=grid: apart(lambda: choose_ours(g, noise, n)))
        if "chosen" in made:
            settings = made["chosen"]
            yield f"{name}, chosen", settings, lambda d, s=settings: fit_ours(d, s)
    if noise > 0:
        yield NOISY, ADVISED, lambda d: fit_ours(d, ADVISED)
    for name in ODE_PEERS:
        key = ["choose", name, noise, n]
        made = runs.get(
            key, lambda name=name: apart(lambda: choose_peer(name, noise, n))
        )
        if "chosen" in made:
            settings = made["chosen"]
            yield (
                f"pysindy, {name}",
                settings,
                lambda d, name=name, s=settings: fit_peer(name, d, s),
            )


def by_noise(report, runs, noises, seeds, n):
    """The table of levels of noise; runs by contender and noise."""
    found, rows = {}, []
    for noise in noises:
        for name, settings, fit in contenders(runs, noise, n):
            found[name, noise] = [
                runs.get(
                    ["fit", name, noise, n, seed],
                    lambda fit=fit, noise=noise, seed=seed: apart(
                        lambda: run_fit(fit, noise, seed, n)
                    ),
                )
                for seed in seeds
            ]
            made = found[name, noise]
            forecast = f"{median_of(made, 'forecast', 10.0):.2g}"
            shown = ", ".join(
                f"{key}={value}"
                for part in (settings if isinstance(settings, list) else [settings])
                for key, value in part.items()
            )
            rows.append([f"{noise:.0%}", name, *summary(made), forecast, shown])
    report.say(
        f"{n:,} rows {DT} apart, {len(seeds)} trajectories. Noise is in standard "
        "deviations of all states together."
    )
    report.say()
    report.table(
        [
            "noise",
            "contender",
            "TPR",
            "exact",
            "E∞",
            "CPU s",
            "forecast error",
            "settings",
        ],
        rows,
    )
    return found


def by_length(report, runs, lengths):
    """The table of numbers of rows, without noise."""
    rows = []
    for n in lengths:
        for name, fit in (
            ("skident, varpro", lambda d: fit_ours(d, {"order": 3})),
            (
                "pysindy, finite differences",
                lambda d: fit_peer(
                    "finite differences", d, [{"order": 4}, {"threshold": 0.1}]
                ),
            ),
            (
                "pysindy, weak form",
                lambda d: fit_peer("weak form", d, WEAK_CLEAN),
            ),
        ):
            made = runs.get(
                ["length", name, n],
                lambda fit=fit, n=n: apart(lambda: run_fit(fit, 0.0, 0, n)),
            )
            rows.append([f"{n:,}", name, *summary([made])])
    report.table(["rows", "contender", "TPR", "exact", "E∞", "CPU s"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args()
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("equations_ode", "Lorenz's equations from noisy trajectories")
    if args.quick:
        by_noise(report, runs, (0.05,), (0,), 2000)
        by_length(report, runs, (1000,))
        return
    found = by_noise(report, runs, NOISES, range(5), N_SAMPLES)
    by_length(report, runs, (1000, 10_000, 100_000))
    clean = found["skident, varpro, as documented", 0.0]
    report.bar(
        "clean Lorenz, in CPU seconds",
        median_of(clean, "seconds", np.inf),
        3,
        at_most=True,
    )
    best = {
        noise: max(
            mean_of(found[name, noise], "tpr", 0.0)
            for name in ("skident, varpro, chosen", "skident, joint, chosen")
            if (name, noise) in found
        )
        for noise in NOISES
    }
    for noise in (0.2, 0.4):
        weak = mean_of(found["pysindy, weak form", noise], "tpr", 0.0)
        claim = f"TPR beyond that of the weak form at {noise:.0%}"
        report.bar(claim, best[noise] - weak, 0, at_most=False)
    for noise in (0.0, 0.01):
        ours = min(
            median_of(found[name, noise], "error", np.inf)
            for name in ("skident, varpro, chosen", "skident, joint, chosen")
            if (name, noise) in found
        )
        weak = median_of(found["pysindy, weak form", noise], "error", np.inf)
        claim = f"E∞ over that of the weak form at {noise:.0%}"
        report.bar(claim, ours / weak, 1.5, at_most=True)
    plain = found["pysindy, finite differences", 0.05]
    for name in ("skident, joint, as documented", NOISY):
        made = found[name, 0.05]
        tpr, error = mean_of(made, "tpr", 0.0), mean_of(made, "error", np.inf)
        report.bar(f"TPR at 5% of {name}", tpr, 0.95, at_most=False)
        report.bar(f"E∞ at 5% of {name}", error, 0.1, at_most=True)
        claim = f"TPR at 5% beyond that of finite differences of {name}"
        report.bar(claim, tpr - mean_of(plain, "tpr", 0.0), 0, at_most=False)
        claim = f"E∞ at 5% over that of finite differences of {name}"
        report.bar(claim, error / mean_of(plain, "error", 0.0), 1, at_most=True)
    report.say()
    report.write()


if __name__ == "__main__":
    main()
