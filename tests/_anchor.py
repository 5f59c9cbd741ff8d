"""A small complete estimator with a required side input, for the tests to run on."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from skident.utils._sklearn import (
    Interval,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_environments


class AnchorRegressor(RegressorMixin, BaseEstimator):
    """Least squares with the error's between-environment part weighted by gamma.

    Parameters
    ----------
    gamma : float, default=10.0
        Weight in [0, inf), dimensionless; 1 is ordinary least squares.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Slopes, in units of ``y`` per unit of each feature.
    intercept_ : float
        Offset, in units of ``y``.
    environments_ : ndarray of shape (n_environments,)
        Sorted distinct labels seen in ``fit``.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    References
    ----------
    .. [1] Rothenhäusler et al., "Anchor regression", JRSS-B 83(2), 2021, eq. (5).

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> AnchorRegressor().fit(X, 2 * X[:, 0], environments=[0, 0, 1, 1]).coef_.round(6)
    array([2.])
    """

    __metadata_request__fit = {"environments": True}
    _parameter_constraints: dict = {"gamma": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, gamma=10.0):
        self.gamma = gamma

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, *, environments):
        """Fit the slopes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        environments : array-like of shape (n_samples,)
            Label of each row's environment; at least two distinct ones.

        Returns
        -------
        self : AnchorRegressor

        Raises
        ------
        ValueError
            If lengths differ, or fewer than two environments are given.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=True)
        self.environments_, rows = check_environments(environments, X, at_least=2)
        # With P the projection on environment means, minimising
        # |(I - P)r|^2 + gamma |P r|^2 is least squares on (I - P + sqrt(gamma) P) Z.
        Z = np.column_stack([X, y]).astype(np.float64)
        mean = Z.mean(axis=0)
        Z -= mean
        sums = np.zeros((len(self.environments_), Z.shape[1]))
        np.add.at(sums, rows, Z)
        means = sums / np.bincount(rows)[:, None]
        Z += (np.sqrt(self.gamma) - 1.0) * means[rows]
        coef = np.linalg.lstsq(Z[:, :-1], Z[:, -1], rcond=None)[0]
        self.coef_ = coef.astype(X.dtype)
        self.intercept_ = float(mean[-1] - mean[:-1] @ coef)
        return self

    def predict(self, X):
        """Predict ``y`` of shape (n_samples,), in the units given to ``fit``."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return X @ self.coef_ + self.intercept_
