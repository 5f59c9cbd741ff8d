"""Coloured digits: populations, effects, colours and pictures."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skident.datasets import make_causal_digits

N = 40_000
# Pictures of one pixel of which each class has its own intensity: quick to draw.
TINY = (np.arange(20, dtype=np.uint8).reshape(20, 1, 1) * 5, np.arange(20) // 2)


def shares(data, column):
    return data.settings[:, column].mean()


@pytest.mark.parametrize(
    ("population", "p_w", "p_u", "randomized", "effect"),
    [
        ("A", 0.5, 0.02, True, 1.5),
        ("B", 0.05, 0.05, False, 0.0),
        ("C", 0.5, 0.5, False, 0.0),
        ("D", 0.2, 0.2, False, 1.2),
        ("E", 0.5, 0.5, False, 0.75),
        ("2024", 0.5, 0.0, True, 0.3),
    ],
)
def test_published_populations(population, p_w, p_u, randomized, effect):
    data = make_causal_digits(N, population, images=TINY, random_state=0)
    W, _, T = data.settings.T
    error = 4.5 * 0.5 / np.sqrt(N)
    assert abs(shares(data, 0) - p_w) < error and abs(shares(data, 1) - p_u) < error
    expected = np.full(N, 0.5) if randomized else np.where(W == 1, 0.9, 0.1)
    np.testing.assert_array_equal(data.propensity, expected)
    surprise = T - expected
    assert abs(surprise.mean()) < error and abs((surprise * W).mean()) < error
    assert data.true_effect == pytest.approx(effect)
    effects = np.diff(data.potential_outcomes, axis=1)[:, 0]
    assert abs(effects.mean() - effect) <= 4.5 * effects.std() / np.sqrt(N)
    assert data.sample_effect == pytest.approx(effects.mean())
    np.testing.assert_array_equal(data.treatment, T)
    np.testing.assert_array_equal(data.y, data.potential_outcomes[np.arange(N), T])
    # What the settings leave is adjusted for by weights of the known probability.
    terms = (2 * T - 1) * data.y / np.where(T == 1, expected, 1 - expected)
    assert abs(terms.mean() - effect) < 4.5 * terms.std() / np.sqrt(N)


def conditional_law(data, **settings):
    rows = np.ones(len(data.y), dtype=bool)
    for name, value in settings.items():
        rows &= data.settings[:, "WUT".index(name)] == value
    counts = np.bincount(data.y[rows], minlength=10)
    return counts / rows.sum(), rows.sum()


def uniform_sum(*sizes):
    law = np.ones(1)
    for size in sizes:
        law = np.convolve(law, np.full(size, 1 / size))
    return np.pad(law, (0, 10 - len(law)))


def binomial(p):
    law = np.ones(1)
    for _ in range(4):
        law = np.convolve(law, [1 - p, p])
    return np.pad(law, (0, 5))


@pytest.mark.parametrize(
    ("mechanism", "law"),
    [
        ("additive", lambda W, U, T: uniform_sum(*[4] * (W + U + T))),
        ("null", lambda W, U, T: uniform_sum(*[4] * (W + U + 1))),
        ("nonlinear", lambda W, U, T: uniform_sum(7, *[4] * (U | T))),
        ("full_support", lambda W, U, T: binomial(0.25 + 0.25 * T + 0.25 * W)),
        (
            "binary",
            lambda W, U, T: (lambda p: np.pad([1 - p, p], (0, 8)))(
                {(0, 0): 0.5, (0, 1): 0.4, (1, 0): 0.7, (1, 1): 0.8}[T, W]
            ),
        ),
    ],
)
def test_law_of_the_outcome_in_each_setting(mechanism, law):
    data = make_causal_digits(
        N, mechanism=mechanism, p_u=0.4, images=TINY, random_state=1
    )
    for W in (0, 1):
        for U in (0, 1):
            for T in (0, 1):
                found, n = conditional_law(data, W=W, U=U, T=T)
                error = np.sqrt(np.clip(law(W, U, T), 1e-3, None) / n)
                assert (np.abs(found - law(W, U, T)) < 4.5 * error).all()


def test_parameters_replace_parts_of_a_population():
    data = make_causal_digits(
        2000, "D", p_u=1.0, randomized=True, images=TINY, random_state=0
    )
    assert data.settings[:, 1].all() and data.true_effect == 0
    assert (data.propensity == 0.5).all() and abs(shares(data, 0) - 0.2) < 0.05
    stronger = make_causal_digits(
        10, mechanism="full_support", success=(0.3, 0.3, 0), images=TINY, random_state=0
    )
    assert stronger.true_effect == pytest.approx(1.2)
    other = make_causal_digits(10, "2024", p_w=0.25, images=TINY, random_state=0)
    assert other.true_effect == pytest.approx(0.25)


def test_colours():
    grey = np.array([[[0, 100], [255, 30]]], dtype=np.uint8).repeat(10, axis=0)
    data = make_causal_digits(
        400, images=(grey, np.arange(10)), disjoint=False, p_u=0, random_state=0
    )
    g = grey[0].astype(int)
    full, none = np.full((2, 2), 255), np.zeros((2, 2))
    expected = {
        (1, 1): (g, full, g),
        (0, 1): (full, g, g),
        (1, 0): (none, 255 - g, none),
        (0, 0): (255 - g, none, none),
    }
    for picture, (W, _, T) in zip(data.images, data.settings, strict=True):
        np.testing.assert_array_equal(picture, expected[W, T])
    assert data.images.dtype == np.uint8 and np.shares_memory(data.X, data.images)
    assert data.X.shape == (400, 12)
    # In the older construction the treatment is the background.
    data = make_causal_digits(
        400, "2024", images=(grey, np.arange(10)), disjoint=False, random_state=0
    )
    for picture, (W, _, T) in zip(data.images, data.settings, strict=True):
        np.testing.assert_array_equal(picture, expected[T, W])


def test_digits_are_those_of_the_outcome():
    data = make_causal_digits(2000, random_state=0)
    source = load_digits()
    np.testing.assert_array_equal(source.target[data.image_index], data.y)
    np.testing.assert_array_equal(data.digits, data.y)
    plain = data.settings[:, 1] == 0
    grey = np.rint(source.images[data.image_index] * 255 / 16)
    # Blue is the pen where it is white.
    white = plain & (data.treatment == 1)
    np.testing.assert_array_equal(data.images[white, 2], grey[white])
    binary = make_causal_digits(2000, "2024", random_state=0)
    np.testing.assert_array_equal(binary.y, binary.digits > 3)
    np.testing.assert_array_equal(source.target[binary.image_index], binary.digits)
    assert set(binary.digits) == set(range(10))


def test_pictures_are_used_evenly_and_parts_are_disjoint():
    train = make_causal_digits(6000, random_state=0)
    target = make_causal_digits(6000, "C", random_state=1)
    assert not set(train.image_index) & set(target.image_index)
    again = make_causal_digits(6000, part="target", random_state=2)
    assert not set(train.image_index) & set(again.image_index)
    source = load_digits().target
    for digit in np.unique(train.y):
        counts = np.bincount(train.image_index[train.y == digit], minlength=1797)
        own = np.flatnonzero(source == digit)[::2]
        assert np.ptp(counts[own]) <= 1
    # The authors' way: the first pictures of each digit, in every draw.
    one, two = (
        make_causal_digits(300, name, disjoint=False, random_state=seed)
        for seed, name in enumerate("AC")
    )
    for data in (one, two):
        for digit in np.unique(data.y):
            used = data.image_index[data.y == digit]
            first = np.flatnonzero(source == digit)
            np.testing.assert_array_equal(used, np.resize(first, len(used)))
    assert set(one.image_index) & set(two.image_index)


def test_shrunk_pictures_are_those_of_pillow():
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    grey = rng.integers(256, size=(10, 28, 28), dtype=np.uint8)
    images = (grey, np.arange(10))
    data = make_causal_digits(
        40, images=images, disjoint=False, p_u=1.0, random_state=0
    )
    white = data.treatment == 1
    for picture, index in zip(
        data.images[white, 2], data.image_index[white], strict=True
    ):
        padded = Image.fromarray(np.pad(grey[index], 8))
        expected = np.asarray(padded.resize((28, 28), Image.BILINEAR), dtype=int)
        # Pillow rounds once a direction and works with fixed-point weights.
        assert np.abs(picture - expected).max() <= 1
    same = make_causal_digits(
        40, images=images, disjoint=False, p_u=1.0, pad=0, random_state=0
    )
    np.testing.assert_array_equal(same.images[white, 2], grey[same.image_index[white]])


def test_noise_has_its_size():
    grey = np.full((10, 20, 20), 128, dtype=np.uint8)
    quiet, noisy = (
        make_causal_digits(
            100,
            images=(grey, np.arange(10)),
            disjoint=False,
            noise=sigma,
            p_u=0.0,
            random_state=0,
        )
        for sigma in (0.0, 0.1)
    )
    np.testing.assert_array_equal(quiet.y, noisy.y)
    white = quiet.treatment == 1
    drawn = noisy.images[white, 2].astype(float) - 128
    # Five standard deviations from the ends, so that nothing is clipped.
    assert abs(drawn.std() - 25.5) < 4.5 * 25.5 / np.sqrt(2 * drawn.size)
    assert abs(drawn.mean()) < 4.5 * 25.5 / np.sqrt(drawn.size)
    # The digit has it, whatever colours it: the background of a white pen has none.
    background = 1 - quiet.settings[white, 0]
    np.testing.assert_array_equal(
        noisy.images[white, background], noisy.images[white, 2]
    )
    assert (noisy.images[white, 1 - background] == 255).all()


def test_frames_of_one_unit_share_its_settings():
    data = make_causal_digits(1003, n_frames=10, p_u=0.5, images=TINY, random_state=0)
    assert data.units.max() == 100 and (np.bincount(data.units)[:-1] == 10).all()
    first = data.settings[::10]
    np.testing.assert_array_equal(data.settings, first[data.units])
    assert len(np.unique(first, axis=0)) == 8
    assert data.y[:10].std() > 0


def test_plain_learning_takes_the_shortcut():
    options = {"mechanism": "full_support", "noise": 0.3, "p_u": 0.0}
    train = make_causal_digits(2000, random_state=0, **options)
    target = make_causal_digits(
        2000, "B", p_w=0.5, success=(0.5, 0, 0), random_state=1, **options
    )
    assert target.true_effect == 0
    model = LogisticRegression(C=0.05, max_iter=200)
    predicted = model.fit(train.X / 255.0, train.y).predict_proba(target.X / 255.0)
    expected = predicted @ model.classes_
    T, W = target.treatment, target.settings[:, 0]
    gaps = [
        expected[(T == 1) & (w == W)].mean() - expected[(T == 0) & (w == W)].mean()
        for w in (0, 1)
    ]
    # Around 0.5 at larger sizes; 100 rows of the rarest cell have an error of 0.1.
    assert np.mean(gaps) > 0.25


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_larger_pictures(name):
    try:
        data = make_causal_digits(200, images=name, random_state=0)
    except ImportError as error:
        pytest.skip(str(error))
    assert data.images.shape == (200, 3, 28, 28)


def test_same_seed_same_data():
    one, two = (make_causal_digits(50, noise=0.1, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.images, two.images)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"population": "F"}, "population"),
        ({"mechanism": "linear"}, "mechanism"),
        ({"p_w": 1.5}, "p_w"),
        ({"success": (0.5, 0.6, 0.0)}, r"success must be three numbers.*0\.6"),
        ({"success": (0.5, 0.5)}, "success must be three numbers"),
        ({"images": (np.zeros((3, 2, 2)), np.arange(3))}, "pictures of uint8"),
        ({"images": (np.zeros((3, 2, 2)),)}, "got 1 objects"),
        (
            {"images": (np.zeros((3, 2, 2), np.uint8), np.arange(3))},
            r"images must show the digit \d, which occurs",
        ),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_causal_digits(**{"random_state": 0, **wrong})
