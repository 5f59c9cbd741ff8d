"""The plain autoencoder: network, training, odd data, scores."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback, EarlyStopping

from skident.datasets import make_near_isometric_sources
from skident.decomposition import AutoencoderTransformer
from skident.decomposition._autoencoder_net import (
    Autoencoder,
    isometry_term,
    undecayed,
)
from skident.decomposition._autoencoder_report import configure
from tests.decomposition._autoencoders import (
    EPS,
    X,
    assert_same,
    autoencoder,
    quiet,
)

# --- the isometry term -------------------------------------------------------------


def closed_form(metrics):
    """The term's expectation, for metrics H = J^T J of shape (n, D, D)."""
    d = metrics.shape[1]
    traces = np.trace(metrics, axis1=1, axis2=2)
    squares = np.square(metrics).sum((1, 2))
    second = np.mean(2 * squares + traces**2) / (d * (d + 2))
    return second / np.mean(traces / d) ** 2 - 1


@pytest.mark.parametrize("d", [1, 2, 5])
def test_isometry_term_has_the_stated_expectation(d):
    rng = np.random.default_rng(d)
    # Two linear decoders, on one half of the codes each.
    J = rng.standard_normal((2, 7, d))
    matrices = torch.tensor(J)
    n = 50_000
    which = torch.arange(n) % 2

    def decode(codes):
        return torch.einsum("npd,nd->np", matrices[which], codes)

    torch.manual_seed(0)
    found = isometry_term(decode, torch.zeros(n, d, dtype=torch.float64))
    wanted = closed_form(np.einsum("npi,npj->nij", J, J))
    # Draws are bounded: the relative standard error stays below 5 / sqrt(n).
    assert float(found) == pytest.approx(wanted, rel=5 * 5 / math.sqrt(n))


def test_isometry_term_is_zero_for_a_scaled_isometry_only():
    basis = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))[0]
    codes = torch.randn(50, 4, dtype=torch.float64)

    def term(decode):
        return float(isometry_term(decode, codes).detach())

    assert term(lambda z: 3.7 * z @ basis.T + 1.0) < 1e-28
    assert term(lambda z: 3.7 * z**3 @ basis.T) > 0.1
    # An isometry for each code, with a scale of its own: not one for all of them.
    assert term(lambda z: z @ basis.T * torch.linspace(1, 2, 50)[:, None]) > 0.1
    # A decoder that is constant has no scale to depart from.
    assert term(lambda z: (0 * z) @ basis.T) == 0


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "tanh"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_gradient_of_the_isometry_term(activation, loss):
    torch.manual_seed(0)
    module = Autoencoder(
        5, 2, (4,), "mlp", (), activation, 0.3, loss, with_isometry=True
    ).double()
    codes = torch.randn(20, 2, dtype=torch.float64)

    def term():
        torch.manual_seed(1)
        return isometry_term(module.decode, codes)

    term().backward()
    for parameter in module.decoder.parameters():
        direction = torch.randn_like(parameter)
        # A last bias moves no distance, but through the sigmoid.
        grad = parameter.grad if parameter.grad is not None else torch.zeros(())
        slope, ends, h = float((grad * direction).sum()), [], 1e-6
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * h * direction)
                ends.append(float(term()))
                parameter.sub_(sign * h * direction)
        # Central differences: rounding 1e-16 / h, curvature h^2; no kink is that near.
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.slow
@quiet
def test_isometry_penalty_lowers_the_distortion():
    data = make_near_isometric_sources(3000, negative_slope=0.4, random_state=0)
    distortion, score = [], []
    for penalty in (0.0, 0.03, 1.0):
        ae = AutoencoderTransformer(
            4, (64, 64), max_epochs=40, isometry_penalty=penalty, random_state=0
        ).fit(data.X)
        low, high = ae.bilipschitz_
        distortion.append(math.sqrt(high / low) - 1)
        score.append(ae.score(data.X))
    # Over five seeds 0.73 +- 0.10, 0.50 +- 0.02 and 0.32 +- 0.04; a ratio of 0.44 +-
    # 0.07 between the ends, for 0.002 of R2.
    assert distortion[2] < distortion[1] and distortion[2] < 0.7 * distortion[0]
    assert min(score) > 0.95
    assert ae.history_["isometry"][-1] < ae.history_["isometry"][0]


# --- the network -------------------------------------------------------------------


