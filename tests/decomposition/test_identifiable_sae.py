"""Truth recovered, agreement of re-runs, determinism and what the report says."""

import copy
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_ambiguous_dictionary, make_sparse_dictionary
from skident.decomposition import IdentifiableSAE
from skident.decomposition._identifiable_sae_report import examine
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import (
    dictionary_cosine_similarity,
    match_atoms,
    sae_stability,
)

VARIANTS = ["topk", "abstopk", "isae", "isae_me"]
N, K, ACTIVE = 32, 64, 2


def quiet(sae, X):
    """Fit without the warnings that so short fits deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        return sae.fit(X)


def fit(X, **params):
    """A quiet fit: these tests are about its result."""
    settings = {"batch_size": 256, "learning_rate": 3e-3, "random_state": 0}
    return quiet(IdentifiableSAE(K, ACTIVE, **(settings | params)), X)


@pytest.fixture(scope="module")
def data():
    return make_sparse_dictionary(20_000, N, K, ACTIVE, random_state=0)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["abstopk", "isae"])
def test_true_atoms_are_recovered_better_with_more_steps(variant, data):
    found = [
        dictionary_cosine_similarity(
            data.dictionary,
            fit(data.X, variant=variant, max_steps=n, max_epochs=99).components_,
        )
        for n in (150, 600, 3000)
    ]
    assert found[0] < found[1] < found[2]
    # Random atoms would reach about 0.5 in 32 dimensions.
    assert found[2] > 0.9


@pytest.mark.slow
def test_signed_codes_agree_over_seeds_where_positive_ones_do_not(data):
    scores = {}
    for variant in ("topk", "abstopk", "isae"):
        first, second = (
            fit(data.X, variant=variant, max_steps=2500, random_state=seed)
            for seed in (0, 1)
        )
        scores[variant] = sae_stability(first, second, data.X[:2000], random_state=0)
        scores[variant]["fvu"] = 1 - first.score(data.X[:2000])
    for variant in ("abstopk", "isae"):
        assert scores[variant]["fvu"] < 0.65 * scores["topk"]["fvu"]
        assert scores[variant]["dcs"] > scores["topk"]["dcs"] + 0.05
        assert scores[variant]["iou"] > scores["topk"]["iou"] + 0.3
    assert abs(scores["isae"]["fvu"] - scores["abstopk"]["fvu"]) < 0.03


@pytest.mark.slow
def test_penalty_lowers_arip_where_atoms_are_correlated():
    X = make_sparse_dictionary(
        20_000, N, K, ACTIVE, mixture_scale=0.3, n_mixtures=3, random_state=0
    ).X
    plain, penalised = (
        fit(X, variant=variant, max_steps=2500) for variant in ("abstopk", "isae")
    )
    # Atoms that are correlated in truth rise above the floor of random ones.
    assert plain.arip_ > (2 * ACTIVE - 1) / N
    assert penalised.arip_ < 0.9 * plain.arip_


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_same_bits(variant, data):
    params = {"variant": variant, "max_steps": 12, "n_encode_steps": 3}
    first, second, other = (
        fit(data.X[:2000], random_state=seed, **params) for seed in (3, 3, 4)
    )
    for name in ("components_", "encoder_", "intercept_"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    for term, values in first.history_.items():
        assert np.array_equal(values, second.history_[term])
        assert values.shape == (12,)


@pytest.mark.parametrize("variant", VARIANTS)
def test_permuted_and_flipped_fit_agrees_with_itself(variant, data):
    sae = fit(data.X[:2000], variant=variant, max_steps=5)
    rng = np.random.default_rng(0)
    order, signs = rng.permutation(K), rng.choice([-1.0, 1.0], size=K)
    if variant == "topk":
        signs[:] = 1.0  # a positive code has no sign to flip
    signs = signs.astype(np.float32)
    moved = copy.deepcopy(sae)
    moved.components_ = signs[:, None] * sae.components_[order]
    moved.encoder_ = signs[:, None] * sae.encoder_[order]
    if variant == "isae_me":
        moved.step_factor_ = np.outer(signs, signs) * sae.step_factor_[order][:, order]
    match = match_atoms(sae.components_, moved.components_)
    assert np.array_equal(order[match.permutation], np.arange(K))
    assert np.array_equal(match.signs, signs[match.permutation])
    for other in (sae, moved):
        scores = sae_stability(sae, other, data.X[:300], oracle=True, random_state=0)
        for name in ("dcs", "iou", "oracle_iou"):
            assert scores[name] == pytest.approx(1.0, abs=1e-6)
        for name in ("l2", "l2_norm", "oracle_l2", "oracle_l2_norm"):
            assert scores[name] == pytest.approx(0.0, abs=1e-6)
    # The moved fit is another one as long as atoms are not matched.
    assert abs(sae.transform(data.X[:300]) - moved.transform(data.X[:300])).max() > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_codes_reconstruction_and_score_agree(variant, data):
    sae = fit(data.X[:2000], variant=variant, max_steps=30, n_encode_steps=3)
    X = 3.0 + 50.0 * data.X[:500].astype(np.float64)
    codes = sae.transform(X)
    assert codes.shape == (500, K)
    assert np.diff(codes.indptr).max() <= ACTIVE
    assert codes.has_sorted_indices
    assert (variant == "topk") == (codes.data.min() > 0)
    x = data.X[:500] - data.X[:500].mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    made = sae.inverse_transform(codes)
    unexplained = np.square(made - x).sum() / np.square(x - x.mean(0)).sum()
    assert sae.score(X) == pytest.approx(1 - unexplained, abs=1e-5)
    # In the units of X: the same share of the rows' own spread.
    np.testing.assert_allclose(
        sae.reconstruct(X), 3.0 + 50.0 * (made * np.linalg.norm(
            data.X[:500] - data.X[:500].mean(1, keepdims=True), axis=1, keepdims=True
        ) + data.X[:500].mean(1, keepdims=True)), rtol=1e-4, atol=1e-3
    )  # fmt: skip
    # Each kept entry is one of the k largest pre-activations, with its value.
    u = sae.pre_activations(X)
    rows = np.repeat(np.arange(500), np.diff(codes.indptr))
    np.testing.assert_allclose(u[rows, codes.indices], codes.data, rtol=1e-6)
    keys = u if variant == "topk" else np.abs(u)
    floor = np.partition(keys, K - ACTIVE, axis=1)[:, K - ACTIVE]
    assert (keys[rows, codes.indices] >= floor[rows]).all()


def test_oracle_codes_reconstruct_at_least_as_well(data):
    sae = fit(data.X, variant="abstopk", max_steps=300, max_epochs=99)
    X = data.X[:500]
    residual = X - sae.inverse_transform(sae.transform(X))
    oracle = X - sae.inverse_transform(sae.oracle_transform(X))
    assert np.square(oracle).sum() < np.square(residual).sum()
    codes = sae.oracle_transform(X, k=1)
    assert np.diff(codes.indptr).max() == 1


def test_schedule_and_clipping_follow_the_recipe(data):
    from skorch.callbacks import Callback

    rates = []

    class Watch(Callback):
        def on_batch_end(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    fit(
        data.X[:2560],
        max_steps=20,
        warmup_steps=4,
        decay_start=0.5,
        learning_rate=1.0e-3,
        net_params={"callbacks": [("watch", Watch())]},
    )
    expected = 1e-3 * np.minimum(1, np.arange(1, 21) / 4)
    expected[10:] *= np.arange(10, 0, -1) / 10
    np.testing.assert_allclose(rates, expected)


def test_isometry_and_l1_weights_are_those_of_the_variant(data):
    weights = {}
    for variant in VARIANTS:
        sae = fit(data.X[:1000], variant=variant, max_steps=3)
        h = sae.history_
        rest = h["total"] - h["reconstruction"] - h["aux"] / 32 - 0.1 * h["rip"]
        weights[variant] = rest / h["l1"]
        assert (h["rip"] != 0).all() == variant.startswith("isae")
    for variant in ("topk", "abstopk"):
        np.testing.assert_allclose(weights[variant], 0.0, atol=1e-4)
    for variant in ("isae", "isae_me"):
        np.testing.assert_allclose(weights[variant], 0.01, rtol=1e-2)


def test_short_fit_and_dead_atoms_warn():
    X = make_sparse_dictionary(1000, 16, 32, 2, random_state=0).X
    short = IdentifiableSAE(32, 2, max_steps=20, random_state=0)
    with (
        pytest.warns(ConvergenceWarning, match="ended after 20 steps"),
        pytest.warns(IdentifiabilityWarning, match="dictionary and codes"),
    ):
        short.fit(X)
    # One direction of data cannot keep 32 atoms alive.
    lines = np.outer(np.random.default_rng(0).standard_normal(1000), X[0])
    dead = IdentifiableSAE(
        32, 1, max_steps=150, aux_weight=0.0, dead_window=8, random_state=0
    )
    with (
        pytest.warns(ConvergenceWarning, match="of 32 atoms are dead"),
        pytest.warns(IdentifiabilityWarning, match="no dead atoms"),
    ):
        dead.fit(lines)
    assert dead.dead_.sum() > 3
    assert not dead.activation_frequency_[dead.dead_].any()


def verdicts(sae, rows):
    report = examine(sae, sae._inference(), rows)[1]
    return report, {a.name[:2]: a.verdict for a in report.assumptions}


def with_dictionary(sae, atoms):
    """The fit with weights of our own: tied, no bias."""
    sae.components_ = atoms.astype(np.float32)
    sae.encoder_ = sae.components_.copy()
    sae.intercept_ = np.zeros(atoms.shape[1], dtype=np.float32)
    return sae


def test_report_holds_for_orthonormal_atoms_and_exact_codes():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = IdentifiableSAE(
            8, 2, variant="abstopk", normalize=None, max_steps=1, random_state=0
        ).fit(rng.standard_normal((50, 8)))
    with_dictionary(sae, np.eye(8))
    sae.dead_[:] = False
    codes = np.zeros((500, 8))
    for row in codes:
        row[rng.choice(8, 2, replace=False)] = rng.choice([-1, 1], 2) + rng.random(2)
    report, verdict = verdicts(sae, codes.astype(np.float32))
    assert report.ok, str(report)
    assert [verdict[a] for a in ("A1", "A2", "A3", "A4", "A6")] == ["holds"] * 5


def test_report_contradicts_the_ambiguous_dictionary():
    data = make_ambiguous_dictionary(500, 16, 20, 4, random_state=0)
    sae = IdentifiableSAE(20, 4, variant="abstopk", max_steps=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae.set_params(normalize=None).fit(data.X)
    report, verdict = verdicts(with_dictionary(sae, data.dictionary), data.X)
    # Codes on the one support of independent atoms, and another that fits as well.
    assert verdict["co"] == "violated"
    assert not report.ok
    with pytest.warns(IdentifiabilityWarning, match="competing atoms"):
        report.warn(sae)


def test_report_examines_rows_from_everywhere(data):
    # Two populations, one after the other: the report must see both.
    other = make_sparse_dictionary(2000, N, K, ACTIVE, random_state=1).X
    X = np.vstack([np.repeat(data.X[:10], 200, axis=0), other])
    sae = fit(X, max_steps=50)
    shuffled = np.random.default_rng(0).permutation(X)
    assert sae.arip_ == pytest.approx(fit(shuffled, max_steps=50).arip_, rel=0.2)


def test_large_offsets_cost_float64_rows_no_digits(data):
    # The per-row mean is taken off in the rows' own precision.
    sae = fit(data.X[:2000].astype(np.float64), max_steps=20)
    X = data.X[:300].astype(np.float64)
    assert sae.score(X + 1e7) == pytest.approx(sae.score(X), abs=1e-5)


def test_equal_rows_warn_and_leave_a_loss_of_size_one():
    X = np.tile(np.random.default_rng(0).standard_normal(7), (500, 1))
    for start in ("mean", "zeros"):
        sae = IdentifiableSAE(20, 2, max_steps=5, bias_init=start, random_state=0)
        with pytest.warns(UserWarning, match="all rows of X are equal"):
            quiet(sae, X)
        assert sae.mse_scale_ == 1.0
        assert sae.history_["reconstruction"].max() < 10


def test_settings_with_a_parameter_of_their_own_are_refused(data):
    for name in ("lr", "max_epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"must not contain '{name}'"):
            fit(data.X[:500], max_steps=2, net_params={name: 3})


def test_step_rank_above_the_rank_of_the_atoms_is_used(data):
    sae = fit(
        data.X[:2000], variant="isae_me", step_rank=40, max_steps=30, n_encode_steps=3
    )
    left, right = sae.step_factor_
    # 32 features: the step matrix starts at rank 32, and may leave it.
    assert np.linalg.matrix_rank(left @ right.T, tol=1e-6) > N


def test_held_out_rows_are_in_no_part_of_the_fit(data):
    from skident.decomposition._identifiable_sae_fit_net import Run
    from skident.utils._shards import Shards

    sae = IdentifiableSAE(K, ACTIVE, validation_fraction=0.25, batch_size=100)
    sae.n_components_, sae.k_ = K, ACTIVE
    run = Run(sae, Shards([data.X[:2000]]), 0)
    trained = np.concatenate(list(run.feed.stream.epoch(0)))
    held = data.X[run.held_out]
    assert len(trained) + len(held) == 2000
    assert not set(map(bytes, held)) & set(map(bytes, trained))
    assert not set(run.held_out) & set(run.init_rows)
    assert fit(data.X[:2000], validation_fraction=0.25, max_steps=20).validation_score_


def test_progress_bar_of_scikit_learn_starts_and_ends(data):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    sae = IdentifiableSAE(K, ACTIVE, max_epochs=3, batch_size=200, random_state=0)
    sae.set_callbacks(callback.ProgressBar())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae.fit(data.X[:400])
    assert sae.n_epochs_ == 3
    assert not [name for name in vars(sae) if "callback_fit" in name]
