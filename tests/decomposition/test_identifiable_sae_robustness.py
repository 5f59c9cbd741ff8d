"""Data of every size, layout and defect, from memory and from files."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skident.decomposition import IdentifiableSAE
from skident.decomposition._identifiable_sae_report import CHUNK_ROWS
from skident.exceptions import IdentifiabilityWarning
from skident.utils._rows import scale_rows
from tests._stored import on_disk

pytestmark = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
VARIANTS = ["topk", "abstopk", "isae", "isae_me"]
METHODS = ("fit", "partial_fit", "transform", "score", "reconstruct")


def sae(n_components=24, n_active=3, **params):
    params = {"n_encode_steps": 3, "batch_size": 100, "max_steps": 6} | params
    return IdentifiableSAE(n_components, n_active, **({"random_state": 0} | params))


def rows(n=600, n_features=8, dtype=np.float32):
    return np.random.default_rng(0).standard_normal((n, n_features)).astype(dtype)


def assert_sound(fitted, X):
    """Everything finite, atoms of unit norm, codes sparse, scores consistent."""
    for name in ("components_", "encoder_", "intercept_", "mse_scale_"):
        assert np.isfinite(getattr(fitted, name)).all(), name
    # With no pre-activation above zero there is no support to measure.
    if fitted.variant != "topk" or (fitted.pre_activations(X) > 0).any():
        assert np.isfinite(fitted.arip_)
    assert all(np.isfinite(values).all() for values in fitted.history_.values())
    norms = np.linalg.norm(fitted.components_, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    codes = fitted.transform(X)
    assert np.diff(codes.indptr).max(initial=0) <= fitted.k_
    assert codes.has_sorted_indices and (codes.data != 0).all()
    back = fitted.inverse_transform(codes).astype(float)
    scaled = scale_rows(np.asarray(X), fitted.normalize)[0].astype(float)
    spread = np.square(scaled - scaled.mean(axis=0)).sum()
    if spread > 1e-9:
        unexplained = np.square(scaled - back).sum() / spread
        # float32 sums of k terms a feature.
        assert fitted.score(X) == pytest.approx(1 - unexplained, abs=1e-5)
    assert np.isfinite(fitted.score(X)) and np.isfinite(fitted.reconstruct(X)).all()
    assert np.isfinite(fitted.pre_activations(X)).all()


# --- sizes -------------------------------------------------------------------------

SMALL = {
    "one row": rows(1),
    "two rows": rows(2),
    "one feature": rows(50, 1),
    "zeros": np.zeros((20, 4)),
    "some zero rows": rows() * (np.arange(600) % 3 > 0)[:, None],
    "constant columns": np.r_["1", rows(100, 3), np.ones((100, 2))],
    "constant rows": np.tile(np.arange(30.0)[:, None], 5),
    "equal rows": np.tile(rows(1), (30, 1)),
    "huge": rows() * 1e30,
    "tiny": rows() * 1e-18,
    "float16": rows(dtype=np.float16),
    "integers": np.arange(120).reshape(20, 6) % 7,
}


@pytest.mark.filterwarnings("ignore:After normalize=:UserWarning")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("what", SMALL)
def test_small_and_flat_data(what, variant):
    X = SMALL[what]
    fitted = sae(variant=variant).fit(X)
    assert_sound(fitted, X)
    # A row that is zero once scaled reads as the code of nothing in its own units.
    flat = scale_rows(X, "center_l2")[2][:, 0] == 0
    np.testing.assert_allclose(fitted.reconstruct(X)[flat], X[flat], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e39, 1e200, 1e-60])
def test_units_that_float32_cannot_hold(scale):
    X = rows(dtype=float)
    fitted = sae().fit(X)
    at = CHUNK_ROWS + 3
    far = np.tile(X, (CHUNK_ROWS // len(X) + 1, 1))
    far[at] *= scale
    # Codes have no unit.
    code, other = fitted.transform(far[[at]]), fitted.transform(X[[at % len(X)]])
    np.testing.assert_allclose(code.toarray(), other.toarray(), rtol=1e-5)
    with pytest.raises(ValueError, match=rf"X has rows.*float32.*row {at} has"):
        fitted.reconstruct(far)


def test_equal_rows_are_told():
    with pytest.warns(UserWarning, match="all rows of X are equal"):
        sae().fit(np.zeros((20, 4)))


def test_no_rows_and_no_features():
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        sae().fit(rows(0))
    with pytest.raises(ValueError, match="0 feature"):
        sae().fit(rows()[:, :0])
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        sae().fit(sparse.csr_matrix(rows()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_nonzeros_than_atoms_and_fewer_atoms_than_features(variant):
    with pytest.warns() as caught:
        fitted = sae(4, 9, variant=variant).fit(rows())
    told = [str(w.message) for w in caught if w.category is UserWarning]
    assert len(told) == 2
    assert "n_active=9 was clipped to the 4 atoms" in told[0]
    assert "not overcomplete: n_components=4 atoms for 8 features" in told[1]
    assert fitted.k_ == fitted.n_components_ == 4
    assert_sound(fitted, rows())


def test_a_sound_fit_of_right_sizes_warns_of_nothing_else():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        sae(warmup_steps=2, max_steps=20).fit(rows())


def test_a_fit_within_the_warm_up_says_how_to_go_on():
    with pytest.warns(ConvergenceWarning, match="after 6 steps.*Increase max_epochs"):
        sae().fit(rows())
    with pytest.warns(ConvergenceWarning, match="to 6 steps.*further calls of partial"):
        sae().partial_fit(rows())


@pytest.mark.parametrize("normalize", ["center_l2", "l2", None])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_score_is_that_of_what_comes_back(variant, normalize):
    X = rows(5000) + 0.5  # more than one chunk
    fitted = sae(variant=variant, normalize=normalize).fit(X)
    assert_sound(fitted, X)
    _, shift, scale = scale_rows(X, normalize)
    back = fitted.inverse_transform(fitted.transform(X)) * scale + shift
    np.testing.assert_allclose(fitted.reconstruct(X), back, rtol=1e-5, atol=1e-5)


# --- layouts and defects -----------------------------------------------------------


def test_layouts_in_memory_agree():
    X = rows()
    fitted = sae().fit(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    for same in (frozen, np.asfortranarray(X), wide, X[::-1][::-1], X.astype(">f4")):
        np.testing.assert_array_equal(sae().fit(same).components_, fitted.components_)
        sae().partial_fit(same)
        np.testing.assert_allclose(
            fitted.transform(same).toarray(), fitted.transform(X).toarray(), atol=1e-6
        )
    assert (frozen == X).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shuffle_buffer", [500_000, 2048])
def test_shards_in_files_give_the_bits_of_one_array(tmp_path, dtype, shuffle_buffer):
    X = rows(5000, dtype=dtype)
    shards = [
        on_disk(tmp_path / str(i), part)
        for i, part in enumerate(np.split(X, [700, 1000, 3333]))
    ]
    params = {"shuffle_buffer": shuffle_buffer, "max_steps": 60}
    whole, parts = (sae(**params).fit(source) for source in (X, shards))
    for name in ("components_", "encoder_", "intercept_", "arip_"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    np.testing.assert_equal(whole.history_, parts.history_)
    np.testing.assert_array_equal(
        whole.transform(X).toarray(), parts.transform(shards).toarray()
    )
    assert whole.score(X) == parts.score(shards)
    weights = np.arange(5000) % 7
    assert whole.score(X, sample_weight=weights) == parts.score(
        shards, sample_weight=weights
    )
    assert_sound(parts, X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_is_named_wherever_it_stands(tmp_path, bad, dtype, method):
    good = rows(3000, dtype=dtype)
    fitted = sae(max_steps=None, max_epochs=1)
    if method not in ("fit", "partial_fit"):
        fitted.fit(good)
    learned = {k for k in vars(fitted) if k.endswith("_")}
    X = good.copy()
    X[2345, 6] = bad
    what = re.escape("Input X contains " + ("NaN" if np.isnan(bad) else "infinity"))
    mapped = on_disk(tmp_path / "x", X)
    for source in (X, mapped):
        with pytest.raises(ValueError, match=what + r".* row 2345\."):
            getattr(fitted, method)(source)
    for source in ([X[:2000], X[2000:]], [mapped[:2000], mapped[2000:]]):
        with pytest.raises(ValueError, match=what + ".* row 345 of shard 1 of 2"):
            getattr(fitted, method)(source)
    assert {k for k in vars(fitted) if k.endswith("_")} == learned


@pytest.mark.parametrize("method", METHODS)
def test_shards_that_do_not_fit_or_are_cut_short_are_named(tmp_path, method):
    X = rows()
    fitted = sae()
    if method not in ("fit", "partial_fit"):
        fitted.fit(X)
    with pytest.raises(ValueError, match="shard 0 has 8, shard 2 has 7"):
        getattr(fitted, method)([X, X, X[:, :7]])
    shards = [on_disk(tmp_path / name, X) for name in "ab"]
    os.truncate(tmp_path / "b", 100)
    with pytest.raises(ValueError, match=r"cut short: shard 1 of 2, file .*b, holds"):
        getattr(fitted, method)(shards)


# --- memory ------------------------------------------------------------------------

PEAK = """
import sys, warnings
import numpy as np
from skident.decomposition import IdentifiableSAE
from skident.decomposition._identifiable_sae_report import CHUNK_ROWS
warnings.simplefilter("ignore")

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

shape = (100_000, 256)
shards = [np.memmap(path, np.float16, "r", shape=shape) for path in sys.argv[1:]]
def fit(X, steps):
    return IdentifiableSAE(
        1024, 8, batch_size=256, max_steps=steps, shuffle_buffer=100_000,
        bias_init_samples=10_000, random_state=0,
    ).fit(X)

fit(np.random.default_rng(0).standard_normal((300, 256)).astype(np.float16), 3)
before = peak()
fit(shards, 600)  # more than two windows
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
@pytest.mark.slow
def test_memory_is_that_of_the_buffer_and_the_optimizer(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":  # 195 MiB in all
        on_disk(
            tmp_path / name,
            rng.standard_normal((100_000, 256), np.float32).astype(np.float16),
        )
    run = subprocess.run(
        [sys.executable, "-c", PEAK, *(str(tmp_path / name) for name in "abcd")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    buffer, parameters = 100_000 * 256 * 2, (2 * 1024 * 256 + 256) * 4
    assert int(run.stdout) < buffer + 3 * parameters
