"""Checked inputs of an estimator under selection, and what they declare."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_array, column_or_1d

from skident.effects._selection_identification import Facts
from skident.utils._sklearn import _get_feature_names, validate_data
from skident.utils._validation import (
    check_sample_weight,
    check_selected,
    check_selection_prob,
    check_treatment,
)

_DTYPES = [np.float64, np.float32]


@dataclass(frozen=True)
class Inputs:
    """Checked arrays of one fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Of all rows, float32 or float64.
    y : ndarray of float64 of shape (n_samples,)
        Zero in rows that were not selected.
    treatment : ndarray of float64 of shape (n_samples,) or None
        0 and 1.
    selected : ndarray of bool of shape (n_samples,)
    selection_prob : ndarray of shape (n_samples,) or None
        One in rows that were not selected.
    weight : ndarray of shape (n_samples,) or None
    reference : ndarray of shape (n_reference, n_features) or None
    """

    X: np.ndarray
    y: np.ndarray
    treatment: np.ndarray | None
    selected: np.ndarray
    selection_prob: np.ndarray | None
    weight: np.ndarray | None
    reference: np.ndarray | None

    def kept(self):
        """X, y, treatment and weight of the selected rows."""
        if self.selected.all():
            return self.X, self.y, self.treatment, self.weight
        values = (self.X, self.y, self.treatment, self.weight)
        return tuple(None if v is None else v[self.selected] for v in values)

    @property
    def rate(self):
        """Share of the rows that were selected, by weight."""
        return float(np.average(self.selected, weights=self.weight))

    @property
    def population(self):
        """Covariates of the population: the reference, else all rows, else None."""
        if self.reference is not None:
            return self.reference
        return None if self.selected.all() else self.X


def check_inputs(
    estimator, X, y, treatment, selected, selection_prob, sample_weight, x_reference
):
    """Check and gather the inputs of a fit; sets ``n_features_in_``.

    Parameters
    ----------
    estimator : estimator
    X, y, treatment, selected, selection_prob, sample_weight
        As given to ``fit``.
    x_reference : array-like of shape (n_reference, n_features) or None

    Returns
    -------
    inputs : Inputs

    Raises
    ------
    ValueError
        If any of them is malformed, or no row was selected.
    """
    X, y, selected = check_rows(estimator, X, y, selected, reset=True)
    if treatment is not None:
        treatment = check_arm_labels(treatment, X)
        arms = treatment[selected]
        if (arms == arms[0]).all():
            raise ValueError(
                "treatment must have selected rows in both arms, got "
                f"{len(arms)} of arm {arms[0]:g} alone; n_samples = {len(X)}."
            )
    if selection_prob is not None:
        selection_prob = check_selection_prob(selection_prob, X, selected=selected)
    weight = None
    if sample_weight is not None:
        weight = check_sample_weight(np.asarray(sample_weight), X)
        if not weight[selected].any():
            raise ValueError(
                "sample_weight must be positive in a selected row, got zeros in all "
                f"of them; n_samples = {len(X)}."
            )
    reference = None
    if x_reference is not None:
        reference = _check_reference(estimator, x_reference, X)
    return Inputs(X, y, treatment, selected, selection_prob, weight, reference)


def check_rows(estimator, X, y, selected, *, reset):
    """Covariates, outcomes and which rows were selected.

    Outcomes may be missing where a row was not selected; zeros stand for them.
    """
    if y is None or selected is None:
        try:
            X, y = validate_data(
                estimator,
                X,
                y,
                reset=reset,
                dtype=_DTYPES,
                y_numeric=True,
                ensure_min_samples=2 if reset else 1,
            )
        except ValueError as error:
            if "y contains NaN" not in str(error):
                raise
            raise ValueError(
                f"{error} Outcomes of rows that were not selected may be missing: pass "
                "selected, which says what rows those are."
            ) from None
        selected = np.ones(len(X), dtype=bool) if selected is None else selected
        return X, y.astype(np.float64), check_selected(selected, X)
    X = validate_data(estimator, X, reset=reset, dtype=_DTYPES)
    selected = check_selected(selected, X)
    if not selected.any():
        raise ValueError(
            "selected must be true in at least one row, got none; n_samples = "
            f"{len(X)}."
        )
    y = check_array(
        y, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name="y"
    )
    y = column_or_1d(y, warn=True)
    if len(y) != len(X):
        raise ValueError(
            f"y must be of shape (n_samples,), got shape {y.shape}; n_samples = "
            f"{len(X)}."
        )
    missing = selected & ~np.isfinite(y)
    if missing.any():
        raise ValueError(
            "y must be finite in every selected row, got "
            f"{y[missing][0]} in {int(missing.sum())} of them; n_samples = {len(X)}."
        )
    return X, np.where(selected, y, 0.0), selected


def check_arm_labels(treatment, X):
    """Treatments 0 and 1 of shape (n_samples,)."""
    treatment = check_treatment(treatment, X, binary=True)
    if treatment.ndim == 2:
        if treatment.shape[1] > 1:
            raise ValueError(
                "treatment must be of shape (n_samples,), got shape "
                f"{treatment.shape}; n_samples = {len(X)}."
            )
        treatment = treatment[:, 0]
    return treatment


def _check_reference(estimator, x_reference, X):
    names = _get_feature_names(x_reference)
    expected = getattr(estimator, "feature_names_in_", None)
    if names is not None and expected is not None:
        missing = [name for name in expected if name not in set(names)]
        if missing:
            raise ValueError(
                f"x_reference must have the columns of X, it lacks {missing}; "
                f"n_samples = {len(X)}."
            )
        x_reference = x_reference[list(expected)]
    reference = check_array(x_reference, dtype=_DTYPES, input_name="x_reference")
    if reference.shape[1] != X.shape[1]:
        raise ValueError(
            f"x_reference must have the {X.shape[1]} columns of X, got "
            f"{reference.shape[1]}; n_samples = {len(X)}."
        )
    return reference


def gather_facts(settings, inputs):
    """What was declared and supplied.

    Parameters
    ----------
    settings : SelectionBiasATE
    inputs : Inputs

    Returns
    -------
    facts : Facts

    Raises
    ------
    ValueError
        If ``selection_depends_on`` or ``outcome_range`` is malformed, or an outcome
        lies outside of the range.
    """
    depends_on = frozenset(settings.selection_depends_on)
    if not depends_on <= set("XTY"):
        raise ValueError(
            'selection_depends_on must hold "X", "T" and "Y" only, got '
            f"{settings.selection_depends_on!r}."
        )
    y = inputs.y[inputs.selected]
    if settings.outcome_range is not None:
        low, high = settings.outcome_range
        if not low < high:
            raise ValueError(
                f"outcome_range must be (low, high) with low < high, got {low, high}."
            )
        if y.min() < low or y.max() > high:
            raise ValueError(
                f"y must lie within outcome_range = {low, high}, got values from "
                f"{y.min():g} to {y.max():g}; n_samples = {len(inputs.y)}."
            )
    return Facts(
        strategy=settings.strategy,
        depends_on=depends_on,
        form=settings.selection_form,
        family=settings.outcome_family,
        treatment=inputs.treatment is not None,
        selection_prob=inputs.selection_prob is not None,
        unselected_rows=not inputs.selected.all(),
        reference=inputs.reference is not None,
        support_mask=settings.support_mask is not None,
        floor=settings.min_selection_prob is not None,
        outcome_range=settings.outcome_range is not None,
        selection_rate=settings.selection_rate is not None,
        binary_outcome=len(np.unique(y)) == 2,
    )
