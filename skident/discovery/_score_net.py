"""Scores of several environments by one network, from denoising."""

import copy
import math

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from skident.discovery._scores import covariance_of, precision_of
from skident.utils._torch import Stop, resolve_device, seeded, train_net

_WIDTH = 128
# Noise of the training, in standard deviations of the columns: the score that is read
# off is that of the density smoothed by the least of it.
_NOISE = 0.05, 0.3
_N_HELD_DRAWS = 4
_BATCH_ROWS = 4096


class ScoreNet(nn.Module):
    """Score of standardised rows in one of several environments.

    Parameters
    ----------
    means : ndarray of shape (n_environments, n_features)
    precisions : ndarray of shape (n_environments, n_features, n_features)
        Of each environment: training starts from the scores of normal laws.
    """

    def __init__(self, means, precisions):
        super().__init__()
        n_environments, n_features = means.shape
        self.n_environments = n_environments
        self.register_buffer("means", torch.tensor(means, dtype=torch.float32))
        self.register_buffer(
            "precisions", torch.tensor(precisions, dtype=torch.float32)
        )
        self.layers = nn.Sequential(
            nn.Linear(n_features + n_environments + 1, _WIDTH),
            nn.Softplus(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.Softplus(),
            nn.Linear(_WIDTH, n_features),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def score(self, X, environments, log_noise):
        """Score (n, r) of the density smoothed by noise of size ``exp(log_noise)``."""
        which = nn.functional.one_hot(environments, self.n_environments)
        which = which.to(X.dtype)
        centred = X - self.means[environments]
        linear = torch.einsum("na,nab->nb", centred, self.precisions[environments])
        return self.layers(torch.cat([X, which, log_noise], dim=1)) - linear

    def forward(self, X, environments):
        """Losses (n,) of denoising, up to a constant."""
        low, high = (math.log(size) for size in _NOISE)
        log_noise = torch.empty_like(X[:, :1]).uniform_(low, high)
        draw, size = torch.randn_like(X), log_noise.exp()
        # A draw and its opposite: what the noise alone costs cancels, and small noise
        # does not drown the score.
        up = self.score(X + size * draw, environments, log_noise)
        down = self.score(X - size * draw, environments, log_noise)
        told = (draw * (up - down)).sum(1) / size[:, 0]
        return (up.square() + down.square()).sum(1) / 4 + told / 2


class MeanLoss(nn.Module):
    """Mean over rows."""

    def forward(self, losses, batch):
        """Loss of a batch."""
        return losses.mean()


class KeepBest(Callback):
    """Keeps the weights that are best on rows held out, and stops without progress."""

    def __init__(self, held, patience, tol):
        self.held = held
        self.patience = patience
        self.tol = tol
        self.best, self.state, self.waited = math.inf, None, 0

    def on_epoch_end(self, net, **kwargs):
        """Compare, keep, and stop where that is due."""
        loss = net.history[-1]["train_loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss of the score network is {loss} in epoch "
                f"{len(net.history)}. Lower learning_rate, or look for outliers in X."
            )
        if self.held is None:
            return
        # The same noise each time: epochs differ by their weights alone.
        with seeded(0, net.device), torch.no_grad():
            losses = [net.module_(**self.held).mean() for _ in range(_N_HELD_DRAWS)]
        loss = float(sum(losses)) / _N_HELD_DRAWS
        self.waited = 0 if loss < self.best - self.tol else self.waited + 1
        if loss < self.best:
            self.best = loss
            self.state = copy.deepcopy(net.module_.state_dict())
        if self.waited >= self.patience:
            raise Stop


def fit_score_net(
    blocks,
    *,
    seed,
    max_epochs=300,
    batch_size=256,
    learning_rate=1e-3,
    tol=1e-4,
    patience=20,
    validation_fraction=0.2,
    device="cpu",
    net_params=None,
    verbose=0,
):
    """Train one network on the rows of all environments.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, r)
        Standardised rows.
    seed : int
    max_epochs, batch_size, learning_rate, tol, validation_fraction, device, \
            net_params, verbose
        As in the estimator.
    patience : int, default=20
        Epochs without a fall of the held-out loss by ``tol`` that end training.

    Returns
    -------
    scores : callable
        Maps points (m, r) to scores (n_environments, m, r), float64.
    """
    X = np.concatenate(blocks).astype(np.float32)
    codes = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    rng = np.random.default_rng(seed)
    held = np.zeros(len(X), dtype=bool)
    for e in range(len(blocks)):
        rows = rng.permutation(np.flatnonzero(codes == e))
        held[rows[: round(validation_fraction * len(rows))]] = True
    device = resolve_device(device)
    data = {"X": X, "environments": codes.astype(np.int64)}
    watched = None
    if held.any():
        watched = {k: torch.tensor(v[held], device=device) for k, v in data.items()}
    data = {k: v[~held] for k, v in data.items()}
    keep = KeepBest(watched, patience, tol)
    net_params = dict(net_params or {})
    callbacks = [("keep", keep), *(net_params.pop("callbacks", None) or [])]
    settings = {
        "module__means": np.stack([block.mean(axis=0) for block in blocks]),
        "module__precisions": np.stack(
            [precision_of(covariance_of(block), len(block)) for block in blocks]
        ),
        "lr": learning_rate,
        "max_epochs": max_epochs,
        "batch_size": min(batch_size, len(data["X"])),
        "optimizer": torch.optim.Adam,
        "verbose": verbose,
        "callbacks": callbacks,
    }
    net = train_net(
        ScoreNet, MeanLoss, data, seed=seed, device=device, **(settings | net_params)
    )
    module = getattr(net.module_, "_orig_mod", net.module_)
    if keep.state is not None:
        net.module_.load_state_dict(keep.state)
    module.eval()
    log_noise = math.log(_NOISE[0])

    def scores(points):
        found = np.empty((len(blocks), *points.shape))
        with torch.inference_mode():
            for low in range(0, len(points), _BATCH_ROWS):
                rows = slice(low, low + _BATCH_ROWS)
                batch = torch.tensor(points[rows], dtype=torch.float32, device=device)
                noise = torch.full_like(batch[:, :1], log_noise)
                for e in range(len(blocks)):
                    which = torch.full((len(batch),), e, device=device)
                    score = module.score(batch, which, noise)
                    found[e, rows] = score.cpu().numpy()
        return found

    return scores
