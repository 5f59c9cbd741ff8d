"""
==========================================
A training programme, a survey and a trial
==========================================

In a randomised trial a job training programme raised earnings by about 1,800 dollars.
Two questions that the trial's own numbers do not answer: could a survey have replaced
its controls, and what would the programme do for the people of the survey?
"""

# %%
# A survey in place of the controls
# ---------------------------------
# Men of the survey are older, more often married, and earned more before. Without
# adjustment the programme seems to cost 635 dollars.

import warnings

import matplotlib.pyplot as plt

from skident.datasets import load_lalonde
from skident.effects import SelectionBiasATE, aipw_ate
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import EffectDisplay

survey, trial = load_lalonde("psid"), load_lalonde("trial")
print(survey.DESCR)

found = {
    "trial": aipw_ate(trial.target, trial.treatment, method="difference"),
    "trial, adjusted": aipw_ate(
        trial.target, trial.treatment, trial.data, random_state=0
    ),
    "survey as controls": aipw_ate(
        survey.target, survey.treatment, method="difference"
    ),
}

# %%
# :class:`~skident.effects.SelectionBiasATE` adjusts for covariates too, and looks
# whether both treatments occur at all of them. For a quarter of the men they hardly do:
# their chance of having been in the programme is below 5 percent, and what it would do
# for them has to be guessed from others. The interval is twice that of the trial.

adjusted = SelectionBiasATE(selection_depends_on=(), random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    adjusted.fit(survey.data, survey.target, treatment=survey.treatment)
found["survey as controls, adjusted"] = adjusted
print(adjusted.summary())
print(f"share of men in the overlap: {adjusted.overlap_['share']:.2f}")

# %%
# From the trial to the survey's people
# -------------------------------------
# Who took part in the trial is selected by covariates. Those of the survey are known,
# so that the effect can be carried over, under the assumption that nothing but these
# covariates moves both taking part and what the programme does.

carried = SelectionBiasATE(
    selection_depends_on=("X",),
    x_reference=survey.data[survey.treatment == 0],
    random_state=0,
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    carried.fit(trial.data, trial.target, treatment=trial.treatment)
found["trial, carried to the survey's men"] = carried
print(carried.summary())
print(f"effective number of the trial's {len(trial.data)} men: {carried.ess_:.0f}")

# %%
# Taking part may go with what one has to gain beyond these covariates. If, among men
# who are alike in them, no one was more than 1.25 times as likely to take part as
# another, the effect lies within bounds.

bounded = SelectionBiasATE(
    min_selection_prob=0.8,
    x_reference=survey.data[survey.treatment == 0],
    degree=1,
    random_state=0,
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    bounded.fit(trial.data, trial.target, treatment=trial.treatment)
found["carried, chances within a factor of 1.25"] = bounded
print(bounded.summary())

# %%
# Few men of the trial resemble those of the survey, and the intervals say so: neither a
# gain nor a loss is excluded for them.

display = EffectDisplay.from_estimator(found)
display.ax_.set(xlabel="Effect of the programme on earnings, dollars")
plt.show()
