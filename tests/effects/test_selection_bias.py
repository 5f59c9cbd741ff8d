"""Each strategy finds the truth where theory says it can, and is quiet elsewhere."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skident.datasets import make_selection_bias
from skident.effects import SelectionBiasATE, _selection_strategies
from skident.effects._selection_scores import selected_effect
from skident.exceptions import IdentifiabilityWarning, IdentificationError
from tests.effects._populations import population, short_trial, sigmoid

XT = ("X", "T")


def fit_quietly(model, *args, **side):
    """Fit where the report is known to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return model.fit(*args, **side)


def fit_by(strategy, seed=0, **params):
    """Fit of one strategy to its own data, and those."""
    params = {"random_state": 0} | params
    X, y, t, s, chance = population(seed=seed, on_outcome=strategy == "known")
    if strategy == "known":
        model = SelectionBiasATE(**params)
        return model.fit(X[s], y[s], treatment=t[s], selection_prob=chance[s])
    if strategy == "mar":
        model = SelectionBiasATE(selection_depends_on=XT, **params)
        return model.fit(X, np.where(s, y, np.nan), treatment=t, selected=s)
    if strategy == "reference":
        reference = population(seed=seed + 1000)[0]
        model = SelectionBiasATE(
            selection_depends_on=XT, x_reference=reference, **params
        )
        return model.fit(X[s], y[s], treatment=t[s])
    raise AssertionError(strategy)


@pytest.mark.parametrize("strategy", ["known", "mar", "reference"])
def test_scores_find_the_truth_where_naive_ones_do_not(strategy):
    covered = 0
    for seed in range(5):
        model = fit_by(strategy, seed)
        assert model.identification_.status == "point"
        assert model.identification_.strategy == strategy
        # Five standard errors: once in two million draws.
        assert abs(model.effect_ - 2) < 5 * model.stderr_
        assert 0 < model.stderr_ < 0.25
        low, high = model.confidence_interval()
        assert high - low == pytest.approx(2 * 1.959964 * model.stderr_, rel=1e-6)
        covered += low < 2 < high
        naive = model.effect_naive_
        assert abs(naive.effect - 2) > 3 * naive.stderr
    # All but two of five: below 95 % coverage that happens once in 800.
    assert covered >= 3


def test_probabilities_of_one_are_plain_doubly_robust_estimates():
    X, y, t, *_ = population(1000)
    ones = np.ones(len(y))
    model = SelectionBiasATE(random_state=0).fit(X, y, treatment=t, selection_prob=ones)
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    plain = selected_effect(X, y, t, random_state=seed)
    assert model.effect_ == pytest.approx(plain.effect, abs=1e-12)
    assert model.stderr_ == pytest.approx(plain.stderr, abs=1e-12)
    assert model.effect_ == pytest.approx(model.effect_selected_.effect, abs=1e-12)
    np.testing.assert_allclose(model.weights_, 1)
    assert model.ess_ == pytest.approx(len(y))
    nothing = SelectionBiasATE(selection_depends_on=(), random_state=0)
    nothing.fit(X, y, treatment=t)
    assert nothing.effect_ == model.effect_
    assert nothing.identification_.code == "selected_at_random"


def test_probabilities_count_as_weights_and_up_to_a_factor():
    X, y, t, s, chance = population(1000, on_outcome=True)
    X, y, t, chance = X[s], y[s], t[s], chance[s]
    known = SelectionBiasATE(random_state=0)
    known.fit(X, y, treatment=t, selection_prob=chance)
    scaled = SelectionBiasATE(random_state=0)
    scaled.fit(X, y, treatment=t, selection_prob=0.01 * chance)
    assert scaled.effect_ == pytest.approx(known.effect_, rel=1e-9)
    assert scaled.stderr_ == pytest.approx(known.stderr_, rel=1e-9)
    weighted = SelectionBiasATE(selection_depends_on=(), random_state=0)
    weighted.fit(X, y, treatment=t, sample_weight=1 / chance)
    assert weighted.effect_ == pytest.approx(known.effect_, rel=1e-9)
    # What each row adds is the standard error.
    n = len(y)
    assert known.influence_.mean() == pytest.approx(0, abs=1e-12)
    spread = known.influence_.std(ddof=1) / np.sqrt(n)
    assert known.stderr_ == pytest.approx(spread, rel=1e-9)


