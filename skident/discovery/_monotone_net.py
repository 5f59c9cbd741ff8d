"""Training of monotone mechanisms: all nodes at once, by torch."""

import math
from dataclasses import replace

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from skident.discovery._monotone_map import LARGEST_LOG_SCALE, N_BUMPS, MonotoneMap
from skident.utils._torch import Stop, module_arrays, resolve_device, train_net

_HIDDEN = 64
_N_OUT = 2 + 3 * N_BUMPS


class MonotoneMaps(nn.Module):
    """The maps of all nodes, with the scales of their noise in each environment.

    Nodes share no parameter; each parameter has the node as its first axis.

    Parameters
    ----------
    parents : ndarray of shape (n_nodes, n_nodes), bool
        Entry [j, i] says whether i is a parent of j.
    n_environments : int
    """

    def __init__(self, parents, n_environments):
        super().__init__()
        d = len(parents)
        self.register_buffer("parents", torch.tensor(parents, dtype=torch.float32))
        # Each node's first layer starts as that of a network with its parents alone.
        fan_in = self.parents.sum(1).clamp_min(1.0)[:, None, None]
        self.weight1 = nn.Parameter(torch.randn(d, d, _HIDDEN) / fan_in.sqrt())
        self.bias1 = nn.Parameter(torch.randn(d, 1, _HIDDEN))
        self.weight2 = nn.Parameter(
            torch.randn(d, _HIDDEN, _HIDDEN) / math.sqrt(_HIDDEN)
        )
        self.bias2 = nn.Parameter(torch.zeros(d, 1, _HIDDEN))
        # Small: at the start every map is nearly the same for all parents.
        self.weight3 = nn.Parameter(
            0.1 * torch.randn(d, _HIDDEN, _N_OUT) / math.sqrt(_HIDDEN)
        )
        bias = torch.zeros(_N_OUT)
        bias[2 : 2 + N_BUMPS] = -3.0
        bias[2 + 2 * N_BUMPS :] = torch.linspace(-2.0, 2.0, N_BUMPS)
        self.bias3 = nn.Parameter(bias.repeat(d, 1, 1))
        self.slopes = nn.Parameter(torch.zeros(d, d))
        self.log_scales = nn.Parameter(torch.zeros(d, n_environments - 1))

    def forward(self, X, environments):
        """Negative log-likelihoods (n, n_nodes) of standardised rows, up to a constant.

        Parameters
        ----------
        X : tensor of shape (n, n_nodes)
        environments : tensor of shape (n,)
        """
        masked = self.weight1 * self.parents[:, :, None]
        hidden = F.silu(X @ masked + self.bias1)
        hidden = F.silu(hidden @ self.weight2 + self.bias2)
        raw = hidden @ self.weight3 + self.bias3
        x = X.T
        a = raw[..., 0] + (self.slopes * self.parents) @ x
        b = LARGEST_LOG_SCALE * torch.tanh(raw[..., 1] / LARGEST_LOG_SCALE)
        w, u, v = raw[..., 2:].split(N_BUMPS, dim=-1)
        w, u = F.softplus(w), F.softplus(u)
        bump = torch.tanh(u * x[..., None] + v)
        s = a + b.exp() * (x + (w * bump).sum(-1))
        log_slope = b + torch.log1p((w * u * (1.0 - bump.square())).sum(-1))
        log_scale = F.pad(self.log_scales, (1, 0))[:, environments]
        loss = 0.5 * (s * torch.exp(-log_scale)).square() + log_scale - log_slope
        return loss.T


class NodeLosses(nn.Module):
    """Sum over nodes of their mean losses."""

    def forward(self, losses, batch):
        """Loss of a batch."""
        return losses.mean(0).sum()


