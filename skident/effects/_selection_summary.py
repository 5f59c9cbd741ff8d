"""Effects side by side: naive, in the selected rows, in the population, bounds."""

import html
import textwrap
from dataclasses import dataclass

_COLUMNS = ("", "effect", "stderr", "low", "high", "status")
_WIDTH = 88


@dataclass(frozen=True)
class SelectionSummary:
    """A table of what is known of an effect, and why no more is.

    Attributes
    ----------
    rows : tuple of tuple
        Name, effect (a pair for bounds), standard error, ends of the interval, status.
    level : float
        Of the intervals.
    code, reason : str
        Why the effect in the population is, or is not, identified.
    """

    rows: tuple
    level: float
    code: str
    reason: str

    def __str__(self):
        cells = [_COLUMNS, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[j]) for row in cells) for j in range(len(_COLUMNS))]
        lines = [self._title()]
        for i, row in enumerate(cells):
            first, *middle, last = zip(row, widths, strict=True)
            texts = [first[0].ljust(first[1])]
            texts += [text.rjust(width) for text, width in middle]
            lines.append("  ".join([*texts, last[0]]).rstrip())
            if i == 0:
                lines.append("-" * (sum(widths) + 2 * len(widths) - 2))
        return "\n".join([*lines, *textwrap.wrap(self._footer(), _WIDTH)])

    __repr__ = __str__

    def _repr_html_(self):
        def line(tag, cells):
            inner = "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells)
            return f"<tr>{inner}</tr>"

        body = "".join(line("td", _cells(row)) for row in self.rows)
        return (
            f"<p>{html.escape(self._title())}</p><table><thead>{line('th', _COLUMNS)}"
            f"</thead><tbody>{body}</tbody></table><p>{html.escape(self._footer())}</p>"
        )

    def to_frame(self):
        """The table as a dataframe.

        Returns
        -------
        frame : pandas.DataFrame
            Columns "effect", "stderr", "low", "high" and "status", indexed by name;
            bounds take two rows, "lower bound" and "upper bound".
        """
        import pandas as pd

        records = []
        for name, effect, stderr, low, high, status in self.rows:
            if isinstance(effect, tuple):
                nan = float("nan")
                ends = zip(effect, stderr, ((low, nan), (nan, high)), strict=True)
                for end, (value, error, interval) in zip(
                    ("lower", "upper"), ends, strict=True
                ):
                    records.append((f"{end} bound", value, error, *interval, status))
            else:
                records.append((name, effect, stderr, low, high, status))
        frame = pd.DataFrame(records, columns=["name", *_COLUMNS[1:]])
        return frame.set_index("name")

    def _title(self):
        return f"Average effect of the treatment, {100 * self.level:g} % intervals"

    def _footer(self):
        return f"Whole population, {self.code}: {self.reason}"


def make_summary(model):
    """The table of a fitted estimator.

    Parameters
    ----------
    model : SelectionBiasATE

    Returns
    -------
    summary : SelectionSummary
    """
    found, level = model.identification_, 1 - model.alpha
    rows = []
    if model.effect_naive_ is not None:
        among = "point" if model._among_identified else "association"
        for name, estimate, status in (
            ("naive", model.effect_naive_, "association"),
            ("selected rows, adjusted", model.effect_selected_, among),
        ):
            interval = estimate.confidence_interval(level)
            rows.append((name, estimate.effect, estimate.stderr, *interval, status))
    status = found.status if found.status == "point" else "not identified"
    interval = model.confidence_interval(level)
    rows.append(("whole population", model.effect_, model.stderr_, *interval, status))
    if model._bounds is not None:
        bounds = model._bounds
        rows.append(
            (
                "bounds",
                (bounds.lower, bounds.upper),
                tuple(map(float, bounds.stderr)),
                *bounds.confidence_interval(level),
                "partial",
            )
        )
    return SelectionSummary(tuple(rows), level, found.code, found.reason)


def _cells(row):
    name, effect, stderr, low, high, status = row
    if isinstance(effect, tuple):
        effect = f"[{_number(effect[0])}, {_number(effect[1])}]"
        return name, effect, "", _number(low), _number(high), status
    return name, *map(_number, (effect, stderr, low, high)), status


def _number(value):
    return "-" if value != value else f"{value:.4g}"
