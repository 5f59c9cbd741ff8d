"""Overlap of found and true shifted nodes."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from skident.metrics import shifted_node_scores


def test_agrees_with_the_scores_of_labels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        true, found = rng.random((2, 12)) < [[0.4], [0.6]]
        scores = shifted_node_scores(np.flatnonzero(true), np.flatnonzero(found))
        expected = precision_recall_fscore_support(
            true, found, average="binary", zero_division=1
        )
        assert list(scores) == ["precision", "recall", "f1"]
        np.testing.assert_allclose(list(scores.values()), expected[:3], rtol=1e-12)
        assert {type(value) for value in scores.values()} == {float}


def test_order_and_repetition_do_not_matter():
    assert shifted_node_scores([3, 1], [1, 3, 3])["f1"] == 1
    assert shifted_node_scores([0, 1], [2, 3])["f1"] == 0


@pytest.mark.parametrize(
    ("true", "found", "expected"),
    [([], [], (1, 1, 1)), ([2], [], (1, 0, 0)), ([], [2], (0, 1, 0))],
)
def test_empty_sets(true, found, expected):
    assert tuple(shifted_node_scores(true, found).values()) == expected
    assert tuple(shifted_node_scores(np.array(true, int), found).values()) == expected


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"true must be node indices.*dtype bool"):
        shifted_node_scores(np.array([True, False]), [0])
    with pytest.raises(ValueError, match="found must be node indices"):
        shifted_node_scores([0], [-1])
    with pytest.raises(ValueError, match=r"found must be node indices.*float64"):
        shifted_node_scores([0], [1.0])
    with pytest.raises(ValueError, match="found must be one-dimensional"):
        shifted_node_scores([0], [[1]])
