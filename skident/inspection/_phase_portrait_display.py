"""A plot of trajectories in the plane of two states, with the fitted directions."""

import numpy as np

from skident.utils._optional import import_optional
from skident.utils._sklearn import check_is_fitted

_MOST_ARROWS = 250


class PhasePortraitDisplay:
    """Trajectories in the plane of two states, with where an equation sends them.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    states : array-like of shape (n_samples, 2)
        Measured states.
    directions : array-like of shape (n_samples, 2), default=None
        Rates of change at these states.
    simulation : array-like of shape (n_times, 2), default=None
        A solution of the equation.
    trajectories : array-like of shape (n_samples,), default=None
        Label of each row's trajectory; points of different ones are not joined.
    labels : tuple of two str, default=("x0", "x1")
        Names of the states.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If an array is not of two columns, or lengths differ.

    Notes
    -----
    Arrows stand at measured states, where the equation was fitted, and nowhere else;
    all have one length, so that they show directions and not speeds.

    Examples
    --------
    >>> from skident.inspection import PhasePortraitDisplay
    >>> display = PhasePortraitDisplay([[1.0, 0.0], [0.0, 1.0]], [[0, 1], [-1, 0]])
    >>> display.directions.shape
    (2, 2)
    """

    def __init__(
        self,
        states,
        directions=None,
        simulation=None,
        *,
        trajectories=None,
        labels=("x0", "x1"),
    ):
        self.states = _pairs(states, "states")
        self.directions = (
            None if directions is None else _pairs(directions, "directions")
        )
        if self.directions is not None and len(self.directions) != len(self.states):
            raise ValueError(
                "directions must have one row a state, got "
                f"{len(self.directions)} for {len(self.states)}."
            )
        self.simulation = (
            None if simulation is None else _pairs(simulation, "simulation")
        )
        if trajectories is None:
            trajectories = np.zeros(len(self.states), dtype=np.int64)
        self.trajectories = np.asarray(trajectories)
        if self.trajectories.shape != (len(self.states),):
            raise ValueError(
                "trajectories must have one label a state, got shape "
                f"{self.trajectories.shape} for {len(self.states)} states."
            )
        self.labels = tuple(labels)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        trajectories=None,
        states=(0, 1),
        simulation=None,
        ax=None,
    ):
        """Plot trajectories with the vector field of a fitted estimator.

        Parameters
        ----------
        estimator : fitted MechanisticODERegressor
            Its ``predict`` gives the directions.
        X : array-like of shape (n_samples, n_features)
            States, and controls if there are any.
        trajectories : array-like of shape (n_samples,), default=None
            Label of each row's trajectory.
        states : tuple of two int, default=(0, 1)
            Columns of ``X`` that span the plane.
        simulation : array-like of shape (n_times, n_states), default=None
            A solution, as ``estimator.simulate`` returns it.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : PhasePortraitDisplay

        Raises
        ------
        ValueError
            If ``states`` are not two columns that the estimator models.
        """
        check_is_fitted(estimator)
        rates = np.asarray(estimator.predict(X))
        rates = rates.reshape(len(rates), -1)
        pair = list(states)
        if len(pair) != 2 or not all(0 <= i < rates.shape[1] for i in pair):
            raise ValueError(
                f"states must be two columns in [0, {rates.shape[1]}), got {states}."
            )
        names = getattr(estimator, "feature_names_in_", None)
        labels = [f"x{i}" if names is None else str(names[i]) for i in pair]
        display = cls(
            np.asarray(X)[:, pair],
            rates[:, pair],
            None if simulation is None else np.asarray(simulation)[:, pair],
            trajectories=trajectories,
            labels=labels,
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        states,
        directions=None,
        simulation=None,
        *,
        trajectories=None,
        labels=("x0", "x1"),
        ax=None,
    ):
        """Plot states and directions that are at hand.

        Parameters
        ----------
        states : array-like of shape (n_samples, 2)
            Measured states.
        directions : array-like of shape (n_samples, 2), default=None
            Rates of change at these states.
        simulation : array-like of shape (n_times, 2), default=None
            A solution of the equation.
        trajectories : array-like of shape (n_samples,), default=None
            Label of each row's trajectory.
        labels : tuple of two str, default=("x0", "x1")
            Names of the states.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : PhasePortraitDisplay
        """
        display = cls(
            states, directions, simulation, trajectories=trajectories, labels=labels
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
        display : PhasePortraitDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="PhasePortraitDisplay.plot"
        )
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        for i, label in enumerate(np.unique(self.trajectories)):
            ax.plot(
                *self.states[self.trajectories == label].T,
                ".-",
                color="0.65",
                linewidth=0.8,
                markersize=3,
                zorder=1,
                label="measured" if i == 0 else None,
            )
        if self.directions is not None:
            self._arrows(ax)
        if self.simulation is not None:
            ax.plot(*self.simulation.T, color="C3", zorder=3, label="simulated")
            ax.plot(*self.simulation[0], "o", color="C3", markersize=5, zorder=3)
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1])
        # Orbits leave no corner free: the legend stands above them.
        ax.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            fontsize="small",
            frameon=False,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _arrows(self, ax):
        every = -(-len(self.states) // _MOST_ARROWS)
        at, rates = self.states[::every], self.directions[::every]
        speed = np.linalg.norm(rates, axis=1)
        moving = (speed > 0) & np.isfinite(speed)
        unit = rates[moving] / speed[moving, None]
        ax.quiver(
            *at[moving].T,
            *unit.T,
            angles="xy",
            scale_units="width",
            scale=28.0,
            width=0.004,
            color="C0",
            zorder=2,
            label="direction of the equation",
        )


def _pairs(values, name):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or len(values) == 0:
        raise ValueError(
            f"{name} must be of shape (n, 2) with n > 0, got shape {values.shape}."
        )
    return values
