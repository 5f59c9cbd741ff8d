"""The estimator as scikit-learn sees it: checks, pipelines, searches, dataframes."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skident.compose import FromColumns
from skident.effects import SelectionBiasATE

NAMES = ["age", "income"]
XT = ("X", "T")


def survey(n=400, seed=0, selected_only=False):
    """A frame in which response depends on age and treatment."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    treatment = rng.integers(0, 2, n)
    y = X[:, 0] * (1 + treatment) + 2 * treatment + rng.standard_normal(n)
    chance = 1 / (1 + np.exp(-X[:, 0] - treatment))
    answered = rng.random(n) < chance
    frame = pd.DataFrame(X, columns=NAMES)
    frame["treated"], frame["answered"] = treatment, answered
    frame["chance"], frame["score"] = chance, np.where(answered, y, np.nan)
    return frame[answered] if selected_only else frame


def content(X, modulus):
    """Labels that depend on the values of a row alone, not on its position."""
    try:
        first = np.asarray(X, dtype=float)
        first = first[:, 0] if first.ndim == 2 else first
        digits = np.floor(np.abs(np.nan_to_num(first)) * 997)
    except (
        IndexError,
        TypeError,
        ValueError,
    ):  # refusing such an X is up to the estimator
        return np.arange(np.size(X)) % modulus
    if len(np.unique(digits % modulus)) < modulus:
        return np.arange(len(digits)) % modulus
    return digits % modulus


def everywhere(X, t):
    """A rule that drops no row."""
    return np.ones(len(X), dtype=bool)


class Treated(SelectionBiasATE):
    """Makes the treatment that it is not given."""

    def fit(self, X, y, *, treatment=None, sample_weight=None):
        if treatment is None:
            treatment = content(X, 2)
        return super().fit(X, y, treatment=treatment, sample_weight=sample_weight)


class TreatedSelected(SelectionBiasATE):
    """Makes treatment and selection that it is not given."""

    def fit(self, X, y, *, treatment=None, selected=None, sample_weight=None):
        cells = content(X, 6)
        return super().fit(
            X, y, treatment=cells % 2, selected=cells // 2 > 0,
            sample_weight=sample_weight,
        )  # fmt: skip


@pytest.mark.parametrize(
    "estimator",
    [
        SelectionBiasATE(),
        Treated(),
        Treated(min_selection_prob=0.5, degree=1),
        pytest.param(
            Treated("extrapolate", XT, support_mask=everywhere, n_boot=2, degree=1),
            marks=pytest.mark.slow,
        ),
        Treated(selection_depends_on=()),
        TreatedSelected(selection_depends_on=XT, n_folds=1),
    ],
    ids=["bare", "refused", "bounds", "extrapolate", "known", "mar"],
)
def test_scikit_learn_checks_pass_with_and_without_side_inputs(estimator):
    expected = {}
    if type(estimator) is not SelectionBiasATE:
        expected["check_sample_weight_equivalence_on_dense_data"] = (
            "cross-fitting draws folds of rows: one of twice the weight is in one "
            "fold, two rows may be in two"
        )
    with warnings.catch_warnings():
        # That some check is expected to fail.
        warnings.simplefilter("ignore")
        check_estimator(estimator, expected_failed_checks=expected)


def fit_all(frame, **params):
    """One fit of every strategy that takes a moment."""
    kept = frame[frame["answered"]]
    X, y, t = kept[NAMES], kept["score"], kept["treated"]
    whole = {"treatment": frame["treated"], "selected": frame["answered"]}
    chance = kept["chance"]
    return {
        "mar": SelectionBiasATE(selection_depends_on=XT, **params).fit(
            frame[NAMES], frame["score"], **whole
        ),
        "known": SelectionBiasATE(**params).fit(
            X, y, treatment=t, selection_prob=chance
        ),
        "reference": SelectionBiasATE(
            selection_depends_on=XT, x_reference=frame[NAMES], **params
        ).fit(X, y, treatment=t),
    }


def test_fits_survive_pickling_and_cloning():
    frame = survey()
    for name, model in fit_all(frame, random_state=0).items():
        twin = pickle.loads(pickle.dumps(model))
        X = frame[NAMES]
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
        np.testing.assert_array_equal(twin.effect(X), model.effect(X))
        assert twin.effect_ == model.effect_
        assert str(twin.summary()) == str(model.summary())
        assert twin.identification_.strategy == name
        fresh = clone(model)
        assert not hasattr(fresh, "effect_") and repr(fresh) == repr(model)


def test_names_of_columns_are_kept_and_checked():
    frame = survey()
    model = fit_all(frame, random_state=0)["reference"]
    assert model.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[NAMES[::-1]])
    # The reference may name its columns in another order.
    kept = frame[frame["answered"]]
    turned = clone(model).set_params(x_reference=frame[NAMES[::-1]])
    turned.fit(kept[NAMES], kept["score"], treatment=kept["treated"])
    assert turned.effect_ == model.effect_
    lacking = clone(model).set_params(x_reference=frame[["age", "treated"]])
    with pytest.raises(ValueError, match=r"x_reference .* lacks \['income'\]"):
        lacking.fit(kept[NAMES], kept["score"], treatment=kept["treated"])


