"""Constants of maps whose distortion is known."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from skident.datasets import make_near_isometric_sources
from skident.metrics import _inputs, bilipschitz_constants

METHODS = ("jacobian", "pairwise")


def codes(seed, n_samples=200, k=3):
    return np.random.default_rng(seed).standard_normal((n_samples, k))


def leaky_module(decode):
    """The generator's map as a torch module."""
    layers = []
    for weight in decode.weights:
        layer = nn.Linear(*weight.shape, bias=False, dtype=torch.float64)
        layer.weight.data = torch.tensor(weight.T)
        layers += [layer, nn.LeakyReLU(decode.negative_slope)]
    return nn.Sequential(*layers[:-1])


def test_linear_maps():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 6))
    singular = np.linalg.svd(A, compute_uv=False)
    found = bilipschitz_constants(lambda Z: Z @ A + 1.0, codes(1))
    # Central differences of a linear map: rounding over the step.
    assert found.lower == pytest.approx(singular[-1], rel=1e-8)
    assert found.upper == pytest.approx(singular[0], rel=1e-8)
    expected = np.sqrt(singular[0] / singular[-1]) - 1
    assert found.distortion == pytest.approx(expected, rel=1e-8)
    # The constant is that after the best scale c: max(upper / c, c / lower) - 1.
    scales = np.geomspace(singular[-1], singular[0], 10_001)
    worst = np.maximum(singular[0] / scales, scales / singular[-1]) - 1
    assert found.distortion == pytest.approx(worst.min(), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_isometries_have_no_distortion(method):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0][:3]
    found = bilipschitz_constants(lambda Z: 7 * Z @ turn - 2, codes(1), method=method)
    np.testing.assert_allclose(found, (7, 7, 0), rtol=1e-8, atol=1e-8)
    data = make_near_isometric_sources(50, negative_slope=1, random_state=0)
    found = bilipschitz_constants(data.decode, data.sources, method=method)
    np.testing.assert_allclose(found, (1, 1, 0), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("slope", "n_layers"), [(0.7, 3), (0.3, 2), (0.5, 4)])
def test_near_isometric_sources_keep_their_bounds(slope, n_layers):
    data = make_near_isometric_sources(
        2000, n_layers=n_layers, negative_slope=slope, random_state=0
    )
    exact = bilipschitz_constants(leaky_module(data.decode), data.sources)
    assert data.lower - 1e-12 <= exact.lower < exact.upper <= data.upper + 1e-12
    assert 0 < exact.distortion <= data.distortion
    # The map is linear around almost every code: a step finds the same Jacobian.
    steps = bilipschitz_constants(data.decode, data.sources)
    np.testing.assert_allclose(steps, exact, rtol=1e-3)
    pairs = bilipschitz_constants(data.decode, data.sources, method="pairwise")
    assert data.lower <= pairs.lower and pairs.upper <= data.upper
    # The sources are in a convex set, on which the Jacobian bounds every ratio.
    assert pairs.upper <= exact.upper + 1e-12


def test_a_single_layer_reaches_its_bounds():
    # One input, one LeakyReLU: slopes 1 and s, each on one side of 0.
    def decode(Z):
        return np.where(Z < 0, 0.2 * Z, Z)

    found = bilipschitz_constants(decode, codes(0, k=1))
    np.testing.assert_allclose(found, (0.2, 1.0, np.sqrt(5) - 1), rtol=1e-8)


def test_lost_directions():
    Z = codes(0)
    wide = bilipschitz_constants(lambda Z: Z[:, :2], Z)
    assert wide.lower == 0.0 and wide.distortion == np.inf
    flat = bilipschitz_constants(lambda Z: Z * [1, 1, 0], Z)
    assert flat.lower == 0.0 and flat.upper == pytest.approx(1.0, rel=1e-8)


