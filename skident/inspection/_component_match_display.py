"""A plot of how the components of two runs correlate."""

import numpy as np

from skident.metrics import match_components
from skident.utils._optional import import_optional
from skident.utils._sklearn import check_is_fitted


class ComponentMatchDisplay:
    """Correlations of the components of two runs, matched ones on the diagonal.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    correlation : ndarray of shape (n_components_1, n_components_2)
        Correlations of the components of the first run (rows) with those of the second
        (columns), in their own orders.
    permutation : ndarray of shape (n_components_1,)
        Column matched with each row; -1 for none.

    Attributes
    ----------
    rows : ndarray of shape (n_components_1,)
        The first run's components in the order of the plot: matched ones first.
    columns : ndarray of shape (n_components_2,)
        The second run's: in the order of their partners, others last.
    mcc : float
        Mean absolute correlation of matched components.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Examples
    --------
    >>> from skident.inspection import ComponentMatchDisplay
    >>> correlation = np.array([[0.1, -0.9], [0.8, 0.2]])
    >>> display = ComponentMatchDisplay(correlation, permutation=np.array([1, 0]))
    >>> display.columns, round(display.mcc, 12)
    (array([1, 0]), 0.85)
    """

    def __init__(self, correlation, permutation):
        self.correlation = np.asarray(correlation, dtype=np.float64)
        self.permutation = np.asarray(permutation)
        if self.correlation.ndim != 2 or self.correlation.size == 0:
            raise ValueError(
                "correlation must be two-dimensional and not empty, got shape "
                f"{self.correlation.shape}."
            )
        if self.permutation.shape != self.correlation.shape[:1]:
            raise ValueError(
                "permutation must have one entry a row of correlation, got shape "
                f"{self.permutation.shape} for {len(self.correlation)} rows."
            )
        # Matched rows first, so that their partners stand on the diagonal.
        self.rows = np.argsort(self.permutation < 0, kind="stable")
        matched = np.flatnonzero(self.permutation >= 0)
        partners = self.permutation[matched]
        rest = np.setdiff1d(np.arange(self.correlation.shape[1]), partners)
        self.columns = np.concatenate([partners, rest])
        self.mcc = float(np.abs(self.correlation[matched, partners]).mean())

    @classmethod
    def from_estimator(cls, estimator, other, X, *, ax=None):
        """Plot the components that two fitted transformers give to the same rows.

        Parameters
        ----------
        estimator : fitted transformer
            The first run.
        other : fitted transformer
            The second run.
        X : array-like of shape (n_samples, n_features)
            Rows, best those that neither has seen.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentMatchDisplay
        """
        check_is_fitted(estimator)
        check_is_fitted(other)
        found = estimator.transform(X), other.transform(X)
        return cls.from_predictions(*found, ax=ax)

    @classmethod
    def from_predictions(cls, Y1, Y2, *, ax=None):
        """Plot the components of two runs that are at hand.

        Parameters
        ----------
        Y1 : array-like of shape (n_samples, n_components_1)
            Components of the first run.
        Y2 : array-like of shape (n_samples, n_components_2)
            Components of the second run, for the same rows.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentMatchDisplay
        """
        match = match_components(Y1, Y2)
        scaled = []
        for Y in (Y1, Y2):
            Y = np.array(Y, dtype=np.float64)
            Y -= Y.mean(axis=0)
            norm = np.linalg.norm(Y, axis=0)
            scaled.append(Y / np.where(norm > 0, norm, 1.0))
        return cls(scaled[0].T @ scaled[1], match.permutation).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ComponentMatchDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="ComponentMatchDisplay.plot"
        )
        if ax is None:
            _, ax = plt.subplots()
        shown = np.abs(self.correlation[self.rows][:, self.columns])
        image = ax.imshow(shown, vmin=0, vmax=1, cmap="Blues")
        ax.figure.colorbar(image, ax=ax, label="Absolute correlation")
        if max(shown.shape) <= 20:
            ax.set_yticks(range(len(self.rows)), [str(i) for i in self.rows])
            ax.set_xticks(range(len(self.columns)), [str(i) for i in self.columns])
        ax.set(
            xlabel="Components of the second run, matched",
            ylabel="Components of the first run",
            title=f"Mean correlation of matched components {self.mcc:.3f}",
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
