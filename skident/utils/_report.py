"""What a fit identifies, under which assumptions, and what the data say of them."""

import html
import math
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skident.exceptions import IdentifiabilityWarning

Verdict = Literal["holds", "violated", "untestable"]

_VERDICTS = {
    "holds": "holds",
    "violated": "violated",
    "untestable": "untestable from these data",
}
_BOUNDS = {None: "", "at_most": "at most ", "at_least": "at least "}
_COLUMNS = ("assumption", "tested by", "statistic", "threshold", "verdict")
_WIDTH = 44


@dataclass(frozen=True)
class Assumption:
    """One assumption of a method's theory, and what the data say about it.

    :meth:`at_most` and :meth:`at_least` compare a statistic with a threshold and
    compute the verdict; the constructor takes a verdict reached in another way, and
    says "untestable" where these data cannot test the assumption.

    Parameters
    ----------
    name : str
        The assumption, in a few words.
    test : str
        How it was tested, or why it cannot be.
    statistic : float or None, default=None
        What the test measured, dimensionless unless ``test`` says otherwise.
    threshold : float or None, default=None
        What it was compared with.
    verdict : {"holds", "violated", "untestable"}, default="untestable"
        Outcome of the test.
    bound : {"at_most", "at_least", None}, default=None
        The side of the threshold on which the assumption holds.

    Raises
    ------
    ValueError
        If ``verdict`` or ``bound`` is unknown, or a verdict is claimed for a
        statistic that is NaN.

    Examples
    --------
    >>> from skident.utils import Assumption
    >>> Assumption.at_most("no shared support", "largest overlap", 0.2, 0.5).verdict
    'holds'
    >>> Assumption("no hidden confounder", "needs an instrument").verdict
    'untestable'
    """

    name: str
    test: str
    statistic: float | None = None
    threshold: float | None = None
    verdict: Verdict = "untestable"
    bound: Literal["at_most", "at_least"] | None = None

    def __post_init__(self):
        if self.verdict not in _VERDICTS:
            raise ValueError(
                f"verdict must be one of {sorted(_VERDICTS)}, got {self.verdict!r}."
            )
        if self.bound not in _BOUNDS:
            raise ValueError(
                f'bound must be "at_most", "at_least" or None, got {self.bound!r}.'
            )
        for field in ("statistic", "threshold"):
            value = getattr(self, field)
            if value is not None:
                # A record holds plain floats: it pickles and prints without numpy.
                object.__setattr__(self, field, float(value))
                if math.isnan(value) and self.verdict != "untestable":
                    raise ValueError(
                        f"The {field} of {self.name!r} is NaN: its verdict can only "
                        f'be "untestable", got {self.verdict!r}.'
                    )

    @classmethod
    def at_most(cls, name, test, statistic, threshold):
        """Assumption that holds where ``statistic <= threshold``.

        Parameters
        ----------
        name, test : str
            The assumption and its test.
        statistic, threshold : float
            NaN in either makes the assumption untestable.

        Returns
        -------
        assumption : Assumption
        """
        return cls._compared(name, test, statistic, threshold, "at_most")

    @classmethod
    def at_least(cls, name, test, statistic, threshold):
        """Assumption that holds where ``statistic >= threshold``.

        Parameters
        ----------
        name, test : str
            The assumption and its test.
        statistic, threshold : float
            NaN in either makes the assumption untestable.

        Returns
        -------
        assumption : Assumption
        """
        return cls._compared(name, test, statistic, threshold, "at_least")

    @classmethod
    def _compared(cls, name, test, statistic, threshold, bound):
        if math.isnan(statistic) or math.isnan(threshold):
            verdict = "untestable"
        elif bound == "at_most":
            verdict = "holds" if statistic <= threshold else "violated"
        else:
            verdict = "holds" if statistic >= threshold else "violated"
        return cls(name, test, statistic, threshold, verdict, bound)

    def _cells(self):
        """The five cells of this assumption's row, as printed."""
        threshold = _number(self.threshold)
        if threshold:
            threshold = _BOUNDS[self.bound] + threshold
        verdict = _VERDICTS[self.verdict]
        return self.name, self.test, _number(self.statistic), threshold, verdict


