"""What a fit says of the assumptions behind predictions that carry no effect."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skident.effects._derm_weights import Weighting
from skident.effects._label_shift import Rises
from skident.effects._lifting import LiftingCheck
from skident.exceptions import IdentificationError
from skident.utils import Assumption, IdentifiabilityReport

# Least rise of the mean prediction over that of the outcome: below, effects shrink by
# more than a tenth.
RELIABLE = 0.9
# Least rise of corrected predictions, in standard errors.
SIGNIFICANT = 3.0
# Least share of the rows that the weights leave.
EFFECTIVE = 0.1
# Mutual information, in nats, and differences, in standard deviations of the outcome,
# that are of no consequence.
NEGLIGIBLE_INFORMATION = 0.01
NEGLIGIBLE = 0.1
_SHOWN = 5
_LOOKED_AT = 1000


@dataclass
class Evidence:
    """What a fit measured.

    Parameters
    ----------
    X : array-like with n rows
    codes : ndarray of shape (n, n_settings) or None
        Of the settings; None without any.
    names : list of str or None
        Of the settings.
    weighting : Weighting or None
    level_labels : list or None
        Of the classes or bins of the outcome.
    n_rows : int
        Rows that count.
    effective_rows : float
        Kish's number of them under the weights.
    capped : bool
        Whether weights were cut, by a floor or a cap.
    reliability : float
        NaN where it was not measured.
    rises : Rises or None
        Of the expected outcome, corrected if that was asked for.
    real : bool
        Whether outcomes are numbers without classes.
    correction : {"none", "label_shift"}
    lifting : LiftingCheck or None
    spread : float or None
        Standard deviation of the outcome in the rows of ``lifting``.
    """

    X: Any
    codes: np.ndarray | None
    names: list | None
    weighting: Weighting | None
    level_labels: list | None
    n_rows: int
    effective_rows: float
    capped: bool
    reliability: float
    rises: Rises | None
    real: bool
    correction: str
    lifting: LiftingCheck | None
    spread: float | None


SUPPORT = "every outcome occurs in every cell of the settings"
INDEPENDENT = "under the weights the outcome is independent of the settings"
READABLE = "the outcome can be read from the features"
TOLD_APART = "each outcome can be told from the next by the predictions"


def make_report(fit):
    """The report on a fit.

    Parameters
    ----------
    fit : Evidence

    Returns
    -------
    report : IdentifiabilityReport
    """
    if fit.weighting is None:
        assumptions = [
            Assumption.at_least(
                "settings of the experiment are known",
                "number of settings given; without any this is plain training",
                0,
                1,
            ),
            *([] if np.isnan(fit.reliability) else _reliable(fit)),
        ]
        notes, advice = [], "Pass settings to fit."
    else:
        assumptions = [*_supported(fit), _effective(fit), *_reliable(fit)]
        assumptions += [*_lifted(fit)]
        notes = _notes(fit)
        advice = _advice(fit, assumptions)
    target = "target of the predictions"
    assumptions += [
        Assumption(
            f"the features measure the outcome alike in the {target}",
            "needs outcomes of the target",
        ),
        Assumption(
            f"predictions depend on the settings through the outcome in the {target}",
            "needs outcomes of the target",
        ),
    ]
    return IdentifiabilityReport(
        target="the average effect on the outcome, from its predictions",
        up_to="nothing" if fit.correction == "label_shift" else "shrinkage",
        assumptions=assumptions,
        notes=notes,
        advice=advice,
    )


def _advice(fit, assumptions):
    """What to do about those that are violated."""
    violated = {a.name for a in assumptions if a.verdict == "violated"}
    advice = []
    if SUPPORT in violated:
        advice.append(
            "Outcomes missing from a cell leave a shortcut: merge cells or collect "
            "some."
        )
    if violated & {READABLE, TOLD_APART}:
        advice.append(
            "Predictions that are less than reliable shrink effects: "
            "correction='label_shift' undoes it, better features avoid it."
            if fit.correction == "none"
            else "What cannot be read cannot be corrected for: find better features."
        )
    return " ".join(advice)


def refuse_partial_support(weighting, level_labels, names):
    """Raise an ``IdentificationError`` unless every outcome occurs in every cell."""
    incomplete = np.flatnonzero(weighting.status != "full")
    if len(incomplete):
        raise IdentificationError(
            f"{len(incomplete)} of {weighting.n_cells} cells of the settings lack "
            "outcomes that occur elsewhere: "
            f"{_listed(weighting, level_labels, names, incomplete)}. "
            "on_partial_support='warn' fits nevertheless."
        )


def without_support(report):
    """The report without what missing outcomes entail, for a quieter warning."""
    return IdentifiabilityReport(
        target=report.target,
        up_to=report.up_to,
        assumptions=[
            a for a in report.assumptions if a.name not in (SUPPORT, INDEPENDENT)
        ],
        notes=report.notes,
        advice=report.advice,
    )


def settings_in(X, codes):
    """Columns of a table that are functions of one setting.

    Parameters
    ----------
    X : array-like of shape (n, d)
    codes : ndarray of int of shape (n, n_settings)

    Returns
    -------
    columns : list
        Their names, or their numbers; empty for what is no table of numbers.
    """
    shape = getattr(X, "shape", None)
    if shape is None or len(shape) != 2 or hasattr(X, "tocsr"):
        return []
    step = -(-shape[0] // _LOOKED_AT)
    try:
        part = X.iloc[::step] if hasattr(X, "iloc") else X[::step]
        values = np.asarray(part, dtype=np.float64)
    except (TypeError, ValueError):
        return []
    moves = np.ptp(values, axis=0) > 0
    found = np.zeros(shape[1], dtype=bool)
    for column in codes[::step].T:
        levels = np.unique(column)
        # With few rows a level a constant within each of them is no wonder.
        if 1 < len(levels) <= len(values) / 10:
            within = [np.ptp(values[column == level], axis=0) for level in levels]
            found |= moves & (np.max(within, axis=0) == 0)
    names = getattr(X, "columns", range(shape[1]))
    return [name for name, there in zip(names, found, strict=True) if there]


# --- the assumptions -----------------------------------------------------------------


def _supported(fit):
    weighting = fit.weighting
    yield Assumption.at_least(
        "the settings vary",
        "number of their combinations",
        int((weighting.share > 0).sum()),
        2,
    )
    incomplete = int((weighting.status != "full").sum())
    yield Assumption.at_most(
        SUPPORT,
        f"number of cells, of {weighting.n_cells}, that lack an outcome or in which "
        "it does not vary",
        incomplete,
        0,
    )
    yield Assumption.at_most(
        INDEPENDENT,
        "mutual information, in nats",
        weighting.mutual_information(),
        NEGLIGIBLE_INFORMATION,
    )


def _effective(fit):
    return Assumption.at_least(
        "the weights do not concentrate on few rows",
        "effective share of the rows",
        fit.effective_rows / fit.n_rows,
        EFFECTIVE,
    )


def _reliable(fit):
    name = READABLE
    if np.isnan(fit.reliability):
        yield Assumption(name, "takes held-out rows: cv or validation_fraction")
        return
    corrected = fit.correction == "label_shift"
    if not corrected:
        yield Assumption.at_least(
            name,
            "rise of the mean prediction with the outcome, over that of the outcome",
            fit.reliability,
            RELIABLE,
        )
    elif fit.real:
        # Flat predictions have been refused.
        yield Assumption.at_least(
            name,
            "rise of the mean prediction with the outcome",
            fit.reliability,
            0.0,
        )
    else:
        yield Assumption.at_least(
            name,
            "least rise of the mean corrected prediction between neighbouring "
            "outcomes, in standard errors",
            fit.rises.clearest,
            SIGNIFICANT,
        )
    if fit.rises is not None and (corrected or len(fit.rises.rise) > 1):
        yield Assumption.at_least(
            TOLD_APART,
            "least rise of the mean prediction between neighbouring outcomes, over "
            "theirs, with 3 standard errors added",
            fit.rises.least,
            RELIABLE,
        )


def _lifted(fit):
    through = "predictions depend on the settings through the outcome here"
    calibrated = "predictions are right on average in every cell here"
    if fit.lifting is None:
        why = "takes held-out rows: cv or validation_fraction"
        return [Assumption(through, why), Assumption(calibrated, why)]
    check, gaps = fit.lifting, fit.lifting.calibration
    # Cells that are flagged, by how far they are beyond what is of no consequence.
    found = gaps[gaps["flagged"]]
    largest = float(found["gap"].abs().max() / fit.spread) if len(found) else 0.0
    return [
        Assumption.at_most(
            through,
            "largest difference of mean predictions between cells, given the outcome, "
            "in its standard deviations",
            check.statistic,
            max(NEGLIGIBLE, check.critical),
        ),
        Assumption.at_most(
            calibrated,
            "largest significant difference of mean outcome and mean prediction in a "
            "cell, in standard deviations of the outcome",
            largest,
            NEGLIGIBLE,
        ),
    ]


def _notes(fit):
    weighting, notes = fit.weighting, []
    incomplete = np.flatnonzero(weighting.status != "full")
    if len(incomplete):
        listed = _listed(weighting, fit.level_labels, fit.names, incomplete)
        notes.append(f"Cells that lack outcomes: {listed}.")
    dropped = float(weighting.share[~weighting.kept].sum())
    if dropped > 0:
        notes.append(
            f"{dropped:.1%} of the rows are in cells without weight: there the "
            "predictions are an extrapolation."
        )
    if fit.capped:
        notes.append("Weights are cut, so that independence holds only nearly.")
    columns = settings_in(fit.X, fit.codes)
    if columns:
        shown = ", ".join(map(str, columns[:_SHOWN]))
        more = ", ..." if len(columns) > _SHOWN else ""
        notes.append(
            f"{len(columns)} columns of X are functions of a setting ({shown}{more}): "
            "leave them out unless they are part of the recording."
        )
    if fit.lifting is not None:
        notes.append(
            "That predictions depend on the settings through the outcome has a p-value "
            f"of {fit.lifting.pvalue:.2g} on held-out rows; a large one proves nothing "
            "of other data."
        )
    return notes


def _listed(weighting, level_labels, names, cells):
    """Some cells, and the outcomes that they lack, in words."""
    index = weighting.frame(names).index
    parts = []
    for cell in cells[:_SHOWN]:
        label = index[cell] if isinstance(index[cell], tuple) else (index[cell],)
        place = ", ".join(
            f"{name} = {value}" for name, value in zip(index.names, label, strict=True)
        )
        missing = [str(level_labels[k]) for k in weighting.missing_levels(cell)]
        lack = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        parts.append(f"({place}) lacks y = {lack}")
    more = f"; and {len(cells) - _SHOWN} more" if len(cells) > _SHOWN else ""
    return "; ".join(parts) + more
