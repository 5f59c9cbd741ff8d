"""A plot of how far each latent node shifted, beside what no shift would give."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.utils._optional import import_optional

# Half the distance of a node's score from its null distribution, in nodes.
_OFFSET = 0.15
# A calibrated threshold above this hides shifts that would be plain to see elsewhere;
# the detector's undecided_nodes_ are those of any pair.
_VISIBLE = 0.2


class ShiftDisplay:
    """Shift score of each node for a pair of environments, with the null beside.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    scores : array-like of shape (n_nodes,)
        How far each node shifted, in [0, 1].
    null_scores : array-like of shape (n_draws, n_nodes), default=None
        Scores of the same nodes where nothing has shifted.
    threshold : float or array-like of shape (n_nodes,), default=None
        Score from which a node has shifted; infinite where none would do.
    shifted : array-like of shape (n_nodes,), bool, default=None
        Nodes that have shifted; None marks those above the threshold, or none without a
        threshold.
    undecided : array-like of shape (n_nodes,), bool, default=None
        Nodes of which the data cannot tell; None marks none.
    names : array-like of shape (n_nodes,), default=None
        Names of the nodes; None numbers them from 0.
    pair : tuple of two labels, default=None
        Environments that are compared, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If shapes do not fit, or scores are not finite.

    Notes
    -----
    Boxes show the null scores of each node by itself: the middle half, the median, and
    the extremes. A calibrated threshold controls the largest of all nodes and pairs, so
    that it stands above most of the boxes' whiskers.

    Examples
    --------
    >>> from skident.inspection import ShiftDisplay
    >>> display = ShiftDisplay([0.04, 0.31, 0.07], threshold=0.2)
    >>> display.shifted
    array([False,  True, False])
    """

    def __init__(
        self,
        scores,
        *,
        null_scores=None,
        threshold=None,
        shifted=None,
        undecided=None,
        names=None,
        pair=None,
    ):
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 1 or self.scores.size == 0:
            raise ValueError(
                "scores must be one-dimensional and not empty, got shape "
                f"{self.scores.shape}."
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("scores must be finite.")
        n_nodes = self.scores.size
        self.null_scores = null_scores
        if null_scores is not None:
            self.null_scores = np.asarray(null_scores, dtype=np.float64)
            if self.null_scores.ndim != 2 or self.null_scores.shape[1] != n_nodes:
                raise ValueError(
                    f"null_scores must be of shape (n_draws, {n_nodes}), got shape "
                    f"{self.null_scores.shape}."
                )
        self.threshold = threshold
        if threshold is not None:
            self.threshold = np.asarray(threshold, dtype=np.float64)
            if self.threshold.shape not in ((), (n_nodes,)):
                raise ValueError(
                    f"threshold must be a number or of shape ({n_nodes},), got shape "
                    f"{self.threshold.shape}."
                )
        if shifted is None:
            shifted = self.scores > (np.inf if threshold is None else self.threshold)
        self.shifted = _as_mask(shifted, n_nodes, "shifted")
        if undecided is None:
            undecided = np.zeros(n_nodes, dtype=bool)
        self.undecided = _as_mask(undecided, n_nodes, "undecided")
        names = range(n_nodes) if names is None else names
        self.names = [str(name) for name in names]
        if len(self.names) != n_nodes:
            raise ValueError(
                f"names must have one entry a node, got {len(self.names)} for "
                f"{n_nodes} nodes."
            )
        self.pair = pair

    @classmethod
    def from_estimator(cls, estimator, *, pair=None, names=None, ax=None):
        """Plot a fitted :class:`~skident.discovery.ShiftedNodeDetector`.

        Parameters
        ----------
        estimator : fitted ShiftedNodeDetector
            Its ``shift_scores_``, ``threshold_`` and ``null_scores_`` are shown, and
            ``pairwise_shifted_`` is marked. Of the other nodes the data cannot tell
            where a calibrated threshold exceeds 0.2.
        pair : tuple of two labels, default=None
            Environments to compare; None takes the pair with the largest score.
        names : array-like of shape (n_components,), default=None
            Names of the components; None numbers them from 0.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ShiftDisplay

        Raises
        ------
        TypeError
            If ``estimator`` has no shift scores.
        ValueError
            If the estimator has seen a single environment, or ``pair`` is not two
            different ones that it has seen.
        """
        check_shows(estimator, "shift_scores_", "ShiftedNodeDetector")
        scores = estimator.shift_scores_
        labels = estimator.environments_.tolist()
        k, k2 = _positions(pair, labels, scores)
        null_scores = getattr(estimator, "null_scores_", None)
        if null_scores is not None:
            null_scores = null_scores[:, k, k2] if len(null_scores) else None
        threshold = np.asarray(estimator.threshold_)
        shifted = estimator.pairwise_shifted_[k, k2]
        undecided = np.zeros(len(shifted), dtype=bool)
        if threshold.ndim:
            threshold = threshold[k, k2]
            undecided = ~shifted & (threshold > _VISIBLE)
        display = cls(
            scores[k, k2],
            null_scores=null_scores,
            threshold=threshold,
            shifted=shifted,
            undecided=undecided,
            names=names,
            pair=(labels[k], labels[k2]),
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        scores,
        *,
        null_scores=None,
        threshold=None,
        shifted=None,
        undecided=None,
        names=None,
        pair=None,
        ax=None,
    ):
        """Plot scores that are at hand.

        Parameters
        ----------
        scores : array-like of shape (n_nodes,)
            How far each node shifted.
        null_scores : array-like of shape (n_draws, n_nodes), default=None
            Scores of the same nodes where nothing has shifted.
        threshold : float or array-like of shape (n_nodes,), default=None
            Score from which a node has shifted.
        shifted : array-like of shape (n_nodes,), bool, default=None
            Nodes that have shifted; None marks those above the threshold.
        undecided : array-like of shape (n_nodes,), bool, default=None
            Nodes of which the data cannot tell.
        names : array-like of shape (n_nodes,), default=None
            Names of the nodes; None numbers them from 0.
        pair : tuple of two labels, default=None
            Environments that are compared, for the title.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : ShiftDisplay
        """
        display = cls(
            scores,
            null_scores=null_scores,
            threshold=threshold,
            shifted=shifted,
            undecided=undecided,
            names=names,
            pair=pair,
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
        display : ShiftDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="ShiftDisplay.plot"
        )
        n_nodes = self.scores.size
        longest = max(map(len, self.names))
        if ax is None:
            width = min(14.0, max(4.8, 0.35 * n_nodes + 1.5))
            _, ax = plt.subplots(figsize=(width, 3.6), layout="constrained")
        node = np.arange(n_nodes)
        apart = _OFFSET if self.null_scores is not None else 0.0
        if self.null_scores is not None:
            drawn = ax.boxplot(
                self.null_scores,
                positions=node + apart,
                widths=1.6 * _OFFSET,
                whis=(0, 100),
                manage_ticks=False,
                patch_artist=True,
                boxprops={"facecolor": "0.9", "edgecolor": "0.5"},
                medianprops={"color": "0.5"},
                whiskerprops={"color": "0.5"},
                capprops={"color": "0.5"},
            )
            drawn["boxes"][0].set_label("without any shift")
        groups = (
            (self.shifted, "C3", "C3", "D", "shifted"),
            (~self.shifted & ~self.undecided, "C0", "C0", "o", "not shifted"),
            (~self.shifted & self.undecided, "white", "C0", "o", "cannot tell"),
        )
        for mask, face, edge, marker, label in groups:
            if mask.any():
                ax.plot(
                    node[mask] - apart,
                    self.scores[mask],
                    marker,
                    markerfacecolor=face,
                    markeredgecolor=edge,
                    label=f"{label} ({mask.sum()})",
                )
        self._draw_threshold(ax, node)
        ax.set(xlim=(-0.6, n_nodes - 0.4), xlabel="Node", ylabel="Shift score")
        # Room for the legend above all that is drawn.
        ax.set_ylim(0, 1.3 * max(ax.get_ylim()[1], np.finfo(float).tiny))
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(node, self.names, **(turned if longest > 3 else {}))
        if self.pair is not None:
            ax.set_title(f"{self.pair[0]} and {self.pair[1]}")
        ax.legend(loc="upper center", ncols=3, fontsize="small", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_threshold(self, ax, node):
        if self.threshold is None or not np.isfinite(self.threshold).any():
            return
        style = {"color": "0.2", "linestyle": "--", "label": "threshold"}
        if self.threshold.ndim == 0:
            ax.axhline(self.threshold, **style)
            return
        known = np.isfinite(self.threshold)
        ax.hlines(self.threshold[known], node[known] - 0.4, node[known] + 0.4, **style)


def _as_mask(mask, n_nodes, name):
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != (n_nodes,):
        raise ValueError(
            f"{name} must have one entry a node, got shape {mask.shape} for {n_nodes} "
            "nodes."
        )
    return mask


def _positions(pair, labels, scores):
    """Positions of the two environments of a pair."""
    if len(labels) < 2:
        raise ValueError(
            "estimator must have seen at least two environments, got "
            f"{len(labels)}: there is nothing to compare."
        )
    if pair is None:
        k, k2 = np.unravel_index(scores.max(axis=-1).argmax(), scores.shape[:2])
        return min(k, k2), max(k, k2)
    pair = tuple(pair)
    if len(pair) != 2 or pair[0] == pair[1] or not all(p in labels for p in pair):
        raise ValueError(
            f"pair must be two different environments out of {labels}, got {pair}."
        )
    return labels.index(pair[0]), labels.index(pair[1])
