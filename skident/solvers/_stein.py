"""The Stein estimator of a score, the gradient of a log-density, off the sample too."""

import numpy as np
from scipy import linalg

# Kernel entries at a time between points and the sample: 32 MiB of them.
_CHUNK_ENTRIES = 2**22


class SteinScore:
    """Estimated score of a density, which :func:`stein_score` returns.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        The sample.
    in_sample : ndarray of shape (n_samples, n_features), float64
        The score at the sample.
    eta : float
        Ridge.
    squared_width : float
        Squared width h^2 of the kernel, in squared units of ``X``.
    """

    def __init__(self, X, in_sample, eta, squared_width):
        self.X = X
        self.in_sample = in_sample
        self.eta = eta
        self.squared_width = squared_width

    def __repr__(self):
        n_samples, n_features = self.X.shape
        return f"SteinScore(n_samples={n_samples}, n_features={n_features})"

    def score(self, Y, *, squared_distances=None):
        """Score at the rows of ``Y``.

        Parameters
        ----------
        Y : array-like of shape (n_points, n_features)
        squared_distances : array-like of shape (n_points, n_samples) or None, \
                default=None
            Of ``Y`` from the sample, where they are at hand.

        Returns
        -------
        score : ndarray of shape (n_points, n_features)
            In units of one over those of ``X``.
        """
        return self.score_and_density(Y, squared_distances=squared_distances)[0]

    def score_and_density(self, Y, *, squared_distances=None):
        """Score at the rows of ``Y``, and how densely the sample lies around them.

        Parameters
        ----------
        Y : array-like of shape (n_points, n_features)
        squared_distances : array-like of shape (n_points, n_samples) or None, \
                default=None

        Returns
        -------
        score : ndarray of shape (n_points, n_features)
        density : ndarray of shape (n_points,)
            Mean of ``exp(-|y - x|^2 / (0.5 h^2))`` over the sample, in [0, 1].
        """
        Y = np.asarray(Y, dtype=np.float64)
        score, density = np.empty(Y.shape), np.empty(len(Y))
        for rows, kernel in self._kernels(Y, squared_distances):
            pull = _pull(kernel, Y[rows], self.X, self.squared_width)
            score[rows] = (pull + kernel @ self.in_sample) / -self.eta
            # exp(-4 d / (2 h^2)) is the fourth power of the kernel.
            kernel *= kernel
            density[rows] = np.einsum("ij,ij->i", kernel, kernel) / len(self.X)
        return score, density

    def jacobian(self, Y):
        """Derivatives of the score at the rows of ``Y``.

        Parameters
        ----------
        Y : array-like of shape (n_points, n_features)

        Returns
        -------
        jacobian : ndarray of shape (n_points, n_features, n_features)
            Estimated Hessians of the log-density; entry [p, a, b] is the derivative
            of component a of :meth:`score` by coordinate b. Made symmetric, as a
            Hessian is: the estimated score is not exactly a gradient.
        """
        Y = np.asarray(Y, dtype=np.float64)
        n_features = Y.shape[1]
        X, S, h2 = self.X, self.in_sample, self.squared_width
        # With U_i = (x_i - y) / h^2, the sum of k_i (S_i - U_i) U_i^T needs only
        # moments of x_i: all points at once are matrix products.
        products = np.einsum("ia,ib->iab", S - X / h2, X).reshape(len(X), -1)
        jacobian = np.empty((len(Y), n_features, n_features))
        for rows, kernel in self._kernels(Y):
            y = Y[rows]
            total, first = kernel.sum(axis=1), kernel @ X
            lifted = kernel @ (S - X / h2)
            second = (kernel @ products).reshape(-1, n_features, n_features)
            outer = np.einsum("pa,pb->pab", y, first - total[:, None] * y) / h2
            second -= np.einsum("pa,pb->pab", lifted, y)
            jacobian[rows] = (second + outer) / h2
            jacobian[rows] += (total / h2)[:, None, None] * np.eye(n_features)
        jacobian += jacobian.transpose(0, 2, 1).copy()
        return jacobian / (-2 * self.eta)

    def divergence(self, Y):
        """Sum of the derivatives of each component by its own coordinate.

        Parameters
        ----------
        Y : array-like of shape (n_points, n_features)

        Returns
        -------
        divergence : ndarray of shape (n_points,)
            The trace of :meth:`jacobian`, in a fraction of its time.
        """
        return self._loss_terms(np.asarray(Y, dtype=np.float64))[1]

    def hyvarinen_loss(self, Y):
        """Hyvarinen's loss on the rows of ``Y``, best rows held out.

        Parameters
        ----------
        Y : array-like of shape (n_points, n_features)

        Returns
        -------
        loss : float
            Mean of ``|score|^2 / 2 + divergence``: the mean squared error of the
            score, halved, up to a constant of the density of ``Y``.
        """
        score, divergence = self._loss_terms(np.asarray(Y, dtype=np.float64))
        return float((0.5 * np.square(score).sum(axis=1) + divergence).mean())

    def _loss_terms(self, Y):
        X, S, h2 = self.X, self.in_sample, self.squared_width
        # The trace of the sum of k_i (S_i - U_i) U_i^T, from moments of x_i.
        own = np.einsum("ia,ia->i", S - X / h2, X)
        score, divergence = np.empty(Y.shape), np.empty(len(Y))
        for rows, kernel in self._kernels(Y):
            y = Y[rows]
            total, pulled = kernel.sum(axis=1), kernel @ S
            first = kernel @ X
            pull = total[:, None] * y - first
            trace = kernel @ own + np.einsum("pa,pa->p", (first - pull) / h2, y)
            trace -= np.einsum("pa,pa->p", pulled, y)
            divergence[rows] = (trace + total * Y.shape[1]) / h2
            score[rows] = pull / h2 + pulled
        return score / -self.eta, divergence / -self.eta

    def _kernels(self, Y, squared_distances=None):
        """Kernels between a slice of the rows of ``Y`` and the sample, overwritable."""
        if Y.ndim != 2 or Y.shape[1] != self.X.shape[1]:
            raise ValueError(
                f"Y must be of shape (n_points, {self.X.shape[1]}), got {Y.shape}."
            )
        step = max(1, _CHUNK_ENTRIES // len(self.X))
        for low in range(0, len(Y), step):
            rows = slice(low, low + step)
            if squared_distances is None:
                kernel = squared_euclidean(Y[rows], self.X)
            else:
                kernel = np.array(squared_distances[rows], dtype=np.float64)
            kernel *= -0.5 / self.squared_width
            yield rows, np.exp(kernel, out=kernel)


def stein_score(X, *, eta=0.3, bandwidth=1.0, squared_distances=None):
    """Score of the density of a sample, by a regularised Stein identity.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, best of features of similar scale: the kernel is isotropic.
    eta : float, default=0.3
        Ridge on the kernel matrix, whose diagonal is 1; dimensionless.
    bandwidth : float, default=1.0
        Width h of the Gaussian kernel ``exp(-|x - y|^2 / (2 h^2))`` in root median
        squared distances between rows.
    squared_distances : array-like of shape (n_samples, n_samples) or None, default=None
        Between the rows of ``X``, where they are at hand.

    Returns
    -------
    score : SteinScore

    Raises
    ------
    ValueError
        If ``X`` is not two-dimensional with at least two rows, is not finite or has
        all rows equal, or if ``eta`` or ``bandwidth`` is not positive.

    Notes
    -----
    At the sample, the estimator of Li and Turner [1]_. With ``zeta(y)`` the sum over
    rows of ``grad_x k(x, y)`` and S the estimate at the sample, the estimate anywhere
    is ``-(zeta(y) + k(y, X) S) / eta``: at the sample it is S, off it the solution of
    the same Tikhonov problem. One Cholesky factorisation in float64: O(n_samples^3 / 3
    + n_samples^2 n_features) operations and n_samples^2 numbers.

    References
    ----------
    .. [1] Li and Turner, "Gradient estimators for implicit models", ICLR 2018,
       arXiv:1705.07107.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import stein_score
    >>> X = np.random.default_rng(0).standard_normal((1000, 2))
    >>> score = stein_score(X, eta=1.0).score([[1.0, -1.0]])  # truth: -1, 1
    >>> bool(abs(score - [[-1.0, 1.0]]).max() < 0.3)
    True
    """
    X, kernel, h2 = _kernel_matrix(X, eta, bandwidth, squared_distances)
    pull = _pull(kernel, X, X, h2)
    factor = _ridge_factor(kernel, eta)
    in_sample = linalg.cho_solve(factor, -pull, overwrite_b=True, check_finite=False)
    return SteinScore(X, in_sample, float(eta), h2)


def stein_hessian_diagonal(X, *, eta=0.3, bandwidth=1.0, squared_distances=None):
    """Second derivatives of the log-density at the sample, by Stein's identities.

    Parameters
    ----------
    X, eta, bandwidth, squared_distances
        As in :func:`stein_score`.

    Returns
    -------
    diagonal : ndarray of shape (n_samples, n_features)
        Second derivative by each coordinate, in units of one over those of ``X``,
        squared.

    Raises
    ------
    ValueError
        As :func:`stein_score`.

    Notes
    -----
    The second-order estimator of [1]_: with S the score, ``-S^2`` plus the ridge
    solution for the kernel's second derivatives.

    References
    ----------
    .. [1] Rolland et al., "Score matching enables causal discovery of nonlinear
       additive noise models", ICML 2022, arXiv:2203.04413.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import stein_hessian_diagonal
    >>> X = np.random.default_rng(0).standard_normal((1000, 1))
    >>> bool(abs(np.median(stein_hessian_diagonal(X)) + 1.0) < 0.3)  # truth: -1
    True
    """
    X, kernel, h2 = _kernel_matrix(X, eta, bandwidth, squared_distances)
    pull = _pull(kernel, X, X, h2)
    # Sum over i of k_i ((x_i - y)^2 / h^2 - 1) / h^2, a column a coordinate.
    total = kernel.sum(axis=1, keepdims=True)
    spread = kernel @ np.square(X) - 2 * X * (kernel @ X) + total * np.square(X)
    bend = (spread / h2 - total) / h2
    factor = _ridge_factor(kernel, eta)
    both = linalg.cho_solve(factor, np.hstack([pull, bend]), check_finite=False)
    score, second = np.hsplit(both, 2)
    return second - np.square(score)


def squared_euclidean(A, B):
    """Squared distances (n_a, n_b) between rows, none of them negative."""
    # Products beat differences by far; the centre of B keeps their digits.
    centre = B.mean(axis=0)
    A, B = A - centre, B - centre
    distances = A @ B.T
    distances *= -2.0
    distances += np.einsum("ij,ij->i", A, A)[:, None]
    distances += np.einsum("ij,ij->i", B, B)
    return np.maximum(distances, 0.0, out=distances)


def median_of_pairs(squared_distances):
    """Median over pairs of different rows; the mean where most pairs coincide."""
    n_samples = len(squared_distances)
    # The diagonal's zeros are the smallest entries: the median of the others is an
    # order statistic of all, without a copy of one triangle.
    flat = squared_distances.reshape(-1).copy()
    n_pairs = n_samples * (n_samples - 1)
    middle = n_samples + n_pairs // 2
    flat.partition([middle - 1, middle])
    median = (flat[middle - 1] + flat[middle]) / 2
    return float(median if median > 0 else flat.sum() / n_pairs)


def _kernel_matrix(X, eta, bandwidth, squared_distances):
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or len(X) < 2:
        raise ValueError(
            "X must be two-dimensional with at least two rows, got shape "
            f"{X.shape}; n_samples = {len(X)}."
        )
    for name, value in (("eta", eta), ("bandwidth", bandwidth)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}.")
    if squared_distances is None:
        distances = squared_euclidean(X, X)
        np.fill_diagonal(distances, 0.0)
    else:
        distances = np.array(squared_distances, dtype=np.float64)
    median = median_of_pairs(distances)
    if not (np.isfinite(median) and median > 0):
        raise ValueError(
            "X must be finite and have rows that differ: the median squared distance "
            f"is {median:.3g}; n_samples = {len(X)}."
        )
    h2 = float(bandwidth) ** 2 * median
    distances *= -0.5 / h2
    return X, np.exp(distances, out=distances), h2


def _pull(kernel, Y, X, h2):
    """zeta: sum over the sample of the kernel's gradient in the sample's point."""
    pull = kernel.sum(axis=1, keepdims=True) * Y
    pull -= kernel @ X
    return pull / h2


def _ridge_factor(kernel, eta):
    kernel[np.diag_indices_from(kernel)] += eta
    return linalg.cho_factor(kernel, overwrite_a=True, check_finite=False)
