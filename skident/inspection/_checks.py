"""What displays ask of an estimator."""

from skident.utils._sklearn import check_is_fitted


def check_shows(estimator, attribute, wanted):
    """Refuse an estimator that is not fitted, or of another kind.

    Parameters
    ----------
    estimator : estimator
    attribute : str
        Fitted attribute that is to be shown.
    wanted : str
        Estimators that have it, for the error.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is, without the attribute.
    """
    check_is_fitted(estimator)
    if not hasattr(estimator, attribute):
        raise TypeError(
            f"estimator must be a fitted {wanted}, got {type(estimator).__name__}, "
            f"which has no {attribute}."
        )
