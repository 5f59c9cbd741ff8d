"""
==============
Chaos in noise
==============

The states of Lorenz's system, measured with a tenth of their spread as noise. Rates of
change are hopeless to difference, and products of states, which the equations hold, are
biased by noise. Can all seven terms still be found, and their errors told?
"""

# %%
# Thirty units of time
# --------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skident.datasets import make_lorenz
from skident.dynamics import MechanisticODERegressor
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import EquationPathDisplay, PhasePortraitDisplay

data = make_lorenz(3000, noise=0.1, random_state=0)
print(data.DESCR)


def fit(states, fitter):
    """Equations by elimination of terms, without their warnings."""
    model = MechanisticODERegressor(
        order=3, dt=data.dt, fitter=fitter, sparsifier="elimination", threshold=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return model.fit(states)


# %%
# Two ways to fit
# ---------------
# The quick one smooths the states and takes them for exact. It loses a term, and its
# report says why. The other one fits states and coefficients together.

quick, joint = fit(data.X, "varpro"), fit(data.X, "joint")
for name, model in (("quick", quick), ("joint", joint)):
    print(name)
    model.print(precision=3)
    for assumption in model.identifiability_.violated:
        print(
            f"  violated: {assumption.name}, {assumption.statistic:.2g} where at most "
            f"{assumption.threshold:.2g} is borne"
        )

# %%
# Ten candidates for each rate. The path of the second equation, that of x1 (y in most
# books): seven go unnoticed, and two of the last three are missed by all the data. Of
# the third, x1 itself, the loss hardly shows; but it rises five times as much as for
# any term before, and the coefficient is many of its standard errors from zero.

EquationPathDisplay.from_estimator(joint, equation=1)
EquationPathDisplay.from_estimator(joint, equation=1, kind="terms")

# %%
# A solution of what was found
# ----------------------------
# It is on the same attractor. It is not the same trajectory for long: two solutions
# that start a hundredth apart are ten apart after some seven units of time, whoever
# knows the equations.

times = np.arange(0.0, 30.0, 0.01)
solution = joint.simulate(data.X_true[0], times)
PhasePortraitDisplay.from_estimator(joint, data.X, states=(0, 2), simulation=solution)
apart = np.linalg.norm(solution - data.X_true, axis=1)
print(f"first ten apart at time {times[np.argmax(apart > 10)]:.1f}")

# %%
# How wrong the coefficients are
# ------------------------------
# Six more draws of the noise, and how many of its standard errors each coefficient is
# off: nineteen in twenty should be below two.

columns = {"x": "x0", "y": "x1", "z": "x2"}
off = []
for seed in range(1, 7):
    noisy = make_lorenz(3000, noise=0.1, random_state=seed)
    model = fit(noisy.X, "joint")
    for i, coef in enumerate(noisy.coef.values()):
        for term, value in coef.items():
            j = model.terms_.index(" ".join(columns[part] for part in term.split()))
            off.append((model.coef_[i, j] - value) / model.stderr_[i, j])
off = np.reshape(off, (6, 7))
print(f"{np.isnan(off).sum()} of {off.size} terms lost")
print(f"{np.nanmean(np.abs(off) < 2):.0%} within two standard errors")

labels = [f"{t} in {s}'" for s, coef in data.coef.items() for t in coef]
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.axvspan(-2, 2, color="0.92")
ax.plot(off.T, np.arange(7), ".", color="C0")
ax.axvline(0, color="0.5", linewidth=1)
ax.set_yticks(np.arange(7), labels)
ax.invert_yaxis()
ax.set_xlabel("Error, in standard errors")

# %%
# Fewer are: these standard errors take the terms for given, and so many products of
# noisy states for known. They are of the right size, but no guarantee.
plt.show()
