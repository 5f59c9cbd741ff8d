"""Warnings and errors of skident."""

__all__ = ["IdentifiabilityWarning", "IdentificationError"]


class IdentifiabilityWarning(UserWarning):
    """The data contradict an assumption under which the result is identified.

    The fit goes through; what it returns may not be what the method's theory
    promises. The fitted ``identifiability_`` report lists every assumption with
    its test, statistic and threshold.

    Examples
    --------
    >>> import warnings
    >>> from skident.exceptions import IdentifiabilityWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", category=IdentifiabilityWarning)
    """


class IdentificationError(ValueError):
    """Nothing can be identified from the data as given.

    Raised where computing anything at all would be making it up, for instance one
    node where a graph between nodes is wanted. It is a :class:`ValueError`, so code
    that catches those needs no change.
    """