@dataclass(frozen=True)
class IdentifiabilityReport:
    """What a fitted estimator identifies, up to which ambiguity, and why.

    Every estimator of skident carries one as ``identifiability_``. It prints as a
    table, in a notebook too.

    Parameters
    ----------
    target : str
        What is identified.
    up_to : str
        The ambiguity that remains: "permutation and sign", "nothing", ...
    assumptions : sequence of Assumption
        The assumptions of the theory, tested where these data can test them.
    stability : mapping of str to float, float or None, default=None
        Agreement between re-runs, where the method has a notion of it.
    notes : sequence of str, default=()
        What the table cannot say.
    advice : str, default=""
        What to do about a violated assumption; the warning ends with it.

    Attributes
    ----------
    ok : bool
        False as soon as a tested assumption is violated.
    violated : tuple of Assumption
        The violated ones.

    Examples
    --------
    >>> from skident.utils import Assumption, IdentifiabilityReport
    >>> report = IdentifiabilityReport(
    ...     target="the slopes",
    ...     up_to="nothing",
    ...     assumptions=[
    ...         Assumption.at_least("environments differ", "F statistic", 1.2, 4.0),
    ...         Assumption("errors keep their law", "needs a held-out environment"),
    ...     ],
    ... )
    >>> report.ok
    False
    >>> print(report)
    May not be identified: the slopes, up to nothing. 1 assumption is violated.
    assumption            | tested by                    | statistic | threshold  | verdict
    ----------------------+------------------------------+-----------+------------+---------------------------
    environments differ   | F statistic                  | 1.2       | at least 4 | violated
    errors keep their law | needs a held-out environment |           |            | untestable from these data
    """  # noqa: E501

    target: str
    up_to: str
    assumptions: Sequence[Assumption]
    stability: Any = None
    notes: Sequence[str] = ()
    advice: str = ""

    def __post_init__(self):
        notes = (self.notes,) if isinstance(self.notes, str) else tuple(self.notes)
        object.__setattr__(self, "notes", notes)
        object.__setattr__(self, "assumptions", tuple(self.assumptions))

    @property
    def violated(self):
        """The violated assumptions, in the report's order."""
        return tuple(a for a in self.assumptions if a.verdict == "violated")

    @property
    def ok(self):
        """True unless a tested assumption is violated."""
        return not self.violated

    def __str__(self):
        return "\n".join([self._headline(), *self._table(), *self._footer()])

    def _repr_html_(self):
        def row(tag, cells):
            inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inner}</tr>"

        head = row("th", _COLUMNS)
        body = "".join(row("td", a._cells()) for a in self.assumptions)
        table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
        lines = [self._headline(), *self._footer()]
        first, *rest = (f"<p>{html.escape(line)}</p>" for line in lines)
        return "".join([first, table if self.assumptions else "", *rest])

    def to_frame(self):
        """The table of assumptions as a dataframe.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_assumptions, 5)
            Columns "test", "statistic", "bound", "threshold" and "verdict", indexed by
            the assumption; NaN where there is no statistic or threshold.
        """
        import pandas as pd

        fields = ["name", "test", "statistic", "bound", "threshold", "verdict"]
        frame = pd.DataFrame(
            [[getattr(a, field) for field in fields] for a in self.assumptions],
            columns=["assumption", *fields[1:]],
        )
        return frame.astype({"statistic": float, "threshold": float}).set_index(
            "assumption"
        )

    def warn(self, estimator):
        """Emit one ``IdentifiabilityWarning`` that names every violated assumption.

        Parameters
        ----------
        estimator : estimator
            The estimator in whose name to warn.
        """
        if self.ok:
            return
        found = "; ".join(
            f"{name} ({test})" + (f": {statistic}" if statistic else "")
            + (f", wanted {threshold}" if threshold else "")
            for name, test, statistic, threshold, _ in (
                a._cells() for a in self.violated
            )
        )  # fmt: skip
        warnings.warn(
            f"{type(estimator).__name__}: {self.target} may not be identified, "
            f"as {self._n_violated()}: {found}. "
            f"See identifiability_ for the whole report. {self.advice}".rstrip(),
            IdentifiabilityWarning,
            stacklevel=_level_of_caller(),
        )

    def _n_violated(self):
        n_violated = len(self.violated)
        return f"{_count(n_violated)} {'is' if n_violated == 1 else 'are'} violated"

    def _headline(self):
        n_violated = len(self.violated)
        if n_violated:
            outcome = self._n_violated()
        elif any(a.verdict == "holds" for a in self.assumptions):
            outcome = "No tested assumption is violated"
        else:
            outcome = "No assumption could be tested"
        verdict = "May not be identified" if n_violated else "Identified"
        return f"{verdict}: {self.target}, up to {self.up_to}. {outcome}."

    def _table(self):
        if not self.assumptions:
            return
        cells = [_COLUMNS, *(a._cells() for a in self.assumptions)]
        rows = [[textwrap.wrap(cell, _WIDTH) or [""] for cell in row] for row in cells]
        widths = [max(len(line) for row in rows for line in row[j]) for j in range(5)]
        for i, row in enumerate(rows):
            for k in range(max(len(lines) for lines in row)):
                texts = [lines[k] if k < len(lines) else "" for lines in row]
                padded = (t.ljust(w) for t, w in zip(texts, widths, strict=True))
                yield " | ".join(padded).rstrip()
            if i == 0:
                yield "-+-".join("-" * width for width in widths)

    def _footer(self):
        if self.stability is not None:
            yield f"Stability over re-runs: {_stability(self.stability)}."
        for note in self.notes:
            yield f"Note: {note}"
        if self.advice and not self.ok:
            yield f"Advice: {self.advice}"


def _number(value):
    """A statistic in at most four significant digits, "" for none."""
    return "" if value is None else f"{value:.4g}"


def _count(n):
    return "1 assumption" if n == 1 else f"{n} assumptions"


def _stability(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_stability(v)}" for key, v in value.items())
    return _number(value) if isinstance(value, float) else str(value)


def _level_of_caller():
    """Stack level of the first frame outside skident and scikit-learn.

    A warning then points at the user's line, and is shown once for each such line,
    whatever decorator or meta-estimator stands between.
    """
    # The module of a frame, not its file: both packages may stand anywhere.
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("skident", "sklearn"):
            break
        level, frame = level + 1, frame.f_back
    return level
