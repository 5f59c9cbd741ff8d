"""A forest plot: effects with their intervals, and bounds where there is no more."""

import numpy as np

from skident.utils._optional import import_optional

# Half the height of the bar that shows bounds, in rows.
_BAR = 0.16


class EffectDisplay:
    """Effects below each other, with intervals, bounds and the truth where known.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    names : sequence of str of length n_effects
        What each row is, from the top.
    effects : array-like of shape (n_effects,)
        Estimates; NaN where none is identified.
    intervals : array-like of shape (n_effects, 2), default=None
        Ends of the confidence intervals; NaN where there is none. A row without an
        estimate may have one, of an effect between its bounds.
    bounds : array-like of shape (n_effects, 2), default=None
        Ends between which the effect lies, sampling apart; NaN where there are none.
    truth : float, default=None
        The true effect, or one to compare with.
    level : float, default=0.95
        Coverage of the intervals, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If lengths differ, an effect is infinite, or an interval or bounds are the wrong
        way round.

    Notes
    -----
    A row without an estimate shows its bounds alone, or says "not identified".
    Bounds that are infinite on one side are drawn to the edge of the plot.

    Examples
    --------
    >>> from skident.inspection import EffectDisplay
    >>> display = EffectDisplay(
    ...     ["naive", "population"], [1.8, np.nan], bounds=[[np.nan] * 2, [2.0, 4.1]]
    ... )
    >>> display.identified
    array([ True, False])
    """

    def __init__(
        self, names, effects, intervals=None, *, bounds=None, truth=None, level=0.95
    ):
        self.effects = np.asarray(effects, dtype=np.float64)
        if self.effects.ndim != 1 or self.effects.size == 0:
            raise ValueError(
                "effects must be one-dimensional and not empty, got shape "
                f"{self.effects.shape}."
            )
        if np.isinf(self.effects).any():
            raise ValueError("effects must be finite, or NaN where none is identified.")
        self.names = [str(name) for name in names]
        if len(self.names) != self.effects.size:
            raise ValueError(
                f"names must have one entry an effect, got {len(self.names)} for "
                f"{self.effects.size} effects."
            )
        self.intervals = _as_pairs(intervals, self.effects.size, "intervals")
        self.bounds = _as_pairs(bounds, self.effects.size, "bounds")
        self.truth = None if truth is None else float(truth)
        self.level = level

    @property
    def identified(self):
        """Which rows have an estimate, of shape (n_effects,)."""
        return ~np.isnan(self.effects)

    @classmethod
    def from_estimator(cls, estimator, *, truth=None, level=0.95, ax=None):
        """Plot a fitted estimator of an effect, or several.

        Parameters
        ----------
        estimator : fitted estimator, or dict of str to fitted estimators
            Has ``effect_`` and ``confidence_interval``, and perhaps ``bounds_`` and
            ``bounds_confidence_interval``. A
            :class:`~skident.effects.SelectionBiasATE` by itself is shown beside the
            naive effect and that in the selected rows. One in a
            :class:`~skident.compose.FromColumns` is taken out of it. A dict may also
            hold results of :func:`~skident.effects.aipw_ate`.
        truth : float, default=None
            The true effect, or one to compare with.
        level : float, default=0.95
            Coverage of the intervals.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EffectDisplay

        Raises
        ------
        TypeError
            If an object has neither ``effect_`` nor ``effect``.
        """
        if isinstance(estimator, dict):
            rows = {name: _unwrapped(found) for name, found in estimator.items()}
        else:
            estimator = _unwrapped(estimator)
            shown = {
                "naive": getattr(estimator, "effect_naive_", None),
                "selected rows, adjusted": getattr(estimator, "effect_selected_", None),
            }
            rows = {name: found for name, found in shown.items() if found is not None}
            rows["whole population" if rows else "effect"] = estimator
        effects, intervals, bounds = [], [], []
        for name, found in rows.items():
            effect = getattr(found, "effect_", getattr(found, "effect", None))
            if effect is None or callable(effect):
                raise TypeError(
                    f"estimator must be fitted and have an effect_; {name!r} is a "
                    f"{type(found).__name__} without."
                )
            effects.append(effect)
            ends = getattr(found, "bounds_", None)
            bounds.append((np.nan, np.nan) if ends is None else ends)
            interval = found.confidence_interval
            if np.isnan(effect) and hasattr(found, "bounds_confidence_interval"):
                interval = found.bounds_confidence_interval
            intervals.append(interval(level))
        display = cls(
            list(rows), effects, intervals, bounds=bounds, truth=truth, level=level
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        names,
        effects,
        intervals=None,
        *,
        bounds=None,
        truth=None,
        level=0.95,
        ax=None,
    ):
        """Plot effects that are at hand.

        Parameters
        ----------
        names : sequence of str of length n_effects
            What each row is, from the top.
        effects : array-like of shape (n_effects,)
            Estimates; NaN where none is identified.
        intervals : array-like of shape (n_effects, 2), default=None
            Ends of the confidence intervals; NaN where there is none.
        bounds : array-like of shape (n_effects, 2), default=None
            Ends between which the effect lies, sampling apart; NaN where there are
            none.
        truth : float, default=None
            The true effect, or one to compare with.
        level : float, default=0.95
            Coverage of the intervals, for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EffectDisplay
        """
        display = cls(
            names, effects, intervals, bounds=bounds, truth=truth, level=level
        )
        return display.plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EffectDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="EffectDisplay.plot"
        )
        n_effects = self.effects.size
        if ax is None:
            # Names take room beside the plot: about 0.08 inches a letter.
            width = min(12.0, 4.6 + 0.08 * max(map(len, self.names)))
            size = (width, min(14.0, 1.4 + 0.42 * n_effects))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        row = np.arange(n_effects)
        # Vertical lines end below the legend.
        span = [n_effects - 0.5, -0.6]
        low, high = self._limits()
        ax.set_xlim(low, high)
        ax.locator_params(axis="x", nbins=6)
        if low < 0 < high:
            ax.plot([0.0, 0.0], span, color="0.8", linewidth=1, zorder=0)
        if self.truth is not None:
            truth = [self.truth, self.truth]
            ax.plot(truth, span, color="0.2", linestyle="--", zorder=1, label="truth")
        bounded = ~np.isnan(self.bounds[:, 0])
        if bounded.any():
            ends = np.clip(self.bounds[bounded], low, high)
            ax.barh(
                row[bounded],
                ends[:, 1] - ends[:, 0],
                left=ends[:, 0],
                height=2 * _BAR,
                color="C1",
                alpha=0.4,
                label="bounds",
            )
        known = ~np.isnan(self.intervals[:, 0])
        if known.any():
            ax.hlines(
                row[known],
                *np.clip(self.intervals[known], low, high).T,
                color="C0",
                linewidth=1.8,
                label=f"{100 * self.level:g} % interval",
            )
        found = self.identified
        if found.any():
            ax.plot(self.effects[found], row[found], "o", color="C0", label="estimate")
        for i in np.flatnonzero(~found & ~bounded):
            ax.text(
                0.5,
                i,
                "not identified",
                transform=ax.get_yaxis_transform(),
                ha="center",
                va="center",
                color="0.35",
                style="italic",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
        ax.set_yticks(row, self.names)
        # The first row on top, and room for the legend above it.
        ax.set_ylim(n_effects - 0.5, -1.2)
        ax.tick_params(axis="y", length=0)
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
        ax.set_xlabel("Effect, in units of the outcome")
        handles, labels = ax.get_legend_handles_labels()
        if handles:
            order = {"estimate": 0, "bounds": 2, "truth": 3}
            ranked = sorted(
                zip(labels, handles, strict=True), key=lambda p: order.get(p[0], 1)
            )
            ax.legend(
                [handle for _, handle in ranked],
                [label for label, _ in ranked],
                loc="upper center",
                ncols=len(ranked),
                fontsize="small",
                frameon=False,
            )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _limits(self):
        """Ends of the axis: all that is finite, with a margin."""
        values = np.concatenate(
            [self.effects, self.intervals.ravel(), self.bounds.ravel()]
        )
        if self.truth is not None:
            values = np.append(values, self.truth)
        values = values[np.isfinite(values)]
        if not values.size:
            return -1.0, 1.0
        low, high = values.min(), values.max()
        # One number alone has no width; then the axis takes that of its size.
        width = high - low or max(abs(high), np.finfo(float).tiny)
        return low - 0.08 * width, high + 0.08 * width


def _unwrapped(found):
    """The estimator of an effect in a wrapper that has taken side inputs from columns.

    A wrapper passes on the method ``effect``, and has no ``effect_``.
    """
    if hasattr(found, "effect_"):
        return found
    return getattr(found, "estimator_", found)


def _as_pairs(pairs, n_effects, name):
    if pairs is None:
        return np.full((n_effects, 2), np.nan)
    pairs = np.asarray(pairs, dtype=np.float64)
    if pairs.shape != (n_effects, 2):
        raise ValueError(
            f"{name} must be of shape ({n_effects}, 2), got shape {pairs.shape}."
        )
    missing = np.isnan(pairs)
    if (missing[:, 0] != missing[:, 1]).any():
        raise ValueError(f"{name} must have both ends or, as NaN, none.")
    if (pairs[:, 0] > pairs[:, 1]).any():
        i = np.flatnonzero(pairs[:, 0] > pairs[:, 1])[0]
        raise ValueError(
            f"{name} must go from the lower to the upper end, got "
            f"({pairs[i, 0]:g}, {pairs[i, 1]:g}) in row {i}."
        )
    return pairs
