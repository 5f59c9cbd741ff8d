"""A plot of how much of the data each component explains."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional


class ComponentEnergyDisplay:
    """Share of the variance that each component explains, identified ones marked.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    energy : array-like of shape (n_components,)
        Variance that each component explains, in squared units of the data.
    identified : array-like of shape (n_components,), bool, default=None
        Components that are identified; None marks all.

    Attributes
    ----------
    share : ndarray of shape (n_components,)
        Energies over their sum.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Examples
    --------
    >>> from skident.inspection import ComponentEnergyDisplay
    >>> display = ComponentEnergyDisplay([3.0, 1.0], identified=[True, False])
    >>> display.share
    array([0.75, 0.25])
    """

    def __init__(self, energy, *, identified=None):
        self.energy = np.asarray(energy, dtype=np.float64)
        if self.energy.ndim != 1 or self.energy.size == 0:
            raise ValueError(
                "energy must be one-dimensional and not empty, got shape "
                f"{self.energy.shape}."
            )
        if not (np.isfinite(self.energy).all() and (self.energy >= 0).all()):
            raise ValueError("energy must be finite and not negative.")
        if identified is None:
            identified = np.ones(self.energy.size, dtype=bool)
        self.identified = np.asarray(identified, dtype=bool)
        if self.identified.shape != self.energy.shape:
            raise ValueError(
                "identified must have one entry a component, got shape "
                f"{self.identified.shape} for {self.energy.size} components."
            )
        self.share = self.energy / max(self.energy.sum(), np.finfo(float).tiny)

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot a fitted :class:`~skident.decomposition.ICAPostProcessor`.

        Parameters
        ----------
        estimator : fitted ICAPostProcessor
            Its ``component_energy_`` and ``identified_mask_`` are shown.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentEnergyDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but no ICAPostProcessor.
        """
        check_shows(estimator, "component_energy_", "ICAPostProcessor")
        display = cls(
            estimator.component_energy_, identified=estimator.identified_mask_
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(cls, energy, *, identified=None, ax=None):
        """Plot energies that are at hand.

        Parameters
        ----------
        energy : array-like of shape (n_components,)
            Variance that each component explains.
        identified : array-like of shape (n_components,), bool, default=None
            Components that are identified; None marks all.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentEnergyDisplay
        """
        return cls(energy, identified=identified).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentEnergyDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="ComponentEnergyDisplay.plot"
        )
        if ax is None:
            _, ax = plt.subplots()
        n_kept, n_all = int(self.identified.sum()), self.energy.size
        position = np.arange(n_all)
        groups = (
            (self.identified, "C0", f"identified ({n_kept} of {n_all})"),
            (~self.identified, "0.7", "not identified"),
        )
        for mask, colour, label in groups:
            if mask.any():
                ax.bar(position[mask], self.share[mask], color=colour, label=label)
        ax.set(xlabel="Component", ylabel="Share of the explained variance")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self
