"""A linear model whose outcome is missing by choice, with or without an instrument."""

from numbers import Integral, Real

import numpy as np
from scipy.linalg import toeplitz
from scipy.special import ndtr
from sklearn.utils import Bunch, check_random_state

from skident.utils._sklearn import Interval, validate_parameter_constraints

_CORRELATION = 0.5  # of neighbouring covariates
_COEF = 0.4
_RHO = 0.8  # of the two noises, where outcomes are not missing at random
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "theta": [Interval(Real, None, None, closed="neither")],
    "mar": ["boolean"],
    "random_state": ["random_state"],
}


def make_sample_selection(
    n_samples=2000, n_features=100, *, theta=1.0, mar=True, random_state=None
):
    """Linear outcomes of a treatment that are seen in selected rows alone.

    The design with which [1]_ tests estimates under sample selection: covariates and
    treatment of every row are known, the outcome only where it was selected. Given
    covariates and treatment it is missing at random; or else the noises of outcome and
    selection go together, and an instrument z moves the selection alone.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of rows, selected or not.
    n_features : int, default=100
        Number of covariates.
    theta : float, default=1.0
        Effect of the treatment, the same in every row.
    mar : bool, default=True
        Whether outcomes are missing at random.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, n_features)
            Covariates.
        y : ndarray of shape (n_samples,)
            Outcomes; NaN in rows that were not selected.
        treatment : ndarray of int of shape (n_samples,)
            0 or 1.
        selected : ndarray of bool of shape (n_samples,)
            Whether the outcome was seen.
        instrument : ndarray of shape (n_samples,)
            The variable z; it acts on the selection only with ``mar=False``.
        selection_prob : ndarray of shape (n_samples,)
            Probability of selection given covariates, treatment and instrument; given
            the outcome as well it is another one with ``mar=False``.
        propensity : ndarray of shape (n_samples,)
            Probability of treatment given covariates.
        outcomes : ndarray of shape (n_samples,)
            Outcomes of all rows.
        coef : ndarray of shape (n_features,)
            The coefficients b below.
        true_effect : float
            ``theta``.
        DESCR, citation : str
            How the data were made, and what to cite.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    Covariates are normal with variances 1 and correlations :math:`0.5^{|j-k|}`, and
    :math:`b_j = 0.4 / j^2`. With independent standard normal e, z and noises u, v,

    .. math::

        T = 1\\{x \\cdot b + e > 0\\}, \\quad
        S = 1\\{x \\cdot b + T + \\gamma z + v > 0\\}, \\quad
        Y = \\theta T + x \\cdot b + u,

    where :math:`\\gamma = 0` and u, v are independent if outcomes are missing at
    random, else :math:`\\gamma = 1` and their correlation is 0.8.

    References
    ----------
    .. [1] Bia, Huber and Lafférs, "Double machine learning for sample selection
       models", Journal of Business & Economic Statistics 42(3), 2024.

    Examples
    --------
    >>> from skident.datasets import make_sample_selection
    >>> data = make_sample_selection(500, 5, random_state=0)
    >>> data.X.shape, bool(np.isnan(data.y).sum() == (~data.selected).sum())
    ((500, 5), True)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_sample_selection"
    )
    rng = check_random_state(random_state)
    covariance = toeplitz(_CORRELATION ** np.arange(n_features))
    X = rng.standard_normal((n_samples, n_features)) @ np.linalg.cholesky(covariance).T
    coef = _COEF / np.arange(1, n_features + 1) ** 2
    index = X @ coef
    e, z, u, v = rng.standard_normal((4, n_samples))
    gamma = 0.0 if mar else 1.0
    if not mar:
        v = _RHO * u + np.sqrt(1 - _RHO**2) * v
    treatment = (index + e > 0).astype(np.int64)
    drive = index + treatment + gamma * z
    selected = drive + v > 0
    outcomes = theta * treatment + index + u
    missing = "at random" if mar else "not at random; z moves the selection alone"
    return Bunch(
        X=X,
        y=np.where(selected, outcomes, np.nan),
        treatment=treatment,
        selected=selected,
        instrument=z,
        selection_prob=ndtr(drive),
        propensity=ndtr(index),
        outcomes=outcomes,
        coef=coef,
        true_effect=float(theta),
        DESCR=(
            f"{n_samples} rows with {n_features} covariates, of which "
            f"{selected.sum()} show their outcome; the others miss it {missing}. The "
            f"treatment adds {theta:g}."
        ),
        citation=(
            "M. Bia, M. Huber and L. Lafférs, Double machine learning for sample "
            "selection models, Journal of Business & Economic Statistics 42(3), 2024."
        ),
    )
