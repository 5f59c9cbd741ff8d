"""Forecasts of windows through solved equations, beside linear maps and networks.

    python benchmarks/bench_forecast.py [--quick] [--fresh]

All contenders get the same windows, cut apart in time: windows of the test begin where
those of the training have ended. Settings of skident are those of the user guide. Peers
get theirs by cross-validation over blocks of the training windows. Errors are in
standard deviations of each state over the time of the training. Made-up data and
networks are drawn anew by each of three seeds. Every fit is written to
``benchmarks/output`` as it ends, and not run again by a later call.

Bars, set before the first run, on the mean error over the whole horizon: no more than
that of the last value on each of the data, than that of the seasonal mean where there
is a season, and on Lorenz than that of the ridge regression. ``init="target"`` is told
the first steps of what is to be forecast. It stands under no bar, and beside a ridge
regression that is told the same.
"""

import argparse
import importlib
import warnings
from typing import NamedTuple

import numpy as np
from _common import OUTPUT, Report, Runs
from _equations import apart, timed
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skident.datasets import load_el_nino, make_lorenz, make_sst_like
from skident.dynamics import ScalableMNNRegressor

# What a first fit loads, two seconds that are none of the training's.
LOADED = (
    "torch._dynamo",
    "skident.dynamics._scalable_mnn_net",
    "skident.utils._training_net",
)
KEPT = OUTPUT / "forecast.jsonl"
SEEDS = (0, 1, 2)
ALPHAS = np.logspace(-14, 4, 19).tolist()
NETWORKS = {
    "alpha": [1e-5, 1e-3, 0.1, 10.0],
    "learning_rate_init": [1e-3, 5e-3],
    "max_iter": [100, 500],
}
# The guide's for series that are nearly seasonal.
SEASONAL = {
    "hidden": (64, 64),
    "dct_keep": None,
    "learning_rate": 3e-3,
    "validation_fraction": 0.2,
}
OURS, TOLD = "skident, from the past", "skident, told"
LAST, SEASON = "last value", "seasonal mean"
RIDGE, RIDGE_TOLD = "ridge", "ridge, told"
QUADRATIC, NETWORK = "ridge on quadratic features", "MLPRegressor"


class Data(NamedTuple):
    """Where states come from, and how windows are cut."""

    make: object  # states by seed, (n_times, n_states)
    drawn: bool  # whether the seed matters
    past: int
    ahead: int
    stride: int
    end: int  # of the training, in steps
    told: int  # steps of the horizon that init="target" is told
    settings: dict  # of skident
    season: float | None = None  # steps
    bins: int | None = None  # of the season


