"""Pictures of a field as measured, as an equation has it, and of what is left."""

from numbers import Real

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional


class FieldDisplay:
    """A measured field beside its reconstruction, and the difference of the two.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    data : array-like of shape (n_rows, n_columns)
        The field, as measured: time by place, or two spatial axes at one time. NaN
        where a value is missing.
    reconstruction : array-like of shape (n_rows, n_columns)
        What the equation makes of it; NaN where it says nothing.
    truth : array-like of shape (n_rows, n_columns), default=None
        The field without noise, where it is known: the difference is then that of
        reconstruction and truth.
    extent : tuple of four float, default=None
        First and last coordinate of the columns, then of the rows.
    labels : tuple of two str, default=("x", "t")
        What columns and rows are.
    title : str, default=None
        Of the whole.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first panel, or the axes in which all panels lie.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If a field is not of two axes, shapes differ, or no value is finite.

    Notes
    -----
    Fields share one scale, and differences have another, both in units of the field.
    Missing values are grey.

    Examples
    --------
    >>> from skident.inspection import FieldDisplay
    >>> display = FieldDisplay([[0.0, 1.0], [2.0, 3.0]], [[0.0, 1.0], [2.0, 2.5]])
    >>> display.difference
    array([[ 0. ,  0. ],
           [ 0. , -0.5]])
    """

    def __init__(
        self,
        data,
        reconstruction,
        *,
        truth=None,
        extent=None,
        labels=("x", "t"),
        title=None,
    ):
        self.data = np.asarray(data, dtype=np.float64)
        if self.data.ndim != 2:
            raise ValueError(f"data must be of two axes, got shape {self.data.shape}.")
        self.reconstruction = self._alike(reconstruction, "reconstruction")
        self.truth = None if truth is None else self._alike(truth, "truth")
        if not np.isfinite(self.data).any():
            raise ValueError("data must have a finite value.")
        self.extent = None if extent is None else tuple(map(float, extent))
        if self.extent is not None and len(self.extent) != 4:
            raise ValueError(f"extent must be four numbers, got {self.extent}.")
        self.labels = tuple(labels)
        self.title = title

    def _alike(self, field, name):
        field = np.asarray(field, dtype=np.float64)
        if field.shape != self.data.shape:
            raise ValueError(
                f"{name} must be of shape {self.data.shape}, got shape {field.shape}."
            )
        return field

    @property
    def difference(self):
        """Reconstruction less the truth, or less the data where that is unknown."""
        return self.reconstruction - (self.data if self.truth is None else self.truth)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        trajectories=None,
        times=None,
        truth=None,
        field=0,
        frame=None,
        ax=None,
    ):
        """Plot data beside what a fitted estimator makes of them.

        Parameters
        ----------
        estimator : fitted MechanisticPDERegressor
            Its ``reconstruct`` is called.
        X : array-like of shape (n_samples, n_features)
            Flattened snapshots.
        trajectories, times : array-like of shape (n_samples,), default=None
            As in the ``fit`` of the estimator. Rows are drawn in the order given, the
            first experiment of several alone.
        truth : array-like of shape (n_samples, n_features), default=None
            Snapshots without noise, where they are known.
        field : int, default=0
            Number of the field.
        frame : int, default=None
            Row of ``X`` to draw where there are two spatial axes; None takes the middle
            one. Not used with one axis, where time is the other.
        ax : matplotlib Axes, default=None
            Axes in which to lay the panels; None makes new ones.

        Returns
        -------
        display : FieldDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but has no fields.
        ValueError
            If there is no such field or row.
        """
        check_shows(estimator, "grid_shape_", "MechanisticPDERegressor")
        side = {"trajectories": trajectories, "times": times}
        found = estimator.reconstruct(
            X, **{name: value for name, value in side.items() if value is not None}
        )
        # A dataframe as it is till here: its column names are checked.
        X = np.asarray(X, dtype=np.float64)
        shape, n_fields = estimator.grid_shape_, estimator.n_fields
        if not 0 <= field < n_fields:
            raise ValueError(f"field must be in [0, {n_fields}), got {field}.")
        steps = np.asarray(estimator.spacing_, dtype=np.float64)
        name = estimator.equations()[field].partition("_t = ")[0]
        if len(shape) == 1:
            rows = slice(None)
            if trajectories is not None:
                labels = np.asarray(trajectories)
                rows = labels == labels[0]
            low = (0.0, steps[0] * (np.shape(X[rows])[0] - 1))
            if times is not None:
                low = (np.asarray(times)[rows][0], np.asarray(times)[rows][-1])
            extent = (*_ends(estimator, 0), *low)
            axes, title = ("x", "t"), name
        else:
            frame = len(X) // 2 if frame is None else frame
            if not 0 <= frame < len(X):
                raise ValueError(f"frame must be in [0, {len(X)}), got {frame}.")
            rows = frame
            extent = (*_ends(estimator, 1), *_ends(estimator, 0))
            when = frame * steps[0] if times is None else np.asarray(times)[frame]
            axes, title = ("y", "x"), f"{name} at time {when:.4g}"

        def picture(values):
            values = np.asarray(values, dtype=np.float64)
            return values.reshape(len(X), *shape, n_fields)[rows, ..., field]

        display = cls(
            picture(X),
            picture(found),
            truth=None if truth is None else picture(truth),
            extent=extent,
            labels=axes,
            title=title,
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        data,
        reconstruction,
        *,
        truth=None,
        extent=None,
        labels=("x", "t"),
        title=None,
        ax=None,
    ):
        """Plot fields that are at hand.

        Parameters
        ----------
        data : array-like of shape (n_rows, n_columns)
            The field, as measured; NaN where a value is missing.
        reconstruction : array-like of shape (n_rows, n_columns)
            What an equation makes of it; NaN where it says nothing.
        truth : array-like of shape (n_rows, n_columns), default=None
            The field without noise, where it is known.
        extent : tuple of four float, default=None
            First and last coordinate of the columns, then of the rows.
        labels : tuple of two str, default=("x", "t")
            What columns and rows are.
        title : str, default=None
            Of the whole.
        ax : matplotlib Axes, default=None
            Axes in which to lay the panels; None makes new ones.

        Returns
        -------
        display : FieldDisplay
        """
        display = cls(
            data,
            reconstruction,
            truth=truth,
            extent=extent,
            labels=labels,
            title=title,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax=None, cmap="viridis"):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes in which to lay the panels, which are then not drawn themselves; None
            makes new ones.
        cmap : str or Colormap, default="viridis"
            Colours of the fields; differences are blue where the reconstruction is too
            low and red where it is too high.

        Returns
        -------
        display : FieldDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="FieldDisplay.plot"
        )
        panels = [("data", self.data), ("reconstruction", self.reconstruction)]
        if self.truth is not None:
            panels.insert(1, ("truth", self.truth))
        n_panels = len(panels) + 1
        if ax is None:
            figure, axes = plt.subplots(
                1,
                n_panels,
                figsize=(2.9 * n_panels, 3.2),
                layout="constrained",
                sharex=True,
                sharey=True,
            )
            axes, outer = list(axes), axes[0]
        else:
            outer, figure = ax, ax.figure
            outer.set_axis_off()
            width = 1.0 / n_panels
            axes = [
                ax.inset_axes([i * width, 0.0, 0.78 * width, 1.0])
                for i in range(n_panels)
            ]
        # Noise is wide: what the equation explains sets the colours where it is known.
        shown = panels[1][1] if np.isfinite(panels[1][1]).any() else self.data
        low, high = np.nanmin(shown), np.nanmax(shown)
        edge = 0.05 * (high - low)
        for panel, (label, values) in zip(axes, panels, strict=False):
            image = self._draw(panel, values, cmap, low - edge, high + edge)
            panel.set_title(label, fontsize="medium")
        figure.colorbar(image, ax=axes[len(panels) - 1], shrink=0.85)
        left = self.difference
        size = np.nanmax(np.abs(left)) if np.isfinite(left).any() else 0.0
        size = size or np.finfo(float).tiny
        image = self._draw(axes[-1], left, "RdBu_r", -size, size)
        subject = "truth" if self.truth is not None else "data"
        axes[-1].set_title(f"reconstruction − {subject}", fontsize="medium")
        figure.colorbar(image, ax=axes[-1], shrink=0.85)
        axes[0].set_ylabel(self.labels[1])
        for panel in axes:
            panel.set_xlabel(self.labels[0])
        for panel in axes[1:]:
            panel.tick_params(labelleft=False)
        if self.title and ax is None:
            figure.suptitle(self.title)
        elif self.title:
            outer.set_title(self.title, pad=22.0)
        self.axes_, self.ax_, self.figure_ = axes, outer, figure
        return self

    def _draw(self, panel, values, cmap, low, high):
        import matplotlib

        colours = matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap
        return panel.imshow(
            values,
            origin="lower",
            aspect="auto",
            extent=self._edges(),
            cmap=colours.with_extremes(bad="0.75"),
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )

    def _edges(self):
        """Extent of the picture: coordinates are those of the pixels' middles."""
        if self.extent is None:
            return None
        edges = []
        for n, first, last in (
            (self.data.shape[1], *self.extent[:2]),
            (self.data.shape[0], *self.extent[2:]),
        ):
            half = 0.5 * (last - first) / max(n - 1, 1) or 0.5
            edges += [first - half, last + half]
        return edges


def _ends(estimator, axis):
    """First and last coordinate of a spatial axis, from 0 if only steps are known."""
    spacing = estimator.spacing
    if not isinstance(spacing, Real) and np.ndim(spacing[axis]):
        return float(spacing[axis][0]), float(spacing[axis][-1])
    n_nodes = estimator.grid_shape_[axis]
    return 0.0, float(estimator.spacing_[1 + axis]) * (n_nodes - 1)
