"""Preconditioned L-BFGS for ICA: on the rotations, and on all invertible matrices.

The gradient is relative: the derivative of the loss of ``expm(E) W`` (of ``(I + E) W``
off the rotations) with respect to E at zero.
"""

import numpy as np

# Above this gradient a step must lower the loss; below it the slope along the step
# decides, because differences of losses drown in rounding first.
_LOSS_DECIDES = 3e-2
# The step's end may be uphill by at most this share of the slope at its start: the
# trapezoid rule then still promises a lower loss (Hager and Zhang's approximate Wolfe
# condition).
_MAX_UPHILL = 0.9
# E f(g) of a standard normal g, for the antiderivatives log cosh(y), -exp(-y^2 / 2)
# and y^4 / 4 of the scores.
_GAUSSIAN_LOSS = {"tanh": 0.3745672075, "exp": -np.sqrt(0.5), "cube": 0.75}
# Largest entry of a step of rotations, in radians. Longer ones come of curvatures near
# zero; a component passes others on the way, and the slope at the end says nothing.
_MAX_ANGLE = np.pi / 4
# Float32 sums leave about this much of the loss to chance.
_LOSS_ROUNDING = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}
# Scores in float32 of sources in float64 leave about 4e-9 of the gradient to chance
# where the score is bounded: a fiftieth of this.
_NARROW_TOL = 2e-7
# Below this gradient the rate of one step tells that of the next.
_TRUSTED = 1e-4
# Rounding is suspected below this gradient, once it has not fallen by a tenth in so
# many iterations. Larger gradients may stand still near a saddle point.
_ROUNDING_BELOW = 1e-5
_PATIENCE = 25


def skew(A):
    """Skew-symmetric part."""
    return (A - A.T) / 2


def polar(A):
    """Orthogonal factor of the polar decomposition, the nearest orthogonal matrix."""
    scale = np.sqrt(np.abs(A).sum(axis=0).max() * np.abs(A).sum(axis=1).max())
    if scale > 0 and np.isfinite(scale):
        # Newton and Schulz: products only, far cheaper than a decomposition.
        Q = A / scale
        identity = np.eye(len(A))
        for _ in range(30):
            gap = identity - Q.T @ Q
            Q = Q + 0.5 * (Q @ gap)
            if np.abs(gap).max() < 1e-9:
                return Q
    left, _, right = np.linalg.svd(A)
    return left @ right


def rotation_of(A):
    """``expm(A)`` of a skew-symmetric matrix to 1e-9, by squaring a Taylor sum."""
    size = np.abs(A).sum(axis=0).max()
    halvings = max(0, int(np.ceil(np.log2(max(size, 1e-300) / 0.5))))
    A, bound = A / 2.0**halvings, size / 2.0**halvings
    term = A
    total = np.eye(len(A)) + A
    left, order = bound, 1
    # The last digits are those of orthogonality, which ``move`` restores.
    while left > 1e-9:
        order += 1
        term = term @ A / order
        total += term
        left *= bound / order
    for _ in range(halvings):
        total = total @ total
    return total


def extended_signs(found, square):
    """1 where the score is stable for a component, -1 where its negative is."""
    gain = found.slope * square - np.diag(found.product)
    return np.where(gain >= 0, 1.0, -1.0)


def signed_loss(found, signs, fun):
    """``sum_i s_i E[f(y_i) - f(g)]`` for standard normal g.

    Without the second term losses of unlike signs could not be compared.
    """
    return float(signs @ (found.loss - _GAUSSIAN_LOSS[fun]))