def test_folding_is_seen_by_pairs_only():
    def decode(Z):
        angle = 2 * np.pi * Z[:, 0]
        return np.column_stack([np.cos(angle), np.sin(angle)])

    Z = np.linspace(0, 1, 200)[:, None]
    local = bilipschitz_constants(decode, Z)
    # A circle traversed at constant speed: central differences are off by a factor
    # 1 - (2 pi step)^2 / 6, with a step of 2e-6.
    np.testing.assert_allclose(local, (2 * np.pi, 2 * np.pi, 0), rtol=1e-8, atol=1e-8)
    pairs = bilipschitz_constants(decode, Z, method="pairwise", max_samples=20_000)
    assert pairs.lower < 0.1


def test_pairs_agree_with_all_pairs():
    data = make_near_isometric_sources(20, random_state=0)
    ratios = pdist(data.X) / pdist(data.sources)
    # 20 000 draws of 190 pairs miss one with probability 190 exp(-105).
    found = bilipschitz_constants(
        data.decode, data.sources, method="pairwise", max_samples=20_000
    )
    assert found.lower == pytest.approx(ratios.min(), rel=1e-12)
    assert found.upper == pytest.approx(ratios.max(), rel=1e-12)


def test_modules_of_any_precision_and_shape():
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 12))
    image = nn.Sequential(flat, nn.Unflatten(1, (3, 2, 2)))
    Z = codes(0).astype(np.float32)
    exact = bilipschitz_constants(flat, Z)
    assert bilipschitz_constants(image, Z) == exact
    assert flat.training and next(flat.parameters()).dtype == torch.float32
    pairs = bilipschitz_constants(image, Z, method="pairwise")
    assert exact.upper > pairs.upper > 0

    def decode(Z):
        with torch.no_grad():
            return flat(torch.tensor(Z, dtype=torch.float32)).numpy()

    # In float32 steps of 0.005 leave errors of order eps^(2/3) = 2e-5, times the third
    # derivative over the first.
    np.testing.assert_allclose(bilipschitz_constants(decode, Z), exact, rtol=1e-3)


def test_samples_steps_and_chunks(monkeypatch):
    data = make_near_isometric_sources(300, random_state=0)
    all_codes = bilipschitz_constants(data.decode, data.sources, max_samples=None)
    some = bilipschitz_constants(data.decode, data.sources, max_samples=20)
    assert all_codes.lower <= some.lower and some.upper <= all_codes.upper
    again = bilipschitz_constants(data.decode, data.sources, max_samples=20)
    assert some == again
    assert some == bilipschitz_constants(
        data.decode, data.sources, max_samples=20, random_state=0
    )
    monkeypatch.setattr(_inputs, "_CHUNK_ENTRIES", 700)
    chunked = bilipschitz_constants(data.decode, data.sources, max_samples=None)
    np.testing.assert_allclose(chunked, all_codes, rtol=1e-8)
    squares = bilipschitz_constants(lambda Z: Z**3, [[1.0]], step=0.1)
    assert squares.upper == pytest.approx((1.1**3 - 0.9**3) / 0.2)


def rounding_decoder(shift_in, shift_out, wide=False):
    """A linear map with gains 1 and 3, in float32, of codes around an offset."""
    A = np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=np.float32)

    def decode(Z):
        Z = np.asarray(Z, dtype=np.float32) - np.float32(shift_in)
        X = np.tanh(Z / np.float32(10)) @ A * np.float32(10) + np.float32(shift_out)
        return X.astype(np.float64) if wide else X

    return decode


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("offset", [(0, 0), (1e3, 0), (0, 1e3), (1e3, -1e3)])
def test_single_precision_far_from_the_origin(offset, wide):
    # Offsets of r = 1700 standard deviations leave errors of order (eps r)^(2/3) =
    # 0.35 % in the gains; over ten draws of codes they were at most 0.12 %.
    Z = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    exact = bilipschitz_constants(
        lambda Z: 10 * np.tanh(Z / 10) * [1.0, 3.0], Z, max_samples=None
    )
    found = bilipschitz_constants(
        rounding_decoder(*offset, wide), Z + offset[0], max_samples=None
    )
    np.testing.assert_allclose(found[:2], exact[:2], rtol=0.01)


