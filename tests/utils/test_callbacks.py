import pytest
from sklearn.base import BaseEstimator

from skident.utils import iterate
from skident.utils._sklearn import CallbackSupportMixin, _fit_context

needs_callbacks = pytest.mark.skipif(
    not hasattr(CallbackSupportMixin, "set_callbacks"),
    reason="scikit-learn has callbacks from 1.9",
)


class Looping(CallbackSupportMixin, BaseEstimator):
    """Sums its steps: in a loop, in one inside it, and in one after it."""

    _parameter_constraints: dict = {}

    def __init__(self, n_steps=3, leave_at=None, fail_at=None):
        self.n_steps = n_steps
        self.leave_at = leave_at
        self.fail_at = fail_at

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        steps, inner = [], []
        for step in iterate(self, self.n_steps, X, y):
            steps.append(step)
            inner += iterate(self, 2)
            if step == self.fail_at:
                raise RuntimeError("diverged")
            if step == self.leave_at:
                break
        inner += iterate(self, 1)
        self.steps_, self.inner_ = steps, inner
        return self


class Recorder:
    """Callback that writes down what it is told, and may ask to stop."""

    def __init__(self, stop_at=None):
        self.events = []
        self.stop_at = stop_at

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.events.append(("begin", context.task_name, context.task_id, X, y))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None):
        self.events.append(("end", context.task_name, context.task_id, X, y))
        return context.task_name == "step" and context.task_id == self.stop_at


def step(i, data=(None, None)):
    return [("begin", "step", i, *data), ("end", "step", i, *data)]


def whole(steps, data=(None, None)):
    begin, end = ("begin", "fit", 0, *data), ("end", "fit", 0, *data)
    return ["setup", begin, *(e for i in steps for e in step(i, data)), end, "teardown"]


def test_without_callbacks_it_counts():
    assert list(iterate(BaseEstimator(), 0)) == []
    fitted = Looping().fit()
    assert fitted.steps_ == [0, 1, 2]
    assert fitted.inner_ == [0, 1] * 3 + [0]


@needs_callbacks
def test_the_first_loop_of_a_fit_reports_with_the_data():
    recorder = Recorder()
    fitted = Looping().set_callbacks(recorder).fit("X", "y")
    assert recorder.events == whole([0, 1, 2], ("X", "y"))
    assert fitted.inner_ == [0, 1] * 3 + [0]


@needs_callbacks
def test_a_second_fit_reports_again():
    recorder = Recorder()
    Looping(n_steps=1).set_callbacks(recorder).fit().fit()
    assert recorder.events == whole([0]) * 2


@needs_callbacks
def test_a_callback_ends_the_loop():
    recorder = Recorder(stop_at=1)
    assert Looping().set_callbacks(recorder).fit().steps_ == [0, 1]
    assert recorder.events == whole([0, 1])


@needs_callbacks
def test_leaving_the_loop_closes_what_was_begun():
    recorder = Recorder()
    assert Looping(leave_at=1).set_callbacks(recorder).fit().steps_ == [0, 1]
    assert recorder.events == whole([0, 1])


@needs_callbacks
def test_an_error_in_the_loop_passes_and_callbacks_are_torn_down():
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="diverged"):
        Looping(fail_at=1).set_callbacks(recorder).fit()
    assert recorder.events[-1] == "teardown"


@needs_callbacks
def test_scikit_learns_progress_bar_runs(capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    Looping().set_callbacks(ProgressBar()).fit()
    assert "Looping" in capsys.readouterr().out
