"""Effects on predicted outcomes, and what of the target was seen in training."""

import warnings
from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from skident.effects._aipw import aipw_ate
from skident.effects._derm_weights import bin_outcome, combine, setting_names
from skident.effects._effect_estimate import EffectEstimate, influence_stderr
from skident.effects._lifting import lifting_check
from skident.exceptions import IdentifiabilityWarning
from skident.utils._labels import distinct
from skident.utils._validation import check_settings

_SHOWN = 5


def effect_of_predictions(expected, treatment, arguments, response=None, parts=None):
    """Effect on predictions, with the error of their correction if there is one.

    Parameters
    ----------
    expected : ndarray of shape (n,)
    treatment : array-like of shape (n,)
    arguments : dict
        Of :func:`aipw_ate`.
    response : ClassResponse or LinearResponse, default=None
        What ``expected`` was corrected by.
    parts : ndarray of shape (n, K), default=None
        Predictions of the classes before correction.

    Returns
    -------
    estimate : EffectEstimate
    """
    estimate = aipw_ate(expected, treatment, **arguments)
    if response is None:
        return estimate
    if parts is None:
        extra = response.extra_variance(estimate.effect)
    else:
        # Only the error of the correction is at stake here: weighting does.
        simple = arguments | {"outcome_learner": None}
        if simple["method"] == "aipw" and arguments["covariates"] is not None:
            simple["method"] = "ipw"
        with warnings.catch_warnings():  # said of the estimate above
            warnings.simplefilter("ignore", IdentifiabilityWarning)
            effects = [aipw_ate(p, treatment, **simple).effect for p in parts.T]
        extra = response.extra_variance(np.array(effects))
    return replace(
        estimate,
        stderr=float(np.hypot(estimate.stderr, np.sqrt(extra))),
        method=f"{estimate.method}, corrected for label shift",
    )


def bias_of_predictions(expected, y, treatment, arguments):
    """Effect on predictions less that on outcomes.

    Parameters
    ----------
    expected, y : ndarray of shape (n,)
    treatment : array-like of shape (n,)
    arguments : dict
        Of :func:`aipw_ate`.

    Returns
    -------
    bias : EffectEstimate
    """
    predicted = aipw_ate(expected, treatment, **arguments)
    true = aipw_ate(y, treatment, **arguments)
    # One and the same units: what they have in common cancels.
    influence = predicted.influence - true.influence
    stderr = influence_stderr(influence)
    if np.isnan(predicted.stderr):
        stderr = predicted.stderr
    return EffectEstimate(
        predicted.effect - true.effect,
        stderr,
        true.n_units,
        f"treatment effect bias by {true.method}",
        influence,
    )


def lifting_of_rows(est, expected, y, settings, n_permutations, min_count):
    """Check lifting on labelled rows; see ``check_lifting`` of the estimators."""
    for name, value in (("n_permutations", n_permutations), ("min_count", min_count)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}.")
    if y.shape != expected.shape:
        raise ValueError(
            f"y must be of shape (n_samples,), got shape {y.shape}; n_samples = "
            f"{len(expected)}."
        )
    labels, codes = check_settings(settings, expected)
    cell, combinations = combine(codes, [len(column) for column in labels])
    if is_classifier(est):
        levels, level = distinct(y)
    else:
        level = bin_outcome(y, est.y_bins, est.bin_strategy)
        levels = np.bincount(level, y) / np.bincount(level)
    return lifting_check(
        expected,
        y,
        level,
        cell,
        levels.tolist(),
        _index(labels, combinations, setting_names(settings)),
        n_permutations=n_permutations,
        min_count=min_count,
        rng=np.random.default_rng(
            check_random_state(est.random_state).randint(np.iinfo(np.int32).max)
        ),
        linear=not is_classifier(est),
    )


def compare_cells(cells, settings):
    """Cells of other data, with their status in training."""
    import pandas as pd

    if cells is None:
        raise ValueError("settings cannot be compared: fit was given none.")
    labels, codes = check_settings(settings, settings)
    if len(labels) != cells.index.nlevels:
        raise ValueError(
            f"settings must have {cells.index.nlevels} columns as in fit, got "
            f"{len(labels)}; n_samples = {len(codes)}."
        )
    cell, combinations = combine(codes, [len(column) for column in labels])
    index = _index(labels, combinations, list(cells.index.names))
    # By value: 1 and 1.0 are one label, whatever the two containers hold.
    known = dict(zip(cells.index.tolist(), cells["status"], strict=True))
    count = np.bincount(cell)
    return pd.DataFrame(
        {
            "n": count,
            "share": count / count.sum(),
            "status": [known.get(label, "absent") for label in index.tolist()],
        },
        index=index,
    )


def warn_of_cells(est, compared):
    """Warn of cells of the target in which outcomes were missing in training."""
    for status, lack in (
        ("absent", "were not seen"),
        ("dropped", "had an outcome that does not vary"),
        ("partial", "lacked outcomes"),
    ):
        found = compared[compared["status"] == status]
        if len(found):
            shown = ", ".join(map(str, found.index[:_SHOWN]))
            more = ", ..." if len(found) > _SHOWN else ""
            warnings.warn(
                f"{type(est).__name__}: {found['share'].sum():.0%} of the rows are in "
                f"cells of the settings that {lack} in training: {shown}{more}. "
                "Predictions there are an extrapolation.",
                IdentifiabilityWarning,
                stacklevel=3,
            )


def _index(labels, combinations, names):
    import pandas as pd

    columns = [
        column[codes] for column, codes in zip(labels, combinations.T, strict=True)
    ]
    names = names or [f"setting_{j}" for j in range(len(columns))]
    if len(columns) == 1:
        return pd.Index(columns[0], name=names[0])
    return pd.MultiIndex.from_arrays(columns, names=names)
