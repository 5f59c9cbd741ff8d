"""Linear nuisance models whose fits to all folds share their sums over the rows.

A fold's least squares needs the moments of the other folds alone, so one pass over the
rows serves all of them; a fold's logistic fit starts where the fit to all rows ends,
with that fit's curvature, and is done after a few passes of matrix-vector cost that
serve all folds too.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

from skident.utils._sklearn import check_is_fitted, validate_data
from skident.utils._validation import check_sample_weight

_DTYPES = [np.float64, np.float32]
_CHUNK = 4096
# One row in so many starts a logistic fit of many rows.
_THIN = 8
# Ridge penalties tried, per row and in units of standardised columns: from least
# squares, changed by 1e-8 of itself, to slopes that are nearly zero.
_PENALTIES = np.logspace(2, -8, 21)
# A column whose share of the variance of all rows is below this is constant: what is
# left is the rounding of a difference of means of squares.
_CONSTANT = 1e-13


class FoldBlocks:
    """Standardised covariates with a column of ones, sorted by stratum and fold.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    fold : ndarray of int of shape (n_samples,)
        Number of the fold that each row is predicted in; all 0 for a fit without
        folds, in which rows are predicted by the fit to all of them.
    stratum : ndarray of int of shape (n_samples,)
        Number of each row's stratum: models are fitted to the rows of some strata.
    """

    def __init__(self, X, fold, stratum):
        self.n_folds = int(fold.max()) + 1
        cell = stratum * self.n_folds + fold
        self.order = np.argsort(cell, kind="stable")
        n_cells = (int(stratum.max()) + 1) * self.n_folds
        self.stops = np.cumsum(np.bincount(cell, minlength=n_cells))
        self.mean = X.mean(axis=0, dtype=np.float64)
        self.Z = np.empty((len(X), X.shape[1] + 1))
        self.Z[:, -1] = 1.0
        squares = np.zeros(X.shape[1])
        for rows in _chunks(0, len(X)):
            part = self.Z[rows, :-1]
            np.subtract(X[self.order[rows]], self.mean, out=part)
            squares += np.einsum("ij,ij->j", part, part)
        self.scale = np.sqrt(squares / len(X))
        # A constant column is all rounding of its mean; divided by that it were noise.
        tiny = np.finfo(X.dtype).eps * np.abs(self.mean)
        self.scale[self.scale <= tiny] = 1.0
        for rows in _chunks(0, len(X)):
            self.Z[rows, :-1] /= self.scale

    def __sizeof__(self):
        # joblib's dask backend sends what is large to a worker once, not job by job.
        return object.__sizeof__(self) + self.Z.nbytes + self.order.nbytes

    def chunks(self, strata):
        """Yield (fold, slice of the sorted rows) of the given strata, piecewise."""
        for stratum in strata:
            for fold in range(self.n_folds):
                cell = stratum * self.n_folds + fold
                start = self.stops[cell - 1] if cell else 0
                for rows in _chunks(start, self.stops[cell]):
                    yield fold, rows

    def without(self, parts, fold):
        """Sum of the folds' parts but one; of all of them for ``fold=n_folds``."""
        # A sum of the others, no difference: that would cancel where a fold has nearly
        # all the weight.
        if self.n_folds == 1:
            return parts[0]
        return sum(part for k, part in enumerate(parts) if k != fold)

    def predict(self, coefs):
        """Linear predictor of every row by the model that did not see its fold.

        Parameters
        ----------
        coefs : ndarray of shape (n_folds + 1, n_features + 1)

        Returns
        -------
        predictor : ndarray of shape (n_samples,)
            In the order of the rows given.
        """
        predictor = np.empty(len(self.Z))
        for fold, rows in self.chunks(range(len(self.stops) // self.n_folds)):
            predictor[self.order[rows]] = self.Z[rows] @ coefs[fold]
        return predictor

    def in_units(self, coef):
        """Slopes and intercept in units of the columns given."""
        slopes = coef[:-1] / self.scale
        return slopes, float(coef[-1] - slopes @ self.mean)


def _chunks(start, stop):
    for first in range(start, stop, _CHUNK):
        yield slice(first, min(first + _CHUNK, stop))


def ridge_by_fold(blocks, strata, y, weight=None):
    """Ridge regressions on all folds but one, and on all, by one pass over the rows.

    The penalty is chosen by generalised cross-validation, for each fit from its own
    rows. Rows weigh ``weight``.

    Parameters
    ----------
    blocks : FoldBlocks
    strata : iterable of int
        Those to fit to; ``y`` and ``weight`` are read in no others.
    y : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    coefs : ndarray of shape (n_folds + 1, n_features + 1)
        Slopes of the standardised columns, then the intercept; the last row is the fit
        to all folds.
    """
    size = blocks.Z.shape[1]
    moments = np.zeros((blocks.n_folds, size + 1, size + 1))
    taken = list(strata)
    rows_of = [blocks.order[rows] for _, rows in blocks.chunks(taken)]
    total = sum(len(rows) for rows in rows_of)
    # Squares of y are told from its variance only near its mean.
    centre = sum(y[rows].sum() for rows in rows_of) / total
    both = np.empty((_CHUNK, size + 1))
    for (fold, rows), original in zip(blocks.chunks(taken), rows_of, strict=True):
        part = both[: len(original)]
        part[:, :-1] = blocks.Z[rows]
        part[:, -1] = y[original] - centre
        if weight is not None:
            part *= np.sqrt(weight[original])[:, None]
        moments[fold] += part.T @ part
    coefs = np.empty((blocks.n_folds + 1, size))
    for fold in range(blocks.n_folds + 1):
        coefs[fold] = _ridge(blocks.without(moments, fold))
    coefs[:, -1] += centre
    return coefs


def _ridge(moments):
    """Ridge slopes and intercept from the moments of (columns, 1, y)."""
    total = moments[-2, -2]
    mean, square = moments[-2] / total, moments / total
    covariance = square - np.outer(mean, mean)
    scale, constant = _spread(np.diag(covariance)[:-2])
    correlation = covariance[:-2, :-2] / np.outer(scale, scale)
    target = covariance[:-2, -1] / scale
    correlation[constant], correlation[:, constant], target[constant] = 0, 0, 0
    roots, axes = np.linalg.eigh(correlation)
    roots = np.maximum(roots, 0)
    along = axes.T @ target
    shrunk = 1 / (roots + _PENALTIES[:, None])
    # |y - Xb|^2 = |y|^2 - 2 b'X'y + b'X'X b for the slopes b = along * shrunk.
    explained = (along**2 * shrunk * (2 - roots * shrunk)).sum(axis=1)
    # Below this it is rounding, which must not choose where nearly no freedom is left.
    rounding = 1e-14 * covariance[-1, -1]
    error = np.maximum(covariance[-1, -1] - explained, rounding)
    free = 1 - (1 + (roots * shrunk).sum(axis=1)) / total
    criterion = np.full(len(_PENALTIES), np.inf)
    np.divide(error, free**2, out=criterion, where=free > 0)
    slopes = axes @ (along * shrunk[np.argmin(criterion)]) / scale
    return np.append(slopes, mean[-1] - slopes @ mean[:-2])


def _spread(variance):
    """Standard deviations, 1 where the column is constant, and where that is."""
    constant = variance <= _CONSTANT
    return np.sqrt(np.where(constant, 1.0, variance)), constant


def logistic_by_fold(blocks, strata, y, weight=None):
    """Logistic regressions on all folds but one, and on all.

    The weighted sum of the rows' losses has half the squared norm of the slopes of
    standardised columns added, as in scikit-learn's at ``C=1``, so that slopes stay
    finite where the classes can be told apart without error. Where the rows of a fit
    are all of one class, that class has probability 1.

    Parameters and returns are those of :func:`ridge_by_fold`, with ``y`` in {0, 1} and
    coefficients of log odds.
    """
    problem = _Logistic(blocks, list(strata), y, weight)
    last = blocks.n_folds
    coefs = np.zeros((last + 1, blocks.Z.shape[1]))
    single = [problem.single_class(fold) for fold in range(last + 1)]
    for fold, only in enumerate(single):
        if only is not None:
            coefs[fold, -1] = np.inf if only else -np.inf
    if single[last] is not None:
        return coefs
    if blocks.n_folds == 1:
        coefs[:] = problem.newton(last)[0]
        return coefs
    _, start, loss, gradients, curvatures = problem.newton(last, tol=1e-4)
    models = [k for k in range(last + 1) if single[k] is None]
    factors = {}
    for k in models:
        factors[k] = _factor(blocks.without(curvatures, k), problem.penalties[k])
        slope = blocks.without(gradients, k) - problem.penalties[k] * start
        coefs[k] = start + cho_solve(factors[k], slope)
    # Newton steps with the curvature of the start: each pass shrinks the error by
    # about the distance from the start, and serves all folds.
    for _ in range(8):
        gradients = problem.gradients(coefs, models)
        decrements = []
        for k in models:
            slope = gradients[k] - problem.penalties[k] * coefs[k]
            step = cho_solve(factors[k], slope, check_finite=False)
            decrements.append(abs(slope @ step))
            coefs[k] += step
        decrement = np.max(decrements) / loss
        if decrement <= 1e-14:
            return coefs
        if not decrement < 1:
            break
    for k in models:
        coefs[k] = problem.newton(k)[0]
    return coefs


class _Logistic:
    """Losses, gradients and curvatures by fold of a penalised logistic regression."""

    def __init__(self, blocks, strata, y, weight):
        self.blocks, self.strata = blocks, strata
        n_folds, size = blocks.n_folds, blocks.Z.shape[1]
        sums = np.zeros((2, n_folds, size))
        mass = np.zeros((n_folds, 2))
        self.parts = []
        for fold, rows in blocks.chunks(strata):
            original = blocks.order[rows]
            target = y[original].astype(np.float64)
            w = np.ones(len(original)) if weight is None else weight[original]
            self.parts.append((fold, blocks.Z[rows], target, w))
            sums[0, fold] += w @ blocks.Z[rows]
            sums[1, fold] += np.einsum("i,ij,ij->j", w, blocks.Z[rows], blocks.Z[rows])
            mass[fold] += w.sum() - w @ target, w @ target
        self.mass = [blocks.without(mass, k) for k in range(n_folds + 1)]
        self.total = [part.sum() for part in self.mass]
        # Of slopes of columns standardised by the fit's own rows, in units of ours.
        self.penalties = np.zeros((n_folds + 1, size))
        for k in range(n_folds + 1):
            total = self.total[k]
            if total == 0:
                continue
            mean, square = (blocks.without(part, k) / total for part in sums)
            scale, _ = _spread((square - mean**2)[:-1])
            self.penalties[k, :-1] = scale**2

    def single_class(self, fold):
        """The class of all rows that fit ``fold`` trains on, or None."""
        control, treated = self.mass[fold]
        if control > 0 and treated > 0:
            return None
        return treated > 0

    def evaluate(self, coef, left_out, thin=1):
        """Loss of the training rows, and gradients and curvatures of all folds.

        Of every ``thin``-th row, and of as much of the penalty.
        """
        n_folds, size = self.blocks.n_folds, len(coef)
        loss, gradients = 0.0, np.zeros((n_folds, size))
        curvatures = np.zeros((n_folds, size, size))
        for fold, Z, target, w in self.parts:
            if fold == left_out:
                continue
            Z, target, w = Z[::thin], target[::thin], w[::thin]
            odds = Z @ coef
            chance = expit(odds)
            loss += w @ (np.logaddexp(0, odds) - target * odds)
            gradients[fold] += (w * (target - chance)) @ Z
            root = Z * np.sqrt(w * chance * (1 - chance))[:, None]
            curvatures[fold] += root.T @ root
        loss += self.penalties[left_out] @ coef**2 / (2 * thin)
        return loss, gradients, curvatures

    def gradients(self, coefs, models):
        """Gradient of each model's log likelihood at its own coefficients."""
        slopes = np.zeros_like(coefs)
        own = coefs[models]
        for fold, Z, target, w in self.parts:
            residual = w * (target - expit(own @ Z.T))
            if fold in models:
                residual[models.index(fold)] = 0
            slopes[models] += residual @ Z
        return slopes

    def newton(self, left_out, tol=1e-12):
        """Minimise over all folds but one, or over all for ``left_out=n_folds``.

        Returns
        -------
        coef, start : ndarray of shape (n_features + 1,)
            Where the last step ended, and where it started.
        loss, gradients, curvatures
            At ``start``, as of :meth:`evaluate`.
        """
        control, treated = self.mass[left_out]
        constant = np.zeros(self.penalties.shape[1])
        constant[-1] = np.log(treated / control)
        n_rows = sum(len(target) for _, _, target, _ in self.parts)
        if n_rows < _THIN * 40 * len(constant):
            return self._descend(constant, left_out, tol)
        # A part of the rows leads most of the way.
        start = self._descend(constant, left_out, 1e-3, _THIN)[0]
        share = treated / (treated + control)
        entropy = -treated * np.log(share) - control * np.log1p(-share)
        found = self.evaluate(start, left_out)
        if not found[0] < entropy:
            return self._descend(constant, left_out, tol)
        return self._descend(start, left_out, tol, found=found)

    def _descend(self, coef, left_out, tol, thin=1, found=None):
        """Newton steps, until the next promises less than ``tol`` of the loss."""
        penalty = self.penalties[left_out] / thin
        found = self.evaluate(coef, left_out, thin) if found is None else found
        loss, gradients, curvatures = found
        for _ in range(100):
            slope = gradients.sum(axis=0) - penalty * coef
            step = cho_solve(_factor(curvatures.sum(axis=0), penalty), slope)
            # A step squares the relative error: 1e-12 of the loss becomes rounding.
            if slope @ step <= tol * loss:
                break
            length = 1.0
            while True:
                trial = coef + length * step
                found = self.evaluate(trial, left_out, thin)
                if found[0] < loss or length < 1e-8:
                    break
                length /= 2
            if not found[0] < loss:  # what descent is left drowns in rounding
                step = np.zeros_like(step)
                break
            coef, (loss, gradients, curvatures) = trial, found
        return coef + step, coef, loss, gradients, curvatures


def _factor(curvature, penalty):
    # A constant column's slope has curvature from its penalty alone, and the intercept
    # from the rows: positive, but for probabilities that round to 0 and 1.
    matrix = curvature + np.diag(penalty)
    floor = 1e-14 * np.trace(matrix) / len(matrix)
    return cho_factor(matrix + floor * np.eye(len(matrix)), check_finite=False)


class FoldRidge(RegressorMixin, BaseEstimator):
    """Ridge regression, its penalty by generalised cross-validation.

    Least squares in effect where rows are many, and finite where columns are more than
    rows or repeat each other. Cross-fits of it share one pass over the rows.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : float
    """

    def fit(self, X, y, sample_weight=None):
        """Fit to ``X`` (n_samples, n_features) and ``y`` (n_samples,)."""
        X, y = validate_data(self, X, y, dtype=_DTYPES, y_numeric=True)
        blocks, weight = _whole(X, sample_weight)
        coefs = ridge_by_fold(blocks, [0], y.astype(np.float64), weight)
        return self._set(*blocks.in_units(coefs[-1]))

    def predict(self, X):
        """Predict ``y`` of shape (n_samples,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_DTYPES)
        return X @ self.coef_ + self.intercept_

    def _set(self, coef, intercept):
        self.coef_, self.intercept_ = coef, intercept
        self.n_features_in_ = len(coef)
        return self


class FoldLogistic(ClassifierMixin, BaseEstimator):
    """Logistic regression of two classes, penalised as in scikit-learn's at ``C=1``.

    The penalty is on the slopes of standardised columns, so that units do not matter.
    Where all rows are of one class, that class has probability 1. Cross-fits share
    their passes over the rows.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Change of the log odds of the second class per unit of each column.
    intercept_ : float
    classes_ : ndarray of shape (n_classes,)
    """

    def fit(self, X, y, sample_weight=None):
        """Fit to ``X`` (n_samples, n_features) and labels ``y`` (n_samples,)."""
        X, y = validate_data(self, X, y, dtype=_DTYPES)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"multiclass: {len(self.classes_)} classes."
            )
        blocks, weight = _whole(X, sample_weight)
        if len(self.classes_) == 1:
            return self._set(np.zeros(X.shape[1]), np.inf)
        return self._set(
            *blocks.in_units(logistic_by_fold(blocks, [0], codes, weight)[-1])
        )

    def decision_function(self, X):
        """Log odds of the second class, of shape (n_samples,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_DTYPES)
        return X @ self.coef_ + self.intercept_

    def predict_proba(self, X):
        """Probabilities of shape (n_samples, n_classes)."""
        odds = self.decision_function(X)
        if len(self.classes_) == 1:
            return np.ones((len(odds), 1))
        return np.column_stack([expit(-odds), expit(odds)])

    def predict(self, X):
        """Likelier class of each row."""
        positive = self.decision_function(X) > 0
        return self.classes_[np.minimum(positive, len(self.classes_) - 1).astype(int)]

    def _set(self, coef, intercept):
        self.coef_, self.intercept_ = coef, intercept
        self.n_features_in_ = len(coef)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _whole(X, sample_weight):
    """Blocks of one fold and stratum, and checked weights or None."""
    nowhere = np.zeros(len(X), dtype=int)
    if sample_weight is not None:
        sample_weight = check_sample_weight(np.asarray(sample_weight), X)
    return FoldBlocks(X, nowhere, nowhere), sample_weight
