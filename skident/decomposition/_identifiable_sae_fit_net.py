"""Training of a sparse autoencoder: batches, schedule, checkpoints, processes."""

import warnings

import numpy as np
import torch
from scipy import sparse
from skorch.callbacks import Callback
from torch import nn

from skident.decomposition._identifiable_sae_net import SparseAutoencoder
from skident.solvers import geometric_median
from skident.utils._checkpoint import save_checkpoint
from skident.utils._shards import RowStream
from skident.utils._torch import (
    Net,
    resolve_device,
    seeded,
    shared_over_world,
    world,
)

TERMS = ("total", "reconstruction", "rip", "aux", "l1")
# Between checkpoints: 0.1 s of writing in 20 s of steps at 768 features, 4096 atoms.
CHECKPOINT_STEPS = 200
# Weight of the l1 term in the released configurations.
L1_WEIGHTS = {"topk": 0.0, "abstopk": 0.0, "isae": 1e-2, "isae_me": 1e-2}
_INFERENCE_ROWS = 2048
_REPORT_ROWS = 500
# Settings of the net that the estimator's own parameters decide.
_OURS = {
    "module": "variant",
    "criterion": "variant",
    "lr": "learning_rate",
    "max_epochs": "max_epochs",
    "batch_size": "batch_size",
    "device": "device",
    "train_split": "validation_fraction",
    "iterator_train": "shuffle_buffer",
}


class WeightedTerms(nn.Module):
    """Weighted sum of loss terms; keeps the terms of every batch.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each term; a term without weight is not part of the loss.
    """

    def __init__(self, weights):
        super().__init__()
        self.weights = weights
        self.log = []

    def forward(self, terms, batch):
        """Loss of a batch."""
        loss = sum(self.weights[name] * term for name, term in terms.items())
        kept = [loss, *(terms[name] for name in TERMS[1:])]
        # Stays on the device: reading it there would wait for the whole step.
        self.log.append(torch.stack([term.detach() for term in kept])[None])
        return loss


class Feed(torch.utils.data.Dataset):
    """The rows of a fit, from a position on; skorch asks it for one epoch at a time.

    Parameters
    ----------
    stream : RowStream

    Attributes
    ----------
    epoch, batch : int
        Position of the next batch.
    left : int or None
        Batches after which the feed ends, within an epoch if need be; None for never.
    """

    def __init__(self, stream):
        self.stream = stream
        self.epoch, self.batch = 0, 0
        self.left = None

    def __len__(self):
        return len(self.stream.shards)


class FeedLoader:
    """Iterates one epoch of a :class:`Feed`, from its position, on a device."""

    def __init__(self, feed, batch_size=None, device="cpu"):
        self.feed = feed
        self.device = device

    def __iter__(self):
        feed = self.feed
        for block in feed.stream.epoch(feed.epoch, feed.batch):
            if feed.left == 0:
                return
            feed.batch += 1
            feed.left = None if feed.left is None else feed.left - 1
            tensor = torch.from_numpy(block).to(self.device, non_blocking=True)
            yield {"X": tensor}, None
        feed.epoch, feed.batch = feed.epoch + 1, 0


class Steps(Callback):
    """What happens around an optimiser step.

    Parameters
    ----------
    feed : Feed
    rate : callable
        ``rate(step)`` is the learning rate of a step.
    checkpoint : (Path, dict) or None
        Where to write checkpoints, and what identifies the fit.
    """

    def __init__(self, feed, rate, checkpoint):
        self.feed = feed
        self.rate = rate
        self.checkpoint = checkpoint

    def on_batch_begin(self, net, batch=None, training=True, **kwargs):
        """Set the learning rate."""
        for group in net.optimizer_.param_groups:
            group["lr"] = self.rate(net.module_.n_steps)

    def on_grad_computed(self, net, named_parameters, **kwargs):
        """Average gradients over processes and clip their global norm at one."""
        grads = [p.grad for p in net.module_.parameters() if p.grad is not None]
        _, size = world()
        if size > 1:
            for grad in grads:
                torch.distributed.all_reduce(grad)
                grad /= size
        # A dot product reads as fast as memory allows, vector_norm at a third of that.
        squares = [torch.dot(grad.view(-1), grad.view(-1)) for grad in grads]
        norm = float(torch.stack(squares).sum().sqrt())
        if not norm < float("inf"):
            raise FloatingPointError(
                f"The gradient at step {net.module_.n_steps} has norm {norm}: the loss "
                "is not finite. Lower learning_rate, or scale X."
            )
        if norm > 1.0:
            torch._foreach_mul_(grads, 1.0 / norm)

    def on_batch_end(self, net, batch=None, training=True, **kwargs):
        """Count the step, and save what a killed fit needs."""
        net.module_.n_steps += 1
        if self.checkpoint and net.module_.n_steps % CHECKPOINT_STEPS == 0:
            path, identity = self.checkpoint
            arrays, meta = training_state(net, self.feed)
            if world()[0] == 0:
                save_checkpoint(path, arrays, {**meta, "identity": identity})


