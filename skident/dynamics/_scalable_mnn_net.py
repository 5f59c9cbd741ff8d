"""Networks whose output is the solution of a linear ODE that they have written."""

import math

import numpy as np
import torch
from scipy.fft import dct
from torch import nn

from skident.solvers import solve_linear_ode
from skident.utils._torch import placed

# Bounds of a learned step, as published.
_STEPS = (1e-3, 0.999)
_BATCH_ROWS = 1024


def mlp(n_in, hidden, n_out):
    """Linear layers with ReLU between them."""
    layers, width = [], n_in
    for wide in hidden:
        layers += [nn.Linear(width, wide), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, n_out))


class Forecaster(nn.Module):
    """From past windows to future ones, by way of one linear ODE a row and state.

    Parameters
    ----------
    n_past, n_future, n_states : int
        Steps of either window, and states a step.
    order : int
        Order of the hidden equations.
    n_init_steps : int
        Nodes whose states are given.
    from_past : bool
        Whether these are the last ones of the past window, and nodes of their own
        before the future ones; else they are the first of the future window.
    hidden : sequence of int
        Widths of the layers of each of the four networks.
    n_latents : int
        Width of the code that the equation is read from.
    n_kept : int or None
        Lowest frequencies that the encoder sees; None for the window itself.
    step_init : float
        Every step before training.
    double : bool, default=False
        Whether the networks compute in float64. The solver always does.
    """

    def __init__(
        self,
        n_past,
        n_future,
        n_states,
        order,
        n_init_steps,
        from_past,
        hidden,
        n_latents,
        n_kept,
        step_init,
        double=False,
    ):
        super().__init__()
        self.config = {
            "n_past": n_past,
            "n_future": n_future,
            "n_states": n_states,
            "order": order,
            "n_init_steps": n_init_steps,
            "from_past": from_past,
            "hidden": tuple(hidden),
            "n_latents": n_latents,
            "n_kept": n_kept,
            "step_init": step_init,
            "double": double,
        }
        self.n_nodes = n_future + (n_init_steps if from_past else 0)
        if n_kept is None:
            basis = np.eye(n_past)
        else:
            basis = dct(np.eye(n_past), axis=0, norm="ortho")[:n_kept]
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))
        self.encoder = mlp(len(basis) * n_states, hidden, n_latents)
        self.rhs = mlp(n_latents, hidden, self.n_nodes * n_states)
        n_coefficients = self.n_nodes * n_states * (order + 1)
        self.coefficients = mlp(n_latents, hidden, n_coefficients)
        self.steps = mlp(n_latents, hidden, self.n_nodes - 1)
        nn.init.zeros_(self.steps[-1].weight)
        nn.init.constant_(self.steps[-1].bias, math.log(step_init / (1 - step_init)))
        if double:
            self.double()
            self.basis = torch.tensor(basis)

    def equation(self, X):
        """What the networks write for each row.

        Parameters
        ----------
        X : tensor of shape (n, n_past * n_states)

        Returns
        -------
        coefficients : tensor of shape (n, n_nodes, n_states, order + 1)
        rhs : tensor of shape (n, n_nodes, n_states)
        steps : tensor of shape (n, n_nodes - 1)
        """
        n, n_states = len(X), self.config["n_states"]
        spectrum = self.basis @ X.reshape(n, -1, n_states)
        code = self.encoder(spectrum.reshape(n, -1))
        coefficients = self.coefficients(code).reshape(n, self.n_nodes, n_states, -1)
        rhs = self.rhs(code).reshape(n, self.n_nodes, n_states)
        return coefficients, rhs, self.steps(code).sigmoid().clamp(*_STEPS)

    def given(self, X, start=None):
        """States at the nodes where they are given, (n, n_init_steps, n_states).

        Parameters
        ----------
        X : tensor of shape (n, n_past * n_states)
        start : tensor of shape (n, n_init_steps * n_states) or None
            None, where these are of the future window, is the last state for each.
        """
        n, n_states = len(X), self.config["n_states"]
        n_given = self.config["n_init_steps"]
        past = X.reshape(n, -1, n_states)
        if self.config["from_past"]:
            return past[:, -n_given:]
        if start is None:
            return past[:, -1:].expand(-1, n_given, -1)
        return start.reshape(n, n_given, n_states)

    def solution(self, X, start=None):
        """States and their derivatives, and the equation they solve.

        Parameters
        ----------
        X, start : as in :meth:`given`

        Returns
        -------
        states : tensor of float64 of shape (n, n_nodes, n_states, order + 1)
        coefficients, rhs, steps : tensor
            As :meth:`equation` returns them.

        Raises
        ------
        FloatingPointError
            If an equation is not finite.
        """
        coefficients, rhs, steps = self.equation(X)
        if not (coefficients.isfinite().all() and rhs.isfinite().all()):
            raise FloatingPointError(
                "The hidden equations are not finite. Lower learning_rate, or look "
                "for outliers in X and y."
            )
        # Each state has an equation of its own: it joins the batch of the solver.
        states = solve_linear_ode(
            coefficients.double().transpose(1, 2)[..., None, None, :],
            rhs.double().transpose(1, 2)[..., None],
            self.given(X, start).double().transpose(1, 2)[..., None, None],
            steps.double()[:, None, :],
        )
        return states[..., 0, :].transpose(1, 2), coefficients, rhs, steps

    def forward(self, X, start=None, **batch):
        """Future windows (n, n_future * n_states); what else there is is for the loss.

        Parameters
        ----------
        X, start : as in :meth:`given`
        """
        states = self.solution(X, start)[0]
        future = states[:, -self.config["n_future"] :, :, 0]
        return future.reshape(len(X), -1).to(X.dtype)


class WindowLoss(nn.Module):
    """Mean squared error of future windows.

    By Parseval's theorem that of their orthonormal cosine transforms, the published
    loss, is the same number.
    """

    def forward(self, windows, batch):
        """Loss of a batch with "y"."""
        return (windows - batch["y"]).square().mean()


@torch.inference_mode()
def in_batches(module, method, device, *arrays):
    """What a method of a module makes of rows, as ndarrays.

    Parameters
    ----------
    module : torch.nn.Module
    method : str
        Returns a tensor or several.
    device : str
        A GPU that is not there is done without.
    *arrays : ndarray of shape (n, ...)

    Returns
    -------
    values : list of ndarray of shape (n, ...)
    """
    module, device = placed(module, device)
    pieces = []
    for low in range(0, len(arrays[0]), _BATCH_ROWS):
        rows = (
            torch.tensor(array[low : low + _BATCH_ROWS], device=device)
            for array in arrays
        )
        made = getattr(module, method)(*rows)
        made = (made,) if isinstance(made, torch.Tensor) else made
        pieces.append([tensor.cpu().numpy() for tensor in made])
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
