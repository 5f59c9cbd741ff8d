"""Hoyer sparsity and the concentration of a signal."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_selection import f_classif, f_regression
from sklearn.metrics import roc_auc_score

from skident.metrics import hoyer_sparsity, signal_concentration


def test_hoyer_limits():
    for d in (2, 3, 100):
        one = np.zeros(d)
        one[-1] = -3.0
        assert hoyer_sparsity(one) == pytest.approx(1.0)
        assert hoyer_sparsity(np.tile([-2.0], d)) == pytest.approx(0.0, abs=1e-14)
        # k equal entries of d.
        for k in range(1, d + 1):
            v = np.r_[np.full(k, 0.7), np.zeros(d - k)]
            expected = (np.sqrt(d) - np.sqrt(k)) / (np.sqrt(d) - 1)
            assert hoyer_sparsity(v) == pytest.approx(expected, abs=1e-14)
    assert isinstance(hoyer_sparsity([1.0, 2.0]), float)


def test_hoyer_of_normals():
    X = np.random.default_rng(0).standard_normal((2000, 400))
    # |x|_1 / |x|_2 is about sqrt(2 d / pi), with an error of order 1 / d.
    root = np.sqrt(400)
    expected = root * (1 - np.sqrt(2 / np.pi)) / (root - 1)
    assert hoyer_sparsity(X).mean() == pytest.approx(expected, abs=3e-3)


def test_hoyer_invariances_and_zero_rows():
    rng = np.random.default_rng(1)
    X = rng.laplace(size=(30, 6))
    expected = hoyer_sparsity(X)
    assert expected.shape == (30,)
    signs = rng.choice([-1, 1], 6)
    np.testing.assert_allclose(
        hoyer_sparsity(signs * X[:, rng.permutation(6)]), expected, rtol=1e-12
    )
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(hoyer_sparsity(X * scale), expected, rtol=1e-12)
    np.testing.assert_allclose(
        hoyer_sparsity(X.astype(np.float32)), expected, atol=1e-6
    )
    X[3] = 0.0
    assert np.isnan(hoyer_sparsity(X)[3]) and np.isnan(hoyer_sparsity([0.0, 0.0]))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix])
def test_hoyer_of_sparse_codes(kind):
    X = sparse.random(40, 15, density=0.2, random_state=0, format="csr").toarray()
    X[:9] *= -1.0
    X[5] = 0.0
    np.testing.assert_allclose(hoyer_sparsity(kind(X)), hoyer_sparsity(X), rtol=1e-12)
    assert np.isnan(hoyer_sparsity(kind((2, 5)))).all()


def test_hoyer_errors():
    with pytest.raises(ValueError, match="X must have at least two columns, got 1"):
        hoyer_sparsity([[1.0], [2.0]])
    with pytest.raises(ValueError, match="X must be finite"):
        hoyer_sparsity([[1.0, np.nan]])
    with pytest.raises(ValueError, match="X must be finite"):
        hoyer_sparsity(sparse.csr_matrix([[1.0, np.inf]]))
    with pytest.raises(ValueError, match="X must be two-dimensional and not empty"):
        hoyer_sparsity(np.zeros((0, 3)))


# -- concentration -------------------------------------------------------------


def signals(values):
    """Data of which a callable reads the given signals."""
    return np.zeros((4, len(values))), [0, 1, 0, 1], lambda X, y: np.array(values)


@pytest.mark.parametrize(
    ("values", "top", "expected"),
    [
        ([1.0] * 8, 0.25, 0.25),
        ([1.0] * 10, 0.25, 0.25),  # two and a half features
        ([0, 0, 5.0, 0], 0.25, 1.0),
        ([4.0, 1, 2, 1, 0, 0, 0, 0], 0.25, 6 / 8),
        ([1.0, 3, 1, 1, 2, 2], 0.25, (3 + 0.5 * 2) / 10),
        ([1.0, 3.0], 0.5, 0.75),
    ],
)
def test_concentration_of_known_signals(values, top, expected):
    X, y, signal = signals(values)
    assert signal_concentration(X, y, top=top, signal=signal) == pytest.approx(expected)


def test_nothing_to_concentrate():
    X, y, signal = signals([0.0] * 4)
    assert np.isnan(signal_concentration(X, y, signal=signal))
    assert np.isnan(signal_concentration(np.ones((4, 4)), y))
    assert np.isnan(signal_concentration(np.ones((4, 4)), [1.0, 2, 3, 4], signal="r2"))


@pytest.mark.parametrize("n_labels", [2, 3])
def test_auroc_signal(n_labels):
    rng = np.random.default_rng(0)
    y = rng.integers(n_labels, size=200)
    # With ties; the middle label is below and above others.
    X = np.round(rng.standard_normal((200, 4)) + 0.5 * y[:, None], 1)
    values = [
        np.mean([abs(2 * roc_auc_score(y == c, x) - 1) for c in range(n_labels)])
        for x in X.T
    ]
    expected = max(values) / sum(values)
    names = np.array(["b", "a", "c"])[y]
    assert signal_concentration(X, names) == pytest.approx(expected, rel=1e-12)
    moved = signal_concentration(-3 * X[:, ::-1] + [0, 1, 2, 3], y)
    assert moved == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("unit", [2.0**-900, 1e-170, 1e200, 1e306])
@pytest.mark.parametrize("signal", ["auroc", "r2"])
def test_signals_in_any_unit(signal, unit):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    X = rng.standard_normal((200, 4)) + y[:, None] * [1.0, 0.5, 0.0, 0.0]
    wanted = signal_concentration(X, y, signal=signal)
    units = np.array([unit, 1.0, unit, 1.0])
    label = y if signal == "auroc" else y * unit
    found = signal_concentration(X * units, label, signal=signal)
    assert found == pytest.approx(wanted, rel=1e-9)


def test_signals_from_scikit_learn():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 4)), rng.integers(2, size=100)
    F = f_classif(X, y)[0]
    expected = F.max() / F.sum()
    assert signal_concentration(X, y, signal=f_classif) == pytest.approx(expected)
    z = X[:, 2] + rng.standard_normal(100)
    r2 = np.corrcoef(np.column_stack([z, X]), rowvar=False)[0, 1:] ** 2
    found = signal_concentration(X, z, signal="r2")
    assert found == pytest.approx(r2.max() / r2.sum(), rel=1e-10)
    F = f_regression(X, z)[0]
    assert signal_concentration(X, z, signal=f_regression) == pytest.approx(
        F.max() / F.sum()
    )


def test_turning_the_features_spreads_their_signal():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=2000)
    X = rng.standard_normal((2000, 8))
    X[:, 3] += y
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert signal_concentration(X @ turn, y) < signal_concentration(X, y) - 0.2


def test_concentration_errors_name_the_argument():
    X, y = np.random.default_rng(0).standard_normal((20, 4)), np.arange(20) % 2
    hole = X.copy()
    hole[0, 0] = np.nan
    with pytest.raises(ValueError, match="X must be finite"):
        signal_concentration(hole, y)
    with pytest.raises(ValueError, match=r"y must be of shape \(n_samples,\)"):
        signal_concentration(X, y[:-1])
    with pytest.raises(ValueError, match="y must have at least 2 distinct labels"):
        signal_concentration(X, np.zeros(20))
    with pytest.raises(ValueError, match="y must vary"):
        signal_concentration(X, np.zeros(20), signal="r2")
    with pytest.raises(ValueError, match="y must be finite"):
        signal_concentration(X, hole[:, 0], signal="r2")
    with pytest.raises(ValueError, match="y must have a label in every row"):
        signal_concentration(X, np.where(y == 0, np.nan, 1.0))
    with pytest.raises(ValueError, match="top must be in"):
        signal_concentration(X, y, top=1.0)
    with pytest.raises(ValueError, match=r"top = 0\.2 of 4 features is less than one"):
        signal_concentration(X, y, top=0.2)
    with pytest.raises(ValueError, match="signal must be one of"):
        signal_concentration(X, y, signal="mi")
    with pytest.raises(ValueError, match="signal must not be negative, got -1"):
        signal_concentration(X, y, signal=lambda X, y: -np.ones(4))
    with pytest.raises(
        ValueError, match="signal must give one finite number a feature"
    ):
        signal_concentration(X, y, signal=lambda X, y: np.ones(3))
