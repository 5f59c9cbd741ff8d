"""Fitting on a copy, so that a fit that fails leaves its estimator as it was."""


def blank_copy(estimator, learned):
    """A shallow copy of an estimator without what it has learned.

    Parameters
    ----------
    estimator : estimator
    learned : callable
        Whether ``fit`` sets an attribute, by its name.

    Returns
    -------
    fitted : estimator
    """
    fitted = object.__new__(type(estimator))
    kept = {name: v for name, v in vars(estimator).items() if not learned(name)}
    vars(fitted).update(kept)
    return fitted


def take_over(estimator, fitted, learned):
    """Give an estimator what a copy has learned in place of what it had learned.

    Parameters
    ----------
    estimator, fitted : estimator
    learned : callable
        As in :func:`blank_copy`.
    """
    kept = {name: v for name, v in vars(estimator).items() if not learned(name)}
    # In one assignment: an interrupt leaves the one or the other, never a part.
    estimator.__dict__ = kept | {n: v for n, v in vars(fitted).items() if learned(n)}
