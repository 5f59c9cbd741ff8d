"""What the DERM classifier and regressor share: fitting, effects, checks."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import assert_all_finite, get_tags

from skident.effects._derm_base import expected_outcome, predict_base
from skident.effects._derm_effects import (
    bias_of_predictions,
    compare_cells,
    effect_of_predictions,
    lifting_of_rows,
    warn_of_cells,
)
from skident.effects._derm_fit import fit_model
from skident.effects._derm_report import without_support
from skident.effects._derm_weights import WEIGHT_CONSTRAINTS
from skident.effects._label_shift import corrected
from skident.utils._copies import blank_copy, take_over
from skident.utils._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
)


def _learned(name):
    return name.endswith("_") or name in ("_response", "_measured")


class DERM(BaseEstimator):
    """What the classifier and the regressor share; a base, and no estimator."""

    __metadata_request__fit = {"settings": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        **WEIGHT_CONSTRAINTS,
        "mode": [StrOptions({"weight", "resample"})],
        "correction": [StrOptions({"none", "label_shift"})],
        "on_partial_support": [StrOptions({"warn", "raise", "ignore"})],
        "max_levels": [Interval(Integral, 2, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, settings=None, sample_weight=None):
        """Fit the learner on weighted rows.

        Parameters
        ----------
        X : array-like of n_samples rows
            Whatever the learner takes: a table of shape (n_samples, n_features), or
            images for a net. The settings should not be among its columns.
        y : array-like of shape (n_samples,)
            Outcomes. Classes that are numbers stand for themselves.
        settings : array-like of shape (n_samples, n_settings), default=None
            Discrete settings of each row: its treatment, batch, background, ... None
            is plain training, which the report and a warning say.
        sample_weight : array-like of shape (n_samples,), default=None
            Multiplies the weights, and counts in the frequencies they are made of.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If lengths differ, an entry is missing, a setting has more than
            ``max_levels`` levels, ``y`` varies within no cell of the settings, has
            more than two classes that are no numbers, or cannot be corrected.
        TypeError
            If the learner takes no weights and ``mode`` is "weight".
        IdentificationError
            With ``on_partial_support="raise"``, if a cell lacks outcomes.

        Warns
        -----
        IdentifiabilityWarning
            If these data contradict a tested assumption, or there are no settings.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        fit_model(fitted, X, y, settings, sample_weight, self._base())
        fitted._measured = getattr(self, "prediction", None)
        take_over(self, fitted, _learned)
        report = self.identifiability_
        if self.on_partial_support == "ignore":
            report = without_support(report)
        report.warn(self)
        return self

    def predict_expected(self, X):
        """Expected outcome, corrected where that was asked for.

        Parameters
        ----------
        X : array-like of n_samples rows

        Returns
        -------
        expected : ndarray of float of shape (n_samples,)
            In units of ``y``. With probabilities the classes' values weighted by them;
            with ``prediction="hard"`` the predicted class's value.

        Raises
        ------
        ValueError
            If there are more than two classes that are no numbers.

        Warns
        -----
        UserWarning
            If the learner has no ``predict_proba``, so that predicted classes are used.
        """
        check_is_fitted(self)
        return self._expected(X, self._correction(None))[0]

    def ate(
        self,
        X,
        treatment,
        *,
        covariates=None,
        units=None,
        settings=None,
        method="aipw",
        propensity="auto",
        outcome_learner=None,
        n_folds=5,
        correction=None,
        sample_weight=None,
    ):
        """Average effect of a treatment on the outcome, from its predictions.

        Parameters
        ----------
        X : array-like of n_samples rows
            Recordings of the target, whose outcomes are not known.
        treatment : array-like of shape (n_samples,)
            0 or 1, in the target.
        covariates, units, method, propensity, outcome_learner, n_folds, sample_weight
            As in :func:`aipw_ate`.
        settings : array-like of shape (n_samples, n_settings), default=None
            Settings of the target as in ``fit``, to be warned of cells in which
            nothing was learned.
        correction : {"none", "label_shift"} or None, default=None
            None is that of the constructor.

        Returns
        -------
        estimate : EffectEstimate
            Its standard error is that of the target's units, and, with "label_shift",
            of the measured shrinkage; that of the fitted learner, and of settings it
            still uses, is not in it.

        Raises
        ------
        ValueError
            As :func:`aipw_ate`; or if shrinkage was not measured.

        Warns
        -----
        IdentifiabilityWarning
            If ``settings`` have cells that lacked outcomes in training.
        """
        check_is_fitted(self)
        if settings is not None:
            warn_of_cells(self, self.compare_settings(settings))
        arguments = {
            "covariates": covariates,
            "units": units,
            "method": method,
            "propensity": propensity,
            "outcome_learner": outcome_learner,
            "n_folds": n_folds,
            "sample_weight": sample_weight,
            "random_state": self.random_state,
        }
        correction = self._correction(correction)
        expected, parts = self._expected(X, correction)
        if correction == "none":
            return effect_of_predictions(expected, treatment, arguments)
        return effect_of_predictions(
            expected, treatment, arguments, self._response, parts
        )

    def treatment_effect_bias(
        self,
        X,
        y,
        treatment,
        *,
        covariates=None,
        units=None,
        method="aipw",
        propensity="auto",
        outcome_learner=None,
        n_folds=5,
        correction=None,
        sample_weight=None,
    ):
        """Effect on the predictions less effect on the outcomes, where both are known.

        Parameters
        ----------
        X : array-like of n_samples rows
            Rows that were not trained on.
        y : array-like of shape (n_samples,)
        treatment : array-like of shape (n_samples,)
        covariates, units, method, propensity, outcome_learner, n_folds, correction, \
                sample_weight
            As in :meth:`ate`.

        Returns
        -------
        bias : EffectEstimate
            With the standard error of the difference of two estimates from the same
            units.
        """
        check_is_fitted(self)
        arguments = {
            "covariates": covariates,
            "units": units,
            "method": method,
            "propensity": propensity,
            "outcome_learner": outcome_learner,
            "n_folds": n_folds,
            "sample_weight": sample_weight,
            "random_state": self.random_state,
        }
        expected, _ = self._expected(X, self._correction(correction))
        return bias_of_predictions(expected, self._numbers(y), treatment, arguments)

    def check_lifting(self, X, y, settings, *, n_permutations=200, min_count=20):
        """Whether predictions depend on the settings beyond what the outcome explains.

        Parameters
        ----------
        X : array-like of n_samples rows
            Rows that were not trained on: predictions of others prove nothing.
        y : array-like of shape (n_samples,)
        settings : array-like of shape (n_samples, n_settings)
        n_permutations : int, default=200
            Permutations of the settings among rows of one outcome.
        min_count : int, default=20
            Least number of rows of an outcome in a cell for it to be compared.

        Returns
        -------
        check : LiftingCheck
            ``statistic``, ``pvalue``, ``frame`` and ``calibration``; ``print`` says
            what they mean.

        Raises
        ------
        ValueError
            If lengths differ, or a number is below 1.
        """
        check_is_fitted(self)
        expected, _ = self._expected(X, self._correction(None))
        return lifting_of_rows(
            self, expected, self._numbers(y), settings, n_permutations, min_count
        )

    def compare_settings(self, settings):
        """What training has seen of the cells of other data's settings.

        Parameters
        ----------
        settings : array-like of shape (n_samples, n_settings)

        Returns
        -------
        cells : pandas.DataFrame of shape (n_cells, 3)
            "n" rows, "share" of them, and "status" in training: "full", "partial",
            "dropped" or "absent".

        Raises
        ------
        ValueError
            If ``fit`` had no settings or another number of them.
        """
        check_is_fitted(self)
        return compare_cells(self.cells_, settings)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._base()).input_tags
        return tags

    def _values(self):
        return self.class_values_ if is_classifier(self) else None

    def _correction(self, correction):
        if correction not in (None, "none", "label_shift"):
            raise ValueError(
                f"correction must be 'none', 'label_shift' or None, got {correction!r}."
            )
        correction = self.correction if correction is None else correction
        if correction == "label_shift" and self._response is None:
            raise ValueError(
                "correction='label_shift' needs shrinkage to be measured, which fit "
                "does with settings or with correction='label_shift', unless cv is "
                "None and validation_fraction 0."
            )
        prediction = getattr(self, "prediction", None)
        if correction == "label_shift" and prediction != self._measured:
            raise ValueError(
                "correction='label_shift' was measured with prediction="
                f"{self._measured!r}, got {prediction!r}: fit anew."
            )
        return correction

    def _expected(self, X, correction):
        """Expected outcomes, and the predictions of the classes they are made of."""
        classes, values = getattr(self, "classes_", None), self._values()
        if classes is not None and values is None:
            raise ValueError(
                "expected outcomes need classes that are numbers, got "
                f"{classes.tolist()[:5]}."
            )
        outputs = predict_base(self.estimator_, X, classes)
        prediction = getattr(self, "prediction", "expectation")
        if classes is not None and prediction == "expectation" and outputs[0] is None:
            warnings.warn(
                f"{type(self.estimator_).__name__} has no predict_proba: expected "
                "outcomes are those of the predicted classes. prediction='hard' says "
                "so.",
                UserWarning,
                stacklevel=3,
            )
        expected, parts = expected_outcome(outputs, prediction, values)
        if correction == "label_shift":
            expected = corrected(self._response, expected, parts)
        return expected, parts

    def _numbers(self, y):
        """Outcomes as numbers."""
        y = np.asarray(y)
        if not is_classifier(self) or y.dtype.kind in "biuf":
            y = y.astype(np.float64)
            assert_all_finite(y, input_name="y")
            return y
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has classes that fit has not seen: {unknown.tolist()}."
            )
        return self.class_values_[np.searchsorted(self.classes_, y)]