class Rotations:
    """The loss ``sum_i s_i E[f(y_i) - f(g)]``, g standard normal, of rotations."""

    def __init__(self, fun, extended, lambda_min):
        self.fun, self.extended, self.lambda_min = fun, extended, lambda_min

    def signs(self, found, W):
        """Sign of each component's density."""
        if not self.extended:
            return np.ones(len(W))
        return extended_signs(found, 1.0)

    def gradient(self, found, W, signs):
        """Relative gradient, skew-symmetric."""
        return skew(signs[:, None] * found.product)

    def loss(self, found, W, signs):
        """Mean loss a row, zero for Gaussian sources."""
        return signed_loss(found, signs, self.fun)

    def solver(self, found, W, signs):
        """Division by the diagonal approximation of the Hessian."""
        own = signs * (found.slope - np.diag(found.product))
        hessian = np.maximum((own[:, None] + own[None, :]) / 2, self.lambda_min)
        return lambda G: G / hessian

    def move(self, W, step):
        """Follow the geodesic, and take out what rounding has added."""
        W = rotation_of(step) @ W
        return 1.5 * W - 0.5 * (W @ (W.T @ W))

    def bounded(self, step):
        """The step, shortened to the largest angle."""
        return step * min(1.0, _MAX_ANGLE / max(np.abs(step).max(), 1e-300))

    def slope(self, gradient, step):
        """Derivative of the loss along ``step`` at its end."""
        return np.vdot(gradient, step)


class InvertibleMaps:
    """The likelihood of invertible maps of whitened rows.

    The densities are ``log p(y) = -s_i f(y) - y^2 / 2`` when extended, else
    ``-f(y)``, for the antiderivative f of the score.
    """

    def __init__(self, fun, extended, lambda_min):
        self.fun, self.extended, self.lambda_min = fun, extended, lambda_min

    def signs(self, found, W):
        """Sign of each component's density."""
        if not self.extended:
            return np.ones(len(W))
        return extended_signs(found, np.einsum("ij,ij->i", W, W))

    def gradient(self, found, W, signs):
        """Relative gradient ``E[psi(y) y^T] - I``."""
        product = signs[:, None] * found.product
        if self.extended:
            product = product + W @ W.T
        return product - np.eye(len(W))

    def loss(self, found, W, signs):
        """Mean negative log-likelihood of a row, up to a constant."""
        loss = signed_loss(found, signs, self.fun) - np.linalg.slogdet(W)[1]
        if self.extended:
            loss += 0.5 * np.vdot(W, W)
        return float(loss)

    def solver(self, found, W, signs):
        """Solves with the approximation by 2 x 2 blocks of the Hessian."""
        slope = signs * found.slope + (1.0 if self.extended else 0.0)
        hessian = slope[:, None] * np.einsum("ij,ij->i", W, W)[None, :]
        spread = np.sqrt((hessian - hessian.T) ** 2 + 4.0)
        smallest = (hessian + hessian.T - spread) / 2
        # The diagonal blocks are scalars: the entry and the one of log|det|.
        np.fill_diagonal(smallest, self.lambda_min)
        hessian += np.maximum(self.lambda_min - smallest, 0.0)
        diagonal = np.maximum(np.diag(hessian) + 1.0, self.lambda_min)
        determinant = hessian * hessian.T - 1.0
        np.fill_diagonal(determinant, 1.0)

        def solve(G):
            solved = (hessian.T * G - G.T) / determinant
            np.fill_diagonal(solved, np.diag(G) / diagonal)
            return solved

        return solve

    def move(self, W, step):
        """Add the relative step."""
        return W + step @ W

    def bounded(self, step):
        """The step: the likelihood itself keeps maps invertible."""
        return step

    def slope(self, gradient, step):
        """Derivative of the loss along ``step`` at its end."""
        identity = np.eye(len(step))
        return np.vdot(gradient, np.linalg.solve((identity + step).T, step.T).T)


class Patience:
    """Tells when a small gradient has stopped falling."""

    def __init__(self):
        self.best, self.since = np.inf, 0

    def ends(self, norm):
        """Take in the gradient of one more iteration."""
        self.since += 1
        if norm < 0.9 * self.best or norm > 10.0 * self.best:
            self.best, self.since = norm, 0
        return self.since > _PATIENCE and self.best < _ROUNDING_BELOW


