"""Progress and stopping through scikit-learn's callbacks, where it has them."""

from collections.abc import Iterator

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
