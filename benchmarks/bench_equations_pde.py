"""Equations of noisy fields, beside pysindy.

    python benchmarks/bench_equations_pde.py [--quick] [--fresh]
        [--part {burgers,spiral,vorticity,degree,dropped}]

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call. Settings are chosen on one sample of each level of noise, by the truth, and frozen
for the others; fits of skident with its defaults are in the table too. The last two
parts are of skident alone, with its defaults: more candidates, and missing frames.
"""

import argparse
import itertools

import numpy as np
from _common import OUTPUT, Report, Runs
from _equations import (
    CHOICE_SEED,
    NOISES,
    apart,
    canonical,
    choose,
    mean_of,
    median_of,
    scores,
    summary,
    timed,
)
from _sindy_peers import PDE_PEERS, PDE_REGRESSIONS, regress_fields

from skident.datasets import (
    make_burgers,
    make_navier_stokes_vorticity,
    make_spiral_rd,
)
from skident.dynamics import MechanisticPDERegressor, PDETerm

KEPT = OUTPUT / "equations_pde.jsonl"
LIMIT = 7200


def _terms(**blocks):
    return [PDETerm(block, powers) for block in blocks for powers in blocks[block]]


def _weak(*widths, smoothness=(4, 8)):
    return [
        {"widths": list(width), "p": p}
        for width in itertools.product(*widths)
        for p in smoothness
    ]


_ONE_FIELD = [(), (1,), (2,)]
_UP_TO_FOUR = [*_ONE_FIELD, (3,), (4,)]
_CARRIERS = [(), (1,), (0, 1), (0, 0, 1)]
# The candidates are those of all contenders. "degrees" are of pysindy's monomials,
# alone and before derivatives; what it makes beyond the candidates is left out.
# "ours" are the settings that skident may choose from, the first its defaults.
PROBLEMS = {
    "burgers": {
        "make": make_burgers,
        "equations": ["u"],
        "terms": _terms(u_x=_ONE_FIELD, u_xx=_ONE_FIELD, source=_ONE_FIELD),
        "degrees": (2, 2),
        "weak": _weak((1.0, 2.0, 3.0), (0.3, 0.6, 1.2)),
        "seeds": 5,
        "ours": [{}, {"refine": True}, {"n_corrections": 2}],
    },
    "spiral": {
        "make": make_spiral_rd,
        "equations": ["u", "v"],
        "terms": _terms(
            u=[(), (1,), (2,), (0, 1), (0, 2), (1, 1)],
            u_xx=_ONE_FIELD,
            u_yy=_ONE_FIELD,
            source=[(0, 1), (0, 2), (0, 3)],
        ),
        "degrees": (3, 2),
        "weak": [
            {"widths": [space, space, time], "p": 4, "n_domains": 300}
            for space in (0.8, 1.25, 2.0)
            for time in (0.4, 0.8, 1.6)
        ],
        "seeds": 3,
        "ours": [{}],
    },
    # A field has an equation if it is first order in time and local: the vorticity.
    "vorticity": {
        "make": make_navier_stokes_vorticity,
        "equations": ["w"],
        "terms": _terms(u=[()], u_x=_CARRIERS, u_y=_CARRIERS, u_xx=[()], u_yy=[()]),
        "degrees": (1, 1),
        "weak": [
            {"widths": [space, space, time], "p": 4, "n_domains": 300}
            for space in (0.5, 0.8, 1.2)
            for time in (0.5, 1.0, 2.0)
        ],
        "seeds": 3,
        "ours": [{}],
    },
}

# Of skident alone: a problem, what its generator is told, the candidates where they are
# others, and what is wanted: least TPR and largest error.
ALONE = {
    "degree": [
        (
            "burgers",
            {},
            _terms(u_x=_UP_TO_FOUR, u_xx=_UP_TO_FOUR, source=_UP_TO_FOUR),
            {"tpr": 1.0, "error": 0.03},
        ),
    ],
    "dropped": [
        (
            "burgers",
            {"noise": 0.2, "frame_drop": 0.2},
            None,
            {"tpr": 0.9, "error": 0.12},
        ),
        ("spiral", {"frame_drop": 0.2}, None, {"tpr": 0.85}),
    ],
}


def labels(problem, data):
    """Names of the candidates in the equation of each field."""
    names = {}
    for field in problem["equations"]:
        order = [field, *(other for other in data.field_names if other != field)]
        names[field] = [term.label(order) for term in problem["terms"]]
    return names


