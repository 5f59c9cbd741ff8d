"""
=======================================
What two measured series cannot decide
=======================================

Textbooks fit the equations of Lotka and Volterra to the pelts of hares and lynxes, and
an oscillator with a delay to El Niño. Both fit. This page asks what else would have
fitted, and what would have been found if there were nothing to find.
"""

# %%
# Hares and lynxes
# ----------------
# Thousands of pelts in 21 years. In logarithms the equations of Lotka and Volterra are
# rates of growth that are linear in the numbers of hares and lynxes, here in units of
# ten thousand.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skident.datasets import load_el_nino, load_lynx_hare
from skident.dynamics import MechanisticODERegressor
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import PhasePortraitDisplay

pelts = load_lynx_hare()
logs = pd.DataFrame(np.log(pelts.X / 10), columns=["log hare", "log lynx"])

linear = {
    "1": lambda rows: np.ones(len(rows)),
    "hare": lambda rows: np.exp(rows[:, 0]),
    "lynx": lambda rows: np.exp(rows[:, 1]),
}
quadratic = linear | {
    "hare^2": lambda rows: np.exp(2 * rows[:, 0]),
    "hare lynx": lambda rows: np.exp(rows[:, 0] + rows[:, 1]),
    "lynx^2": lambda rows: np.exp(2 * rows[:, 1]),
}


def fit(states, **options):
    """Equations by elimination of terms, without their warnings."""
    options = {"order": 3, "sparsifier": "elimination", "threshold": None} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return MechanisticODERegressor(**options).fit(states)


textbook = fit(logs, library=linear, fitter="joint", window=7)
textbook.print(precision=3)
print(
    f"share of the variance that windows of 7 years explain: {textbook.score(logs):.3f}"
)
print(textbook.identifiability_)

# %%
# Hares grow by themselves and lynxes take them; lynxes die and hares feed them: nothing
# else is kept, with the signs of the textbook. The report adds that a year is a coarse
# step for these equations, and that three windows without a year in common are few for
# a standard error. A solution from the first year keeps the period.

years = np.linspace(0, 20, 401)
orbit = textbook.simulate(logs.iloc[0], years)
display = PhasePortraitDisplay.from_estimator(textbook, logs, simulation=orbit)
display.ax_.set(xlabel="log of hares, in 10,000", ylabel="log of lynxes, in 10,000")

# %%
# The same data, six candidates
# -----------------------------
# Offer squares and products as well, and vary the length of the windows, which no
# theory prescribes. Equations change from one window to the next, and each explains as
# much as the textbook's, or slightly more.

windows = [6, 7, 8, 9, 10, 12]
models = {w: fit(logs, library=quadratic, fitter="joint", window=w) for w in windows}
for w, model in models.items():
    print(f"{w} years, {model.score(logs):.3f}:  " + ";  ".join(model.equations(2)))

figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.0), layout="constrained", sharey=True)
for i, ax in enumerate(axes):
    kept = np.array([model.support_[i] for model in models.values()])
    ax.imshow(kept, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    ax.set_xticks(range(6), models[6].terms_, rotation=45)
    ax.set_yticks(range(len(windows)), [f"{w} years" for w in windows])
    ax.set_title(f"terms in the growth of {('hares', 'lynxes')[i]}")

# %%
# Could 21 years have decided? Let the textbook's equations be the truth, add noise of
# the size that was found, and fit the same six candidates.

rng = np.random.default_rng(0)
truth = np.zeros((2, 6), dtype=bool)
truth[:, :3] = textbook.support_
clean = textbook.simulate(logs.iloc[0], np.arange(21.0))
hits = np.zeros(2)
for _ in range(20):
    noisy = clean + textbook.noise_std_ * rng.standard_normal(clean.shape)
    model = fit(noisy, library=quadratic, fitter="joint", window=7)
    hits += (model.support_ == truth).all(axis=1)
print(f"equation of hares found in {hits[0]:.0f} of 20, of lynxes in {hits[1]:.0f}")

# %%
# About every other time: the textbook's form is found as often as a coin shows heads
# where it is true, so that a single fit is no evidence for it, nor against. That hares
# and lynxes act on each other is decided, in every fit; the form in which they do is an
# assumption that 21 numbers a species do not test.

# %%
# A sea with a memory
# -------------------
# Sea temperature off Peru, less its seasons. An oscillator with a delay, T'(t) = a T(t)
# + b T(t - d), is a textbook model of El Niño. The delayed temperature is known, not
# modelled: a control.

sea = load_el_nino()
anomaly = sea.anomaly[:, 0]


def delayed(series, months):
    """Coefficients, t-ratios and score of the equation with a delay."""
    states = pd.DataFrame({"T": series[months:], "D": series[:-months]})
    model = fit(
        states,
        degree=1,
        include_bias=False,
        min_t_ratio=0.0,
        window=12,
        dt=sea.dt,
        n_controls=1,
    )
    return model.coef_[0], model.t_ratios_[0], model.score(states)


coef, t_ratios, score = delayed(anomaly, 6)
print(f"T' = {coef[0]:.2f} T - {-coef[1]:.2f} T(six months ago), per year")
print(f"t-ratios {t_ratios.round(1)}, explained {score:.2f}")

# %%
# T-ratios of 8 and 16, and half the variance. Now the same for noise: a series in which
# each month is nine tenths of the month before and a draw of its own, without any delay
# or oscillation.

memory = np.corrcoef(anomaly[:-1], anomaly[1:])[0, 1]


def red_noise(n):
    """A series with the spread and the memory of the sea, and nothing else."""
    series = np.zeros(n + 200)
    for i, draw in enumerate(rng.standard_normal(n + 199), start=1):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * draw
    return anomaly.std() * series[200:]


delays = [3, 6, 9, 12]
found = np.array([delayed(anomaly, d)[0][1] for d in delays])
chance = np.array(
    [
        [delayed(series, d)[0][1] for d in delays]
        for series in map(red_noise, [732] * 25)
    ]
)
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(delays, chance.T, ".", color="0.65", label="noise with a memory")
ax.plot(delays, found, "o-", color="C3", label="the sea")
handles, labels = ax.get_legend_handles_labels()
ax.legend(handles[-2:], labels[-2:], frameon=False)
ax.set_xticks(delays)
ax.set(
    xlabel="Delay, in months",
    ylabel="Coefficient of the delayed\ntemperature, per year",
)
excess = (found - chance.mean(axis=0)) / chance.std(axis=0)
print("the sea less the noise, in standard deviations:", excess.round(1))

# %%
# Most of the delay is arithmetic: T less what it was six months ago is near its rate of
# change, in any series. Beyond that the sea's memory of some months is more than such
# noise has, and that of a year is not. No coefficient is known as well as its standard
# error says, which takes the equation for granted.
plt.show()
