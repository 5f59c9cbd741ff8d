"""Networks that smooth windows and emit coefficients; the loss of solved windows."""

import math

import numpy as np
import torch
from torch import nn

from skident.dynamics._libraries import Monomials, Waves

# Length of the learned vector that the coefficients' network starts from, as published.
_CODE = 64


class WindowNet(nn.Module):
    """Smoothed states of a window, and the coefficients that all windows share.

    Parameters
    ----------
    length, n_states, n_terms : int
        Rows of a window, states, terms.
    hidden : int
        Width of two layers in both networks.
    encode : bool
        Whether windows are smoothed; if not they pass as they are.
    location, scale : list of float of length n_states
        What windows are standardised by.
    skip : bool, default=True
        Whether the network emits a correction to the data, which starts at zero, rather
        than the smoothed states themselves, as published.
    start : dict of ndarray or None, default=None
        Values of parameters and buffers to start from, all or some of them. The buffers
        are ``mask`` (n_states, n_terms), of 0 and 1, and ``basis`` (n_states, n_terms,
        n_terms): coefficients are the mask times the basis times what the network says.
    """

    def __init__(
        self,
        length,
        n_states,
        n_terms,
        hidden,
        encode,
        location,
        scale,
        skip=True,
        start=None,
    ):
        super().__init__()
        self.config = {
            "length": length,
            "n_states": n_states,
            "n_terms": n_terms,
            "hidden": hidden,
            "encode": encode,
            "location": location,
            "scale": scale,
            "skip": skip,
        }
        self.skip = skip
        self.encoder = None
        if encode:
            size = length * n_states
            self.encoder = _layers(size, hidden, size)
            if skip:
                nn.init.zeros_(self.encoder[-1].weight)
                nn.init.zeros_(self.encoder[-1].bias)
        self.code = nn.Parameter(torch.randn(_CODE))
        self.emitter = _layers(_CODE, hidden, n_states * n_terms)
        double = {"dtype": torch.float64}
        self.register_buffer("mask", torch.ones(n_states, n_terms, **double))
        basis = torch.eye(n_terms, **double).repeat(n_states, 1, 1)
        self.register_buffer("basis", basis)
        self.register_buffer("location", torch.tensor(location, **double))
        self.register_buffer("scale", torch.tensor(scale, **double))
        self.double()
        if start is not None:
            self.load_state_dict(as_tensors(start), strict=False)

    def forward(self, X, **batch):
        """Smoothed windows (n, length, n_states), and :meth:`coefficients`."""
        return self.smoothed(X), self.coefficients()

    def smoothed(self, X):
        """Smoothed states of windows, of the shape of ``X``."""
        if self.encoder is None:
            return X
        rows = (X - self.location) / self.scale
        found = self.encoder(rows.flatten(1)).reshape(X.shape) * self.scale
        return X + found if self.skip else self.location + found

    def coefficients(self):
        """Coefficients (n_states, n_terms)."""
        found = self.emitter(self.code).reshape(self.mask.shape)
        return self.mask * torch.einsum("dpq,dq->dp", self.basis, found)


def _layers(size, hidden, n_outputs):
    return nn.Sequential(
        nn.Linear(size, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )


class SolvedWindows(nn.Module):
    """Mean squares of solved windows against data, and of smoothing.

    Parameters
    ----------
    library : Library
    S, s : ndarray
        Operators of windows of even steps; those of a batch go before.
    smooth_weight : float
    scales : list of float of length n_states
        Units in which errors are counted.
    """

    def __init__(self, library, S, s, smooth_weight, scales):
        super().__init__()
        self.library, self.smooth_weight = library, smooth_weight
        for name, array in (("S", S), ("s", s), ("scales", scales)):
            tensor = torch.tensor(np.asarray(array), dtype=torch.float64)
            self.register_buffer(name, tensor)

    def forward(self, output, batch):
        """Loss of a batch of windows, their "data", "controls" and mean "step"."""
        states, coef = output
        X = batch["data"]
        terms = evaluate(self.library, torch.cat([states, batch["controls"]], dim=-1))
        S, s = batch.get("S", self.S), batch.get("s", self.s)
        solved = batch["step"][:, None, None] * (S @ (terms @ coef.T))
        solved = solved + s @ states[:, : s.shape[-1]]
        error = ((solved - X) / self.scales).square().mean()
        moved = ((states - X) / self.scales).square().mean()
        return error + self.smooth_weight * moved


def evaluate(library, X):
    """Terms (..., n_terms) of a library at points (..., n_inputs), with gradients."""
    parts = []
    for part in library.parts:
        if isinstance(part, Monomials):
            parts.append(_monomials(part, X))
        elif isinstance(part, Waves):
            parts.append(_waves(part, X))
        else:
            parts.append(_Functions.apply(X, part))
    return torch.cat(parts, dim=-1)


def _monomials(part, X):
    powers = [torch.ones_like(X)]
    for _ in range(part.exponents.max(initial=0)):
        powers.append(powers[-1] * X)
    powers = torch.stack(powers, dim=-1)
    exponents = torch.tensor(part.exponents, device=X.device)
    factors = [powers[..., j, exponents[:, j]] for j in range(part.n_inputs)]
    return math.prod(factors[1:], start=factors[0])


def _waves(part, X):
    phase = X[..., None] * torch.tensor(part.multiples, device=X.device)
    waves = torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(-3)
    return torch.cat([torch.ones_like(X[..., : part.bias]), waves], dim=-1)


class _Functions(torch.autograd.Function):
    """A user's functions of arrays, whatever they are written in."""

    @staticmethod
    def forward(ctx, X, part):
        ctx.save_for_backward(X)
        ctx.part = part
        return _as_tensor(part.evaluate(_as_array(X)), X)

    @staticmethod
    def backward(ctx, gradient):
        (X,) = ctx.saved_tensors
        slopes = _as_tensor(ctx.part.jacobian(_as_array(X)), X)
        return torch.einsum("...p,...pj->...j", gradient, slopes), None


def _as_array(tensor):
    return tensor.detach().cpu().numpy()


def _as_tensor(array, like):
    return torch.tensor(array, dtype=like.dtype, device=like.device)


def as_tensors(arrays):
    """Arrays by name as tensors."""
    return {name: torch.tensor(array) for name, array in arrays.items()}


def smoothed_windows(module, windows):
    """What a trained network makes of windows (n, length, n_states), as an array."""
    with torch.inference_mode():
        return module.smoothed(torch.tensor(windows)).numpy()


def coefficients(module):
    """Coefficients (n_states, n_terms) of a trained network, as an array."""
    with torch.inference_mode():
        return module.coefficients().numpy()