def test_bootstrap_and_sandwich_agree():
    sandwich = fit_by("known")
    bootstrap = fit_by("known", inference="bootstrap", n_boot=40)
    assert bootstrap.effect_ == sandwich.effect_
    assert bootstrap.bootstrap_effects_.shape == (40,)
    # The standard deviation of 40 draws has an error of 11 %; four of them.
    assert abs(bootstrap.stderr_ / sandwich.stderr_ - 1) < 0.45
    low, high = bootstrap.confidence_interval(0.8)
    assert low == pytest.approx(np.quantile(bootstrap.bootstrap_effects_, 0.1))
    assert high == pytest.approx(np.quantile(bootstrap.bootstrap_effects_, 0.9))


# --- strategies that read polynomials ------------------------------------------------


def dropped(n=2000, seed=0):
    """Controls farther than two from zero are never seen."""
    return make_selection_bias(
        n, nondeterministic=False, x_threshold=2.0, random_state=seed
    )


def test_a_rule_that_hides_an_arm_is_continued_across():
    data = dropped()
    model = SelectionBiasATE(
        selection_depends_on=XT,
        support_mask=data.support_mask,
        x_reference=data.X_population,
        inference="sandwich",
        random_state=0,
    )
    model.fit(data.X, data.y, treatment=data.treatment)
    assert model.identification_.code == "deterministic_selection"
    assert abs(model.effect_ - data.true_effect) < 5 * model.stderr_
    assert model.stderr_ < 0.2
    assert abs(model.effect_naive_.effect - data.true_effect) > 1
    assert 0 < model.extrapolation_share_ < 1 and min(model.degree_) >= 1
    boot = model.set_params(inference="auto", n_boot=20)
    boot.fit(data.X, data.y, treatment=data.treatment)
    assert boot.bootstrap_effects_.shape == (20,)
    assert 0.3 < boot.stderr_ / 0.05 < 3


def test_without_a_declared_rule_there_is_no_extrapolation():
    data = dropped()
    model = SelectionBiasATE(selection_depends_on=XT, random_state=0)
    model = fit_quietly(model, data.X, data.y, treatment=data.treatment)
    assert model.identification_.status == "partial" and np.isnan(model.effect_)


def test_unselected_rows_stand_in_for_a_reference():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (1500, 1))
    t = rng.integers(0, 2, 1500)
    y = X[:, 0] + t * (1 + X[:, 0] ** 2) + 0.5 * rng.standard_normal(1500)
    kept = rule(X, t)
    model = SelectionBiasATE(
        selection_depends_on=XT, support_mask=rule, inference="sandwich", random_state=0
    )
    model.fit(X, np.where(kept, y, np.nan), treatment=t, selected=kept)
    wanted = SelectionBiasATE(
        selection_depends_on=XT,
        support_mask=rule,
        x_reference=X,
        inference="sandwich",
        random_state=0,
    ).fit(X[kept], y[kept], treatment=t[kept])
    assert model.identification_.strategy == "extrapolate"
    assert model.effect_ == wanted.effect_
    # The mean of 1 + x^2 over (-2, 2) is 7/3.
    assert abs(model.effect_ - 7 / 3) < 5 * model.stderr_


def rule(X, t):
    """Controls above one are turned away."""
    return (np.asarray(t) == 1) | (X[:, 0] < 1)


