"""Likelihood of a sample that was selected by covariates, treatment and outcome.

The law of a selected row is proportional to
``p(x) P(t | x) f(y | x, t) beta(x, y, t) A_t(x)``, and the likelihood divides by the
integral of that: over a modelled density of the covariates, or over a sample of them.
Gradients are exact derivatives of the quadrature, so that any number of nodes gives a
consistent pair.
"""

import numpy as np
from scipy.linalg import block_diag
from scipy.special import expit, log_expit, logsumexp

from skident.effects._polynomials import design
from skident.effects._selection_families import log_selection

# Below this the sum of a row's probabilities is taken on the logarithmic scale.
_LEAST_SUM = 1e-200


class SelectionLikelihood:
    """Log-likelihood, gradient, information and scores of a selected sample.

    Parameters
    ----------
    U : ndarray of shape (n, d)
        Covariates in units of the box.
    y : ndarray of shape (n,)
        Outcomes on the scale of the family.
    t : ndarray of int of shape (n,)
        Arm.
    weight : ndarray of shape (n,)
    family : object
        See :mod:`skident.effects._selection_families`.
    form : {"logistic", "probit"}
        Of the selection probability.
    depends_on : sequence of {"X", "T", "Y"}
        What it depends on; nothing for a constant.
    degree : tuple of two ints
        Of the polynomial of each arm.
    propensity_degree : int
    density_degree : int
        Of the log-density of the covariates; 0 for uniform.
    points : ndarray of shape (G, d)
        Points of the integral over covariates, in units of the box.
    log_volume : ndarray of shape (G,)
        Their log-weights.
    mask : ndarray of bool of shape (G, 2)
        Where each arm can be observed, at the points.
    penalty : float, default=1e-4
        Ridge on the slopes of the selection probability, on the log-likelihood.
    """

    def __init__(
        self,
        U,
        y,
        t,
        weight,
        *,
        family,
        form,
        depends_on,
        degree,
        propensity_degree,
        density_degree,
        points,
        log_volume,
        mask,
        penalty=1e-4,
    ):
        self.U, self.y, self.t, self.weight = U, y, t, weight
        self.family, self.form, self.depends_on = family, form, tuple(depends_on)
        self.degree, self.propensity_degree = tuple(degree), propensity_degree
        self.density_degree = density_degree
        self.points, self.log_volume, self.mask = points, log_volume, mask
        self.rows = [np.flatnonzero(t == arm) for arm in (0, 1)]
        self.total = weight.sum()

        self.basis = [design(U[self.rows[a]], degree[a]) for a in (0, 1)]
        self.basis_propensity = design(U, propensity_degree)
        # The constant of a log-density cancels with its integral.
        self.basis_density = design(U, density_degree)[:, 1:]
        widths = {
            "b0": self.basis[0].shape[1],
            "s0": family.n_shape,
            "b1": self.basis[1].shape[1],
            "s1": family.n_shape,
            "c": self.basis_propensity.shape[1],
            "g": self.selection_design(U[:1], 0).shape[1] if depends_on else 0,
            "gy": int("Y" in depends_on),
            "k": self.basis_density.shape[1],
        }
        self.slices, start = {}, 0
        for name, width in widths.items():
            self.slices[name] = slice(start, start + width)
            start += width
        self.n_params = start
        # The same at the points, for both arms.
        self.at = [design(points, degree[arm]) for arm in (0, 1)]
        self.at_propensity = design(points, propensity_degree)
        self.at_density = design(points, density_degree)[:, 1:]
        self.at_selection = [self.selection_design(points, arm) for arm in (0, 1)]
        self.row_selection = self.selection_design(U, t)
        self.penalty = np.zeros(start)
        self.penalty[self.slices["g"]] = penalty
        self.penalty[self.slices["gy"]] = penalty
        if depends_on:
            self.penalty[self.slices["g"].start] = 0.0

    def selection_design(self, U, t):
        """What the selection's linear predictor is linear in, but the outcome."""
        columns = [np.ones((len(U), 1))]
        if "X" in self.depends_on:
            columns.append(U)
        if "T" in self.depends_on:
            # Centred, so that the arms' names do not matter to the penalty.
            columns.append(np.broadcast_to(np.asarray(t) - 0.5, len(U))[:, None])
        return np.hstack(columns)

    def parts(self, theta):
        """Parameters by name."""
        return {name: theta[where] for name, where in self.slices.items()}

    def join(self, **parts):
        """One vector of parameters from those by name; zeros for the others."""
        theta = np.zeros(self.n_params)
        for name, value in parts.items():
            where = self.slices[name]
            width = min(where.stop - where.start, len(value))
            theta[where.start : where.start + width] = value[:width]
        return theta

    # Terms of the rows

    def row_terms(self, theta, *, scores=False):
        """Log-density of each row before normalisation, (n,), and its gradient."""
        p = self.parts(theta)
        n = len(self.y)
        value = np.zeros(n)
        S = np.zeros((n, self.n_params)) if scores else None
        for arm in (0, 1):
            rows, B = self.rows[arm], self.basis[arm]
            density, by_eta, by_shape = self.family.log_density(
                self.y[rows], B @ p[f"b{arm}"], p[f"s{arm}"]
            )
            value[rows] = density
            if scores:
                S[rows, self.slices[f"b{arm}"]] = by_eta[:, None] * B
                S[rows, self.slices[f"s{arm}"]] = by_shape.T
        eta = self.basis_propensity @ p["c"]
        value += log_expit(np.where(self.t == 1, eta, -eta))
        if scores:
            S[:, self.slices["c"]] = (self.t - expit(eta))[
                :, None
            ] * self.basis_propensity
        if self.depends_on:
            G = self.row_selection
            eta = G @ p["g"]
            if "Y" in self.depends_on:
                eta = eta + p["gy"][0] * self.y
            chance, slope = log_selection(eta, self.form)
            value += chance
            if scores:
                S[:, self.slices["g"]] = slope[:, None] * G
                if "Y" in self.depends_on:
                    S[:, self.slices["gy"]] = (slope * self.y)[:, None]
        if self.density_degree:
            value += self.basis_density @ p["k"]
            if scores:
                S[:, self.slices["k"]] = self.basis_density
        return value, S

    # Terms of the points

    def _nodes(self, p, arm, eta, base):
        """Outcome nodes, their chances given selection, slopes and log-chance."""
        y, log_weight, by_eta, by_shape, weight_by_shape = self.family.nodes(
            eta, p[f"s{arm}"]
        )
        linear = base[:, None] + p["gy"][0] * y
        if self.form == "logistic":
            # One transcendental function a node, as most of the time goes here.
            chance = expit(linear)
            slope = 1.0 - chance
            chance *= np.exp(log_weight)
            B = chance.sum(axis=1)
            if B.min() > _LEAST_SUM:
                chance /= B[:, None]
                return y, chance, slope, np.log(B), by_eta, by_shape, weight_by_shape
        log_chance, slope = log_selection(linear, self.form)
        log_chance = log_chance + log_weight
        log_B = logsumexp(log_chance, axis=1)
        chance = np.exp(log_chance - log_B[:, None])
        return y, chance, slope, log_B, by_eta, by_shape, weight_by_shape

    def arm_chance(self, p, arm, *, gradient=False):
        """Log of P(t | x) B_t(x) at the points, (G,), and its gradient (G, p)."""
        B, C = self.at[arm], self.at_propensity
        eta_c = C @ p["c"]
        value = log_expit(eta_c if arm else -eta_c)
        D = np.zeros((len(B), self.n_params)) if gradient else None
        if gradient:
            D[:, self.slices["c"]] = (arm - expit(eta_c))[:, None] * C
            D[:, self.slices["k"]] = self.at_density
        if not self.depends_on:
            return value, D
        G = self.at_selection[arm]
        base = G @ p["g"]
        if "Y" not in self.depends_on:
            chance, slope = log_selection(base, self.form)
            if gradient:
                D[:, self.slices["g"]] = slope[:, None] * G
            return value + chance, D
        y, chance, slope, log_B, by_eta, by_shape, weight_by_shape = self._nodes(
            p, arm, B @ p[f"b{arm}"], base
        )
        if gradient:
            slope = slope * chance
            mean_slope = slope.sum(axis=1)
            moved = p["gy"][0] * np.einsum("gk,gk->g", slope, by_eta)
            D[:, self.slices[f"b{arm}"]] = moved[:, None] * B
            shape = p["gy"][0] * np.einsum("gk,sgk->gs", slope, by_shape)
            if weight_by_shape is not None:
                shape = shape + chance @ weight_by_shape.T
            D[:, self.slices[f"s{arm}"]] = shape
            D[:, self.slices["g"]] = mean_slope[:, None] * G
            D[:, self.slices["gy"]] = np.einsum("gk,gk->g", slope, y)[:, None]
        return value + log_B, D

    def normaliser(self, theta, *, gradient=False):
        """Log-normaliser, each point's share in it, and the points' gradients.

        Returns
        -------
        value : float
        share : ndarray of shape (2, G)
            Law of arm and point among the selected.
        gradient : None or list of two ndarrays of shape (G, p)
            Of the logarithm of each arm's terms.
        """
        p = self.parts(theta)
        start = self.log_volume + self.at_density @ p["k"]
        arms = [self.arm_chance(p, arm, gradient=gradient) for arm in (0, 1)]
        terms = [
            np.where(self.mask[:, arm], start + arms[arm][0], -np.inf) for arm in (0, 1)
        ]
        value = logsumexp(terms)
        return (
            value,
            np.exp(np.stack(terms) - value),
            [D for _, D in arms] if gradient else None,
        )

    def mean_score(self, theta):
        """Gradient of the log-normaliser, (p,)."""
        _, share, D = self.normaliser(theta, gradient=True)
        return share[0] @ D[0] + share[1] @ D[1]

    def scores(self, theta):
        """Gradient of the log-density of each row, (n, p)."""
        _, S = self.row_terms(theta, scores=True)
        return S - self.mean_score(theta)

    def log_density(self, theta):
        """Log-density of each selected row, (n,), on the scale of the family."""
        return self.row_terms(theta)[0] - self.normaliser(theta)[0]

    def value(self, theta):
        """Penalised log-likelihood."""
        p = self.parts(theta)
        if not (self.family.allowed(p["s0"]) and self.family.allowed(p["s1"])):
            return -np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            density = self.log_density(theta)
            value = self.weight @ density - 0.5 * self.penalty @ theta**2
        return value if np.isfinite(value) else -np.inf

    def gradient(self, theta):
        """Its gradient, (p,)."""
        return self.weight @ self.scores(theta) - self.penalty * theta

    # Information

    def information(self, theta):
        """Expected information of the penalised log-likelihood, (p, p)."""
        p = self.parts(theta)
        out = np.diag(self.penalty)
        _, share, _ = self.normaliser(theta)
        mean = np.zeros(self.n_params)
        for arm in (0, 1):
            second, first = self._moments(p, arm, share[arm])
            out += self.total * second
            mean += first
        return out - self.total * np.outer(mean, mean)

    def _moments(self, p, arm, weight):
        """Second and first moments of an arm's scores, over the law of the selected."""
        some = weight > 0
        if not some.any():
            return np.zeros((self.n_params, self.n_params)), np.zeros(self.n_params)
        weight, B = weight[some], self.at[arm][some]
        C, G = self.at_propensity[some], self.at_selection[arm][some]
        eta = B @ p[f"b{arm}"]
        fixed = np.zeros((len(B), self.n_params))
        fixed[:, self.slices["c"]] = (arm - expit(C @ p["c"]))[:, None] * C
        fixed[:, self.slices["k"]] = self.at_density[some]
        if "Y" in self.depends_on:
            y, chance, slope, *_ = self._nodes(p, arm, eta, G @ p["g"])
        else:
            y, log_weight, *_ = self.family.nodes(eta, p[f"s{arm}"])
            chance = np.broadcast_to(np.exp(log_weight), y.shape)
            if self.depends_on:
                slope = log_selection(G @ p["g"], self.form)[1]
                fixed[:, self.slices["g"]] = slope[:, None] * G
        _, by_eta, by_shape = self.family.log_density(y, eta[:, None], p[f"s{arm}"])
        # What varies with the outcome, and the columns that go with it.
        features = [by_eta, *by_shape]
        columns = [self.slices[f"b{arm}"]]
        designs = [B]
        for j in range(self.family.n_shape):
            start = self.slices[f"s{arm}"].start + j
            columns.append(slice(start, start + 1))
            designs.append(np.ones((len(B), 1)))
        if "Y" in self.depends_on:
            features += [slope, slope * y]
            columns += [self.slices["g"], self.slices["gy"]]
            designs += [G, np.ones((len(B), 1))]
        features.append(np.ones_like(y))
        columns.append(slice(0, self.n_params))
        designs.append(fixed)

        stacked = np.stack(features, axis=1)
        moments = np.matmul(stacked * chance[:, None, :], stacked.transpose(0, 2, 1))
        second = np.zeros((self.n_params, self.n_params))
        first = np.zeros(self.n_params)
        for i, (rows, left) in enumerate(zip(columns, designs, strict=True)):
            first[rows] += (weight * moments[:, i, -1]) @ left
            for j, (cols, right) in enumerate(zip(columns, designs, strict=True)):
                if j >= i:
                    block = (left.T * (weight * moments[:, i, j])) @ right
                    second[rows, cols] += block
                    if j > i:
                        second[cols, rows] += block.T
        return second, first

    def observed_information(self, theta, information):
        """Minus the second derivative, by differences of the exact gradient.

        Parameters
        ----------
        theta : ndarray of shape (p,)
        information : ndarray of shape (p, p)
            The expected one, for the lengths of the steps.

        Returns
        -------
        ndarray of shape (p, p)
        """
        # A thousandth of a standard error: far above rounding of the gradient, far
        # below the distance over which the curvature changes.
        diagonal = np.diag(information)
        least = 1e-8 * diagonal.max()
        steps = 1e-3 / np.sqrt(np.maximum(diagonal, least))
        out = np.empty((self.n_params, self.n_params))
        for j, step in enumerate(steps):
            shift = np.zeros(self.n_params)
            shift[j] = step
            out[j] = self.gradient(theta - shift) - self.gradient(theta + shift)
            out[j] /= 2.0 * step
        return 0.5 * (out + out.T)

    # The barrier of families whose support moves

    def log_support(self, theta):
        """Sum of weighted log-distances from the support's end, and derivatives."""
        p = self.parts(theta)
        value, gradient = 0.0, np.zeros(self.n_params)
        curvature = np.zeros((self.n_params, self.n_params))
        for arm in (0, 1):
            rows, B, w = self.rows[arm], self.basis[arm], self.weight[self.rows[arm]]
            inside, by_eta, by_shape = self.family.log_support(
                self.y[rows], B @ p[f"b{arm}"], p[f"s{arm}"]
            )
            value += w @ inside
            S = np.zeros((len(rows), self.n_params))
            S[:, self.slices[f"b{arm}"]] = by_eta[:, None] * B
            S[:, self.slices[f"s{arm}"]] = by_shape.T
            gradient += w @ S
            curvature += (S.T * w) @ S
        return value, gradient, curvature

    # The condition of the information

    def condition(self, information):
        """Least over largest eigenvalue of the information, in standard units.

        Coefficients of each arm are taken along directions that are orthonormal over
        its rows, in units of the noise; those of the selection in units of the box and
        of the outcome. Taken out first are weights and scales of mixtures, redundant by
        themselves, laws whose support moves, which is told by where that ends, and a
        selection that does not depend on the outcome: its constant is flat where
        chances are small, and moves nothing else.
        """
        change = []
        for name in self.slices:
            width = self.slices[name].stop - self.slices[name].start
            block = np.eye(width)
            if name in ("b0", "b1") and width:
                arm = int(name[1])
                w = self.weight[self.rows[arm]] / self.total
                gram = (self.basis[arm].T * w) @ self.basis[arm]
                block = _inverse_root(gram)
            if name == "c":
                w = self.weight / self.total
                gram = (self.basis_propensity.T * w) @ self.basis_propensity
                block = _inverse_root(gram)
            change.append(block)
        T = block_diag(*change)
        H = T.T @ information @ T / self.total
        for arm in (0, 1):
            where = self.slices[f"b{arm}"]
            size = np.mean(np.diag(H)[where])
            if size > 0:
                H[where] /= np.sqrt(size)
                H[:, where] /= np.sqrt(size)
        aside = []
        if self.family.n_shape > 2 or self.family.barrier:
            aside += [self.slices["s0"], self.slices["s1"]]
        if self.family.barrier:
            aside += [self.slices["b0"], self.slices["b1"]]
        if "Y" not in self.depends_on:
            aside += [self.slices["g"]]
        if aside:
            aside = np.r_[tuple(aside)]
            keep = np.setdiff1d(np.arange(self.n_params), aside)
            cross = H[np.ix_(keep, aside)]
            inner = np.linalg.pinv(H[np.ix_(aside, aside)], rcond=1e-8)
            H = H[np.ix_(keep, keep)] - cross @ inner @ cross.T
        values = np.linalg.eigvalsh(H)
        return float(max(values[0], 0.0) / values[-1])


def _inverse_root(gram):
    """A matrix whose columns are orthonormal in the metric of ``gram``."""
    values, vectors = np.linalg.eigh(gram)
    return vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1]))