def truth(problem, data):
    """True coefficients of all equations, one behind the other, as one row."""
    found = []
    for field, names in labels(problem, data).items():
        known = {canonical(term): c for term, c in data.coef[field].items()}
        found += [known.pop(canonical(name), 0.0) for name in names]
        if known:
            raise ValueError(f"no column for {set(known)}")
    return np.array([found])


def fit_ours(problem, data, settings):
    model = MechanisticPDERegressor(
        data.grid_shape,
        data.n_fields,
        spacing=data.spacing,
        dt=data.dt,
        terms=problem["terms"],
        random_state=0,
        **settings,
    )
    model.fit(data.X)
    rows = [data.field_names.index(field) for field in problem["equations"]]
    return model.coef_[rows].reshape(1, -1)


def fit_peer(problem, name, data, settings):
    front, _ = PDE_PEERS[name]
    parts = front(data, labels(problem, data), problem["degrees"], **settings[0])
    return regress_fields(*parts, **settings[1])


def run_fit(problem, fit, noise, seed, **size):
    """Scores of a fit."""
    data = problem["make"](noise=noise, random_state=seed, **size)
    coef, seconds = timed(lambda: fit(data))
    return scores(coef, truth(problem, data)) | {"seconds": seconds}


def choose_ours(problem, noise, **size):
    """The settings that recover the truth best."""
    best, chosen = None, problem["ours"][0]
    for settings in problem["ours"] if len(problem["ours"]) > 1 else []:
        made = run_fit(
            problem,
            lambda data, s=settings: fit_ours(problem, data, s),
            noise,
            CHOICE_SEED,
            **size,
        )
        rank = made["tpr"], -made["error"]
        if best is None or rank > best:
            best, chosen = rank, settings
    return {"chosen": chosen}


def choose_peer(problem, name, noise, **size):
    data = problem["make"](noise=noise, random_state=CHOICE_SEED, **size)
    front, fronts = PDE_PEERS[name]
    terms = labels(problem, data)
    return {
        "chosen": choose(
            lambda **settings: (
                *front(data, terms, problem["degrees"], **settings),
                terms,
            ),
            fronts or problem["weak"],
            PDE_REGRESSIONS,
            regress_fields,
            lambda _: truth(problem, data),
        )
    }


def contenders(runs, which, noise, **size):
    """Name, settings and fit of each."""
    problem = PROBLEMS[which]
    first = problem["ours"][0]
    yield "skident", first, lambda data: fit_ours(problem, data, first)
    if len(problem["ours"]) > 1:
        made = runs.get(
            ["choose", which, "skident", noise],
            lambda: apart(lambda: choose_ours(problem, noise, **size), LIMIT),
        )
        if "chosen" in made:
            settings = made["chosen"]
            yield "skident, chosen", settings, lambda d: fit_ours(problem, d, settings)
    for name in PDE_PEERS:
        made = runs.get(
            ["choose", which, name, noise],
            lambda name=name: apart(
                lambda: choose_peer(problem, name, noise, **size), LIMIT
            ),
        )
        if "chosen" in made:
            yield (
                f"pysindy, {name}",
                made["chosen"],
                lambda data, name=name, s=made["chosen"]: fit_peer(
                    problem, name, data, s
                ),
            )


def part(report, runs, which, noises, n_seeds=None, **size):
    """Table and bars of a problem."""
    problem = PROBLEMS[which]
    found, rows = {}, []
    for noise in noises:
        # Without noise there is one sample, but for starts that are drawn.
        drawn = noise > 0 or which == "vorticity"
        seeds = range((n_seeds or problem["seeds"]) if drawn else 1)
        for name, settings, fit in contenders(runs, which, noise, **size):
            # Where the defaults are chosen, their fits are there already.
            fitted = "skident" if settings == problem["ours"][0] else name
            made = found[name, noise] = [
                runs.get(
                    ["fit", which, fitted, noise, seed],
                    lambda fit=fit, noise=noise, seed=seed: apart(
                        lambda: run_fit(problem, fit, noise, seed, **size), LIMIT
                    ),
                )
                for seed in seeds
            ]
            shown = ", ".join(
                f"{key}={value}"
                for piece in (settings if isinstance(settings, list) else [settings])
                for key, value in piece.items()
            )
            rows.append([f"{noise:.0%}", name, *summary(made), shown])
    n_terms = len(problem["terms"])
    report.say(f"### {which}: {n_terms} candidates for each of its equations")
    report.say()
    header = ["noise", "contender", "TPR", "exact", "E∞", "CPU s", "settings"]
    report.table(header, rows)
    return found