def tilted(n=1500, seed=0):
    """Rows kept by a logistic curve in the outcome, and all covariates."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 1))
    t = rng.integers(0, 2, n)
    y = X[:, 0] + t + 0.7 * rng.standard_normal(n)
    kept = rng.random(n) < sigmoid(2 * (y - 0.5))
    return X[kept], y[kept], t[kept], X


def test_a_parametric_selection_on_the_outcome_is_undone():
    X, y, t, everyone = tilted()
    model = SelectionBiasATE(
        selection_depends_on=("Y",),
        selection_form="logistic",
        outcome_family="normal",
        x_reference=everyone,
        degree=1,
        random_state=0,
    )
    model = fit_quietly(model, X, y, treatment=t)
    assert model.identification_.code == "parametric_selection"
    assert abs(model.effect_ - 1) < 5 * model.stderr_ and model.stderr_ < 0.5
    assert abs(model.effect_naive_.effect - 1) > 3 * model.effect_naive_.stderr
    assert model.selection_coef_["y"] > 0 and model.likelihood_ratio_[1] < 0.05
    assert model.selection_prob_.shape == y.shape and len(model.family_check_) == 2
    # With treatments the score is the mean log-density of a row, else a share.
    density = model._model.log_density(X, y, t).mean()
    assert model.score(X, y, treatment=t) == pytest.approx(density, rel=1e-12)
    assert model.score(X, y) < 1


def test_a_likelihood_without_a_maximum_is_refused(monkeypatch):
    def fail(*args, **kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(_selection_strategies, "fit_joint", fail)
    X, y, t, everyone = tilted(300)
    model = SelectionBiasATE("joint", x_reference=everyone, random_state=0)
    model = fit_quietly(model, X, y, treatment=t)
    assert model.identification_.code == "no_maximum" and np.isnan(model.effect_)
    assert "SVD did not converge" in model.identification_.reason
    assert np.isfinite(model.predict(X)).all()


def test_networks_come_with_bounds_and_a_warning(monkeypatch):
    X, y, t = short_trial(monkeypatch)
    model = SelectionBiasATE(
        outcome_family="normal",
        min_selection_prob=0.3,
        x_reference=X[:40],
        propensity_learner=LogisticRegression(),
        degree=1,
        random_state=0,
    )
    with pytest.warns(IdentifiabilityWarning, match="as many rows as the limit takes"):
        model.fit(X, y, treatment=t)
    assert model.identification_.code == "limit_only"
    assert np.isfinite(model.effect_) and np.isnan(model.stderr_)
    assert model.bounds_[0] < 1 < model.bounds_[1]
    assert np.isfinite(model.effect(X)).all() and np.isfinite(model.predict(X)).all()
    assert not model.selection_scale_known_ and model.selection_prob_.shape == y.shape
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.effect(X), model.effect(X))


# --- refusals ------------------------------------------------------------------------


def shifted_laplace(n=6000):
    """Laplace outcomes whose selection moves the treated half a scale, unseen."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 1))
    t = rng.integers(0, 2, n)
    y = rng.laplace(0, 1, n) + 0.5 * t
    # Kept with this chance, the treated are Laplace around zero again.
    chance = np.where(t == 1, np.exp(np.abs(y - 0.5) - np.abs(y) - 0.5), 1.0)
    kept = rng.random(n) < chance
    return X[kept], y[kept], t[kept], X, chance.min()


def test_laplace_outcomes_and_a_free_form_are_bounded():
    X, y, t, everyone, least = shifted_laplace()
    declared = {"selection_form": "free", "outcome_family": "laplace"}
    model = SelectionBiasATE(
        min_selection_prob=least, x_reference=everyone, degree=1, random_state=0,
        **declared,
    )  # fmt: skip
    model = fit_quietly(model, X, y, treatment=t)
    assert model.identification_.code == "free_form_laplace"
    assert np.isnan(model.effect_) and np.isnan(model.stderr_)
    assert np.isnan(model.confidence_interval()).all()
    # The truth is half a scale; the adjusted estimate among the selected finds none.
    assert model.bounds_[0] < 0.5 < model.bounds_[1]
    assert abs(model.effect_selected_.effect) < 5 * model.effect_selected_.stderr
    low, high = model.bounds_confidence_interval()
    assert low < model.bounds_[0] and high > model.bounds_[1]
    nothing = fit_quietly(SelectionBiasATE(**declared), X, y, treatment=t)
    assert nothing.bounds_ is None and nothing.identification_.status == "none"
    assert np.isnan(nothing.bounds_confidence_interval()).all()


REFUSALS = {
    "nothing_declared": {},
    "free_form": {"min_selection_prob": 0.3},
    "free_form_laplace": {"outcome_family": "laplace"},
    "free_form_family": {"outcome_family": "mixture"},
    "floor_not_declared": {"outcome_family": "normal"},
    "family_not_declared": {"selection_form": "logistic"},
    "free_form_has_no_likelihood": {"strategy": "joint", "selection_form": "free"},
    "outcome_dependence_declared": {"strategy": "extrapolate"},
    "outcome_range_only": {"outcome_range": (-20, 20), "selection_rate": 0.5},
    "selection_on_x": {"selection_depends_on": ("X",)},
    "selection_on_x_and_t": {"selection_depends_on": XT},
    "bounds_asked_for": {"strategy": "bounds", "min_selection_prob": 0.3},
}