@quiet
def test_a_linear_autoencoder_is_principal_component_analysis():
    rng = np.random.default_rng(1)
    rows = (
        rng.standard_normal((400, 8))
        * [5, 4, 3, 1, 1, 1, 1, 1]
        @ (np.linalg.qr(rng.standard_normal((8, 8)))[0])
    )
    ae = autoencoder(
        3, (), max_epochs=100, learning_rate=1e-2, batch_size=64, weight_decay=0.0
    ).fit(rows)
    pca = PCA(3).fit(rows)
    best = pca.explained_variance_ratio_.sum()
    # Three directions cannot do better than the best three.
    assert best - 1e-3 < ae.score(rows) < best + 1e-6
    # The decoder spans the principal subspace, and its Jacobian is its weight.
    weight = ae.scale_ * ae.module_.decoder[0].weight.detach().double().numpy()
    outside = weight - pca.components_.T @ (pca.components_ @ weight)
    assert np.linalg.norm(outside) < 0.05 * np.linalg.norm(weight)
    stretches = np.linalg.svd(weight, compute_uv=False)
    assert ae.bilipschitz_ == pytest.approx((stretches[-1], stretches[0]), rel=1e-6)
    # Codes are affine in the rows.
    middle = ae.transform((rows[:1] + rows[1:2]) / 2)
    ends = ae.transform(rows[:2])
    np.testing.assert_allclose(middle[0], ends.mean(0), atol=20 * EPS)


def test_decay_spares_biases_norms_and_the_code():
    config = {
        "n_features": 4096,
        "n_latents": 2,
        "hidden": (5,),
        "architecture": "conv64",
        "channels": (2, 3),
        "activation": "relu",
        "negative_slope": 0.2,
        "loss": "mse",
        "with_isometry": False,
    }
    module = Autoencoder(**config)
    spared = {name for name, _ in undecayed(config)}
    kinds = dict(module.named_modules())
    layers = torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d
    for name, _ in module.named_parameters():
        owner = kinds[name.rpartition(".")[0]]
        weighs = isinstance(owner, layers)
        decays = weighs and name.endswith("weight") and owner is not module.code
        assert (name not in spared) == decays
    assert spared and all(
        group == {"weight_decay": 0.0} for _, group in undecayed(config)
    )


class Watch(Callback):
    """Learning rates, decays and gradients of every step."""

    def __init__(self):
        self.rates, self.decays, self.largest = [], [], []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        grads = [p.grad for p in net.module_.parameters()]
        self.largest.append(max(float(g.abs().max()) for g in grads))
        self.norm = max(float(g.norm()) for g in grads)
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        self.decays = [
            (g["weight_decay"], len(g["params"])) for g in net.optimizer_.param_groups
        ]


@quiet
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_schedule_decay_and_clip_reach_the_optimizer(schedule):
    watch = Watch()
    autoencoder(
        max_epochs=4,
        learning_rate=0.02,
        lr_schedule=schedule,
        tol=0.0,
        weight_decay=0.3,
        clip=1e-3,
        net_params={"callbacks": [("watch", watch)]},
    ).fit(X)
    steps = np.arange(24)
    wanted = 0.01 * (1 + np.cos(np.pi * steps / 24)) if schedule == "cosine" else 0.02
    np.testing.assert_allclose(watch.rates, np.broadcast_to(wanted, 24), rtol=1e-12)
    # Entry by entry: a norm may be larger.
    assert max(watch.largest) == pytest.approx(1e-3, rel=1e-6) and watch.norm > 1e-3
    # Three of the four weights decay; the code's and the four biases do not.
    assert sorted(watch.decays) == [(0.0, 1)] * 5 + [(0.3, 3)]


@quiet
def test_without_a_clip_gradients_are_larger():
    watch = Watch()
    autoencoder(clip=None, net_params={"callbacks": [("watch", watch)]}).fit(X)
    assert max(watch.largest) > 1e-3


@quiet
def test_weight_decay_bounds_the_decoder():
    stretch = [
        autoencoder(max_epochs=20, learning_rate=0.01, weight_decay=decay)
        .fit(X)
        .bilipschitz_[1]
        for decay in (0.0, 3.0)
    ]
    assert stretch[1] < stretch[0]