class Run:
    """One training of an :class:`IdentifiableSAE`, from its parameters and sizes.

    Parameters
    ----------
    est : IdentifiableSAE
        With ``n_components_`` and ``k_``; its weights are the start where it has any.
    shards : Shards
    seed : int
    checkpoint : (Path, dict) or None, default=None
        As in :class:`Steps`.
    streaming : bool, default=False
        Constant learning rate after warm-up, no end, no rows held out.
    """

    def __init__(self, est, shards, seed, checkpoint=None, *, streaming=False):
        self.seed = seed = shared_over_world(seed)
        self.rank, self.size = world()
        self.device = device = resolve_device(est.device)
        self.buffer_rows = est.shuffle_buffer
        rng = np.random.default_rng([seed, 1])
        self.held_out = None
        if est.validation_fraction > 0 and not streaming:
            n_held = max(1, round(est.validation_fraction * len(shards)))
            self.held_out = shards.sample(min(n_held, len(shards) - 1), rng)
        n_rows = len(shards) - (0 if self.held_out is None else len(self.held_out))
        if n_rows < self.size:
            raise ValueError(
                f"X must have a row for each of the {self.size} processes that train "
                f"together; n_samples = {n_rows}."
            )
        self.batch_size = min(est.batch_size, n_rows // self.size)
        stream = RowStream(
            shards,
            self.batch_size,
            self.buffer_rows,
            None if streaming else seed,
            self.rank,
            self.size,
            self.held_out,
        )
        self.feed = Feed(stream)
        self.n_steps = None
        if not streaming:
            self.n_steps = est.max_steps or est.max_epochs * stream.n_batches
            self.feed.left = self.n_steps
        self.init_rows = shards.sample(est.bias_init_samples, rng)
        if self.held_out is not None:
            self.init_rows = np.setdiff1d(self.init_rows, self.held_out)
        self.report_rows = _some(self.init_rows, rng)
        fresh = not hasattr(est, "components_")
        with seeded(seed, device):
            module = new_module(est, shards.n_features, device)
            if fresh:
                rows = torch.from_numpy(shards.read(self.init_rows))
                module.initialise(*_start(est, module.normalised(rows.to(device))))
        if not fresh:
            load_weights(module, est)
        module.noise = torch.Generator(device).manual_seed(seed)
        self.net = _new_net(est, module, self, checkpoint)

    @property
    def epochs_left(self):
        """Epochs from the present position to the last step."""
        if self.feed.left == 0:
            return 0
        return -(-self.n_steps // self.feed.stream.n_batches) - self.feed.epoch

    def train(self, epochs):
        """Train for one epoch each time ``epochs`` yields."""
        with seeded(self.seed, self.device):
            self.net.resume(self.feed, epochs)

    def feed_in_order(self, shards):
        """Make ``shards``, in their order, the rows of the next epoch."""
        self.feed.stream = RowStream(
            shards,
            min(self.batch_size, max(1, len(shards) // self.size)),
            self.buffer_rows,
            None,
            self.rank,
            self.size,
        )
        self.feed.batch = 0

    def some_rows(self, shards):
        """Numbers of the rows of ``shards`` on which assumptions are tested."""
        return _some(np.arange(len(shards)), np.random.default_rng(self.seed))

    def state(self):
        """See :func:`training_state`."""
        return training_state(self.net, self.feed)

    def restore(self, arrays, meta):
        """See :func:`restore_state`."""
        restore_state(self.net, self.feed, arrays, meta)
        if self.n_steps is not None:
            self.feed.left = self.n_steps - self.net.module_.n_steps

    def results(self):
        """Fitted attributes, by name, as arrays of their own."""
        module = self.net.module_
        atoms, encoder, bias, step = module.get_weights()
        if step is not None:
            step = tuple(map(_array, step)) if isinstance(step, tuple) else _array(step)
        uses = _array(module.uses.sum(0, dtype=torch.int64))
        log = log_array(self.net).astype(np.float64)
        per_epoch = self.feed.stream.n_batches
        return {
            # A copy: the net's own atoms are projected when it is next trained.
            "components_": _array(nn.functional.normalize(atoms, dim=1)),
            "encoder_": _array(encoder),
            "intercept_": _array(bias),
            "step_factor_": step,
            "mse_scale_": float(module.loss_scale),
            "activation_frequency_": uses / max(1, int(module.rows_seen.sum())),
            "dead_": uses == 0,
            "history_": {name: log[:, i].copy() for i, name in enumerate(TERMS)},
            "n_epochs_": self.feed.epoch + self.feed.batch / per_epoch,
        }


def _some(rows, generator):
    """At most ``_REPORT_ROWS`` of some row numbers, ascending."""
    n_rows = min(_REPORT_ROWS, len(rows))
    return np.sort(generator.choice(rows, n_rows, replace=False))


def _array(tensor):
    return tensor.detach().cpu().numpy().copy()


def new_module(est, n_features, device):
    """Module of an estimator's sizes on a device, its weights not set."""
    variant = est.variant
    with_rip = variant in ("isae", "isae_me") and est.rip_weight > 0
    return SparseAutoencoder(
        n_features,
        est.n_components_,
        est.k_,
        variant=variant,
        rip_active=min(est.rip_multiplier * est.k_, est.n_components_) * with_rip,
        n_encode_steps=est.n_encode_steps if variant == "isae_me" else 1,
        step_rank=est.step_rank,
        aux_k=est.aux_k or max(1, n_features // 2),
        dead_window=est.dead_window,
        normalize=est.normalize,
        device=device,
    ).to(device)


def load_weights(module, est):
    """Copy an estimator's fitted weights into a module."""
    step = est.step_factor_
    if step is not None:
        whole = not isinstance(step, tuple)
        step = torch.tensor(step) if whole else tuple(map(torch.tensor, step))
    weights = (est.components_, est.encoder_, est.intercept_)
    module.set_weights(*map(torch.tensor, weights), step)
    module.loss_scale.fill_(est.mse_scale_)


def _start(est, rows):
    """Bias and loss scale from normalised rows."""
    n_features = rows.shape[1]
    bias = np.zeros(n_features)
    if est.bias_init == "mean":
        bias = rows.mean(0).cpu().numpy()
    elif est.bias_init == "geometric_median":
        bias = geometric_median(rows.cpu().numpy(), tol=est.tol_median)
    spread = float((rows - rows.mean(0)).square().mean())
    # Equal rows leave the rounding of their mean.
    rounding = (4 * torch.finfo(rows.dtype).eps) ** 2 * float(rows.square().mean())
    if spread <= rounding:
        spread = 0.0
        warnings.warn(
            f"After normalize={est.normalize!r} all rows of X are equal: there is "
            "nothing to learn. Constant rows become zeros; normalize=None keeps them.",
            UserWarning,
            stacklevel=4,
        )
    return torch.tensor(bias), spread or 1.0


def _new_net(est, module, run, checkpoint):
    """skorch net of a module, initialised and not trained yet."""
    l1_weight = L1_WEIGHTS[est.variant] if est.l1_weight == "auto" else est.l1_weight
    weights = {
        "reconstruction": 1.0,
        "rip": est.rip_weight if module.rip_active else 0.0,
        "aux": est.aux_weight,
        "l1": l1_weight,
    }
    n_steps, warmup = run.n_steps, est.warmup_steps

    def rate(step):
        warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if n_steps is None or step < est.decay_start * n_steps:
            return est.learning_rate * warm
        left = (n_steps - step) / (n_steps - est.decay_start * n_steps)
        return est.learning_rate * warm * left

    # The user's callbacks run after ours; all other settings of the user win.
    net_params = dict(est.net_params or {})
    for name in net_params.keys() & _OURS.keys():
        raise ValueError(
            f"net_params must not contain {name!r}: set {_OURS[name]} instead."
        )
    steps = Steps(run.feed, rate, checkpoint)
    callbacks = [("steps", steps), *(net_params.pop("callbacks", None) or [])]
    settings = {
        "criterion": WeightedTerms(weights),
        "optimizer": torch.optim.Adam,
        "lr": est.learning_rate,
        "train_split": None,
        "iterator_train": FeedLoader,
        "iterator_train__device": run.device,
        "device": run.device,
        "verbose": est.verbose,
        "callbacks": callbacks,
        "autocast": "bfloat16" if est.compute_dtype == "bfloat16" else None,
    }
    if "optimizer" not in net_params:
        settings |= {"optimizer__betas": tuple(est.betas), "optimizer__fused": True}
    return Net(module, **(settings | net_params)).initialize()


class Inference:
    """A fitted estimator's encoder on its device, for blocks of raw rows."""

    def __init__(self, est):
        self.est = est
        self.device = resolve_device(est.device)
        self.module = new_module(est, est.components_.shape[1], self.device).eval()
        load_weights(self.module, est)

    def _encoded(self, blocks):
        with torch.inference_mode():
            for block in blocks:
                for low in range(0, len(block), _INFERENCE_ROWS):
                    piece = torch.tensor(block[low : low + _INFERENCE_ROWS])
                    scaled = self.module.normalised(piece.to(self.device))
                    yield scaled, self.module.encode(scaled)

    def codes(self, blocks, n_rows):
        """Codes of ``n_rows`` rows in all, as a CSR matrix with sorted indices."""
        k, n_atoms = self.est.k_, self.est.n_components_
        data = np.empty((n_rows, k), dtype=np.float32)
        columns = np.empty((n_rows, k), dtype=np.int32)
        low = 0
        for _, codes in self._encoded(blocks):
            high = low + len(codes.values)
            data[low:high] = codes.values.cpu().numpy()
            columns[low:high] = codes.pattern.columns.cpu().numpy()
            low = high
        index = np.int32 if n_rows * k < 2**31 else np.int64
        start = np.arange(n_rows + 1, dtype=index) * k
        codes = sparse.csr_matrix(
            (data.ravel(), columns.ravel(), start), shape=(n_rows, n_atoms)
        )
        codes.has_sorted_indices = True
        # Fewer than k entries are positive, or a row is zero.
        if not data.all():
            codes.eliminate_zeros()
        return codes

    def pre_activations(self, blocks):
        """Pre-activations of the last step, block by block."""
        for _, codes in self._encoded(blocks):
            yield codes.u.cpu().numpy().copy()

    def residuals(self, blocks):
        """Normalised rows and what reconstruction leaves of them, block by block."""
        module = self.module
        for scaled, codes in self._encoded(blocks):
            with torch.inference_mode():
                residual = scaled - module.decode(codes.values, codes.pattern)
            yield scaled.cpu().numpy(), residual.cpu().numpy()


def training_state(net, feed):
    """Everything that the rest of a fit depends on: ndarrays, and a JSON-able dict."""
    module = net.module_
    arrays = {f"module.{k}": v.cpu().numpy() for k, v in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        for key, value in net.optimizer_.state.get(parameter, {}).items():
            arrays[f"optimizer.{name}.{key}"] = value.cpu().numpy()
    arrays["noise"] = module.noise.get_state().numpy()
    arrays["log"] = log_array(net)
    meta = {"n_steps": module.n_steps, "epoch": feed.epoch, "batch": feed.batch}
    return arrays, meta


def restore_state(net, feed, arrays, meta):
    """Inverse of :func:`training_state`."""
    module = net.module_
    device = module.bias.device
    module.load_state_dict(
        {
            name.removeprefix("module."): torch.tensor(array)
            for name, array in arrays.items()
            if name.startswith("module.")
        }
    )
    for name, parameter in module.named_parameters():
        prefix = f"optimizer.{name}."
        state = {
            key.removeprefix(prefix): torch.tensor(array, device=device)
            for key, array in arrays.items()
            if key.startswith(prefix)
        }
        if state:
            net.optimizer_.state[parameter] = state
    module.noise.set_state(torch.tensor(arrays["noise"]))
    net.criterion_.log = [torch.tensor(arrays["log"], device=device)]
    module.n_steps = meta["n_steps"]
    feed.epoch, feed.batch = meta["epoch"], meta["batch"]


def log_array(net):
    """Loss terms of all batches so far, of shape (n_steps, n_terms)."""
    criterion = net.criterion_
    # Put together once: the next call only adds to it.
    criterion.log = [torch.cat(criterion.log)] if criterion.log else []
    if not criterion.log:
        return np.empty((0, len(TERMS)), dtype=np.float32)
    return criterion.log[0].float().cpu().numpy()
