"""Splitters that keep every environment in every training fold."""

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    BaseShuffleSplit,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from skident.utils._validation import _check_labels


class EnvironmentKFold(BaseCrossValidator):
    """K folds, each with its share of the rows of every environment.

    A method that compares environments needs all of them in training; a plain split may
    leave one out, or nearly. Every row is in exactly one test fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2; no environment may have fewer rows.
    shuffle : bool, default=False
        Whether rows are shuffled, within their environment, before they are cut into
        folds. Otherwise the test rows of an environment are neighbours in the data, as
        suits rows in order of time.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffling; must be None without it.

    Raises
    ------
    ValueError
        If ``n_splits`` is no integer above 1, ``shuffle`` no bool, or ``random_state``
        is given without shuffling.

    Notes
    -----
    The environments go by the word that splitters have for labels, ``groups``. With
    scikit-learn's metadata routing on they are asked for, so that
    ``cross_validate(est, X, y, cv=EnvironmentKFold(), params={"environments": e,
    "groups": e})`` works without further calls; after
    ``EnvironmentKFold().set_split_request(groups="environments")`` the one entry
    ``params={"environments": e}`` serves the estimator and the splitter. To hold whole
    environments out instead, take scikit-learn's ``LeaveOneGroupOut``.

    The folds' sizes differ by at most one row, and so do the numbers of rows of any one
    environment in them. Renaming environments changes nothing.

    Examples
    --------
    >>> from skident.model_selection import EnvironmentKFold
    >>> X, environments = np.zeros((7, 1)), ["a", "a", "a", "b", "b", "b", "b"]
    >>> for train, test in EnvironmentKFold(3).split(X, groups=environments):
    ...     print(train, test)
    [1 2 5 6] [0 3 4]
    [0 2 3 4 6] [1 5]
    [0 1 3 4 5] [2 6]
    """

    __metadata_request__split = {"groups": True}

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self._by_labels()

    def get_n_splits(self, X=None, y=None, groups=None):
        """Number of folds.

        Parameters
        ----------
        X, y, groups : ignored

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def split(self, X, y=None, groups=None):
        """Row numbers of the training and of the test rows of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of rows matters.
        y : ignored
        groups : array-like of shape (n_samples,)
            Label of each row's environment.

        Yields
        ------
        train : ndarray of shape (n_train,), int
        test : ndarray of shape (n_test,), int

        Raises
        ------
        ValueError
            If ``groups`` is missing, does not fit the rows, or has a label with fewer
            rows than folds.
        """
        codes = _check_environments(groups, X, self.n_splits, "n_splits = ")
        yield from self._by_labels().split(codes, codes)

    def _by_labels(self):
        """The splitter that does the work, which checks the parameters."""
        return StratifiedKFold(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        )


class EnvironmentShuffleSplit(BaseShuffleSplit):
    """Random splits, each part with its share of the rows of every environment.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    test_size : float or int, default=None
        Share of the rows in (0, 1), or number of rows, of the test part; None is what
        ``train_size`` leaves, or 0.1 if that is None too.
    train_size : float or int, default=None
        Likewise of the training part; None is what the test part leaves.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws.

    Notes
    -----
    The environments go by the word that splitters have for labels, ``groups``, and are
    routed as :class:`EnvironmentKFold` says. The number of rows of an environment in
    either part is its share of them, to within one row where the two parts take up all
    rows. An environment so small that its share of the training part is less than one
    row is an error.

    Examples
    --------
    >>> from skident.model_selection import EnvironmentShuffleSplit
    >>> X, environments = np.zeros((8, 1)), np.repeat(["a", "b"], [6, 2])
    >>> splitter = EnvironmentShuffleSplit(2, test_size=0.5, random_state=0)
    >>> for train, test in splitter.split(X, groups=environments):
    ...     print(*sorted(environments[train]), "|", *sorted(environments[test]))
    a a a b | a a a b
    a a a b | a a a b
    """

    __metadata_request__split = {"groups": True}

    def split(self, X, y=None, groups=None):
        """Row numbers of the training and of the test rows of each split.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of rows matters.
        y : ignored
        groups : array-like of shape (n_samples,)
            Label of each row's environment.

        Yields
        ------
        train : ndarray of shape (n_train,), int
        test : ndarray of shape (n_test,), int

        Raises
        ------
        ValueError
            If ``groups`` is missing or does not fit the rows, an environment has a
            single row, the test part fewer rows than there are environments, or the
            training part is too small to hold every environment.
        """
        codes = _check_environments(groups, X, 2, "")
        sizes = {"test_size": self.test_size, "train_size": self.train_size}
        train, test = next(ShuffleSplit(1, **sizes).split(codes))
        smallest = np.bincount(codes).min()
        if len(train) * smallest < len(codes):
            raise ValueError(
                f"train_size = {self.train_size} makes {len(train)} training rows, "
                f"less than one of the smallest environment, which has {smallest}; "
                f"n_samples = {len(codes)}."
            )
        if len(test) <= codes.max():
            raise ValueError(
                f"test_size = {self.test_size} makes {len(test)} test rows, less than "
                f"one an environment, of which there are {codes.max() + 1}; "
                f"n_samples = {len(codes)}."
            )
        by_labels = StratifiedShuffleSplit(
            self.n_splits, **sizes, random_state=self.random_state
        )
        yield from by_labels.split(codes, codes)


def _check_environments(groups, X, at_least, why):
    """Position of each row's label among the sorted ones."""
    if groups is None:
        raise ValueError(
            "groups must be given, the label of each row's environment: as groups=, or "
            'with metadata routing as params={"groups": ...}.'
        )
    labels, codes = _check_labels("groups", groups, X, 1)
    n_rows = np.bincount(codes)
    if n_rows.min() < at_least:
        label = labels.tolist()[n_rows.argmin()]
        raise ValueError(
            f"groups must have at least {why}{at_least} rows of each label, got "
            f"{n_rows.min()} of {label!r}; n_samples = {len(codes)}."
        )
    return codes