@quiet
@pytest.mark.parametrize(
    ("n_channels", "loss", "penalty"), [(1, "bce", 0.0), (3, "mse", 0.1)]
)
def test_images_of_any_number_of_channels(n_channels, loss, penalty):
    rng = np.random.default_rng(0)
    images = np.zeros((12, 64, 64, n_channels), dtype=np.float32)
    for image in images:
        row, column = rng.integers(0, 40, 2)
        image[row : row + 20, column : column + 20] = rng.uniform(0.5, 1, n_channels)
    rows = images.reshape(12, -1)
    ae = autoencoder(
        2,
        (16,),
        architecture="conv64",
        channels=(2, 4, 8),
        loss=loss,
        max_epochs=10,
        learning_rate=1e-2,
        isometry_penalty=penalty,
    ).fit(rows)
    losses = ae.history_["reconstruction"]
    assert losses[-1] < 0.9 * losses[0]
    codes = ae.transform(rows)
    made = ae.inverse_transform(codes)
    assert codes.shape == (12, 2) and made.shape == rows.shape
    assert (ae.history_["isometry"] > 0).all() == (penalty > 0)
    # A row goes in as the image it was: the first convolution sees its neighbours.
    net = ae.module_
    scaled = torch.tensor((images - ae.mean_.reshape(64, 64, n_channels)) / ae.scale_)
    conv = net.encoder[1](scaled.permute(0, 3, 1, 2).float())
    inside = net.encoder[1](net.encoder[0](scaled.flatten(1).float()))
    assert torch.equal(conv, inside)
    np.testing.assert_array_equal(
        net.decoder[-1](scaled.permute(0, 3, 1, 2)), scaled.flatten(1)
    )


def test_the_default_convolutions_are_the_published_ones():
    config = configure(
        AutoencoderTransformer(architecture="conv64"), np.zeros((1, 4096))
    )
    with torch.device("meta"):
        module = Autoencoder(**config)
    convs = [m for m in module.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convs] == [
        w for w in (32, 64, 128, 256) for _ in "abc"
    ]
    assert [c.kernel_size[0] for c in convs] == [3, 3, 4] * 4
    assert [c.stride[0] for c in convs] == [1, 1, 2] * 4
    widths = [m.out_features for m in module.encoder if isinstance(m, torch.nn.Linear)]
    assert widths == [256, 256]
    rows = torch.zeros(2, 4096, device="meta")
    assert module.encode(rows).shape == (2, 10)
    assert module(rows)[0].shape == rows.shape


# --- training ----------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_same_seed_same_bits(penalty):
    one, two, other = (
        autoencoder(isometry_penalty=penalty, random_state=seed).fit(X)
        for seed in (3, 3, 4)
    )
    assert_same(one, two)
    assert not np.array_equal(one.transform(X), other.transform(X))


@quiet
def test_history_holds_the_terms_of_each_epoch():
    ae = autoencoder(isometry_penalty=0.25, validation_fraction=0.2).fit(X)
    assert set(ae.history_) == {"total", "reconstruction", "isometry", "validation"}
    assert all(values.shape == (3,) for values in ae.history_.values())
    assert ae.n_epochs_ == 3
    total = ae.history_["reconstruction"] + 0.25 * ae.history_["isometry"]
    np.testing.assert_allclose(ae.history_["total"], total, rtol=1e-5)
    # The held-out loss is the squared error in units of the trained rows' variance.
    assert ae.history_["validation"][-1] == pytest.approx(
        1 - ae.validation_score_, rel=0.3
    )


@quiet
def test_rows_held_out_do_not_matter_for_the_fit():
    first = autoencoder(validation_fraction=0.25).fit(X)
    rng = np.random.default_rng(np.random.RandomState(0).randint(2**31 - 1))
    held = rng.permutation(len(X))[:75]
    moved = X.copy()
    moved[held] *= 3
    second = autoencoder(validation_fraction=0.25).fit(moved)
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    assert first.validation_score_ == pytest.approx(first.score(X[held]), abs=1e-6)
    assert not hasattr(autoencoder().fit(X), "validation_score_")


@quiet
@pytest.mark.parametrize("factor", [2.0**20, 2.0**-20])
def test_units_do_not_matter(factor):
    plain, scaled = autoencoder().fit(X), autoencoder().fit(X * np.float32(factor))
    np.testing.assert_array_equal(plain.transform(X), scaled.transform(X * factor))
    assert scaled.scale_ == plain.scale_ * factor
    np.testing.assert_allclose(
        scaled.bilipschitz_, factor * np.array(plain.bilipschitz_), rtol=1e-12
    )