def test_single_precision_is_kept_and_changes_little():
    frame = survey()
    kept = frame[frame["answered"]]
    X, y, t = kept[NAMES].to_numpy(), kept["score"], kept["treated"]
    found = []
    for dtype in (np.float64, np.float32):
        params = {"x_reference": frame[NAMES].to_numpy(dtype), "random_state": 0}
        model = SelectionBiasATE(selection_depends_on=XT, **params)
        bounded = SelectionBiasATE("bounds", min_selection_prob=0.5, **params)
        for each in (model, bounded):
            each.fit(X.astype(dtype), y.astype(dtype), treatment=t)
            assert each.predict(X.astype(dtype)).dtype == dtype
            assert each.effect(X.astype(dtype)).dtype == dtype
        found.append([model.effect_, *bounded.bounds_])
    # Rows are rounded to 6e-8 of themselves.
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_columns_of_a_dataframe_are_the_side_inputs():
    frame = survey()
    model = FromColumns(
        SelectionBiasATE(selection_depends_on=XT, random_state=0),
        treatment="treated",
        selected="answered",
    )
    columns = [*NAMES, "treated", "answered"]
    model.fit(frame[columns], frame["score"])
    wanted = fit_all(frame, random_state=0)["mar"]
    assert model.estimator_.effect_ == wanted.effect_
    np.testing.assert_array_equal(
        model.effect(frame[NAMES]), wanted.effect(frame[NAMES])
    )
    # With the column of treatments there, predictions are of each row's own arm.
    np.testing.assert_array_equal(
        model.predict(frame[columns]),
        wanted.predict(frame[NAMES], treatment=frame["treated"]),
    )
    assert model.score(frame[columns], frame["score"]) == wanted.score(
        frame[NAMES],
        frame["score"],
        treatment=frame["treated"],
        selected=frame["answered"],
    )
    # Without it, rows that lack an outcome do not count.
    assert wanted.score(
        frame[NAMES], frame["score"], treatment=frame["treated"]
    ) == model.score(frame[columns], frame["score"])
    kept = frame[frame["answered"]]
    weighted = FromColumns(
        SelectionBiasATE(random_state=0), treatment="treated", selection_prob="chance"
    ).fit(kept[[*NAMES, "treated", "chance"]], kept["score"])
    assert (
        weighted.estimator_.effect_ == fit_all(frame, random_state=0)["known"].effect_
    )


def test_a_search_in_a_pipeline_routes_the_side_inputs():
    frame = survey()
    side = {
        "treatment": frame["treated"].to_numpy(),
        "selected": frame["answered"].to_numpy(),
    }
    pipe = make_pipeline(
        StandardScaler(), SelectionBiasATE(selection_depends_on=XT, random_state=0)
    )
    grid = {"selectionbiasate__trim": [0.01, 0.1]}
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(pipe, grid, cv=3).fit(
            frame[NAMES], frame["score"], **side
        )
        scores = cross_validate(pipe, frame[NAMES], frame["score"], params=side, cv=3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(scores["test_score"]).all()
    model = search.best_estimator_[-1]
    plain = make_pipeline(StandardScaler(), clone(model)).fit(
        frame[NAMES],
        frame["score"],
        **{f"selectionbiasate__{name}": value for name, value in side.items()},
    )
    assert model.identification_.strategy == "mar"
    assert plain[-1].effect_ == model.effect_


def test_learners_of_any_kind_and_number_of_jobs_give_the_same_answer():
    frame = survey(200)
    forest = {"n_estimators": 5, "min_samples_leaf": 10}
    params = {
        "outcome_learner": RandomForestRegressor(**forest),
        "propensity_learner": RandomForestClassifier(**forest),
        "selection_learner": make_pipeline(StandardScaler(), LogisticRegression()),
        "selection_depends_on": XT,
        "random_state": 0,
        "n_folds": 2,
    }
    side = {"treatment": frame["treated"], "selected": frame["answered"]}
    model = SelectionBiasATE(**params).fit(frame[NAMES], frame["score"], **side)
    with joblib.parallel_config(backend="threading"):
        twin = clone(model).set_params(n_jobs=2)
        twin.fit(frame[NAMES], frame["score"], **side)
    assert twin.effect_ == model.effect_
    linear = SelectionBiasATE(
        outcome_learner=LinearRegression(), selection_depends_on=XT, random_state=0
    ).fit(frame[NAMES], frame["score"], **side)
    # Ridge with a chosen penalty is nearly least squares: the same but for its noise.
    ours = SelectionBiasATE(selection_depends_on=XT, random_state=0).fit(
        frame[NAMES], frame["score"], **side
    )
    assert abs(linear.effect_ - ours.effect_) < 0.5 * ours.stderr_


def test_same_seed_same_bits_and_the_position_of_rows_is_nothing():
    frame = survey()
    order = np.random.default_rng(0).permutation(len(frame))
    one, two = fit_all(frame, random_state=3), fit_all(frame, random_state=3)
    turned = fit_all(frame.iloc[order], random_state=3)
    for name, model in one.items():
        assert two[name].effect_ == model.effect_, name
        assert turned[name].effect_ == pytest.approx(model.effect_, rel=1e-7), name


def test_a_failed_fit_leaves_the_last_one():
    frame = survey()
    kept = frame[frame["answered"]]
    model = fit_all(frame, random_state=0)["known"]
    effect = model.effect_
    with pytest.raises(ValueError, match="selection_prob"):
        model.fit(
            kept[NAMES], kept["score"], treatment=kept["treated"], selection_prob=1.5
        )
    assert model.effect_ == effect