def bars(report, which, found):
    """What is claimed of a problem."""
    ours = "skident, chosen" if ("skident, chosen", 0.0) in found else "skident"
    weak = "pysindy, weak form"
    for noise in (0.2, 0.4):
        more = mean_of(found[ours, noise], "tpr", 0.0)
        more -= mean_of(found.get((weak, noise), []) or [{}], "tpr", 0.0)
        claim = f"{which}: TPR beyond that of the weak form at {noise:.0%}"
        report.bar(claim, more, 0, at_most=False)
    for noise in (0.0, 0.01):
        ratio = median_of(found[ours, noise], "error", np.inf)
        ratio /= median_of(found.get((weak, noise), []) or [{}], "error", np.inf)
        claim = f"{which}: E∞ over that of the weak form at {noise:.0%}"
        report.bar(claim, ratio, 1.5, at_most=True)
    limit = {"burgers": 20, "spiral": 300}.get(which)
    if limit is not None:
        seconds = median_of(found["skident", 0.0], "seconds", np.inf)
        report.bar(f"{which}: clean, in CPU seconds", seconds, limit, at_most=True)
    clean = {"burgers": 0.01, "spiral": 0.05}.get(which)
    if clean is not None:
        made = found["skident", 0.0]
        tpr, error = mean_of(made, "tpr", 0.0), mean_of(made, "error", np.inf)
        report.bar(f"{which}: TPR, clean", tpr, 1.0, at_most=False)
        report.bar(f"{which}: E∞, clean", error, clean, at_most=True)
    if which == "burgers":
        for noise in (0.2, 0.4):
            made = found["skident", noise]
            claim = f"{which}: TPR at {noise:.0%}"
            report.bar(claim, mean_of(made, "tpr", 0.0), 0.9, at_most=False)
            claim = f"{which}: E∞ at {noise:.0%}"
            report.bar(claim, mean_of(made, "error", np.inf), 0.12, at_most=True)
    report.say()


def run_alone(problem, **data):
    """Scores of skident with its defaults on one sample."""
    settings = problem["ours"][0]
    return run_fit(problem, lambda d: fit_ours(problem, d, settings), seed=0, **data)


def alone(report, runs, which, **size):
    """Table and bars of one of the parts of skident alone, of one sample each."""
    rows, judged = [], []
    for name, data, terms, wanted in ALONE[which]:
        problem = PROBLEMS[name] | ({} if terms is None else {"terms": terms})
        told = {"noise": 0.0} | data | size
        made = runs.get(
            ["alone", which, name, 0],
            lambda problem=problem, told=told: apart(
                lambda: run_alone(problem, **told), LIMIT
            ),
        )
        shown = ", ".join(f"{key}={value}" for key, value in data.items())
        rows.append([name, shown, len(problem["terms"]), *summary([made])])
        judged.append((name, made, wanted))
    report.say(f"### {which}: skident alone, with its defaults")
    report.say()
    header = ["problem", "data", "candidates", "TPR", "exact", "E∞", "CPU s"]
    report.table(header, rows)
    for name, made, wanted in judged:
        claim = f"{name}, {which}: TPR"
        report.bar(claim, made.get("tpr", 0.0), wanted["tpr"], at_most=False)
        if "error" in wanted:
            claim = f"{name}, {which}: E∞"
            error = made.get("error", np.inf)
            report.bar(claim, error, wanted["error"], at_most=True)
    report.say()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--part", choices=[*PROBLEMS, *ALONE])
    args = parser.parse_args()
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("equations_pde", "Equations of noisy fields")
    if args.quick:
        PROBLEMS["burgers"]["ours"] = [{"max_patches": 2}]
        PROBLEMS["burgers"]["weak"] = _weak((2.0,), (0.5,), smoothness=(4,))
        small = {"n_x": 64, "n_t": 64, "dt": 0.05}
        if args.part not in ALONE:
            part(report, runs, "burgers", (0.2,), 1, **small)
            return
        ALONE[args.part] = ALONE[args.part][:1]
        alone(report, runs, args.part, **small)
        return
    for which in [args.part] if args.part else [*PROBLEMS, *ALONE]:
        if which in ALONE:
            alone(report, runs, which)
        else:
            bars(report, which, part(report, runs, which, NOISES))
    if args.part is None:
        report.say(
            "Noise is in root mean squares of the field. TPR is TP / (TP + FN + FP) "
            "over the candidates, E∞ the largest relative error of a true coefficient."
        )
        report.write()


if __name__ == "__main__":
    main()
