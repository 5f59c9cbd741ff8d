"""Batches by environment and the losses of vREx and IRM."""

import torch
from torch import nn
from torch.nn import functional as F

from skident.utils._torch import BatchLoader


class EnvironmentLoader(BatchLoader):
    """Batches with the same number of rows of each environment.

    Each environment has its own order, drawn anew when it is through. An epoch has as
    many batches as it takes to see as many rows as there are.

    Parameters
    ----------
    dataset : Dataset
        With the code of each row's environment, from 0 on, under "environments".
    batch_size : int, default=256
        Rows of each environment in a batch; fewer where an environment has no more.
    shuffle, device :
        As in :class:`BatchLoader`.
    """

    def __init__(self, dataset, batch_size=256, shuffle=True, device="cpu"):
        codes = dataset.tensors["environments"].cpu()
        super().__init__(dataset, batch_size, shuffle, device)
        self.members = [
            (codes == k).nonzero()[:, 0] for k in range(int(codes.max()) + 1)
        ]
        self.batch_size = min([self.batch_size, *map(len, self.members)])

    def __len__(self):
        return -(-len(self.dataset) // (self.batch_size * len(self.members)))

    def _endless(self, rows):
        """Rows of one environment, a batch at a time and without end."""
        left = rows[:0]
        while True:
            while len(left) < self.batch_size:
                order = torch.randperm if self.shuffle else torch.arange
                left = torch.cat([left, rows[order(len(rows))]])
            yield left[: self.batch_size]
            left = left[self.batch_size :]

    def __iter__(self):
        streams = [self._endless(rows) for rows in self.members]
        for _ in range(len(self)):
            rows = torch.cat([next(stream) for stream in streams])
            yield self.dataset[rows], torch.empty(len(rows), 0)


def risks(logits, y, environments):
    """Mean cross-entropy of each environment in a batch, shape (n_environments,)."""
    return by_environment(F.cross_entropy(logits, y, reduction="none"), environments)


def scale_slopes(logits, y, environments):
    """Slope of each environment's risk by a factor on the logits, at one.

    The cross-entropy of ``s * logits`` has the slope ``sum_k p_k logits_k - logits_y``
    by ``s`` at 1, so that the penalty needs one backward pass, not two.

    Parameters
    ----------
    logits : tensor of shape (n, n_classes)
    y, environments : tensor of int of shape (n,)

    Returns
    -------
    slopes : tensor of shape (n_environments,)
    """
    expected = (logits.softmax(1) * logits).sum(1)
    slopes = expected - logits.gather(1, y[:, None])[:, 0]
    return by_environment(slopes, environments)


def by_environment(values, environments):
    """Mean of values in each environment of a batch."""
    n_environments = int(environments.max()) + 1
    total = values.new_zeros(n_environments).index_add(0, environments, values)
    count = torch.bincount(environments, minlength=n_environments)
    # An environment may be absent from a batch of rows held out.
    return total / count.clamp_min(1)


class InvariantRisk(nn.Module):
    """Sum of the environments' risks, and a penalty on what differs among them.

    Parameters
    ----------
    penalty : {"vrex", "irm"}
        "vrex": the variance of the risks. "irm": the sum of the squared slopes of the
        risks by a factor on the logits.
    weight : float
    """

    def __init__(self, penalty, weight):
        super().__init__()
        self.penalty = penalty
        self.weight = weight

    def forward(self, logits, batch):
        """Loss of a batch; in evaluation the mean risk of its rows."""
        y, environments = batch["y"], batch["environments"]
        if not self.training:
            return F.cross_entropy(logits, y)
        found = risks(logits, y, environments)
        if self.penalty == "vrex":
            return found.sum() + self.weight * found.var(correction=0)
        slopes = scale_slopes(logits, y, environments)
        return found.sum() + self.weight * slopes.square().sum()
