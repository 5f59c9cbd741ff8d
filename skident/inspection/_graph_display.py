"""A plot of a causal graph, beside the true one where that is known."""

import numpy as np

from skident.inspection._checks import check_shows
from skident.inspection._graph_layout import clear_curve, layered_layout
from skident.utils._graphs import check_adjacency
from skident.utils._optional import import_optional

# Colour and line of each kind of edge; kinds differ in both.
_STYLES = {
    "found": ("0.25", "-"),
    "open": ("C4", "--"),
    "right": ("C0", "-"),
    "reversed": ("C3", "-."),
    "extra": ("C1", ":"),
    "missing": ("0.6", "--"),
}
# Points, of the least and of the largest score, and of all without scores.
_WIDTHS = 0.8, 3.5
_WIDTH = 1.4
# Inches, of a figure's longer side.
_LARGEST = 14.0


class GraphDisplay:
    """A directed acyclic graph, causes on the left, effects on the right.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; arguments are
    stored as attributes.

    Parameters
    ----------
    adjacency_matrix : array-like of shape (n_nodes, n_nodes)
        Graph to draw: entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0 for
        none.
    names : array-like of shape (n_nodes,), default=None
        Names of the nodes; None numbers them from 0.
    true_adjacency_matrix : array-like of shape (n_nodes, n_nodes), default=None
        True graph. Edges are then drawn as right, reversed, extra or missing.
    edge_scores : array-like of shape (n_nodes, n_nodes), default=None
        How sure each edge is: the wider an edge, the larger its score. Infinite ones
        count as the largest finite one. None takes absolute weights.
    open_edges : array-like of shape (n_nodes, n_nodes), default=None
        Edges whose direction stays open, drawn as such where there is no true graph.
        None marks none.

    Attributes
    ----------
    edges : dict of str to ndarray of shape (n_edges, 2)
        Edges i -> j of each kind: "found" without a true graph, and "open" where there
        are some; with one "right", "reversed" (as found), "extra" and "missing" (as in
        the true graph).
    positions : ndarray of shape (n_nodes, 2)
        Where nodes are drawn, in inches at the natural size. The layout is that of the
        true graph where there is one, so that the plots of several methods compare.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure that holds them.

    Raises
    ------
    ValueError
        If a matrix is not square, holds anything but finite numbers or has entries on
        its diagonal, the graph that is laid out has a cycle, or shapes do not fit.

    Notes
    -----
    Use :func:`~skident.utils.to_networkx` for any other layout. From some thirty nodes
    on no drawing helps: look at the matrix.

    Examples
    --------
    >>> from skident.inspection import GraphDisplay
    >>> display = GraphDisplay(
    ...     [[0, 0, 1], [1, 0, 0], [0, 0, 0]],
    ...     names=["dose", "level", "response"],
    ...     true_adjacency_matrix=[[0, 1, 0], [0, 0, 1], [0, 0, 0]],
    ... )
    >>> {kind: edges.tolist() for kind, edges in display.edges.items()}
    {'right': [], 'reversed': [[1, 0]], 'extra': [[0, 2]], 'missing': [[1, 2]]}
    """

    def __init__(
        self,
        adjacency_matrix,
        *,
        names=None,
        true_adjacency_matrix=None,
        edge_scores=None,
        open_edges=None,
    ):
        self.adjacency_matrix = check_adjacency(adjacency_matrix, "adjacency_matrix")
        n_nodes = len(self.adjacency_matrix)
        self.true_adjacency_matrix = true_adjacency_matrix
        if true_adjacency_matrix is not None:
            self.true_adjacency_matrix = check_adjacency(
                true_adjacency_matrix, "true_adjacency_matrix", n_nodes=n_nodes
            )
        names = range(n_nodes) if names is None else names
        self.names = [str(name) for name in names]
        if len(self.names) != n_nodes:
            raise ValueError(
                f"names must have one entry a node, got {len(self.names)} for "
                f"{n_nodes} nodes."
            )
        if edge_scores is None:
            edge_scores = np.abs(self.adjacency_matrix.astype(np.float64))
        self.edge_scores = np.asarray(edge_scores, dtype=np.float64)
        if self.edge_scores.shape != self.adjacency_matrix.shape:
            raise ValueError(
                "edge_scores must be of the shape of adjacency_matrix, got "
                f"{self.edge_scores.shape} and {self.adjacency_matrix.shape}."
            )
        self.open_edges = open_edges
        if open_edges is not None:
            self.open_edges = np.asarray(open_edges, dtype=bool)
            if self.open_edges.shape != self.adjacency_matrix.shape:
                raise ValueError(
                    "open_edges must be of the shape of adjacency_matrix, got "
                    f"{self.open_edges.shape} and {self.adjacency_matrix.shape}."
                )
        self.edges = self._kinds()
        laid_out, name = self.adjacency_matrix, "adjacency_matrix"
        if self.true_adjacency_matrix is not None:
            laid_out, name = self.true_adjacency_matrix, "true_adjacency_matrix"
        longest = max(map(len, self.names))
        # Letters of 10 points are about 0.09 inches wide.
        steps = 0.9 + 0.09 * longest, 0.6
        self.positions = layered_layout(laid_out != 0, name, steps=steps)

    @classmethod
    def from_estimator(cls, estimator, *, true_adjacency_matrix=None, ax=None):
        """Plot the graph of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            Its ``adjacency_matrix_`` is shown, with names, widths and open directions
            by ``feature_names_in_``, ``edge_scores_`` and ``open_edges_`` where it has
            them.
        true_adjacency_matrix : array-like of shape (n_nodes, n_nodes), default=None
            True graph, if it is known.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : GraphDisplay

        Raises
        ------
        TypeError
            If ``estimator`` is fitted, but has no graph.
        """
        check_shows(estimator, "adjacency_matrix_", "estimator of a graph")
        display = cls(
            estimator.adjacency_matrix_,
            names=getattr(estimator, "feature_names_in_", None),
            true_adjacency_matrix=true_adjacency_matrix,
            edge_scores=getattr(estimator, "edge_scores_", None),
            open_edges=getattr(estimator, "open_edges_", None),
        )
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        adjacency_matrix,
        *,
        names=None,
        true_adjacency_matrix=None,
        edge_scores=None,
        open_edges=None,
        ax=None,
    ):
        """Plot a graph that is at hand.

        Parameters
        ----------
        adjacency_matrix : array-like of shape (n_nodes, n_nodes)
            Graph to draw.
        names : array-like of shape (n_nodes,), default=None
            Names of the nodes; None numbers them from 0.
        true_adjacency_matrix : array-like of shape (n_nodes, n_nodes), default=None
            True graph, if it is known.
        edge_scores : array-like of shape (n_nodes, n_nodes), default=None
            How sure each edge is.
        open_edges : array-like of shape (n_nodes, n_nodes), default=None
            Edges whose direction stays open.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : GraphDisplay
        """
        display = cls(
            adjacency_matrix,
            names=names,
            true_adjacency_matrix=true_adjacency_matrix,
            edge_scores=edge_scores,
            open_edges=open_edges,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones, as large as the graph asks for.

        Returns
        -------
        display : GraphDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_optional(
            "matplotlib.pyplot", extra="plot", purpose="GraphDisplay.plot"
        )
        all_edges = np.concatenate(list(self.edges.values()))
        curves = {(i, j): clear_curve(self.positions, i, j) for i, j in all_edges}
        points = np.vstack([self.positions, *(curve for _, curve in curves.values())])
        low, high = points.min(axis=0), points.max(axis=0)
        # Room for half a label at every side.
        margin = np.array([0.3 + 0.05 * max(map(len, self.names)), 0.3])
        low, high = low - margin, high + margin
        explained = len(self.edges) > 1
        if ax is None:
            scale = min(1.0, _LARGEST / (high - low).max())
            # The legend is a line of some five inches.
            least = [5.2, 1.0] if explained else [2.0, 1.0]
            inches = np.maximum(scale * (high - low), least) + [0.0, 0.4 * explained]
            _, ax = plt.subplots(figsize=tuple(inches), layout="constrained")
        else:
            inches = ax.get_window_extent().size / ax.figure.dpi
            scale = (inches / (high - low)).min()
        # Labels shrink with the graph, though less: the layout leaves them some room.
        size = float(np.clip(13 * scale, 6, 10))
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        # Equal units, or edges would bend otherwise than the layout has found clear.
        ax.set_aspect("equal")
        ax.set_axis_off()
        frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.4"}
        labels = [
            ax.text(
                *at, name, ha="center", va="center", size=size, bbox=frame, zorder=3
            )
            for at, name in zip(self.positions, self.names, strict=True)
        ]
        widths = self._widths()
        for kind, edges in self.edges.items():
            colour, line = _STYLES[kind]
            for i, j in edges:
                arrow = {
                    "arrowstyle": "-|>",
                    "connectionstyle": f"arc3,rad={curves[i, j][0]}",
                    "color": colour,
                    "linestyle": line,
                    "linewidth": widths[i, j],
                    "mutation_scale": 1.2 * size,
                    "patchA": labels[i].get_bbox_patch(),
                    "patchB": labels[j].get_bbox_patch(),
                    "shrinkA": 0,
                    "shrinkB": 0,
                }
                start, end = self.positions[i], self.positions[j]
                ax.annotate("", end, start, arrowprops=arrow, zorder=2)
            if explained:
                what = "direction open" if kind == "open" else kind
                label = f"{what} ({len(edges)})"
                ax.plot([], [], color=colour, linestyle=line, label=label)
        if explained:
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False
            )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _kinds(self):
        found = self.adjacency_matrix != 0
        if self.true_adjacency_matrix is None:
            if self.open_edges is None or not (found & self.open_edges).any():
                return {"found": np.argwhere(found)}
            return {
                "found": np.argwhere(found & ~self.open_edges),
                "open": np.argwhere(found & self.open_edges),
            }
        true = self.true_adjacency_matrix != 0
        turned = found & ~true & (true & ~found).T
        kinds = {
            "right": found & true,
            "reversed": turned,
            "extra": found & ~true & ~turned,
            "missing": true & ~found & ~turned.T,
        }
        return {kind: np.argwhere(edges) for kind, edges in kinds.items()}

    def _widths(self):
        """Line widths in points, linear in the score up to the largest one drawn."""
        found = self.adjacency_matrix != 0
        scores = np.maximum(np.nan_to_num(self.edge_scores, posinf=np.inf), 0.0)
        largest = scores[found & np.isfinite(scores)].max(initial=0.0)
        widths = np.full(found.shape, _WIDTH)
        if np.unique(scores[found]).size > 1:
            share = scores > 0
            if largest > 0:
                share = np.minimum(scores, largest) / largest
            widths[found] = (_WIDTHS[0] + (_WIDTHS[1] - _WIDTHS[0]) * share)[found]
        return widths
