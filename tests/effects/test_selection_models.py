"""Models of outcomes, treatment and selection that a fit leaves behind."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skident.effects import SelectionBiasATE
from tests.effects._populations import population, short_trial

XT = ("X", "T")


def kept_by_rule(X, t):
    """Controls above one are turned away."""
    return (np.asarray(t) == 1) | (X[:, 0] < 1)


def test_unselected_rows_give_the_chance_of_new_ones():
    X, y, t, s, _ = population()
    model = SelectionBiasATE(selection_depends_on=XT, random_state=0)
    model.fit(X, np.where(s, y, np.nan), treatment=t, selected=s)
    new, _, arm, _, chance = population(500, seed=1)
    found = model.predict_selection(new, arm)
    # Log-odds have standard errors of 0.05 to 0.15 out to three standard deviations
    # of X, which move a chance by a quarter of that at most; four of them.
    assert np.abs(found - chance).max() < 0.15
    assert ((found >= 0.01) & (found <= 1)).all()
    single = model.predict_selection(new.astype(np.float32), arm)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, rtol=1e-5)
    assert set(model.nuisances_) == {"outcome", "propensity", "selection"}
    for each, outcome in enumerate(model.nuisances_["outcome"]):
        wanted = model.predict(new, treatment=np.full(500, each))
        np.testing.assert_allclose(outcome.predict(new), wanted, atol=1e-12)
    propensity = model.nuisances_["propensity"].predict(new)
    assert np.abs(propensity - expit(0.5 * new[:, 1])).max() < 0.15


def test_a_likelihood_has_the_chance_of_its_own_rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1500, 1))
    t = rng.integers(0, 2, 1500)
    y = X[:, 0] + t + 0.7 * rng.standard_normal(1500)
    s = rng.random(1500) < expit(2 * (y - 0.5))
    model = SelectionBiasATE(
        selection_depends_on=("Y",),
        selection_form="logistic",
        outcome_family="normal",
        x_reference=X,
        degree=1,
        n_starts=1,
        random_state=0,
    ).fit(X[s], y[s], treatment=t[s])
    own = model.predict_selection(X[s], t[s], y[s])
    np.testing.assert_allclose(own, model.selection_prob_, rtol=1e-12)
    # Those of the unselected too, which the fit has not seen.
    assert (
        np.corrcoef(model.predict_selection(X, t, y), expit(2 * (y - 0.5)))[0, 1] > 0.9
    )
    assert model.nuisances_ is None
    with pytest.raises(ValueError, match="y must be given where strategy='joint'"):
        model.predict_selection(X, t)
    with pytest.raises(ValueError, match="y contains NaN"):
        model.predict_selection(X, t, np.where(s, y, np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.predict_selection(X, t, y[:-1])


def test_a_rule_is_a_chance_of_zero_or_one():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (600, 1))
    t = rng.integers(0, 2, 600)
    y = X[:, 0] + t + 0.5 * rng.standard_normal(600)
    s = kept_by_rule(X, t)
    model = SelectionBiasATE(
        selection_depends_on=XT,
        support_mask=kept_by_rule,
        inference="sandwich",
        degree=1,
    )
    model.fit(X, np.where(s, y, np.nan), treatment=t, selected=s)
    np.testing.assert_array_equal(model.predict_selection(X, t), s)


def test_networks_have_the_chance_of_their_own_rows(monkeypatch):
    X, y, t = short_trial(monkeypatch)
    model = SelectionBiasATE(
        "score_matching",
        x_reference=X[:40],
        propensity_learner=LogisticRegression(),
        random_state=0,
    )
    with pytest.warns(UserWarning, match="as many rows as the limit takes"):
        model.fit(X, y, treatment=t)
    np.testing.assert_allclose(
        model.predict_selection(X, t, y), model.selection_prob_, rtol=1e-12
    )


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_without_a_model_of_selection_there_is_no_chance():
    X, y, t, s, chance = population(600)
    rows = X[s], y[s]
    random = SelectionBiasATE(selection_depends_on=()).fit(*rows, treatment=t[s])
    assert (random.predict_selection(X, t) == 1).all()
    assert set(random.nuisances_) == {"outcome", "propensity"}
    reference = SelectionBiasATE(selection_depends_on=XT, x_reference=X)
    fits = {
        "known_selection": SelectionBiasATE().fit(
            *rows, treatment=t[s], selection_prob=chance[s]
        ),
        "reference_covariates": reference.fit(*rows, treatment=t[s]),
        "nothing_declared": SelectionBiasATE().fit(*rows, treatment=t[s]),
    }
    for code, model in fits.items():
        with pytest.raises(ValueError, match=f"model of selection .* code '{code}'"):
            model.predict_selection(X, t)
    # A row of low X_0 is likelier to be of the population than among the selected.
    odds = reference.nuisances_["selection"].predict(X)
    assert odds[X[:, 0] < -1].mean() > odds[X[:, 0] > 1].mean()
    alone = SelectionBiasATE().fit(*rows)
    assert alone.nuisances_ is None
    with pytest.raises(ValueError, match="code 'no_treatment'"):
        alone.predict_selection(X, t)
