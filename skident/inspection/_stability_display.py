"""A plot of how stable each atom is from fit to fit."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional


class StabilityDisplay:
    """Stability of the atoms of a dictionary over refits.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    atom_stability : ndarray of shape (n_components,)
        Stability of each atom, in [0, 1].
    stable : ndarray of shape (n_components,), bool, default=None
        Atoms that are kept; None marks those whose stability is at least
        ``threshold``, or all without a threshold.
    threshold : float, default=None
        Stability from which atoms are kept, drawn as a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Examples
    --------
    >>> from skident.inspection import StabilityDisplay
    >>> display = StabilityDisplay([0.99, 0.4, 0.95], threshold=0.9)
    >>> display.stable
    array([ True, False,  True])
    """

    def __init__(self, atom_stability, *, stable=None, threshold=None):
        self.atom_stability = np.asarray(atom_stability, dtype=np.float64)
        if self.atom_stability.ndim != 1 or self.atom_stability.size == 0:
            raise ValueError(
                "atom_stability must be one-dimensional and not empty, got shape "
                f"{self.atom_stability.shape}."
            )
        if stable is None:
            lowest = -np.inf if threshold is None else threshold
            stable = self.atom_stability >= lowest
        self.stable = np.asarray(stable, dtype=bool)
        if self.stable.shape != self.atom_stability.shape:
            raise ValueError(
                "stable must have one entry an atom, got shape "
                f"{self.stable.shape} for {self.atom_stability.size} atoms."
            )
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator, *, kind="curve", ax=None):
        """Plot a fitted :class:`~skident.decomposition.SAEStability`.

        Parameters
        ----------
        estimator : fitted SAEStability
            Its ``atom_stability_``, ``stable_`` and ``min_stability`` are shown.
        kind : {"curve", "hist"}, default="curve"
            See :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : StabilityDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but no SAEStability.
        """
        check_shows(estimator, "atom_stability_", "SAEStability")
        display = cls(
            estimator.atom_stability_,
            stable=estimator.stable_,
            threshold=estimator.min_stability,
        )
        return display.plot(kind=kind, ax=ax)

    @classmethod
    def from_predictions(
        cls, atom_stability, *, stable=None, threshold=None, kind="curve", ax=None
    ):
        """Plot stabilities that are at hand.

        Parameters
        ----------
        atom_stability : array-like of shape (n_components,)
            Stability of each atom, in [0, 1].
        stable : array-like of shape (n_components,), bool, default=None
            Atoms that are kept; None marks those whose stability is at least
            ``threshold``.
        threshold : float, default=None
            Stability from which atoms are kept.
        kind : {"curve", "hist"}, default="curve"
            See :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : StabilityDisplay
        """
        display = cls(atom_stability, stable=stable, threshold=threshold)
        return display.plot(kind=kind, ax=ax)

    def plot(self, *, kind="curve", ax=None):
        """Draw the plot.

        Parameters
        ----------
        kind : {"curve", "hist"}, default="curve"
            "curve" draws stability against the rank of the atom, most stable first;
            "hist" the number of atoms at each stability.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : StabilityDisplay

        Raises
        ------
        ValueError
            If ``kind`` is neither.
        ImportError
            If matplotlib is not installed.
        """
        if kind not in ("curve", "hist"):
            raise ValueError(f'kind must be "curve" or "hist", got {kind!r}.')
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="StabilityDisplay.plot"
        )
        if ax is None:
            _, ax = plt.subplots()
        n_stable, n_atoms = int(self.stable.sum()), self.stable.size
        groups = (
            (self.stable, "C0", f"stable ({n_stable} of {n_atoms})"),
            (~self.stable, "0.7", "not stable"),
        )
        if kind == "curve":
            order = np.argsort(-self.atom_stability, kind="stable")
            value, rank = self.atom_stability[order], np.arange(1, n_atoms + 1)
            ax.plot(rank, value, color="0.4", linewidth=1)
            for mask, colour, label in groups:
                if mask.any():
                    at = mask[order]
                    ax.plot(rank[at], value[at], ".", color=colour, label=label)
            line = ax.axhline
            ax.set(xlabel="Atoms, most stable first", ylabel="Stability")
        else:
            low = min(0.0, float(self.atom_stability.min()))
            edges = np.linspace(low, max(1.0, float(self.atom_stability.max())), 41)
            shown = [group for group in groups if group[0].any()]
            ax.hist(
                [self.atom_stability[mask] for mask, _, _ in shown],
                bins=edges,
                stacked=True,
                color=[colour for _, colour, _ in shown],
                label=[label for _, _, label in shown],
            )
            line = ax.axvline
            ax.set(xlabel="Stability", ylabel="Number of atoms")
        if self.threshold is not None:
            label = f"threshold {self.threshold:g}"
            line(self.threshold, color="C3", linestyle="--", label=label)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self
