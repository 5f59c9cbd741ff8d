"""Networks, loss and training of the plain autoencoder."""

import itertools
import math

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from skident.metrics import bilipschitz_constants
from skident.utils._torch import (
    BatchLoader,
    Stop,
    module_arrays,
    new_module,
    placed,
    resolve_device,
    train_net,
)

TERMS = ("total", "reconstruction", "isometry")
IMAGE_SIDE = 64
_BATCH_ROWS = 1024
_ACTIVATIONS = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def _dense(sizes, activation):
    """Linear layers of the given widths, each followed by an activation."""
    layers = []
    for wide, narrow in itertools.pairwise(sizes):
        layers += [nn.Linear(wide, narrow), activation()]
    return layers


class _ToImages(nn.Module):
    """Rows of pixels, channels last, as the images that convolutions take."""

    def __init__(self, n_channels):
        super().__init__()
        self.n_channels = n_channels

    def forward(self, rows):
        images = rows.view(len(rows), IMAGE_SIDE, IMAGE_SIDE, self.n_channels)
        return images.permute(0, 3, 1, 2)


class _ToRows(nn.Module):
    """The inverse of :class:`_ToImages`."""

    def forward(self, images):
        return images.permute(0, 2, 3, 1).flatten(1)


def _convolved(layer, activation):
    norm = nn.InstanceNorm2d(layer.out_channels, affine=True)
    return [layer, norm, activation()]


def _conv_encoder(n_channels, widths, activation):
    """Blocks of two 3 x 3 convolutions and one that halves the side."""
    layers, width = [_ToImages(n_channels)], n_channels
    for wider in widths:
        for kernel, stride in ((3, 1), (3, 1), (4, 2)):
            conv = nn.Conv2d(width, wider, kernel, stride, padding=1)
            layers += _convolved(conv, activation)
            width = wider
    return [*layers, nn.Flatten()]


def _conv_decoder(n_channels, widths, activation):
    """The mirror image of :func:`_conv_encoder`, with a linear last layer."""
    side = IMAGE_SIDE >> len(widths)
    layers = [nn.Unflatten(1, (widths[-1], side, side))]
    for wide, narrow in zip(widths[::-1], [*widths[-2::-1], None], strict=True):
        up = nn.ConvTranspose2d(wide, wide, 4, 2, padding=1)
        layers += _convolved(up, activation)
        layers += _convolved(nn.Conv2d(wide, wide, 3, padding=1), activation)
        last = nn.Conv2d(wide, narrow or n_channels, 3, padding=1)
        layers += _convolved(last, activation) if narrow else [last]
    return [*layers, _ToRows()]


class Autoencoder(nn.Module):
    """Encoder, linear code layer and decoder.

    Parameters
    ----------
    n_features, n_latents : int
    hidden : sequence of int
        Widths of the dense layers from the input to the code; the decoder mirrors them.
    architecture : {"mlp", "conv64"}
    channels : sequence of int
        Widths of the convolutional blocks of "conv64".
    activation : str
    negative_slope : float
        Of "leaky_relu".
    loss : {"mse", "bce"}
        With "bce" the decoder ends in a sigmoid.
    with_isometry : bool
        Whether the isometry term is computed in training.
    """

    def __init__(
        self,
        n_features,
        n_latents,
        hidden,
        architecture,
        channels,
        activation,
        negative_slope,
        loss,
        with_isometry,
    ):
        super().__init__()
        self.config = {
            "n_features": n_features,
            "n_latents": n_latents,
            "hidden": tuple(hidden),
            "architecture": architecture,
            "channels": tuple(channels),
            "activation": activation,
            "negative_slope": negative_slope,
            "loss": loss,
            "with_isometry": with_isometry,
        }

        def activate():
            if activation == "leaky_relu":
                return nn.LeakyReLU(negative_slope)
            return _ACTIVATIONS[activation]()

        hidden, before, after, width = list(hidden), [], [], n_features
        if architecture == "conv64":
            n_channels = n_features // IMAGE_SIDE**2
            width = channels[-1] * (IMAGE_SIDE >> len(channels)) ** 2
            before = _conv_encoder(n_channels, channels, activate)
            after = _conv_decoder(n_channels, channels, activate)
        self.encoder = nn.Sequential(*before, *_dense([width, *hidden], activate))
        self.code = nn.Linear([width, *hidden][-1], n_latents)
        up = _dense([n_latents, *hidden[::-1], width], activate)
        # The last layer is linear: a convolution, or the last of the dense ones.
        self.decoder = nn.Sequential(*(up + after if after else up[:-1]))

    def encode(self, X):
        """Codes (n, n_latents) of rows (n, n_features)."""
        return self.code(self.encoder(X))

    def decode(self, codes):
        """Rows (n, n_features) that codes stand for."""
        decoded = self.decoder(codes)
        return decoded.sigmoid() if self.config["loss"] == "bce" else decoded

    def reconstruct(self, X):
        """Rows (n, n_features) as they are reproduced."""
        return self.decode(self.encode(X))

    def forward(self, X):
        """The decoder's last layer, and the isometry term (zero unless training)."""
        codes = self.encode(X)
        isometry = codes.new_zeros(())
        if self.training and self.config["with_isometry"]:
            # The penalty is on the decoder: the encoder is not to move the codes
            # to where it happens to be isometric.
            isometry = isometry_term(self.decode, codes.detach())
        return self.decoder(codes), isometry