@pytest.mark.parametrize("code", REFUSALS)
def test_no_number_where_theory_has_none(code):
    X, y, t, s, _ = population(300)
    model = SelectionBiasATE(random_state=0, **REFUSALS[code])
    if code == "bounds_asked_for":
        model.fit(X[s], y[s], treatment=t[s])
        assert model.identifiability_.ok
    else:
        with pytest.warns(IdentifiabilityWarning, match=code):
            model.fit(X[s], y[s], treatment=t[s])
        assert not model.identifiability_.ok
    assert model.identification_.code == code
    assert model.identification_.status != "point"
    assert np.isnan(model.effect_) and np.isnan(model.stderr_)
    assert np.isnan(model.confidence_interval()).all()
    assert (model.bounds_ is None) == (model.identification_.bounds is None)
    if model.bounds_ is not None:
        assert model.bounds_[0] < model.bounds_[1]
    # At each X the effect is known only if selection leaves the outcome alone.
    known = "Y" not in model.selection_depends_on
    assert np.isnan(model.effect(X)).all() == (not known)
    assert np.isfinite(model.predict(X)).all()
    assert code in str(model.summary())
    strict = model.set_params(on_unidentified="raise")
    if code == "bounds_asked_for":
        strict.fit(X[s], y[s], treatment=t[s])
    else:
        with pytest.raises(IdentificationError, match=code):
            strict.fit(X[s], y[s], treatment=t[s])


def test_a_binary_outcome_is_refused_unless_selection_spares_it():
    X, y, t, s, _ = population(600)
    y = (y > 1).astype(float)
    model = fit_quietly(SelectionBiasATE("joint"), X[s], y[s], treatment=t[s])
    assert model.identification_.code == "binary_outcome" and np.isnan(model.effect_)
    bounded = SelectionBiasATE(min_selection_prob=0.5, random_state=0)
    bounded = fit_quietly(bounded, X[s], y[s], treatment=t[s])
    assert bounded.identification_.code == "binary_outcome"
    assert bounded.bounds_[0] < bounded.bounds_[1]
    spared = SelectionBiasATE(selection_depends_on=XT, random_state=0)
    spared.fit(X, y, treatment=t, selected=s)
    assert spared.identification_.status == "point"


def test_without_a_treatment_it_is_the_outcome_model_of_the_selected():
    X, y, _, s, _ = population(500)
    model = SelectionBiasATE()
    with pytest.warns(IdentifiabilityWarning, match="a treatment was recorded"):
        model.fit(X, np.where(s, y, np.nan), selected=s)
    assert np.isnan(model.effect_) and model.identification_.code == "no_treatment"
    assert model.effect_naive_ is None and model.effect_selected_ is None
    assert np.isnan(model.effect(X)).all()
    assert model.score(X, y, selected=s) > 0.5
    alone = fit_quietly(SelectionBiasATE(), X[s], y[s])
    np.testing.assert_array_equal(alone.predict(X), model.predict(X))
    assert "no_treatment" in str(model.summary())
    with pytest.raises(IdentificationError, match="no_treatment"):
        SelectionBiasATE(on_unidentified="raise").fit(X[s], y[s])


# --- bounds --------------------------------------------------------------------------


def test_ranges_of_the_outcome_use_what_is_there_of_the_unselected():
    X, y, t, s, _ = population(3000, on_outcome=True)
    y = np.clip(y, -6, 8)
    low, high = -6, 8
    rows = SelectionBiasATE(outcome_range=(low, high), random_state=0)
    rows = fit_quietly(rows, X, np.where(s, y, np.nan), treatment=t, selected=s)
    rate = SelectionBiasATE(
        outcome_range=(low, high), selection_rate=s.mean(), random_state=0
    )
    rate = fit_quietly(rate, X[s], y[s], treatment=t[s])
    for model in (rows, rate):
        assert model.identification_.bounds == "outcome"
        assert model.bounds_[0] < 2 < model.bounds_[1]
    # With covariates and treatments of all rows, an arm is missing only where its own
    # rows are; without, for the rows of the other arm too.
    assert np.diff(rows.bounds_) < 0.8 * np.diff(rate.bounds_)
    free = SelectionBiasATE(
        selection_depends_on=("X",), outcome_range=(low, high), selection_rate=0.9
    )
    free = fit_quietly(free, X, y, treatment=t)
    assert np.diff(free.bounds_)[0] == pytest.approx(2 * 0.1 * (high - low))