class Case(NamedTuple):
    """Standardised windows, flattened step by step, and forecasts by the season."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    by_season: np.ndarray | None
    n_states: int
    n_told: int  # columns of y
    gap: int  # windows that share steps with a next one
    unit: float  # mean standard deviation of the states


def lorenz(seed):
    start = np.random.default_rng(seed).normal([0, 0, 25], 5.0)
    return make_lorenz(3000, 0.02, x0=start).X[500:]


def sea(seed):
    return make_sst_like(n_lat=2, n_lon=4, random_state=seed).X


DATA = {
    "Lorenz": Data(
        make=lorenz,
        drawn=True,
        past=6,
        ahead=12,
        stride=6,
        end=1812,
        told=4,
        settings={
            "hidden": (64, 64),
            "dct_keep": None,
            "learning_rate": 5e-3,
            "max_epochs": 30,
        },
    ),
    # From 1950; the windows of the test begin in 1993 and forecast from 1995 on.
    "El Niño": Data(
        make=lambda seed: load_el_nino().X,
        drawn=False,
        past=24,
        ahead=12,
        stride=1,
        end=43 * 12,
        told=4,
        settings=SEASONAL,
        season=12.0,
        bins=12,
    ),
    "made-up sea": Data(
        make=sea,
        drawn=True,
        past=52,
        ahead=26,
        stride=4,
        end=1381,
        told=10,
        settings=SEASONAL,
        season=365.25 / 7,
        bins=52,
    ),
}


def cut(series, data):
    """Past and future windows of a series."""
    span = data.past + data.ahead
    windows = np.lib.stride_tricks.sliding_window_view(series, span, axis=0)
    windows = windows.transpose(0, 2, 1)[:: data.stride]
    past, future = windows[:, : data.past], windows[:, data.past :]
    return past.reshape(len(windows), -1), future.reshape(len(windows), -1)


def make_case(name, seed):
    data = DATA[name]
    states = data.make(seed)
    known = states[: data.end]
    unit = known.std(axis=0)
    states = (states - known.mean(axis=0)) / unit
    by_season = None
    if data.season is not None:
        phase = np.arange(len(states)) % data.season * data.bins / data.season
        phase = phase.astype(int)
        means = [states[: data.end][phase[: data.end] == b] for b in range(data.bins)]
        means = np.array([part.mean(axis=0) for part in means])
        by_season = cut(means[phase][data.end :], data)[1]
    n_states = states.shape[1]
    return Case(
        *cut(states[: data.end], data),
        *cut(states[data.end :], data),
        by_season,
        n_states,
        data.told * n_states,
        -(-(data.past + data.ahead) // data.stride) - 1,
        float(unit.mean()),
    )


def peer(name, seed):
    """A peer without its settings, and the settings to choose from."""
    if name in (RIDGE, RIDGE_TOLD):
        # By singular values: neighbouring steps of a window are nearly the same.
        return Ridge(solver="svd"), {"alpha": ALPHAS}
    if name == QUADRATIC:
        features = PolynomialFeatures(2, include_bias=False)
        model = make_pipeline(features, StandardScaler(), Ridge(solver="svd"))
        return model, {"ridge__alpha": ALPHAS}
    model = MLPRegressor(
        hidden_layer_sizes=(64, 64),
        batch_size=64,
        # It would stop too early on data without noise; max_iter is in the search.
        n_iter_no_change=max(NETWORKS["max_iter"]),
        random_state=seed,
    )
    return model, NETWORKS


def seen(name, case):
    """What a peer learns from, what it forecasts from, and which columns it does."""
    if name != RIDGE_TOLD:
        return case.X, case.X_test, slice(None)
    told = slice(case.n_told)
    train = np.hstack([case.X, case.y[:, told]])
    test = np.hstack([case.X_test, case.y_test[:, told]])
    return train, test, slice(case.n_told, None)


def blocks(n, gap, n_blocks=4):
    """Splits that hold out a block and leave out what shares steps with it.

    Growing parts of the time would be shorter than the columns of some peers.
    """
    rows = np.arange(n)
    for block in np.array_split(rows, n_blocks):
        apart_from = (rows < block[0] - gap) | (rows > block[-1] + gap)
        yield rows[apart_from], block


def choose(name, data, seed):
    """Settings of a peer by cross-validation on the training windows."""
    case = make_case(data, seed)
    model, grid = peer(name, seed)
    X, _, columns = seen(name, case)
    split = list(blocks(len(X), case.gap))
    search = GridSearchCV(
        model, grid, cv=split, scoring="neg_mean_squared_error", refit=False
    )
    _, seconds = timed(lambda: search.fit(X, case.y[:, columns]))
    return {"chosen": search.best_params_, "seconds": seconds}


def run_fit(name, data, seed, settings):
    """Errors of the forecasts of the test's windows, and CPU seconds of the fit."""
    case = make_case(data, seed)
    forecast, seconds = np.full_like(case.y_test, np.nan), 0.0
    if name == LAST:
        ahead = case.y.shape[1] // case.n_states
        forecast = np.tile(case.X_test[:, -case.n_states :], ahead)
    elif name == SEASON:
        forecast = case.by_season
    elif name in (OURS, TOLD):
        if name == TOLD:
            told = {"init": "target", "n_init_steps": case.n_told // case.n_states}
            settings = settings | told
        model = ScalableMNNRegressor(
            case.n_states, device="cpu", random_state=seed, **settings
        )
        _, seconds = timed(lambda: model.fit(case.X, case.y))
        if name == TOLD:
            forecast = model.predict_from(case.X_test, case.y_test[:, : case.n_told])
            forecast[:, : case.n_told] = np.nan
        else:
            forecast = model.predict(case.X_test)
    else:
        model = peer(name, seed)[0].set_params(**settings)
        X, X_test, columns = seen(name, case)
        _, seconds = timed(lambda: model.fit(X, case.y[:, columns]))
        forecast[:, columns] = model.predict(X_test).reshape(len(X_test), -1)
    squares = (forecast - case.y_test) ** 2
    # JSON knows no NaN; those who are told have no error over the whole horizon.
    whole = None if name in (TOLD, RIDGE_TOLD) else float(np.sqrt(squares.mean()))
    later = float(np.sqrt(squares[:, case.n_told :].mean()))
    return {"error": whole, "later": later, "seconds": seconds}


def contenders(data):
    names = [OURS, RIDGE, NETWORK, LAST]
    if data == "Lorenz":
        names.insert(2, QUADRATIC)
    if DATA[data].season is not None:
        names.append(SEASON)
    return [*names, TOLD, RIDGE_TOLD]


def measured(name, data, seed, runs, quick):
    """A fit's errors, its settings, and the CPU seconds of the search for them."""
    if name in (LAST, SEASON):
        settings, searched = {}, 0.0
    elif name in (OURS, TOLD):
        settings, searched = DATA[data].settings, 0.0
        if quick:
            settings = settings | {"max_epochs": 2}
    elif quick:
        grid = peer(name, seed)[1]
        settings, searched = {key: grid[key][0] for key in grid}, 0.0
    else:
        # The search for a network takes a hundred fits; once for all seeds.
        at = SEEDS[0] if name == NETWORK else seed
        made = runs.get(
            ["choose", data, name, at], lambda: apart(lambda: choose(name, data, at))
        )
        if "failed" in made:
            return made
        settings, searched = made["chosen"], made["seconds"]
    made = runs.get(
        ["fit", data, name, seed],
        lambda: apart(lambda: run_fit(name, data, seed, settings)),
    )
    return made | {"settings": settings, "searched": searched}


def spread(values):
    """Mean, and least and largest of several, as a cell."""
    if None in values:
        return ""
    mean = f"{np.mean(values):.3g}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.3g} to {max(values):.3g})"


def row(data, name, found):
    """Cells of a contender."""
    failed = [made["failed"] for made in found if "failed" in made]
    if failed:
        return [data, name, failed[0][:60], "", "", "", ""]
    ways = []
    for made in found:
        said = ", ".join(
            f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in made["settings"].items()
        )
        if said not in ways:
            ways.append(said)
    searched = np.mean([made["searched"] for made in found])
    return [
        data,
        name,
        spread([made["error"] for made in found]),
        spread([made["later"] for made in found]),
        f"{np.mean([made['seconds'] for made in found]):.2g}",
        f"{searched:.1f}" if searched else "",
        "; ".join(ways),
    ]


def mean_error(found):
    """Mean error over the seeds, infinite if a fit failed."""
    return float(np.mean([made.get("error", np.inf) for made in found]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args()
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    for module in LOADED:
        importlib.import_module(module)
    runs = Runs(None if args.quick else KEPT)
    report = Report("forecast", "Forecasts of windows through solved equations")
    found, rows = {}, []
    for data, how in DATA.items():
        case = make_case(data, SEEDS[0])
        report.say(
            f"- {data}: {how.past} steps of the past, {how.ahead} ahead, "
            f"{case.n_states} {'state' if case.n_states == 1 else 'states'}, "
            f"{len(case.X)} windows to train on and {len(case.X_test)} for the test; "
            f"an error of 1 is {case.unit:.2g} in the units of the states. Those told "
            f"know the first {how.told} steps of what is to be forecast."
        )
        for name in contenders(data):
            varies = how.drawn or name in (OURS, TOLD, NETWORK)
            seeds = SEEDS if varies and not args.quick else SEEDS[:1]
            found[data, name] = [
                measured(name, data, seed, runs, args.quick) for seed in seeds
            ]
            rows.append(row(data, name, found[data, name]))
    report.say()
    report.say(
        "Root mean square errors, as means over three seeds with the least and the "
        "largest where the seed matters: over the whole horizon, and over its steps "
        "after those that some are told. A search is that of a peer for its settings, "
        "by cross-validation over blocks of the training; skident's are the user "
        "guide's."
    )
    report.say()
    report.table(
        [
            "data",
            "contender",
            "error",
            "error of later steps",
            "CPU s of a fit",
            "of a search",
            "settings",
        ],
        rows,
    )
    if args.quick:
        return
    for data, how in DATA.items():
        peers = [LAST]
        if how.season is not None:
            peers.append(SEASON)
        if data == "Lorenz":
            peers.append(RIDGE)
        for name in peers:
            ratio = mean_error(found[data, OURS]) / mean_error(found[data, name])
            claim = f"{data}, error over that of the {name}"
            report.bar(claim, ratio, 1, at_most=True)
    report.say()
    report.write()


if __name__ == "__main__":
    with warnings.catch_warnings():
        # Fits that end before they converge are told from the others by their errors.
        warnings.simplefilter("ignore")
        main()
