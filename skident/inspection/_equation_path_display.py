"""A plot of an equation that loses its terms one by one, and of where it stopped."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional

# More removals than this are drawn without the names of what went.
_MOST_NAMES = 30


class EquationPathDisplay:
    """An equation from all candidate terms down to none, and the size that was chosen.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    support : array-like of bool of shape (n_steps, n_terms)
        Terms of the equation at each step, from many to few.
    loss : array-like of shape (n_steps,)
        What each of these equations leaves unexplained.
    names : sequence of str of length n_terms
        Names of the terms.
    t_ratios : array-like of shape (n_steps, n_terms), default=None
        Coefficients over their standard errors; what is not in the equation is not
        read.
    chosen : int, default=None
        Step whose equation was kept.
    title : str, default=None
        Of which quantity this is the equation.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If shapes differ, a loss is negative or not finite, or ``chosen`` is no step.

    Notes
    -----
    A term that belongs to the equation shows in the loss, which jumps when it goes, by
    more than at any removal before. Where no jump stands out the data do not decide
    between the equations on either side.

    Examples
    --------
    >>> from skident.inspection import EquationPathDisplay
    >>> display = EquationPathDisplay(
    ...     [[1, 1], [1, 0], [0, 0]], [1.0, 1.01, 9.0], ["u_xx", "u"], chosen=1
    ... )
    >>> display.removed
    [['u'], ['u_xx']]
    """

    def __init__(self, support, loss, names, *, t_ratios=None, chosen=None, title=None):
        self.support = np.asarray(support, dtype=bool)
        self.loss = np.asarray(loss, dtype=np.float64)
        self.names = [str(name) for name in names]
        if self.support.ndim != 2 or self.support.shape[1] != len(self.names):
            raise ValueError(
                "support must be of shape (n_steps, n_terms) with a name for each "
                f"term, got shape {self.support.shape} for {len(self.names)} names."
            )
        n_steps = len(self.support)
        if self.loss.shape != (n_steps,) or n_steps == 0:
            raise ValueError(
                f"loss must have one entry a step, got shape {self.loss.shape} for "
                f"{n_steps} steps."
            )
        if not (self.loss >= 0).all() or np.isinf(self.loss).any():
            raise ValueError("loss must be finite and not negative.")
        self.t_ratios = None
        if t_ratios is not None:
            self.t_ratios = np.asarray(t_ratios, dtype=np.float64)
            if self.t_ratios.shape != self.support.shape:
                raise ValueError(
                    f"t_ratios must be of shape {self.support.shape}, got shape "
                    f"{self.t_ratios.shape}."
                )
        if chosen is not None and not 0 <= chosen < n_steps:
            raise ValueError(f"chosen must be a step in [0, {n_steps}), got {chosen}.")
        self.chosen = chosen
        self.title = title

    @property
    def removed(self):
        """Names of the terms that each step but the first went without."""
        gone = self.support[:-1] & ~self.support[1:]
        return [[self.names[j] for j in np.flatnonzero(row)] for row in gone]

    @classmethod
    def from_estimator(cls, estimator, *, equation=0, kind="loss", ax=None):
        """Plot how a fitted estimator came to one of its equations.

        Parameters
        ----------
        estimator : fitted MechanisticODERegressor or MechanisticPDERegressor
            Its ``path_`` and ``terms_`` are shown.
        equation : int, default=0
            Which state's or field's.
        kind : {"loss", "terms"}, default="loss"
            See :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EquationPathDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but has no equations.
        ValueError
            If there is no such equation.
        """
        check_shows(
            estimator, "path_", "MechanisticODERegressor or MechanisticPDERegressor"
        )
        lines = estimator.equations()
        if not 0 <= equation < len(lines):
            raise ValueError(f"equation must be in [0, {len(lines)}), got {equation}.")
        # "u_t = ..." or "x' = ...".
        rates = [line.partition(" = ")[0] for line in lines]
        quantities = [rate.removesuffix("_t").removesuffix("'") for rate in rates]
        own = [quantities[equation]]
        own += [name for i, name in enumerate(quantities) if i != equation]
        names = [
            term if isinstance(term, str) else term.label(own)
            for term in estimator.terms_
        ]
        path = estimator.path_[equation]
        # Of fields the path is a list of fits, of states it is made of arrays.
        parts = getattr(path, "steps", None)
        if parts is None:
            support, loss, t_ratios = path.support, path.loss, path.t_ratios
        else:
            support = [step.support for step in parts]
            loss = [step.loss for step in parts]
            t_ratios = [step.t_ratios for step in parts]
        display = cls(
            support,
            loss,
            names,
            t_ratios=t_ratios,
            chosen=path.chosen,
            title=rates[equation],
        )
        return display.plot(kind=kind, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        support,
        loss,
        names,
        *,
        t_ratios=None,
        chosen=None,
        title=None,
        kind="loss",
        ax=None,
    ):
        """Plot a path that is at hand.

        Parameters
        ----------
        support : array-like of bool of shape (n_steps, n_terms)
            Terms of the equation at each step, from many to few.
        loss : array-like of shape (n_steps,)
            What each of these equations leaves unexplained.
        names : sequence of str of length n_terms
            Names of the terms.
        t_ratios : array-like of shape (n_steps, n_terms), default=None
            Coefficients over their standard errors.
        chosen : int, default=None
            Step whose equation was kept.
        title : str, default=None
            Of which quantity this is the equation.
        kind : {"loss", "terms"}, default="loss"
            See :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EquationPathDisplay
        """
        display = cls(
            support, loss, names, t_ratios=t_ratios, chosen=chosen, title=title
        )
        return display.plot(kind=kind, ax=ax)

    def plot(self, *, kind="loss", ax=None):
        """Draw the plot.

        Parameters
        ----------
        kind : {"loss", "terms"}, default="loss"
            "loss" draws the loss at each size, relative to the smallest, with the names
            of the terms that went; "terms" the t-ratios of the terms that are in, step
            by step.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : EquationPathDisplay

        Raises
        ------
        ValueError
            If ``kind`` is neither, or is "terms" where there are no t-ratios.
        ImportError
            If matplotlib is not installed.
        """
        if kind not in ("loss", "terms"):
            raise ValueError(f'kind must be "loss" or "terms", got {kind!r}.')
        if kind == "terms" and self.t_ratios is None:
            raise ValueError('kind="terms" needs t_ratios.')
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="EquationPathDisplay.plot"
        )
        if ax is None:
            n_steps, n_terms = self.support.shape
            height = 3.6 if kind == "loss" else min(12.0, 1.6 + 0.26 * n_terms)
            size = (min(12.0, 3.6 + 0.32 * n_steps), height)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        if kind == "loss":
            self._plot_loss(ax)
        else:
            self._plot_terms(ax)
        if self.title:
            ax.set_title(self.title)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_loss(self, ax):
        sizes = self.support.sum(axis=1)
        unit = self.loss.min()
        # An exact fit has no smallest loss to compare with.
        relative = self.loss / unit if unit > 0 else self.loss
        ax.plot(sizes, relative, ".-", color="0.4", markersize=8, zorder=2)
        if self.chosen is not None:
            ax.plot(
                sizes[self.chosen],
                relative[self.chosen],
                "o",
                color="C3",
                markersize=9,
                zorder=3,
                label=f"chosen, {sizes[self.chosen]} terms",
            )
        shown = relative[relative > 0]
        if shown.size and shown.max() > 3 * shown.min():
            ax.set_yscale("log")
        if len(self.removed) <= _MOST_NAMES:
            for i, gone in enumerate(self.removed):
                ax.annotate(
                    "−" + ", −".join(gone) if gone else "",
                    (sizes[i + 1], relative[i + 1]),
                    xytext=(0, 9),
                    textcoords="offset points",
                    rotation=90,
                    ha="center",
                    va="bottom",
                    fontsize="small",
                )
            # Room for the names above the highest points.
            low, high = ax.get_ylim()
            if ax.get_yscale() == "log":
                ax.set_ylim(low, high * (high / low) ** 0.45)
            else:
                ax.set_ylim(low, high + 0.45 * (high - low))
        ax.invert_xaxis()
        ax.xaxis.get_major_locator().set_params(integer=True)
        label = "Loss over the smallest" if unit > 0 else "Loss"
        ax.set(xlabel="Terms in the equation", ylabel=label)
        if self.chosen is not None:
            ax.legend(loc="upper left", frameon=False)
        for side in ("right", "top"):
            ax.spines[side].set_visible(False)

    def _plot_terms(self, ax):
        size = np.where(self.support, np.abs(self.t_ratios), np.nan).T
        finite = size[np.isfinite(size)]
        # Ratios that are infinite, of an exact fit, have the colour of the largest.
        top = max(3.0, finite.max(initial=1.0))
        image = ax.imshow(
            np.log10(np.clip(size, 1.0, top)),
            aspect="auto",
            cmap="viridis",
            vmin=0.0,
            vmax=np.log10(top),
            interpolation="nearest",
        )
        bar = ax.figure.colorbar(image, ax=ax, label="|t-ratio|")
        marks = [m for m in (1, 3, 10, 30, 100, 300, 1000, 1e4, 1e5) if m <= top]
        bar.set_ticks(np.log10(marks), labels=[f"{mark:g}" for mark in marks])
        if self.chosen is not None:
            ax.axvspan(
                self.chosen - 0.5,
                self.chosen + 0.5,
                fill=False,
                edgecolor="C3",
                linewidth=2.0,
            )
        sizes = self.support.sum(axis=1)
        ticks = np.unique(np.linspace(0, len(sizes) - 1, 12).astype(int))
        ax.set_xticks(ticks, [str(n) for n in sizes[ticks]])
        ax.set_yticks(np.arange(len(self.names)), self.names)
        ax.set_xlabel("Terms in the equation")