def test_bounds_stand_beside_a_point_where_both_are_declared():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 1))
    t = rng.integers(0, 2, 300)
    y = X[:, 0] + t + rng.standard_normal(300)
    model = SelectionBiasATE(
        "joint", ("Y",), x_reference=X, min_selection_prob=0.5, degree=1, random_state=0
    )
    model = fit_quietly(model, X, y, treatment=t)
    assert model.identification_.bounds == "selection"
    assert model.bounds_[0] < model.effect_ < model.bounds_[1]


def test_sensitivity_is_a_table_of_bounds():
    X, y, t, s, _ = population(500)
    model = SelectionBiasATE(min_selection_prob=0.5, degree=1, random_state=0)
    table = model.sensitivity(X[s], y[s], treatment=t[s], lambdas=[1, 2, 4])
    assert table.index.tolist() == [1, 2, 4] and table.index.name == "ratio"
    assert (table["low"] < table["lower"]).all()
    assert (np.diff(table["upper"]) > 0).all()
    fitted = fit_quietly(model, X[s], y[s], treatment=t[s])
    assert table.loc[2, "lower"] == pytest.approx(fitted.bounds_[0], rel=1e-12)
    rows = model.sensitivity(X, y, treatment=t, selected=s, lambdas=[2])
    # Covariates of the unselected close one of the two gaps.
    assert rows.loc[2, "upper"] < table.loc[2, "upper"]
    with pytest.raises(ValueError, match="lambdas must be at least 1"):
        model.sensitivity(X, y, treatment=t, lambdas=[0.5])
    with pytest.raises(ValueError, match="treatment must be given"):
        model.sensitivity(X, y, treatment=None)
    # Selection on X and T, in a population whose X and T are there, leaves no gap.
    free = SelectionBiasATE(selection_depends_on=("X", "T"))
    with pytest.raises(ValueError, match=r"must hold 'Y'.*SelectionBiasATE\(\)"):
        free.sensitivity(X, y, treatment=t, selected=s)


# --- what it says --------------------------------------------------------------------


def test_the_summary_reads_like_a_table():
    X, y, t, s, _ = population(500)
    model = SelectionBiasATE(min_selection_prob=0.5, alpha=0.1, random_state=0)
    model = fit_quietly(model, X[s], y[s], treatment=t[s])
    summary = model.summary()
    text = str(summary)
    for word in ("90 % intervals", "naive", "selected rows, adjusted", "bounds"):
        assert word in text
    assert "not identified" in text and "free_form: Selection may depend" in text
    assert max(map(len, text.splitlines())) <= 88
    assert "<table>" in summary._repr_html_() and repr(summary) == text
    frame = summary.to_frame()
    assert frame.index.tolist() == [
        "naive",
        "selected rows, adjusted",
        "whole population",
        "lower bound",
        "upper bound",
    ]
    assert frame.loc["lower bound", "effect"] == model.bounds_[0]
    assert frame.loc["naive", "low"] == model.effect_naive_.confidence_interval(0.9)[0]
    assert frame.loc["selected rows, adjusted", "status"] == "association"
    assert fit_by("mar").summary().to_frame()["status"].tolist() == [
        "association",
        "point",
        "point",
    ]


def test_the_report_lists_every_assumption():
    for strategy in ("known", "mar", "reference"):
        model = fit_by(strategy)
        report = model.identifiability_
        assert report.ok and report.up_to == "nothing"
        names = {a.name for a in report.assumptions}
        assert set(model.identification_.assumptions) <= names
        assert "untestable from these data" in str(report)
        verdicts = report.to_frame()["verdict"]
        assert verdicts["both treatments occur at every X"
                        + (" among the selected" if strategy == "reference" else "")
                        ] == "holds"  # fmt: skip
        assert {"holds", "untestable"} == set(verdicts)


