"""Callbacks of scikit-learn 1.9 and later reach the wrapped estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from skident.compose import FromColumns
from skident.utils import iterate
from skident.utils._sklearn import CallbackSupportMixin, _fit_context

pytestmark = pytest.mark.skipif(
    not hasattr(CallbackSupportMixin, "set_callbacks"),
    reason="scikit-learn has callbacks from 1.9",
)
TABLE = pd.DataFrame({"age": np.arange(6.0), "weight": np.ones(6)})


class Looping(CallbackSupportMixin, BaseEstimator):
    """Counts its steps, and what they weigh."""

    _parameter_constraints: dict = {}

    def __init__(self, n_steps=3, fail_at=None):
        self.n_steps = n_steps
        self.fail_at = fail_at

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        self.n_steps_ = 0
        for step in iterate(self, self.n_steps, X, y):
            if step == self.fail_at:
                raise RuntimeError("diverged")
            self.n_steps_ += 1
        self.weight_ = np.sum(sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        self.n_steps_ = getattr(self, "n_steps_", 0) + len(
            list(iterate(self, self.n_steps))
        )
        return self


class Recorder:
    """Writes down which tasks of which estimators end, and may ask to stop."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.events = []

    def setup(self, estimator, context):
        self.events.append(("setup", context.estimator_name))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.estimator_name))

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        path, above = [], context
        while above is not None:
            path.insert(0, above.task_name)
            above = above.parent
        self.events.append((context.estimator_name, "/".join(path)))
        return context.task_name == "step" and context.task_id == self.stop_at


class Shared(Recorder):
    """One that scikit-learn passes on from estimators to those inside."""

    max_propagation_depth = None


STEP = ("Looping", "fit/fit/step")
AROUND = ("FromColumns", "fit")


def test_shared_callbacks_see_the_steps_of_the_wrapped_estimator():
    callback = Shared()
    model = FromColumns(Looping(), sample_weight="weight").set_callbacks(callback)
    fitted = model.fit(TABLE)
    assert fitted.estimator_.n_steps_ == 3 and fitted.estimator_.weight_ == 6
    once = [
        ("setup", "FromColumns"),
        *[STEP] * 3,
        ("Looping", "fit/fit"),
        AROUND,
        ("teardown", "FromColumns"),
    ]
    assert callback.events == once
    model.fit(TABLE)
    assert callback.events == once * 2
    # Nothing of it stays with the wrapped estimator.
    for inner in (model.estimator, model.estimator_):
        assert not {"_skl_callbacks", "_parent_callback_ctx"} & vars(inner).keys()


def test_partial_fit_tells_them_too():
    callback = Shared()
    model = FromColumns(Looping(), sample_weight="weight").set_callbacks(callback)
    model.partial_fit(TABLE).partial_fit(TABLE)
    assert model.estimator_.n_steps_ == 6
    assert callback.events.count(STEP) == 6


def test_a_shared_callback_ends_the_loop():
    model = FromColumns(Looping()).set_callbacks(Shared(stop_at=1))
    assert model.fit(TABLE).estimator_.n_steps_ == 2


def test_callbacks_of_the_wrapped_estimator_are_its_own():
    callback = Recorder()
    model = FromColumns(Looping().set_callbacks(callback), sample_weight="weight")
    model.fit(TABLE)
    assert callback.events == [
        ("setup", "Looping"),
        *[STEP] * 3,
        ("Looping", "fit/fit"),
        ("teardown", "Looping"),
    ]
    outside = Recorder()
    FromColumns(Looping()).set_callbacks(outside).fit(TABLE)
    assert STEP not in outside.events and AROUND in outside.events


def test_an_error_inside_passes_and_tears_down():
    callback = Shared()
    model = FromColumns(Looping(fail_at=1)).set_callbacks(callback)
    with pytest.raises(RuntimeError, match="diverged"):
        model.fit(TABLE)
    assert callback.events[-1] == ("teardown", "FromColumns")
    assert not hasattr(model, "estimator_")
    model.set_params(estimator__fail_at=None).fit(TABLE)
    assert model.estimator_.n_steps_ == 3


@pytest.mark.parametrize("outside", [False, True])
def test_through_a_pipeline_on_either_side(outside):
    callback = Shared()
    if outside:
        model = make_pipeline(FromColumns(Looping(), sample_weight="weight"))
    else:
        model = FromColumns(make_pipeline(Looping()))
    model.set_callbacks(callback).fit(TABLE)
    steps = [name for name, path in callback.events if path.endswith("/step")]
    assert steps == ["Looping"] * 3


def test_an_estimator_without_callbacks_is_fitted_all_the_same():
    model = FromColumns(LinearRegression(), sample_weight="weight")
    model.fit(TABLE, TABLE["age"])
    with pytest.warns(UserWarning, match="LinearRegression does not support callbacks"):
        model.set_callbacks(Shared()).fit(TABLE, TABLE["age"])
    assert model.predict(TABLE)[3] == pytest.approx(3)


def test_scikit_learns_progress_bar_shows_both(capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    FromColumns(Looping()).set_callbacks(ProgressBar()).fit(TABLE)
    shown = capsys.readouterr().out
    assert "FromColumns" in shown and "Looping" in shown