@quiet
def test_a_large_offset_does_not_cost_digits():
    # In float64, 1e6 leaves ten digits; in float32 only one.
    far = autoencoder().fit(X.astype(np.float64) + 1e6)
    near = autoencoder().fit(X)
    np.testing.assert_allclose(
        far.transform(X.astype(np.float64) + 1e6), near.transform(X), atol=1e-4
    )


@quiet
def test_a_constant_rate_stops_where_the_loss_no_longer_falls():
    ae = autoencoder(max_epochs=200, lr_schedule="constant", learning_rate=0.01).fit(X)
    losses = ae.history_["total"]
    assert 40 <= ae.n_epochs_ == len(losses) < 200
    falls = [
        losses[end - 40 : end - 20].mean() - losses[end - 20 : end].mean()
        for end in range(40, len(losses) + 1)
    ]
    # Scaled rows have unit variance, so that a constant's loss is one.
    assert falls[-1] <= 0.01 < min(falls[:-1], default=1.0)


@quiet
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_short_fit_warns_and_a_long_one_does_not(schedule):
    message = r"still falling (halfway|at the end) of training .* max_epochs=\d+"
    with pytest.warns(ConvergenceWarning, match=message):
        autoencoder(max_epochs=4, lr_schedule=schedule).fit(X)
    with pytest.warns(ConvergenceWarning, match=r"of training a tenth of max_epochs=1"):
        autoencoder(max_epochs=1, lr_schedule=schedule).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        autoencoder(max_epochs=100, lr_schedule=schedule, learning_rate=0.01).fit(X)


@quiet
@pytest.mark.parametrize("params", [{}, {"batch_size": 300, "max_epochs": 1}], ids=str)
def test_a_loss_that_is_not_finite_names_the_step(params):
    fitted = autoencoder().fit(X)
    before = copy.deepcopy(fitted)
    fitted.set_params(learning_rate=1e30, **params)
    with pytest.raises(FloatingPointError, match=r"at step 1 is .* learning_rate"):
        fitted.fit(X * 2)
    assert_same(before, fitted)


class Interrupt(Callback):
    """Ctrl-C at some step."""

    def __init__(self, step):
        self.left = step

    def on_batch_end(self, net, training=True, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@quiet
@pytest.mark.parametrize("step", [1, 9])
def test_an_interrupted_fit_changes_nothing(step):
    unfitted = autoencoder(net_params={"callbacks": [("stop", Interrupt(step))]})
    with pytest.raises(KeyboardInterrupt):
        unfitted.fit(X)
    with pytest.raises(NotFittedError):
        unfitted.transform(X)
    fitted = autoencoder(validation_fraction=0.1).fit(X)
    before = copy.deepcopy(fitted)
    fitted.set_params(net_params={"callbacks": [("stop", Interrupt(step))]})
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:, :4])
    assert_same(before, fitted)


@quiet
def test_net_params_reach_skorch():
    stop = EarlyStopping(monitor="valid_loss", patience=1, threshold=1e9)
    ae = autoencoder(
        max_epochs=50,
        validation_fraction=0.2,
        net_params={"callbacks": [("stop", stop)]},
    ).fit(X)
    assert ae.n_epochs_ < 50 and len(ae.history_["validation"]) == ae.n_epochs_
    plain = autoencoder(net_params={"optimizer": torch.optim.SGD}).fit(X)
    assert plain.score(X) < 1
    mixed = autoencoder(net_params={"autocast": "bfloat16"}).fit(X)
    assert mixed.transform(X).dtype == np.float32
    for name in ("lr", "module", "train_split"):
        with pytest.raises(ValueError, match=f"must not contain '{name}': set "):
            autoencoder(net_params={name: None}).fit(X)


@quiet
def test_verbose_prints_a_line_an_epoch(capsys):
    autoencoder(verbose=1).fit(X)
    assert len(capsys.readouterr().out.strip().splitlines()) == 2 + 3
    autoencoder().fit(X)
    assert capsys.readouterr().out == ""


@quiet
def test_callbacks_of_scikit_learn_see_the_epochs():
    callback = pytest.importorskip("sklearn.callback")

    class Count:
        seen = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, **kwargs):
            Count.seen += 1

        def teardown(self, estimator, context):
            pass

    assert hasattr(callback, "CallbackSupportMixin")
    ae = autoencoder().set_callbacks(Count())
    ae.fit(X)
    # One task an epoch and the fit itself.
    assert Count.seen == 3 + 1


