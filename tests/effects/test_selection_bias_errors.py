"""Data that cannot be used, and data that contradict what is assumed."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from skident.effects import SelectionBiasATE
from skident.exceptions import IdentifiabilityWarning

XT = ("X", "T")


def sample(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    t = rng.integers(0, 2, n)
    y = X[:, 0] + t + rng.standard_normal(n)
    return X, y, t, np.arange(n) % 3 > 0


ONE = np.ones(200)
BAD = {
    "treatment must be 0 or 1": {"treatment": np.arange(200) % 3},
    "treatment must be finite": {"treatment": np.full(200, np.nan)},
    r"treatment must be of shape \(n_samples,\)": {"treatment": np.ones((200, 2))},
    "treatment must be of shape": {"treatment": np.ones(199)},
    "treatment must have selected rows in both arms, got 200": {"treatment": ONE},
    "selected must be 0 or 1": {"selected": np.arange(200)},
    "selected must be true in at least one row": {"selected": 0 * ONE},
    r"selection_prob must lie in \(0, 1\], got 0;": {"selection_prob": 0 * ONE},
    r"selection_prob must lie in \(0, 1\], got 1.2": {"selection_prob": 1.2 * ONE},
    "selection_prob must be finite": {"selection_prob": np.nan * ONE},
    "sample_weight must not be negative": {"sample_weight": -ONE},
}


@pytest.mark.parametrize("match", BAD)
def test_malformed_side_inputs_are_named(match):
    X, y, t, _ = sample()
    with pytest.raises(ValueError, match=match + r".*n_samples = 200"):
        SelectionBiasATE().fit(X, y, **({"treatment": t} | BAD[match]))


def test_missing_outcomes_ask_for_the_rows_that_were_selected():
    X, y, t, _ = sample()
    y[3] = np.nan
    with pytest.raises(ValueError, match=r"y contains NaN.*pass selected"):
        SelectionBiasATE().fit(X, y, treatment=t)


def test_an_arm_that_was_never_selected_is_refused():
    X, y, t, _ = sample()
    with pytest.raises(
        ValueError, match=r"selected rows in both arms, got \d+ of arm 0"
    ):
        SelectionBiasATE(selection_depends_on=XT).fit(
            X, y, treatment=t, selected=t == 0
        )
    # A rule that would explain it does not make data.
    with pytest.raises(ValueError, match="selected rows in both arms"):
        SelectionBiasATE(
            selection_depends_on=XT, support_mask=lambda X, t: np.full(len(X), t == 0)
        ).fit(X[t == 0], y[t == 0], treatment=t[t == 0])


def test_a_cell_of_one_row_is_refused_by_cross_fitting():
    X, y, t, _ = sample()
    t = np.arange(200) == 7
    with pytest.raises(ValueError, match="at least 2 rows in each arm, got 199"):
        SelectionBiasATE().fit(X, y, treatment=t, selection_prob=ONE)


def test_outcomes_may_be_missing_only_where_rows_were_not_selected():
    X, y, t, s = sample()
    y[np.flatnonzero(s)[0]] = np.nan
    model = SelectionBiasATE(selection_depends_on=XT)
    with pytest.raises(ValueError, match="y must be finite in every selected row"):
        model.fit(X, y, treatment=t, selected=s)
    with pytest.raises(ValueError, match=r"y contains NaN"):
        model.fit(X, y, treatment=t)
    with pytest.raises(ValueError, match=r"y must be of shape"):
        model.fit(X, y[:-1], treatment=t, selected=s)


def test_parameters_are_checked_against_the_data():
    X, y, t, s = sample()
    side = {"treatment": t, "selected": s}
    with pytest.raises(
        ValueError, match="x_reference must have the 2 columns of X, got"
    ):
        SelectionBiasATE(x_reference=np.ones((9, 3))).fit(X, y, **side)
    with pytest.raises(ValueError, match="x_reference contains NaN"):
        SelectionBiasATE(x_reference=np.full((9, 2), np.nan)).fit(X, y, **side)
    with pytest.raises(ValueError, match=r'must hold "X", "T" and "Y" only'):
        SelectionBiasATE(selection_depends_on=("X", "Z")).fit(X, y, **side)
    with pytest.raises(ValueError, match="y must lie within outcome_range = "):
        SelectionBiasATE(outcome_range=(0, 1)).fit(X, y, **side)
    with pytest.raises(ValueError, match=r"outcome_range must be \(low, high\)"):
        SelectionBiasATE(outcome_range=(1, 0)).fit(X, y, **side)
    with pytest.raises(ValueError, match="strategy='mar' needs selected in fit, with"):
        SelectionBiasATE("mar", XT).fit(X, y, treatment=t, selected=ONE)
    with pytest.raises(ValueError, match="strategy='known' needs selection_prob"):
        SelectionBiasATE("known").fit(X, y, treatment=t)
    with pytest.raises(ValueError, match="strategy='reference' needs x_reference"):
        SelectionBiasATE("reference", XT).fit(X, y, treatment=t)
    with pytest.raises(ValueError, match="strategy='bounds' needs min_selection_prob"):
        SelectionBiasATE("bounds").fit(X, y, treatment=t)
    with pytest.raises(ValueError, match="support_mask must be true of every selected"):
        SelectionBiasATE(
            selection_depends_on=XT, support_mask=lambda X, t: X[:, 0] > 0
        ).fit(X, y, treatment=t)
    with pytest.raises(ValueError, match="sample_weight is not taken by"):
        SelectionBiasATE("score_matching").fit(X, y, treatment=t, sample_weight=ONE)
    with pytest.raises(
        ValueError, match="sample_weight must be positive in a selected"
    ):
        SelectionBiasATE(selection_depends_on=XT).fit(X, y, **side, sample_weight=~s)
    with pytest.raises(TypeError, match=r"KNeighborsRegressor.fit takes no sample_w"):
        SelectionBiasATE(
            min_selection_prob=0.5, outcome_learner=KNeighborsRegressor()
        ).fit(X, y, treatment=t)
    with pytest.raises(ValueError, match="y must be 0 or 1 for a classifier"):
        SelectionBiasATE(outcome_learner=LogisticRegression()).fit(
            X, y, treatment=t, selection_prob=ONE
        )
    with pytest.raises(ValueError, match="level must"):
        SelectionBiasATE().fit(
            X, y, treatment=t, selection_prob=ONE
        ).confidence_interval(95)


def warned(model, match, X, y, **side):
    with pytest.warns(IdentifiabilityWarning, match=match):
        model.fit(X, y, **side)
    assert not model.identifiability_.ok
    return model


def test_weights_on_three_rows_are_no_population():
    X, y, t, _ = sample()
    chance = ONE.copy()
    chance[:3] = 1e-4
    model = warned(
        SelectionBiasATE(random_state=0),
        "no few rows stand for the population .* 0.01.*, wanted at least 0.1",
        X, y, treatment=t, selection_prob=chance,
    )  # fmt: skip
    assert model.ess_ < 4
    assert np.isfinite(model.effect_) and model.stderr_ > 0


def test_a_treatment_that_follows_from_the_covariates_has_no_overlap():
    X, y, _, _ = sample()
    t = (X[:, 0] > 0).astype(int)
    model = warned(
        SelectionBiasATE(random_state=0),
        "both treatments occur at every X",
        X, y, treatment=t, selection_prob=ONE,
    )  # fmt: skip
    assert np.isfinite(model.effect_) and model.overlap_["clipped"] > 0.05


def test_a_constant_outcome_has_no_effect():
    X, _, t, s = sample()
    y = np.full(200, 3.0)
    model = SelectionBiasATE(random_state=0).fit(X, y, treatment=t, selection_prob=ONE)
    assert model.effect_ == pytest.approx(0, abs=1e-12)
    assert model.stderr_ == pytest.approx(0, abs=1e-12)
    model = SelectionBiasATE(selection_depends_on=XT, random_state=0).fit(
        X, y, treatment=t, selected=s
    )
    assert model.effect_ == pytest.approx(0, abs=1e-12)
    assert model.effect_naive_.pvalue == 1


def test_polynomials_carried_far_are_told():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 1))
    t = (rng.random(400) < 0.5).astype(int)
    t[np.abs(X[:, 0]) > 0.3] = 1
    y = X[:, 0] + t + 0.1 * rng.standard_normal(400)
    model = SelectionBiasATE(
        selection_depends_on=XT,
        support_mask=lambda X, t: (np.abs(X[:, 0]) < 0.3) | (np.asarray(t) == 1),
        inference="sandwich",
        degree=1,
    )
    warned(model, "carried far beyond their rows", X, y, treatment=t)
    warned(model, "covariates of the population are there", X, y, treatment=t)


def test_a_classifier_models_outcomes_of_two_values():
    X, y, t, s = sample(600)
    y = (y > 0.5).astype(float)
    model = SelectionBiasATE(
        selection_depends_on=XT,
        outcome_learner=LogisticRegression(),
        random_state=0,
    ).fit(X, y, treatment=t, selected=s)
    assert ((model.predict(X) >= 0) & (model.predict(X) <= 1)).all()
    bounded = SelectionBiasATE(
        "bounds",
        outcome_learner=LogisticRegression(),
        min_selection_prob=0.5,
        n_boot=5,
        random_state=0,
    ).fit(X, y, treatment=t, selected=s)
    assert bounded.bounds_[0] < model.effect_ < bounded.bounds_[1]
    assert np.abs(bounded.bounds_).max() < 1
    assert (bounded.bounds_stderr_ > 0).all()
    with pytest.warns(IdentifiabilityWarning):
        alone = SelectionBiasATE(outcome_learner=LogisticRegression()).fit(X, y)
    assert ((alone.predict(X) > 0) & (alone.predict(X) < 1)).all()
