"""What the plot of a graph draws, and where."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skident.inspection import GraphDisplay
from skident.inspection._graph_layout import clear_curve, layered_layout

matplotlib = pytest.importorskip("matplotlib")

CHAIN = np.eye(4, k=1, dtype=int)


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


class FoundGraph(BaseEstimator):
    """Has what a fitted discovery has."""

    def fit(self, X):
        self.adjacency_matrix_ = CHAIN
        self.edge_scores_ = CHAIN * np.array([[1.0, 1.0, 2.0, 4.0]])
        self.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
        return self


def arrows(ax):
    """The arrow patches, in the order drawn."""
    return [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None)]


def random_dag(rng, n_nodes, share):
    edges = np.triu(rng.random((n_nodes, n_nodes)) < share, 1)
    order = rng.permutation(n_nodes)
    return edges[np.ix_(order, order)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_layout_points_every_edge_to_the_right(share):
    rng = np.random.default_rng(0)
    for n_nodes in (1, 2, 15):
        edges = random_dag(rng, n_nodes, share)
        positions = layered_layout(edges, "graph", steps=(2.0, 1.0))
        i, j = np.nonzero(edges)
        assert (positions[j, 0] - positions[i, 0] >= 2.0).all()
        apart = np.abs(positions[:, None] - positions).sum(axis=-1)
        assert (apart[~np.eye(n_nodes, dtype=bool)] >= 1.0 - 1e-12).all()


def test_layout_sorts_nodes_so_that_edges_do_not_cross():
    # Two parallel chains, numbered so that their first drawing crosses.
    edges = np.zeros((6, 6), dtype=bool)
    edges[[0, 3, 1, 2], [3, 4, 2, 5]] = True
    positions = layered_layout(edges, "graph")
    above = [positions[i, 1] > positions[j, 1] for i, j in [(0, 1), (3, 2), (4, 5)]]
    assert len(set(above)) == 1


def test_a_long_edge_passes_by_the_node_between():
    positions = np.array([[0.0, 0.0], [1.5, 0.0], [3.0, 0.0]])
    bend, curve = clear_curve(positions, 0, 2)
    assert bend != 0
    assert np.linalg.norm(curve - positions[1], axis=1).min() > 0.2
    assert clear_curve(positions, 0, 1)[0] == 0
    assert clear_curve(positions[:2], 0, 1)[0] == 0


def test_the_curve_is_the_one_that_matplotlib_draws(plt):
    _, ax = plt.subplots(figsize=(4, 2))
    positions = np.array([[0.0, 0.0], [1.5, 0.0], [3.0, 0.5]])
    ax.set(xlim=(-1, 4), ylim=(-1, 1.5), aspect="equal")
    bend, curve = clear_curve(positions, 0, 2)
    style = {"arrowstyle": "-", "connectionstyle": f"arc3,rad={bend}"}
    note = ax.annotate("", positions[2], positions[0], arrowprops=style)
    ax.figure.canvas.draw()
    control = ax.transData.inverted().transform(
        note.arrow_patch.get_connectionstyle()(
            *ax.transData.transform(positions[[0, 2]]), shrinkA=0, shrinkB=0
        ).vertices
    )
    t = np.linspace(0, 1, 27)[1:-1, None]
    drawn = (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]
    np.testing.assert_allclose(curve, drawn, atol=1e-9)


def test_kinds_of_edges_against_the_truth(plt):
    true = np.zeros((5, 5))
    true[[0, 0, 1, 2], [1, 2, 3, 3]] = 1
    found = np.zeros((5, 5))
    found[[0, 2, 1, 3], [1, 0, 4, 1]] = 0.5, 1, 2, 1
    display = GraphDisplay.from_predictions(found, true_adjacency_matrix=true)
    kinds = {kind: edges.tolist() for kind, edges in display.edges.items()}
    assert kinds == {
        "right": [[0, 1]],
        "reversed": [[2, 0], [3, 1]],
        "extra": [[1, 4]],
        "missing": [[2, 3]],
    }
    drawn = arrows(display.ax_)
    assert len(drawn) == 5
    looks = {(a.get_edgecolor(), a.get_linestyle()) for a in drawn}
    assert len(looks) == 4
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["right (1)", "reversed (2)", "extra (1)", "missing (1)"]
    # Laid out by the truth, so that a turned edge points back.
    assert display.positions[2, 0] > display.positions[0, 0]
    assert display.figure_ is display.ax_.figure


def test_an_edge_without_direction_is_half_extra():
    display = GraphDisplay(CHAIN + CHAIN.T, true_adjacency_matrix=CHAIN)
    assert len(display.edges["right"]) == len(display.edges["extra"]) == 3
    assert len(display.edges["reversed"]) == len(display.edges["missing"]) == 0


def test_widths_follow_the_scores(plt):
    with pytest.raises(NotFittedError):
        GraphDisplay.from_estimator(FoundGraph())
    display = GraphDisplay.from_estimator(FoundGraph().fit(None))
    assert list(display.edges) == ["found"] and display.ax_.get_legend() is None
    widths = [arrow.get_linewidth() for arrow in arrows(display.ax_)]
    assert widths[0] < widths[1] < widths[2] == 3.5
    # Linear in the score.
    assert widths[2] - widths[1] == pytest.approx(2 * (widths[1] - widths[0]))
    labels = [text.get_text() for text in display.ax_.texts if text.get_text()]
    assert labels == ["a", "b", "c", "d"]
    _, ax = plt.subplots()
    compared = GraphDisplay.from_estimator(
        FoundGraph().fit(None), true_adjacency_matrix=CHAIN, ax=ax
    )
    assert compared.ax_ is ax and len(compared.edges["right"]) == 3


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 1.0, 1.0], [1.4, 1.4, 1.4]),
        ([np.inf, 2.0, 1.0], [3.5, 3.5, 2.15]),
        ([np.inf, np.inf, 1.0], [3.5, 3.5, 3.5]),
        ([np.inf, np.nan, 0.0], [3.5, 0.8, 0.8]),
        ([-1.0, 1.0, 0.5], [0.8, 3.5, 2.15]),
    ],
)
def test_widths_of_equal_and_of_odd_scores(plt, scores, expected):
    matrix = np.full((4, 4), 7.0)
    matrix[CHAIN == 1] = scores
    display = GraphDisplay.from_predictions(CHAIN, edge_scores=matrix)
    widths = [arrow.get_linewidth() for arrow in arrows(display.ax_)]
    np.testing.assert_allclose(widths, expected)


@pytest.mark.parametrize("n_nodes", [1, 2, 40])
def test_any_number_of_nodes_is_drawn_within_the_axes(plt, n_nodes):
    edges = random_dag(np.random.default_rng(0), n_nodes, 0.1)
    display = GraphDisplay.from_predictions(
        edges, names=[f"x{i}" for i in range(n_nodes)]
    )
    figure = display.figure_
    assert max(figure.get_size_inches()) <= 14.0
    figure.canvas.draw()
    box = display.ax_.get_window_extent()
    for text in display.ax_.texts:
        if text.get_text():
            where = text.get_window_extent()
            assert box.x0 <= where.x0 and where.x1 <= box.x1
            assert box.y0 <= where.y0 and where.y1 <= box.y1


def test_open_directions_are_drawn_as_such(plt):
    first = CHAIN * (np.arange(4) == 0)[:, None]
    display = GraphDisplay.from_predictions(CHAIN, open_edges=first)
    kinds = {kind: edges.tolist() for kind, edges in display.edges.items()}
    assert kinds["open"] == [[0, 1]] and [0, 1] not in kinds["found"]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "direction open (1)" in labels
    # No edge of which it is so, or a truth to compare with: nothing to say.
    none = GraphDisplay.from_predictions(CHAIN, open_edges=np.zeros((4, 4)))
    assert list(none.edges) == ["found"] and none.ax_.get_legend() is None
    fitted = FoundGraph().fit(None)
    fitted.open_edges_ = first
    assert GraphDisplay.from_estimator(fitted).edges["open"].tolist() == [[0, 1]]
    compared = GraphDisplay(CHAIN, open_edges=CHAIN, true_adjacency_matrix=CHAIN)
    assert "open" not in compared.edges


def test_labels_shrink_on_small_axes(plt):
    _, axes = plt.subplots(1, 2, figsize=(4, 2))
    GraphDisplay.from_predictions(np.triu(np.ones((9, 9)), 1), ax=axes[0])
    GraphDisplay.from_predictions(np.zeros((1, 1)), ax=axes[1])
    small, large = (ax.texts[0].get_fontsize() for ax in axes)
    assert small == 6 and large == 10


def test_errors_name_the_argument():
    cycle = np.roll(np.eye(3), 1, axis=1)
    with pytest.raises(ValueError, match=r"^adjacency_matrix must be acyclic, got the"):
        GraphDisplay(cycle)
    with pytest.raises(ValueError, match="true_adjacency_matrix must be acyclic"):
        GraphDisplay(np.eye(3, k=1), true_adjacency_matrix=cycle)
    # Only what is laid out has to be without cycles.
    assert len(GraphDisplay(cycle, true_adjacency_matrix=np.eye(3, k=1)).names) == 3
    with pytest.raises(ValueError, match="true_adjacency_matrix must have 4 nodes"):
        GraphDisplay(CHAIN, true_adjacency_matrix=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="names must have one entry a node, got 1 for"):
        GraphDisplay(CHAIN, names=["a"])
    with pytest.raises(ValueError, match="edge_scores must be of the shape of adj"):
        GraphDisplay(CHAIN, edge_scores=np.ones(4))
    with pytest.raises(ValueError, match="open_edges must be of the shape of adj"):
        GraphDisplay(CHAIN, open_edges=np.ones(4))


def test_missing_matplotlib_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"GraphDisplay.plot needs matplotlib"):
        GraphDisplay(CHAIN).plot()
