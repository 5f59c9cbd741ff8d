"""What the plot of shifted nodes draws."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skident.datasets import make_latent_shift
from skident.discovery import ShiftedNodeDetector
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import ShiftDisplay

matplotlib = pytest.importorskip("matplotlib")

SCORES = np.array([0.05, 0.4, 0.1, 0.25])


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


class Detector(BaseEstimator):
    """Has what a fitted detector of shifted nodes has."""

    def __init__(self, n_environments=3, calibrated=True):
        self.n_environments = n_environments
        self.calibrated = calibrated

    def fit(self, X):
        K = self.n_environments
        rng = np.random.default_rng(0)
        scores = np.zeros((K, K, 4))
        for k in range(K):
            for k2 in range(k):
                scores[k, k2] = scores[k2, k] = SCORES * (k + k2) / 3
        self.shift_scores_ = scores
        self.environments_ = np.array(["north", "south", "west"][:K])
        null = rng.random((20 if self.calibrated else 0, K, K, 4)) / 10
        self.null_scores_ = null
        self.threshold_ = 0.2
        if self.calibrated:
            self.threshold_ = np.full((K, K, 4), 0.2)
            self.threshold_[..., 3] = np.inf
        self.pairwise_shifted_ = scores > self.threshold_
        return self


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def points(display):
    """Heights of the marked nodes by label, without the count behind it."""
    return {
        line.get_label().rpartition(" ")[0]: line.get_ydata().tolist()
        for line in display.ax_.lines
        if line.get_marker() in ("D", "o")
    }


def test_scores_above_a_threshold_are_marked(plt):
    display = ShiftDisplay.from_predictions(SCORES, threshold=0.2)
    np.testing.assert_array_equal(display.shifted, SCORES > 0.2)
    assert points(display) == {"shifted": [0.4, 0.25], "not shifted": [0.05, 0.1]}
    assert legend(display) == ["shifted (2)", "not shifted (2)", "threshold"]
    assert 0.2 in [line.get_ydata()[0] for line in display.ax_.lines]
    assert display.figure_ is display.ax_.figure
    low, high = display.ax_.get_ylim()
    assert low == 0 and high > 0.4


def test_the_null_stands_beside_the_scores(plt):
    null = np.random.default_rng(0).random((50, 4)) * [0.1, 0.2, 0.3, 0.4]
    limits = [0.1, 0.2, np.inf, 0.4]
    display = ShiftDisplay.from_predictions(SCORES, null_scores=null, threshold=limits)
    np.testing.assert_array_equal(display.shifted, [False, True, False, False])
    boxes = display.ax_.patches
    assert len(boxes) == 4
    for box, column in zip(boxes, null.T, strict=True):
        heights = box.get_path().vertices[:, 1]
        np.testing.assert_allclose(heights.min(), np.quantile(column, 0.25))
        np.testing.assert_allclose(heights.max(), np.quantile(column, 0.75))
    (line,) = [x for x in display.ax_.lines if x.get_label() == "not shifted (3)"]
    # To the left of its box, which is to the right of the tick.
    assert (line.get_xdata() < [0, 2, 3]).all()
    # An infinite threshold is not drawn.
    (drawn,) = display.ax_.collections
    heights = [segment[0, 1] for segment in drawn.get_segments()]
    assert heights == [0.1, 0.2, 0.4]


def test_nothing_is_marked_without_a_threshold(plt):
    display = ShiftDisplay.from_predictions(SCORES, names=["a", "b", "c", "openness"])
    assert legend(display) == ["not shifted (4)"]
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks == ["a", "b", "c", "openness"]
    nowhere = ShiftDisplay.from_predictions(SCORES, threshold=np.full(4, np.inf))
    assert legend(nowhere) == ["not shifted (4)"]


@pytest.mark.parametrize("calibrated", [True, False])
def test_from_an_estimator(plt, calibrated):
    detector = Detector(calibrated=calibrated)
    with pytest.raises(NotFittedError):
        ShiftDisplay.from_estimator(detector)
    detector.fit(None)
    with pytest.raises(TypeError, match="must be a fitted ShiftedNodeDetector, got P"):
        ShiftDisplay.from_estimator(PCA().fit(np.eye(3)))
    _, ax = plt.subplots()
    display = ShiftDisplay.from_estimator(detector, pair=("north", "west"), ax=ax)
    assert display.ax_ is ax and ax.get_title() == "north and west"
    np.testing.assert_allclose(display.scores, SCORES * 2 / 3)
    shifted = detector.pairwise_shifted_[0, 2]
    np.testing.assert_array_equal(display.shifted, shifted)
    if calibrated:
        np.testing.assert_array_equal(
            display.null_scores, detector.null_scores_[:, 0, 2]
        )
        assert legend(display)[1:4] == [
            "shifted (1)",
            "not shifted (2)",
            "cannot tell (1)",
        ]
    else:
        assert display.null_scores is None
        assert display.threshold == 0.2


def test_a_real_detector_of_two_environments(plt):
    data = make_latent_shift(2000, 4, random_state=0)
    detector = ShiftedNodeDetector(random_state=0)
    with warnings.catch_warnings():
        # Whether so few rows can tell of every node is not the point.
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        detector.fit(data.X, environments=data.environments)
    display = ShiftDisplay.from_estimator(detector)
    assert display.pair == tuple(detector.environments_)
    shifted = np.flatnonzero(display.shifted)
    np.testing.assert_array_equal(shifted, detector.shifted_nodes_)
    undecided = np.flatnonzero(display.undecided)
    np.testing.assert_array_equal(undecided, detector.undecided_nodes_)
    assert display.null_scores.shape == (len(detector.null_scores_), 4)


def test_the_pair_with_the_largest_score_is_shown(plt):
    display = ShiftDisplay.from_estimator(Detector().fit(None))
    assert display.pair == ("south", "west")
    np.testing.assert_allclose(display.scores, SCORES)


def test_pairs_that_do_not_exist():
    with pytest.raises(ValueError, match="at least two environments, got 1"):
        ShiftDisplay.from_estimator(Detector(1).fit(None))
    for pair in (("north", "north"), ("north", "east"), ("north",)):
        with pytest.raises(
            ValueError, match=r"pair must be two different .*\['north',"
        ):
            ShiftDisplay.from_estimator(Detector().fit(None), pair=pair)


def test_errors_name_the_argument():
    cases = {
        "scores must be one-dim": {"scores": np.ones((2, 2))},
        "scores must be finite": {"scores": [np.nan]},
        r"null_scores must be of shape \(n_draws, 4\)": {"null_scores": np.ones(4)},
        "threshold must be a number or of shape": {"threshold": [0.2, 0.3]},
        "shifted must have one entry a node": {"shifted": [True]},
        "undecided must have one entry a node": {"undecided": [True]},
        "names must have one entry a node": {"names": ["a"]},
    }
    for message, params in cases.items():
        with pytest.raises(ValueError, match=message):
            ShiftDisplay(**({"scores": SCORES} | params))


def test_missing_matplotlib_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ShiftDisplay.plot needs matplotlib"):
        ShiftDisplay(SCORES).plot()