def test_double_precision_far_from_the_origin():
    Z = codes(0)
    for codes_by, outputs_by in ((1e8, 0), (0, 1e8), (1e8, 1e8)):

        def decode(Z, codes_by=codes_by, outputs_by=outputs_by):
            return np.tanh((Z - codes_by) / 10) * 10 + outputs_by

        exact = bilipschitz_constants(lambda Z: 10 * np.tanh(Z / 10), Z)
        found = bilipschitz_constants(decode, Z + codes_by)
        # (eps r)^(2/3) = 8e-6, a handful of times at the worst of 600 derivatives.
        np.testing.assert_allclose(found[:2], exact[:2], rtol=1e-4)


def test_offsets_that_the_precision_does_not_hold():
    Z = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    with pytest.raises(ValueError, match=r"Z has codes of size 1e\+05 .* float32"):
        bilipschitz_constants(rounding_decoder(1e5, 0), Z + 1e5)
    with pytest.raises(ValueError, match=r"decode returns values of size 1e\+05"):
        bilipschitz_constants(rounding_decoder(0, 1e5), Z)
    with pytest.raises(ValueError, match=r"decode returns values of size 1e\+05"):
        bilipschitz_constants(rounding_decoder(0, 1e5), Z, method="pairwise")
    with pytest.raises(ValueError, match=r"step=0.001 is lost in the rounding"):
        bilipschitz_constants(rounding_decoder(1e5, 0), Z + 1e5, step=1e-3)

    # A large constant column takes nothing from the others.
    def decode(Z):
        Z = np.asarray(Z, dtype=np.float32)
        return np.column_stack([Z, np.full(len(Z), 1e9, dtype=np.float32)])

    found = bilipschitz_constants(decode, Z)
    np.testing.assert_allclose(found, (1, 1, 0), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_decoders_that_return_integers(dtype):
    Z = np.random.default_rng(0).uniform(size=(300, 2))

    def decode(Z):
        return (Z * [255.0, 51.0]).astype(dtype)

    with pytest.raises(
        ValueError, match=r"decode must return floats .* got .*pairwise"
    ):
        bilipschitz_constants(decode, Z)
    if dtype is not bool:
        # Twenty levels of the coarser column either way: off by up to one in them.
        found = bilipschitz_constants(decode, 0.2 + 0.6 * Z, step=0.2)
        assert found.lower == pytest.approx(51, abs=51 / 20)
        assert found.upper == pytest.approx(255, abs=255 / 100)
    pairs = bilipschitz_constants(decode, Z, method="pairwise")
    assert pairs.upper < 600


def test_decoders_that_round():
    Z = np.random.default_rng(0).uniform(size=(300, 2))
    with pytest.raises(ValueError, match="constant around every code"):
        bilipschitz_constants(lambda Z: np.round(Z, 2), Z)
    # A decoder that ignores its codes is no such thing.
    found = bilipschitz_constants(lambda Z: np.full((len(Z), 3), 0.3), Z)
    assert found == (0.0, 0.0, np.inf)
    with pytest.raises(ValueError, match="decode must return real numbers"):
        bilipschitz_constants(lambda Z: Z * 1j, Z)


def test_errors_name_the_argument():
    Z = codes(0, 10)
    with pytest.raises(ValueError, match="Z must be finite"):
        bilipschitz_constants(lambda Z: Z, Z * np.nan)
    with pytest.raises(ValueError, match="Z must be two-dimensional and not empty"):
        bilipschitz_constants(lambda Z: Z, Z[:0])
    with pytest.raises(ValueError, match="method"):
        bilipschitz_constants(lambda Z: Z, Z, method="exact")
    with pytest.raises(
        ValueError, match="decode must return a row for each of 10 codes"
    ):
        bilipschitz_constants(lambda Z: np.ones((3, 2)), Z)
    with pytest.raises(ValueError, match="decode must return finite values"):
        bilipschitz_constants(lambda Z: np.full_like(Z, np.nan), Z)
    with pytest.raises(
        ValueError, match="Z must have codes that differ; n_samples = 4"
    ):
        bilipschitz_constants(lambda Z: Z, np.ones((4, 2)), method="pairwise")