# --- what is wrong with data and parameters ----------------------------------------


@pytest.mark.parametrize(
    ("params", "rows", "message"),
    [
        ({"architecture": "conv64"}, X, "multiple of 4096, one plane a channel; got 6"),
        (
            {"architecture": "conv64", "channels": (1,) * 6},
            np.zeros((2, 4096)),
            "channels must have one to five entries",
        ),
        ({"loss": "bce"}, X, r"values in \[0, 1\]; X has values from -\d"),
        ({"hidden": (8, 0)}, X, r"hidden must hold positive integers; got \[8, 0\]"),
        ({"hidden": (8.5,)}, X, "hidden must hold positive integers"),
        ({"activation": "step"}, X, "'activation' parameter"),
        ({"clip": 0.0}, X, "'clip' parameter"),
        ({"validation_fraction": 1.0}, X, "'validation_fraction' parameter"),
        ({}, X[:1], "minimum of 2 is required"),
        ({}, np.full((5, 2), np.nan), "contains NaN"),
    ],
)
def test_what_cannot_be_fitted_is_refused(params, rows, message):
    with pytest.raises(ValueError, match=message):
        autoencoder(**params).fit(rows)


@quiet
def test_codes_of_another_width_are_refused():
    ae = autoencoder().fit(X)
    with pytest.raises(ValueError, match="3 columns, one a latent; got 2"):
        ae.inverse_transform(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="6 features"):
        ae.transform(X[:, :5])


@quiet
def test_equal_rows_are_told_and_survive():
    rows = np.tile(np.float32([1.1, 2.2, 3.3]), (10, 1))
    with pytest.warns(UserWarning, match="All rows of X are equal"):
        ae = autoencoder(max_epochs=2).fit(rows)
    assert ae.scale_ == 1.0
    assert np.isfinite(ae.inverse_transform(ae.transform(rows))).all()
    assert ae.score(rows) in (0.0, 1.0)


@quiet
@pytest.mark.parametrize(
    "rows",
    [X[:2], X * 1e30, X * 1e-30, X[:, :1], (X * 3).astype(int), X.astype(np.float16)],
    ids=["two rows", "huge", "tiny", "one feature", "integers", "float16"],
)
def test_odd_data(rows):
    ae = autoencoder().fit(rows)
    assert ae.transform(rows).shape == (len(rows), 3)
    assert np.isfinite(ae.inverse_transform(ae.transform(rows))).all()
    assert -1 < ae.score(rows) <= 1


# --- results -----------------------------------------------------------------------


@quiet
def test_score_and_inverse_transform_agree():
    ae = autoencoder(max_epochs=10).fit(X)
    rows = 2.0 + X[:100].astype(np.float64)
    made = ae.inverse_transform(ae.transform(rows))
    error = np.square(rows - made).sum() / np.square(rows - rows.mean(0)).sum()
    assert ae.score(rows) == pytest.approx(1 - error, abs=1e-5)
    assert not ae.module_.training
    with torch.no_grad():
        scaled = torch.tensor((rows - ae.mean_) / ae.scale_).float()
        codes = ae.module_.encode(scaled).numpy()
    np.testing.assert_array_equal(codes, ae.transform(rows))


@quiet
def test_cross_entropy_gives_values_between_zero_and_one():
    rows = (X > 0).astype(float)
    ae = autoencoder(loss="bce", max_epochs=30, learning_rate=0.01).fit(rows)
    made = ae.inverse_transform(10 * ae.transform(rows))
    assert made.min() >= 0 and made.max() <= 1 and ae.score(rows) > 0.3
    assert ae.scale_ == 1.0 and not ae.mean_.any()
    # The loss an entry, in nats.
    p = ae.inverse_transform(ae.transform(rows)).astype(float)
    entropy = -np.log(np.where(rows > 0, p, 1 - p)).mean()
    assert ae.history_["total"][-1] == pytest.approx(entropy, rel=0.05)


@quiet
def test_batches_of_inference_do_not_matter():
    ae = autoencoder().fit(X)
    many = np.tile(X, (20, 1))  # more rows than a batch and a chunk
    np.testing.assert_allclose(
        ae.transform(many), np.tile(ae.transform(X), (20, 1)), atol=8 * EPS
    )
    assert ae.score(many) == pytest.approx(ae.score(X), abs=1e-6)
