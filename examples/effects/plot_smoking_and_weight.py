"""
================================================
Lost to follow-up: weight after quitting smoking
================================================

Of 1,629 smokers, 63 were never weighed again. What quitting does to weight in *all* of
them follows if covariates explain who was lost. If they do not, bounds say how much
that could matter.
"""

# %%
# Quitters gained 2.5 kg more than others. They are also older and smoked less, which is
# adjusted for; and people who were not weighed have covariates and a treatment, but no
# outcome.

import warnings

import matplotlib.pyplot as plt

from skident.datasets import load_nhefs
from skident.effects import SelectionBiasATE
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import EffectDisplay

smokers = load_nhefs()
print(smokers.DESCR)
known = {"treatment": smokers.treatment, "selected": smokers.selected}

# %%
# Loss that covariates explain
# ----------------------------
# With ``selection_depends_on=("X", "T")`` the weight itself is declared not to matter.

mar = SelectionBiasATE(selection_depends_on=("X", "T"), random_state=0)
mar.fit(smokers.data, smokers.target, **known)
print(mar.summary())
print(mar.identifiability_)

# %%
# Loss that they do not explain
# -----------------------------
# Suppose that weight gain itself drives who comes back, but that no one is more than
# 1.25 times as likely to come as another with the same covariates. Or suppose nothing
# but that no one gains or loses more than 50 kg.

free = {
    "chances within a factor of 1.25": {"min_selection_prob": 0.8},
    "any loss, within 50 kg": {"outcome_range": (-50.0, 50.0)},
}
models = {"quitters minus others": mar.effect_naive_, "covariates explain loss": mar}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    for name, options in free.items():
        model = SelectionBiasATE(**options, random_state=0)
        models[name] = model.fit(smokers.data, smokers.target, **known)
display = EffectDisplay.from_estimator(models)
display.ax_.set(xlabel="Effect of quitting on weight gain, kg")

# %%
# How much would it take to be compatible with no effect? The lower end of the interval
# crosses zero between the ratios 1.5 and 2: far more than what 63 lost people suggest.

ratios = SelectionBiasATE().sensitivity(
    smokers.data, smokers.target, **known, lambdas=[1, 1.1, 1.25, 1.5, 2, 3]
)
print(ratios.round(2))

figure, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
ax.fill_between(
    ratios.index, ratios["low"], ratios["high"], color="C0", alpha=0.2, label="95 %"
)
ax.fill_between(
    ratios.index,
    ratios["lower"],
    ratios["upper"],
    color="C1",
    alpha=0.4,
    label="bounds",
)
ax.axhline(0, color="0.6", linewidth=1)
ax.set(xlabel="Largest ratio of chances of coming back", ylabel="Effect, kg")
ax.legend(frameon=False, loc="upper left")
plt.show()
