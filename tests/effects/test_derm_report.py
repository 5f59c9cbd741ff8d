"""What DERM refuses, warns of and reports."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from skident.datasets import make_causal_digits, make_ppci_shortcut
from skident.effects import DERMClassifier, DERMRegressor
from skident.effects._derm_report import settings_in
from skident.exceptions import IdentifiabilityWarning, IdentificationError

SUPPORT = "every outcome occurs in every cell of the settings"
INDEPENDENT = "under the weights the outcome is independent of the settings"
EFFECTIVE = "the weights do not concentrate on few rows"
RELIABLE = "the outcome can be read from the features"
LIFTED = "predictions depend on the settings through the outcome here"
CALIBRATED = "predictions are right on average in every cell here"
KNOWN = "settings of the experiment are known"
VARY = "the settings vary"
STEPS = "each outcome can be told from the next by the predictions"


def clear(n=1000, seed=0, leak=0.0):
    """An outcome that can be read nearly perfectly, beside the treatment."""
    rng = np.random.default_rng(seed)
    treatment = rng.integers(0, 2, n)
    y = (rng.random(n) < 0.3 + 0.4 * treatment).astype(int)
    X = np.column_stack([y + leak * treatment, treatment]) + 0.1 * rng.standard_normal(
        (n, 2)
    )
    return X, y, treatment[:, None]


def verdicts(model):
    return model.identifiability_.to_frame()["verdict"]


def fit_quietly(model, *data, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        return model.fit(*data, **given)


# --- what the report says ------------------------------------------------------------


def test_a_clear_recording_warns_of_nothing():
    X, y, settings = clear()
    model = DERMClassifier(LogisticRegression(C=1e4), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, y, settings=settings)
    report = model.identifiability_
    assert report.ok and report.up_to == "shrinkage"
    found = verdicts(model)
    for name in (SUPPORT, INDEPENDENT, EFFECTIVE, RELIABLE, LIFTED, CALIBRATED):
        assert found[name] == "holds"
    # Nothing is claimed of a target that nobody has seen.
    assert (found.iloc[-2:] == "untestable").all()
    assert model.support_full_ and model.dropped_cells_ == []
    assert model.weighted_mutual_information_ < 1e-12
    assert model.reliability_ > 0.9


def test_no_settings_are_said_to_be_plain_training():
    X, y, _ = clear(200)
    for model in (DERMClassifier(), DERMRegressor()):
        with pytest.warns(IdentifiabilityWarning, match="this is plain training"):
            model.fit(X, y)
        assert verdicts(model)[KNOWN] == "violated"


def test_predictions_that_shrink_effects_are_warned_of():
    trial = make_ppci_shortcut(2000, random_state=0)
    model = DERMClassifier(random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="can be read from the features"):
        model.fit(trial.X, trial.y, settings=trial.settings)
    assert model.reliability_ < 0.7
    assert verdicts(model)[RELIABLE] == "violated"
    assert verdicts(model)[CALIBRATED] == "violated"
    # Every outcome occurs in both arms: there is nothing to collect.
    assert "label_shift" in model.identifiability_.advice
    assert "merge cells" not in model.identifiability_.advice
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(correction="label_shift")
        model.fit(trial.X, trial.y, settings=trial.settings)
    # Put right, predictions are right on average in every arm.
    assert verdicts(model)[CALIBRATED] == "holds"
    assert model.identifiability_.up_to == "nothing"


@pytest.mark.parametrize("prediction", ["expectation", "hard"])
def test_nothing_is_corrected_where_nothing_can_be_read(prediction):
    # The error of a corrected effect would be as if noise were a signal.
    rng = np.random.default_rng(0)
    X, y, arms = rng.standard_normal((1000, 3)), *rng.integers(0, 2, (2, 1000))
    model = DERMClassifier(
        correction="label_shift", prediction=prediction, random_state=0
    )
    with pytest.warns(IdentifiabilityWarning, match=RELIABLE):
        model.fit(X, y, settings=arms[:, None])
    assert verdicts(model)[RELIABLE] == "violated"


@pytest.mark.parametrize("correction", ["none", "label_shift"])
def test_outcomes_between_the_extremes_must_be_told_apart_too(correction):
    rng = np.random.default_rng(0)
    y, arms = rng.integers(0, 4, 2000), rng.integers(0, 2, (2000, 1))

    def features(seen):
        Z = seen[:, None] == np.arange(4)
        return Z + 0.1 * np.random.default_rng(1).standard_normal((2000, 4))

    model = DERMClassifier(
        LogisticRegression(C=1e3, max_iter=1000),
        correction=correction,
        cv=3,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(features(y), y, settings=arms)
    assert verdicts(model)[STEPS] == "holds"
    # 1 and 2 look alike: an effect that moves one to the other cannot be seen.
    with pytest.warns(IdentifiabilityWarning, match=STEPS):
        model.fit(features(np.where(y == 2, 1, y)), y, settings=arms)
    assert model.reliability_ > 0.9
    assert verdicts(model)[STEPS] == "violated"


def test_real_outcomes_must_be_told_apart_at_either_end():
    rng = np.random.default_rng(0)
    y, arms = rng.standard_normal(2000), rng.integers(0, 2, (2000, 1))
    noise = 0.1 * rng.standard_normal(2000)
    model = DERMRegressor(correction="label_shift", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit((y + noise)[:, None], y, settings=arms)
    assert verdicts(model)[STEPS] == "holds"
    with pytest.warns(IdentifiabilityWarning, match=STEPS):
        model.fit((np.maximum(y, 0) + noise)[:, None], y, settings=arms)
    assert verdicts(model)[STEPS] == "violated"


def test_settings_of_one_level_take_no_shortcut_away():
    X, y, settings = clear()
    with pytest.warns(IdentifiabilityWarning, match=VARY):
        model = DERMClassifier(random_state=0).fit(X, y, settings=0 * settings)
    assert verdicts(model)[VARY] == "violated"


def test_rows_without_weight_refute_nothing():
    X, y, settings = clear()
    model = DERMClassifier(LogisticRegression(C=1e4), random_state=0)
    s = np.repeat([1.0, 0.0], 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(
            np.concatenate([X, -X]),
            np.concatenate([y, y]),
            settings=np.concatenate([settings, 1 - settings]),
            sample_weight=s,
        )
    assert model.identifiability_.ok


def test_outcomes_missing_from_a_cell_are_named():
    X, y, settings = clear()
    y = y + (X[:, 0] > 1.1) * (settings[:, 0] == 0)
    frame = pd.DataFrame({"arm": np.array(["old", "new"])[settings[:, 0]]})
    model = DERMClassifier(cv=None)
    with pytest.warns(IdentifiabilityWarning, match=SUPPORT):
        model.fit(X, y, settings=frame)
    assert not model.support_full_
    assert model.cells_["status"].to_dict() == {"new": "partial", "old": "full"}
    assert model.weighted_mutual_information_ > 0.01
    assert "(arm = new) lacks y = 2" in str(model.identifiability_)
    with pytest.raises(IdentificationError, match=r"1 of 2 cells .*lacks y = 2"):
        DERMClassifier(on_partial_support="raise").fit(X, y, settings=frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = DERMClassifier(cv=None, on_partial_support="ignore")
        quiet.fit(X, y, settings=frame)
    assert not quiet.identifiability_.ok
    X, y, settings = clear()
    fit_quietly(
        DERMClassifier(on_partial_support="raise", cv=None), X, y, settings=settings
    )


def test_cells_without_weight_are_listed_with_their_rows():
    trial = make_causal_digits(2000, p_u=0.0, random_state=0)
    model = DERMClassifier(cv=None)
    fit_quietly(model, trial.X[:, :20] / 255.0, trial.y, settings=trial.settings)
    # Without W, T and U the digit is always 0.
    assert model.dropped_cells_ == [(0, 0, 0)]
    share = (trial.settings == 0).all(axis=1).mean()
    text = str(model.identifiability_)
    assert f"{share:.1%} of the rows are in cells without weight" in text
    assert "(setting_0 = 0, setting_1 = 0, setting_2 = 0) lacks y = 1, 2, 3" in text


def test_a_cell_of_one_row_is_dropped():
    X, y, settings = clear()
    settings[0] = 7
    model = fit_quietly(DERMClassifier(random_state=0), X, y, settings=settings)
    assert model.dropped_cells_ == [7]
    assert model.sample_weight_[0] == 0


def test_weights_on_three_rows_are_warned_of():
    X, y, settings = clear(400)
    y, arms = settings[:, 0].copy(), settings[:, 0]
    exceptions = [*np.flatnonzero(arms == 0)[:2], np.flatnonzero(arms == 1)[0]]
    y[exceptions] = 1 - y[exceptions]
    with pytest.warns(IdentifiabilityWarning, match=EFFECTIVE):
        model = DERMClassifier(cv=None).fit(X, y, settings=settings)
    assert model.effective_sample_size_ < 20
    capped = fit_quietly(
        DERMClassifier(cv=None, weight_cap=2.0), X, y, settings=settings
    )
    assert capped.effective_sample_size_ > model.effective_sample_size_
    assert "Weights are cut" in str(capped.identifiability_)


def test_rows_in_cells_without_weight_count_as_lost():
    X, y, settings = clear(400)
    y[3:] = 0
    settings[:] = 1
    y[:3], settings[:3] = [0, 1, 0], 0
    with pytest.warns(IdentifiabilityWarning, match=EFFECTIVE):
        model = DERMClassifier(cv=None).fit(X, y, settings=settings)
    assert model.effective_sample_size_ <= 3
    # Rows that count for nothing are not missed.
    s = (np.arange(400) < 3).astype(float)
    model = fit_quietly(
        DERMClassifier(cv=None), X, y, settings=settings, sample_weight=s
    )
    assert verdicts(model)[EFFECTIVE] == "holds"


def test_predictions_that_use_the_settings_are_warned_of():
    # The only feature sees outcome and treatment as one number.
    X, y, settings = clear(3000, leak=0.7)
    with pytest.warns(IdentifiabilityWarning, match=LIFTED):
        model = DERMClassifier(random_state=0).fit(X[:, :1], y, settings=settings)
    assert verdicts(model)[LIFTED] == "violated"
    check = model.check_lifting(X[:, :1], y, settings)
    assert check.pvalue < 0.01 and check.statistic > 0.1
    assert len(check.frame) == 4 and len(check.calibration) == 2


def test_a_lifted_predictor_passes_on_new_rows():
    X, y, settings = clear(3000)
    model = fit_quietly(DERMClassifier(random_state=0), X, y, settings=settings)
    X_new, y_new, z_new = clear(3000, seed=1)
    frame = pd.DataFrame(z_new, columns=["arm"])
    check = model.check_lifting(X_new, y_new, frame, n_permutations=50, min_count=5)
    assert check.statistic < 0.1
    assert check.frame.index.names == ["y", "arm"]
    again = model.check_lifting(X_new, y_new, frame, n_permutations=50, min_count=5)
    assert again == check
    for bad in ({"n_permutations": 0}, {"min_count": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            model.check_lifting(X_new, y_new, frame, **bad)
    with pytest.raises(ValueError, match="y must be of shape"):
        model.check_lifting(X_new, y_new[:-1], frame)
    with pytest.raises(ValueError, match="y contains NaN"):
        model.check_lifting(X_new, np.where(y_new == 1, np.nan, 0.0), frame)
    with pytest.raises(ValueError, match="settings must be of shape"):
        model.check_lifting(X_new, y_new, frame[:-1])


def test_a_regressor_is_checked_by_bins():
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 2, 2000)
    y = 0.5 * batch + rng.standard_normal(2000)
    X = (y + 0.05 * rng.standard_normal(2000))[:, None]
    model = DERMRegressor(y_bins=5, random_state=0)
    model.fit(X, y, settings=batch[:, None])  # would warn of anything
    check = model.check_lifting(X, y, batch[:, None])
    assert len(check.frame) == 10
    assert model.reliability_ == pytest.approx(1, abs=0.02)


def test_features_that_are_settings_are_named():
    X, y, settings = clear(400)
    table = pd.DataFrame(X, columns=["a", "b"]).assign(arm=settings[:, 0], one=1.0)
    model = fit_quietly(DERMClassifier(cv=None), table, y, settings=settings)
    text = str(model.identifiability_)
    assert "1 columns of X are functions of a setting (arm)" in text


def test_functions_of_settings_among_features():
    settings = np.column_stack([np.arange(100) % 2, np.arange(100) % 5])
    rng = np.random.default_rng(0)
    X = np.column_stack([
        rng.standard_normal(100), 3.0 - settings[:, 0], np.ones(100),
        settings[:, 1] ** 2.0, settings.sum(axis=1),
    ])  # fmt: skip
    assert settings_in(X, settings) == [1, 3]
    # A level a row tells nothing, and what is no table of numbers is left out.
    assert settings_in(X, np.arange(100)[:, None]) == []
    assert settings_in(X[:, :, None], settings) == []
    assert settings_in(X.astype(str).astype(object) + "x", settings) == []
    assert settings_in([[1.0]] * 100, settings) == []


# --- the target's settings -----------------------------------------------------------


def test_cells_of_the_target_are_compared_with_training():
    X, y, settings = clear()
    settings = np.column_stack([settings[:, 0], np.arange(1000) % 2])
    y[(settings == [0, 0]).all(axis=1)] = 0
    frame = pd.DataFrame(settings, columns=["arm", "site"])
    model = fit_quietly(DERMClassifier(cv=None), X, y, settings=frame)
    target = pd.DataFrame({"arm": [0, 0, 1, 1.0], "site": [0, 1, 1, 2]})
    found = model.compare_settings(target)
    assert found["status"].to_dict() == {
        (0, 0): "dropped",
        (0, 1): "full",
        (1, 1): "full",
        (1, 2): "absent",
    }
    assert found["share"].tolist() == [0.25] * 4
    with pytest.warns(IdentifiabilityWarning) as warned:
        model.ate(X[:4], [0, 0, 1, 1], settings=target)
    texts = [str(w.message) for w in warned]
    assert "25% of the rows are in cells of the settings that were not seen" in texts[0]
    assert "had an outcome that does not vary in training: (0.0, 0.0)" in texts[1]
    model.ate(X[:4], [0, 0, 1, 1], settings=target[1:3].iloc[[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="settings must have 2 columns as in fit"):
        model.compare_settings(settings[:, :1])
    without = fit_quietly(DERMClassifier(), X, y)
    with pytest.raises(ValueError, match="fit was given none"):
        without.compare_settings(settings)


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize("Model", [DERMClassifier, DERMRegressor])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": np.zeros((3, 1))}, "settings must be of shape"),
        ({"settings": np.zeros(60)}, "settings must be of shape"),
        ({"settings": np.full((60, 1), np.nan)}, "settings must have a label"),
        ({"settings": np.arange(60)[:, None]}, "got 60 in column 0"),
        (
            {"settings": pd.DataFrame({"a": [0] * 60, "video": range(60)})},
            "at most max_levels = 50 levels a column, got 60 in column 'video'",
        ),
        ({"y": np.ones(60), "settings": [[0], [1]] * 30}, "y has a single class"),
        ({"y": [0, 1] * 30, "settings": [[0], [1]] * 30}, "y is a function of the set"),
        ({"y": np.ones(59)}, "y must have a value in every row, got 59"),
        ({"y": np.r_[np.nan, np.ones(59)]}, "y contains NaN"),
        ({"sample_weight": -np.ones(60)}, "sample_weight must not be negative"),
        ({"sample_weight": np.ones(3)}, "sample_weight must be of shape"),
    ],
)
def test_bad_rows_are_refused_by_name(Model, change, message):
    rng = np.random.default_rng(0)
    given = {
        "X": rng.standard_normal((60, 2)),
        "y": rng.integers(0, 2, 60),
        "settings": rng.integers(0, 2, (60, 1)),
    }
    given |= change
    with pytest.raises(ValueError, match=message):
        Model().fit(given.pop("X"), given.pop("y"), **given)


def test_shrinkage_is_that_of_the_predictions_it_was_measured_on():
    X, y, settings = clear(400)
    model = DERMClassifier(correction="label_shift", random_state=0)
    model.fit(X, y, settings=settings).set_params(prediction="hard")
    for ask in (
        lambda: model.ate(X, settings[:, 0]),
        lambda: model.predict_expected(X),
        lambda: model.check_lifting(X, y, settings),
    ):
        with pytest.raises(ValueError, match="measured with prediction='expectation'"):
            ask()
    assert np.isfinite(model.ate(X, settings[:, 0], correction="none").effect)


def test_named_classes_have_no_variance():
    X = np.random.default_rng(0).standard_normal((90, 2))
    y = np.array(list("abc"))[np.arange(90) % 3]
    settings = (np.arange(90) // 3 % 2)[:, None]
    with pytest.raises(ValueError, match="y must be numbers where there are more than"):
        DERMClassifier().fit(X, y, settings=settings)
    model = fit_quietly(DERMClassifier(), X, y)
    assert model.class_values_ is None
    with pytest.raises(ValueError, match="classes that are numbers, got"):
        model.predict_expected(X)
    with pytest.raises(ValueError, match="y must be numbers"):
        DERMClassifier(correction="label_shift").fit(X, y)


def test_real_outcomes_are_no_classes():
    X = np.random.default_rng(0).standard_normal((60, 2))
    with pytest.raises(ValueError, match="Unknown label type"):
        DERMClassifier().fit(X, X[:, 0] + 0.5, settings=np.zeros((60, 1)))
    with pytest.raises(ValueError, match="could not convert string"):
        DERMRegressor().fit(X, np.repeat(["a", "b"], 30))


@pytest.mark.parametrize(
    "params",
    [
        {"prob_floor": -0.1},
        {"weight_cap": 0},
        {"normalize": "sum"},
        {"mode": "drop"},
        {"correction": True},
        {"on_partial_support": "pass"},
        {"max_levels": 1},
        {"validation_fraction": 1.0},
        {"cv": 1},
        {"prediction": "soft"},
        {"estimator": "logistic"},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(params):
    X, y, settings = clear(60)
    name = next(iter(params))
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        DERMClassifier(**params).fit(X, y, settings=settings)
    if name != "prediction":
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            DERMRegressor(**params).fit(X, y, settings=settings)


def test_learners_of_the_other_kind_are_refused():
    X, y, settings = clear(60)
    with pytest.raises(TypeError, match="DERMClassifier must be a classifier, got Rid"):
        DERMClassifier(Ridge()).fit(X, y, settings=settings)
    with pytest.raises(TypeError, match="must be a regressor, got LogisticRegression"):
        DERMRegressor(LogisticRegression()).fit(X, y, settings=settings)


@pytest.mark.parametrize("params", [{"y_bins": 1}, {"bin_strategy": "kmeans"}], ids=str)
def test_bins_out_of_range_are_refused(params):
    X, y, settings = clear(60)
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        DERMRegressor(**params).fit(X, y, settings=settings)