def test_predictions_are_of_arms_or_of_both():
    model = fit_by("mar")
    X = population(50, seed=3)[0]
    control, treated = (model.predict(X, treatment=np.full(50, t)) for t in (0, 1))
    np.testing.assert_allclose(treated - control, model.effect(X), atol=1e-12)
    both = model.predict(X)
    assert (both >= np.minimum(control, treated) - 1e-12).all()
    assert (both <= np.maximum(control, treated) + 1e-12).all()
    # The effect at X is 2 + X_0, and of about 2000 selected rows well estimated.
    assert np.abs(model.effect(X) - 2 - X[:, 0]).max() < 0.6
    assert set(model.overlap_) == {"share", "min", "max", "clipped"}


# --- invariances ---------------------------------------------------------------------


def answers(strategy, change):
    """Effect, error and bounds of a strategy after a change of the data."""
    if strategy in ("extrapolate", "joint"):
        data = dropped(600)
        X, y, t = data.X, data.y, data.treatment.astype(int)
        reference = data.X_population[:200]
        params = {"x_reference": reference, "support_mask": data.support_mask}
        params |= {"inference": "sandwich", "degree": (1, 4)}
        if strategy == "joint":
            X, y, t, reference = tilted(600)
            params = {"x_reference": reference, "degree": 1, "n_starts": 1}
        params["selection_depends_on"] = XT if strategy == "extrapolate" else "XTY"
        model = SelectionBiasATE(strategy, random_state=0)
        side = {}
    else:
        X, y, t, s, chance = population(600)
        params = {"random_state": 0, "min_selection_prob": 0.4, "degree": 2}
        if strategy != "known":
            params["selection_depends_on"] = XT
        if strategy == "reference":
            params["x_reference"] = population(300, seed=5)[0]
        side = {"selected": s} if strategy == "mar" else {}
        if strategy == "known":
            side = {"selection_prob": chance, "selected": s}
        if strategy in ("reference", "bounds"):
            X, y, t = X[s], y[s], t[s]
        model = SelectionBiasATE(strategy)
    X, y, t, side, params = change(X, y, t, side, params)
    model.set_params(**params)
    model = fit_quietly(model, X, y, treatment=t, **side)
    found = [model.effect_, model.stderr_]
    return np.array(found + ([] if model.bounds_ is None else [*model.bounds_]))


def same(*problem):
    return problem


def scaled_outcome(X, y, t, side, params):
    return X, 3 + 100 * y, t, side, params


def scaled_covariates(X, y, t, side, params):
    factor = np.geomspace(1e-3, 10, X.shape[1])
    params = dict(params)
    if params.get("x_reference") is not None:
        params["x_reference"] = 5 + factor * params["x_reference"]
    if params.get("support_mask") is not None:
        rule = params["support_mask"]
        params["support_mask"] = lambda X, t: rule((X - 5) / factor, t)
    return 5 + factor * X, y, t, side, params


def permuted(X, y, t, side, params):
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order], t[order], {k: v[order] for k, v in side.items()}, params


def swapped(X, y, t, side, params):
    params = dict(params)
    if params.get("support_mask") is not None:
        rule = params["support_mask"]
        params["support_mask"] = lambda X, t: rule(X, 1 - np.asarray(t))
    if isinstance(params.get("degree"), tuple):
        params["degree"] = params["degree"][::-1]
    return X, y, 1 - t, side, params


@pytest.mark.parametrize(
    "strategy", ["known", "mar", "reference", "bounds", "extrapolate", "joint"]
)
def test_units_order_and_labels_do_not_matter(strategy):
    one = answers(strategy, same)
    tolerance = {"rtol": 1e-6, "atol": 1e-9, "equal_nan": True}
    np.testing.assert_allclose(
        answers(strategy, scaled_outcome), 100 * one, **tolerance
    )
    np.testing.assert_allclose(answers(strategy, scaled_covariates), one, **tolerance)
    np.testing.assert_allclose(answers(strategy, permuted), one, **tolerance)
    turned = answers(strategy, swapped)
    flipped = np.array([-one[0], one[1], *-one[:1:-1]])
    np.testing.assert_allclose(turned, flipped, **tolerance)
