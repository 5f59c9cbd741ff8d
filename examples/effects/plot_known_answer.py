"""
=======================================
Selected by the outcome: a known answer
=======================================

When a row is kept because of its outcome, the kept rows show another effect, and no
adjustment for covariates mends that. :class:`~skident.effects.SelectionBiasATE` gives a
number only for what is declared of the selection. Here real patients get a treatment
and an outcome whose effect is known, so that each declaration can be judged.
"""

# %%
# Patients, a treatment and two selections
# ----------------------------------------
# The covariate is the body mass index of 442 patients, in standard deviations. Of a
# population of 5,000, controls far from the mean index are never seen, and of all
# others those with a high outcome are kept more often: less than a quarter is left.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skident.datasets import make_selection_bias_semisynthetic
from skident.effects import SelectionBiasATE
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import EffectDisplay

data = make_selection_bias_semisynthetic(x_threshold=2.0, random_state=0)
print(data.DESCR)

figure, axes = plt.subplots(
    1, 2, figsize=(8.4, 3.4), layout="constrained", sharex=True, sharey=True
)
for ax, title, rows in (
    (axes[0], "population", np.ones(len(data.selected), dtype=bool)),
    (axes[1], "selected rows", data.selected),
):
    for arm, name in enumerate(("control", "treated")):
        of_arm = rows & (data.treatment_population == arm)
        ax.plot(
            data.X_population[of_arm, 0],
            data.y_population[of_arm],
            ".",
            markersize=3,
            color=f"C{arm}",
            label=name,
        )
    ax.set(title=title, xlabel="body mass index")
axes[0].set_ylabel("outcome")
axes[0].legend(markerscale=3, frameon=False)

# %%
# Declare nothing
# ---------------
# Selection may then depend on everything in any way, and there is no answer. The
# reason names what would give one.

model = SelectionBiasATE(random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    model.fit(data.X, data.y, treatment=data.treatment)
print(model.summary())

# %%
# Declare what is known
# ---------------------
# The rule by which controls are dropped is known, the chance of being kept is logistic,
# outcomes are normal, and there is a list of the population's body mass indices. The
# law of the selected rows then tells selection from outcome.

declared = {"support_mask": data.support_mask, "x_reference": data.X_population}
joint = SelectionBiasATE(
    selection_form="logistic", outcome_family="normal", **declared, random_state=0
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    joint.fit(data.X, data.y, treatment=data.treatment)
print(joint.summary())
print(
    f"log-odds of being kept per unit of the outcome: "
    f"{joint.selection_coef_['y']:.2f}, true {data.selection_coef['y']:.2f}"
)

# %%
# The report says what that rests on, and warns of the few patients whose index is far
# beyond that of any control.

print(joint.identifiability_)

# %%
# Declare too much
# ----------------
# Who leaves the outcome out of what selection depends on gets a number as well, with a
# short interval: a wrong one. No data can test that declaration.

wrong = SelectionBiasATE(
    selection_depends_on=("X", "T"), **declared, n_boot=50, random_state=0
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    wrong.fit(data.X, data.y, treatment=data.treatment)
print(wrong.summary())

# %%
# Side by side
# ------------

display = EffectDisplay.from_estimator(
    {
        "naive": joint.effect_naive_,
        "adjusted for covariates": joint.effect_selected_,
        "nothing declared": model,
        "selection without the outcome": wrong,
        "logistic selection, normal outcomes": joint,
    },
    truth=data.true_effect,
)
display.ax_.set_title("Average effect in the population")
plt.show()
