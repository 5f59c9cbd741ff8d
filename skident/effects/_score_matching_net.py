"""Score network and selection network of an arm, with their loss."""

import itertools
import math

import torch
from skorch.callbacks import GradientNormClipping
from torch import nn
from torch.nn import functional as F

# Bound on log beta, and what is added to beta under the logarithm, as published.
LARGEST_LOG_SELECTION = 10.0
_FLOOR = 1e-6


class ScoreNet(nn.Module):
    """d log p(y | x) / dy, by layers with softplus between them.

    Parameters
    ----------
    n_features : int
    hidden : sequence of int
    """

    def __init__(self, n_features, hidden):
        super().__init__()
        widths = [n_features + 1, *hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(wide, narrow) for wide, narrow in itertools.pairwise(widths)
        )
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, X, y):
        """Score and its derivative by y, each of shape (n,).

        The derivative is carried forward beside the value, which costs one more
        product a layer and spares a second backward pass.
        """
        value, slope = torch.column_stack([X, y]), None
        for layer in self.hidden:
            raw = layer(value)
            # The last column of the input is y.
            if slope is None:
                moved = layer.weight[:, -1]
            else:
                moved = F.linear(slope, layer.weight)
            value, slope = F.softplus(raw), raw.sigmoid() * moved
        score = self.last(value)[:, 0]
        if slope is None:
            return score, self.last.weight[0, -1].expand_as(score)
        return score, slope @ self.last.weight[0]

    def value(self, X, y):
        """The score alone, of shape (n,)."""
        value = torch.column_stack([X, y])
        for layer in self.hidden:
            value = F.softplus(layer(value))
        return self.last(value)[:, 0]


class SelectionNet(nn.Module):
    """log of a selection probability beta(x, y, t), up to a factor.

    Parameters
    ----------
    n_features, n_hidden : int
    """

    def __init__(self, n_features, n_hidden):
        super().__init__()
        self.first = nn.Linear(n_features + 2, n_hidden)
        self.last = nn.Linear(n_hidden, 1)

    def forward(self, X, y, arm):
        """log beta and its first two derivatives by y, each of shape (n,).

        Parameters
        ----------
        X : tensor of shape (n, n_features)
        y : tensor of shape (n,)
        arm : {0, 1}
        """
        arms = torch.full_like(y, arm)
        inside = torch.tanh(self.first(torch.column_stack([X, y, arms])))
        out, by_y = self.last.weight[0], self.first.weight[:, -2]
        falling = 1.0 - inside.square()
        raw = self.last(inside)[:, 0]
        free = (raw.abs() < LARGEST_LOG_SELECTION).to(raw)
        first = free * (falling @ (out * by_y))
        second = free * ((inside * falling) @ (-2.0 * out * by_y.square()))
        bounded = raw.clamp(-LARGEST_LOG_SELECTION, LARGEST_LOG_SELECTION)
        return bounded, first, second


def _share(log_beta):
    """Slope of log(beta + floor), as a share of that of log beta."""
    return torch.sigmoid(log_beta - math.log(_FLOOR))


class ArmModel(nn.Module):
    """Score of one arm before selection and, if wanted, the selection of its rows.

    Parameters
    ----------
    n_features : int
    hidden : sequence of int
    selection_hidden : int or None
        None: selection does not depend on the outcome.
    arm : {0, 1}, default=0
    double : bool, default=False
        Whether to compute in float64.
    """

    def __init__(self, n_features, hidden, selection_hidden, arm=0, double=False):
        super().__init__()
        self.arm = arm
        self.score = ScoreNet(n_features, hidden)
        self.selection = None
        if selection_hidden is not None:
            self.selection = SelectionNet(n_features, selection_hidden)
        if double:
            self.double()

    def forward(self, X, y):
        """Score of the selected law, its derivative by y, and log beta or None.

        Parameters
        ----------
        X : tensor of shape (n, n_features)
        y : tensor of shape (n,)
        """
        score, slope = self.score(X, y)
        if self.selection is None:
            return score, slope, None
        log_beta, first, second = self.selection(X, y, self.arm)
        share = _share(log_beta)
        score = score + share * first
        slope = slope + share * second + share * (1.0 - share) * first.square()
        return score, slope, log_beta


class ArmModels(nn.Module):
    """The models of all arms, each trained by itself.

    Parameters
    ----------
    n_arms : int
    **config
        Arguments of :class:`ArmModel`.
    """

    def __init__(self, n_arms, **config):
        super().__init__()
        self.config = {"n_arms": n_arms, **config}
        self.arms = nn.ModuleList(ArmModel(arm=arm, **config) for arm in range(n_arms))

    @torch.inference_mode()
    def on_grid(self, arm, X, grid):
        """Scores before and after selection, and log beta, each of shape (n, n_grid).

        Parameters
        ----------
        arm : int
        X : ndarray of shape (n, n_features)
        grid : ndarray of shape (n_grid,)
        """
        shape = (len(X), len(grid))
        rows = torch.tensor(X).repeat_interleave(len(grid), dim=0)
        y = torch.tensor(grid).repeat(len(X))
        model = self.arms[arm]
        before = model.score.value(rows, y)
        after, log_beta = before, torch.zeros_like(before)
        if model.selection is not None:
            log_beta, first, _ = model.selection(rows, y, arm)
            after = before + _share(log_beta) * first
        return [part.numpy().reshape(shape) for part in (before, after, log_beta)]

    @torch.inference_mode()
    def log_selection(self, arm, X, y):
        """log beta of shape (n,) at rows and outcomes."""
        selection = self.arms[arm].selection
        y = torch.tensor(y)
        if selection is None:
            return torch.zeros_like(y).numpy()
        return selection(torch.tensor(X), y, arm)[0].numpy()


class ScoreMatchingLoss(nn.Module):
    """Mean of psi^2 / 2 + d psi / dy, and the penalty on the selection.

    Parameters
    ----------
    penalty_log, penalty_square : float
        Weights of -mean log(beta) and of mean beta^2.
    match : bool, default=True
        Without, the penalty alone is left.
    """

    def __init__(self, penalty_log, penalty_square, match=True):
        super().__init__()
        self.penalty_log = penalty_log
        self.penalty_square = penalty_square
        self.match = match

    def forward(self, outputs, batch):
        """Loss of a batch."""
        score, slope, log_beta = outputs
        loss = score.new_zeros(())
        if self.match:
            loss = (0.5 * score.square() + slope).mean()
        if log_beta is None:
            return loss
        square = (2.0 * log_beta).exp().mean()
        penalty = self.penalty_square * square - self.penalty_log * log_beta.mean()
        return loss + penalty


def clipping(clip):
    """Callbacks that bound the norm of the gradient; none for None."""
    if clip is None:
        return []
    return [("clip", GradientNormClipping(gradient_clip_value=clip))]