class KeepBest(Callback):
    """Keeps each node's parameters of its own best epoch on rows held out.

    Parameters
    ----------
    held_out : dict of tensor or None
        None keeps the last epoch's.
    patience : int
        Epochs without any node's improvement after which training ends.
    tol : float
        Least improvement, in nats a row, that counts.
    """

    def __init__(self, held_out, patience, tol):
        self.held_out = held_out
        self.patience = patience
        self.tol = tol
        self.best = None
        self.arrays = None
        self.waited = 0
        self.history = []

    def on_epoch_end(self, net, **kwargs):
        """Compare, keep, and stop where that is due."""
        loss = net.history[-1]["train_loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss of the monotone mechanisms is {loss} in epoch "
                f"{len(net.history)}. Lower learning_rate, or look for outliers in X."
            )
        if self.held_out is None:
            return
        module = net.module_
        with torch.no_grad():
            losses = module(**self.held_out).mean(0).cpu().numpy()
        self.history.append(float(losses.sum()))
        arrays = module_arrays(module)
        if self.best is None:
            self.best, self.arrays = losses, arrays
            return
        self.waited = 0 if (losses < self.best - self.tol).any() else self.waited + 1
        for j in np.flatnonzero(losses < self.best):
            self.best[j] = losses[j]
            for name, array in arrays.items():
                self.arrays[name][j] = array[j]
        if self.waited >= self.patience:
            raise Stop


def fit_monotone(X, codes, adjacency, n_environments, *, options, rng):
    """Fit the mechanisms of all nodes on all environments.

    Parameters
    ----------
    X : ndarray of shape (n, n_nodes)
    codes : ndarray of shape (n,)
        Environment of each row, 0 the base.
    adjacency : ndarray of shape (n_nodes, n_nodes)
    n_environments : int
    options : dict
        ``max_epochs``, ``batch_size``, ``learning_rate``, ``weight_decay``, ``tol``,
        ``patience``, ``validation_fraction``, ``device``, ``net_params``, ``verbose``,
        ``epochs``.
    rng : numpy.random.Generator

    Returns
    -------
    mechanisms : list of MonotoneMap
    scales : ndarray of shape (n_environments, n_nodes)
    history : dict of ndarray of shape (n_epochs,)
        Negative log-likelihood a row, "total" of training and "validation".
    """
    mean, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    Z = ((X - mean) / scale).astype(np.float32)
    held = np.zeros(len(X), dtype=bool)
    for e in range(n_environments):
        rows = rng.permutation(np.flatnonzero(codes == e))
        held[rows[: round(options["validation_fraction"] * len(rows))]] = True
    device = resolve_device(options["device"])
    data = {"X": Z, "environments": codes.astype(np.int64)}
    watched = None
    if held.any():
        watched = {k: torch.tensor(v[held], device=device) for k, v in data.items()}
    data = {k: v[~held] for k, v in data.items()}
    keep = KeepBest(watched, options["patience"], options["tol"])
    net_params = dict(options["net_params"] or {})
    callbacks = [("keep", keep), *(net_params.pop("callbacks", None) or [])]
    settings = {
        "module__parents": adjacency.T != 0,
        "module__n_environments": n_environments,
        "lr": options["learning_rate"],
        "max_epochs": options["max_epochs"],
        "batch_size": min(options["batch_size"], len(data["X"])),
        "verbose": options["verbose"],
        "callbacks": callbacks,
        "epochs": options["epochs"],
    }
    if "optimizer" not in net_params:
        settings |= {
            "optimizer": torch.optim.AdamW,
            "optimizer__weight_decay": options["weight_decay"],
        }
    net = train_net(
        MonotoneMaps,
        NodeLosses,
        data,
        seed=int(rng.integers(np.iinfo(np.int32).max)),
        device=device,
        **(settings | net_params),
    )
    arrays = keep.arrays
    if arrays is None:
        arrays = module_arrays(getattr(net.module_, "_orig_mod", net.module_))
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    history = {"total": np.array(net.history[:, "train_loss"])}
    if held.any():
        history["validation"] = np.array(keep.history)
    mechanisms, scales = [], np.ones((n_environments, X.shape[1]))
    rows = np.bincount(codes, minlength=n_environments)
    for j in range(X.shape[1]):
        parents = np.flatnonzero(adjacency[:, j])
        first = arrays["weight1"][j, parents], arrays["bias1"][j, 0]
        rest = [(arrays[f"weight{k}"][j], arrays[f"bias{k}"][j, 0]) for k in (2, 3)]
        mechanism = MonotoneMap(
            float(mean[j]),
            float(scale[j]),
            mean[parents],
            scale[parents],
            (first, *rest),
            arrays["slopes"][j, parents],
        )
        # Given the map the likeliest scales are known, and closer than where the
        # descent has left them.
        squares = mechanism.noise(X[:, j], X[:, parents]) ** 2
        rms = np.sqrt(np.bincount(codes, squares, n_environments) / rows)
        mechanisms.append(replace(mechanism, unit=float(rms[0])))
        scales[:, j] = rms / rms[0]
    return mechanisms, scales, history