def isometry_term(decode, codes):
    """One-draw estimate of how far a decoder is from a scaled isometry.

    With H = J^T J the metric that the decoder's Jacobian J gives the D-dimensional
    code, and u uniform on the unit sphere, the variance of u^T H u over codes and u,
    relative to its squared mean, is
    D E[2 tr(H^2) + (tr H)^2] / ((D + 2) E[tr H]^2) - 1.
    It is zero if and only if H = c^2 I for one c and all codes.

    Parameters
    ----------
    decode : callable
        From (n, n_latents) to (n, n_features).
    codes : tensor of shape (n, n_latents)

    Returns
    -------
    term : tensor of shape ()
        Dimensionless; differentiable in the parameters of ``decode``. The ratio of
        means over a batch has a bias of order 1 / n.
    """
    directions = F.normalize(torch.randn_like(codes), dim=1)
    # By two backward passes: as fast as forward mode, whose rules torch loads by a
    # function that it has deprecated.
    _, moved = torch.autograd.functional.jvp(
        decode, codes, directions, create_graph=True
    )
    stretch = moved.square().sum(1)
    # Only a decoder that is constant on the whole batch comes near the floor.
    floor = torch.finfo(stretch.dtype).tiny
    return stretch.var(correction=0) / stretch.mean().square().clamp_min(floor)


class ReconstructionLoss(nn.Module):
    """Mean loss an entry plus the weighted isometry term; keeps a log of both.

    Parameters
    ----------
    loss : {"mse", "bce"}
    isometry_penalty : float
    """

    def __init__(self, loss, isometry_penalty):
        super().__init__()
        self.isometry_penalty = isometry_penalty
        self.entry_loss = {
            "mse": F.mse_loss,
            "bce": F.binary_cross_entropy_with_logits,
        }[loss]
        self.log = []

    def forward(self, outputs, batch):
        """Loss of a batch."""
        decoded, isometry = outputs
        reconstruction = self.entry_loss(decoded, batch["X"])
        total = reconstruction + self.isometry_penalty * isometry
        if self.training:
            terms = torch.stack([total, reconstruction, isometry.to(total)])
            # Stays on the device: reading it there would wait for the whole step.
            self.log.append(terms.detach() * len(decoded))
        return total


def fall(losses, window):
    """Fall of the mean loss from the last but one window of epochs to the last."""
    if len(losses) < 2 * window:
        return math.inf
    before = np.mean(losses[-2 * window : -window])
    return float(before - np.mean(losses[-window:]))


class Steps(Callback):
    """What happens around an optimiser step and at the end of an epoch.

    Parameters
    ----------
    learning_rate : float
    n_steps : int or None
        Length of the cosine schedule; None for a constant rate.
    clip : float or None
        Bound on each entry of the gradient.
    n_rows : int
        Rows an epoch.
    stop_at : (int, float) or None
        Window of epochs and :func:`fall` of the loss at which training ends.
    """

    def __init__(self, learning_rate, n_steps, clip, n_rows, stop_at):
        self.learning_rate = learning_rate
        self.n_steps = n_steps
        self.clip = clip
        self.n_rows = n_rows
        self.stop_at = stop_at
        self.step = 0
        self.epochs = []

    def on_batch_begin(self, net, batch=None, training=True, **kwargs):
        """Set the learning rate."""
        if training and self.n_steps is not None:
            cosine = 0.5 * (1.0 + math.cos(math.pi * self.step / self.n_steps))
            for group in net.optimizer_.param_groups:
                group["lr"] = self.learning_rate * cosine

    def on_grad_computed(self, net, named_parameters, **kwargs):
        """Clip the gradient entry by entry."""
        if self.clip is not None:
            nn.utils.clip_grad_value_(net.module_.parameters(), self.clip)

    def on_batch_end(self, net, batch=None, training=True, **kwargs):
        """Count the step, and end a fit whose loss is no longer a number."""
        if not training:
            return
        loss = net.history[-1]["batches"][-1]["train_loss"]
        if not math.isfinite(loss):
            raise not_finite("loss", loss, self.step)
        self.step += 1

    def on_epoch_end(self, net, **kwargs):
        """Take the means of the epoch's loss terms, and stop where that is due."""
        log = net.criterion_.log
        self.epochs.append(torch.stack(log).sum(0).tolist())
        log.clear()
        if self.stop_at is not None:
            window, tol = self.stop_at
            if fall(self.history()["total"], window) <= tol:
                raise Stop

    def history(self):
        """Loss terms by name, one value an epoch."""
        means = np.array(self.epochs, dtype=np.float64) / self.n_rows
        return {name: means[:, i].copy() for i, name in enumerate(TERMS)}


