"""Progress and stopping through scikit-learn's callbacks, where it has them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sklearn.base import BaseEstimator


def iterate(estimator: BaseEstimator, n: int, X=None, y=None) -> Iterator[int]:
    """Yield ``0, ..., n - 1``, telling the estimator's callbacks about each step.

    On scikit-learn 1.9 and later an estimator that inherits ``CallbackSupportMixin``
    takes callbacks (``est.set_callbacks(ProgressBar())``): each step is then a task of
    the fit, and a callback that asks to stop ends the loop. Without callbacks, and on
    older releases, this is ``range(n)``. Only the first loop of a fit reports; a loop
    inside it, or after it, runs plainly.

    Parameters
    ----------
    estimator : estimator
        The estimator whose ``fit``, decorated with ``_fit_context``, runs the loop.
    n : int
        Number of steps.
    X, y : array-like, default=None
        The training data, for callbacks that ask for them.

    Yields
    ------
    step : int

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from skident.utils import iterate
    >>> list(iterate(BaseEstimator(), 3))
    [0, 1, 2]
    """
    watched = getattr(estimator, "_skl_callbacks", None)
    if not watched or hasattr(estimator, "_callback_fit_ctx"):
        yield from range(n)
        return

    data = {"estimator": estimator, "X": X, "y": y}
    root = estimator._init_callback_context(max_subtasks=n)
    root.call_on_fit_task_begin(**data)
    for step in range(n):
        task = root.subcontext(task_name="step").call_on_fit_task_begin(**data)
        try:
            yield step
        except GeneratorExit:  # the caller left the loop: the fit is over all the same
            task.call_on_fit_task_end(**data)
            root.call_on_fit_task_end(**data)
            raise
        if task.call_on_fit_task_end(**data):
            break
    root.call_on_fit_task_end(**data)


@contextmanager
def as_part_of(
    estimator: BaseEstimator, inner: BaseEstimator, X=None, y=None
) -> Iterator[None]:
    """Fit an inner estimator as the one task of the fit of an estimator around it.

    On scikit-learn 1.9 and later, the callbacks of the outer estimator that are meant
    for inner ones too, such as a progress bar, are passed on for the time of the
    ``with`` statement, and what the inner one reports is part of the outer one's tree
    of tasks. On older releases nothing happens.

    Parameters
    ----------
    estimator : estimator
        The outer estimator, which inherits ``CallbackSupportMixin`` and whose ``fit``,
        decorated with ``_fit_context``, holds the ``with`` statement.
    inner : estimator
        The estimator that is fitted there. scikit-learn warns if there are callbacks
        that it does not take, and raises ``TypeError`` if it has such callbacks of its
        own.
    X, y : array-like, default=None
        The training data, for callbacks that ask for them.
    """
    if not hasattr(estimator, "_init_callback_context"):
        yield
        return
    data = {"estimator": estimator, "X": X, "y": y}
    root = estimator._init_callback_context(max_subtasks=1)
    root.call_on_fit_task_begin(**data)
    task = root.subcontext(task_name="fit-estimator")
    with task.propagate_callback_context(inner):
        task.call_on_fit_task_begin(**data)
        yield
        task.call_on_fit_task_end(**data)
    root.call_on_fit_task_end(**data)