class Descent:
    """A minimisation that can go on in another precision, or on other rows.

    Parameters
    ----------
    geometry : Rotations or InvertibleMaps
        The set of maps and its loss.
    W : ndarray of shape (k, k)
        Where to start.
    memory : int
        Number of steps that L-BFGS remembers.
    ls_tries : int
        Number of lengths tried along a direction, each half of the one before.
    """

    def __init__(self, geometry, W, memory, ls_tries):
        self.geometry, self.W, self.fun = geometry, W, geometry.fun
        self.memory, self.ls_tries = memory, ls_tries
        self.signs = self.gradient = self.found = None
        self.history, self.n_iter = [], 0
        self._past, self._narrow = [], False

    @property
    def norm(self):
        """Largest entry of the gradient in absolute value."""
        return float(np.abs(self.gradient).max())

    def run(self, rows, tol, max_iter, dtype):
        """Descend until the gradient is at most ``tol``; tell whether it is.

        ``max_iter`` bounds ``n_iter``, the steps of all runs.
        A run in float32 also ends when rounding keeps the gradient from falling, and
        one step early when that step should do: the pass that tells is left to
        float64.
        """
        dtype = np.dtype(dtype)
        single = dtype == np.float32
        # Passes in float64 are few, and the last of them gives the loss to report.
        self._narrow = not single and tol >= _NARROW_TOL and self.fun != "cube"
        found = self._evaluate(rows, self.W, dtype, with_loss=not single)
        self._accept(self.W, found, None)
        patience = Patience()
        while True:
            self.history.append(self.norm)
            if self.norm <= tol:
                return True
            if self.n_iter >= max_iter:
                return False
            if patience.ends(self.norm) and single:
                return False
            direction = self.geometry.bounded(-self._direction())
            if single and self._one_step_left(tol):
                self.W = self.geometry.move(self.W, direction)
                self.n_iter += 1
                return True
            if not self._search(rows, direction, dtype):
                self._past = []
                if not self._search(rows, -self.gradient, dtype):
                    return False

    def _one_step_left(self, tol):
        if len(self.history) < 2 or self.norm > _TRUSTED:
            return False
        return self.norm**2 <= 0.3 * tol * self.history[-2]

    def _direction(self):
        q, weights = self.gradient.copy(), []
        for s, y, r in reversed(self._past):
            weights.append(r * np.vdot(s, q))
            q -= weights[-1] * y
        solve = self.geometry.solver(self.found, self.W, self.signs)
        z = solve(q)
        for (s, y, r), a in zip(self._past, reversed(weights), strict=True):
            z += (a - r * np.vdot(y, z)) * s
        return z

    def _search(self, rows, direction, dtype):
        """Take the first length along the direction that does; whether one did."""
        slope = np.vdot(self.gradient, direction)
        if not slope < 0:
            return False
        geometry, decisive = self.geometry, self.norm > _LOSS_DECIDES
        if decisive:
            if self.found.loss is None:
                self.found = self._evaluate(rows, self.W, dtype, with_loss=True)
            loss = geometry.loss(self.found, self.W, self.signs)
            scores = np.dtype(np.float32) if self._narrow else dtype
            limit = loss + _LOSS_ROUNDING[scores] * abs(loss)
        for _ in range(self.ls_tries):
            W = geometry.move(self.W, direction)
            with_loss = decisive or dtype == np.float64
            found = self._evaluate(rows, W, dtype, with_loss=with_loss)
            if decisive:
                good = geometry.loss(found, W, self.signs) < limit
            else:
                gradient = geometry.gradient(found, W, self.signs)
                good = geometry.slope(gradient, direction) <= -_MAX_UPHILL * slope
            if good:
                self._accept(W, found, direction)
                return True
            direction, slope = direction / 2, slope / 2
        return False

    def _evaluate(self, rows, W, dtype, *, with_loss):
        return rows.evaluate(
            W, self.fun, dtype, with_loss=with_loss, narrow=self._narrow
        )

    def _accept(self, W, found, step):
        self.n_iter += step is not None
        signs = self.geometry.signs(found, W)
        gradient = self.geometry.gradient(found, W, signs)
        if self.signs is not None and (signs != self.signs).any():
            self._past = []
        elif step is not None:
            change = gradient - self.gradient
            inner = np.vdot(step, change)
            # A step along which the slope does not rise says nothing of curvature.
            if inner > 1e-10 * np.sqrt(np.vdot(step, step) * np.vdot(change, change)):
                self._past = [*self._past, (step, change, 1.0 / inner)][-self.memory :]
        self.W, self.found, self.signs, self.gradient = W, found, signs, gradient