def not_finite(what, value, step):
    """The error of a fit that diverged at a step."""
    return FloatingPointError(
        f"The {what} at step {step} is {value}. Lower learning_rate or clip, or look "
        "for outliers in X."
    )


class HoldOut:
    """A split that keeps the training rows and scores others.

    Parameters
    ----------
    rows : ndarray of shape (n_held, n_features)
    """

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, dataset, y=None):
        """Training rows and rows held out, as data sets of one kind."""
        return dataset, type(dataset)({"X": torch.tensor(self.rows)})


def train(est, config, rows, held_out, *, seed, stop_at, epochs):
    """Train an autoencoder.

    Parameters
    ----------
    est : AutoencoderTransformer
    config : dict
        Arguments of :class:`Autoencoder`.
    rows, held_out : ndarray of shape (n, n_features), float32
        Scaled rows to train on and to watch; ``held_out`` may be None.
    seed : int
    stop_at : (int, float)
        As in :class:`Steps`; for a constant learning rate.
    epochs : iterable
        Drawn from once an epoch.

    Returns
    -------
    module : Autoencoder
        On the CPU, in evaluation mode.
    history : dict of ndarray of shape (n_epochs,)
    """
    device = resolve_device(est.device)
    batch_size = min(est.batch_size, len(rows))
    cosine = est.lr_schedule == "cosine"
    steps = Steps(
        est.learning_rate,
        est.max_epochs * -(-len(rows) // batch_size) if cosine else None,
        est.clip,
        len(rows),
        None if cosine else stop_at,
    )
    net_params = dict(est.net_params or {})
    callbacks = [("steps", steps), *(net_params.pop("callbacks", None) or [])]
    settings = {
        **{f"module__{name}": value for name, value in config.items()},
        "criterion__loss": est.loss,
        "criterion__isometry_penalty": est.isometry_penalty,
        "lr": est.learning_rate,
        "max_epochs": est.max_epochs,
        "batch_size": batch_size,
        "verbose": est.verbose,
        "callbacks": callbacks,
        "epochs": epochs,
    }
    if held_out is not None:
        settings |= {
            "train_split": HoldOut(held_out),
            "iterator_valid": BatchLoader,
            "iterator_valid__device": device,
            "iterator_valid__shuffle": False,
        }
    if "optimizer" not in net_params:
        settings |= {
            "optimizer": torch.optim.AdamW,
            "optimizer__weight_decay": est.weight_decay,
            "optimizer__param_groups": undecayed(config),
            "optimizer__fused": True,
        }
    net = train_net(
        Autoencoder,
        ReconstructionLoss,
        {"X": rows},
        seed=seed,
        device=device,
        **(settings | net_params),
    )
    history = steps.history()
    if held_out is not None:
        history["validation"] = np.array(net.history[:, "valid_loss"])
    # torch.compile wraps the module.
    trained = getattr(net.module_, "_orig_mod", net.module_)
    module = new_module(Autoencoder, config, module_arrays(trained))
    # The last step has had no loss after it.
    (made,) = mapped(module, "reconstruct", [rows[:_BATCH_ROWS]], "cpu")
    if not np.isfinite(made).all():
        raise not_finite("reconstruction", "not finite", steps.step)
    return module, history


def undecayed(config):
    """skorch's parameter groups without decay: biases, norms and the code layer."""
    with torch.device("meta"):
        module = Autoencoder(**config)
    return [
        (name, {"weight_decay": 0.0})
        for name, parameter in module.named_parameters()
        if parameter.ndim == 1 or name.startswith("code.")
    ]


def mapped(module, method, blocks, device):
    """Yield ``module.method`` of blocks of rows as float32 arrays.

    Parameters
    ----------
    module : Autoencoder
    method : {"encode", "decode", "reconstruct"}
    blocks : iterable of ndarray of shape (n, ...), float32
    device : str
        As in the estimator; a GPU that is not there is done without.
    """
    module, device = placed(module, device)
    with torch.inference_mode():
        for block in blocks:
            for low in range(0, len(block), _BATCH_ROWS):
                piece = torch.tensor(block[low : low + _BATCH_ROWS], device=device)
                yield getattr(module, method)(piece).cpu().numpy()


class _Decoder(nn.Module):
    """The decoder of an autoencoder, in the units of the data up to their mean."""

    def __init__(self, module, scale):
        super().__init__()
        self.module = module
        self.scale = scale

    def forward(self, codes):
        return self.scale * self.module.decode(codes)


def stretch(module, codes, scale, n_codes):
    """Constants between which the decoder changes distances, at some codes."""
    return bilipschitz_constants(_Decoder(module, scale), codes, max_samples=n_codes)
