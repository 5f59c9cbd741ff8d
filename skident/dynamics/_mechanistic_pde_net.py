"""Networks that smooth fields and hold coefficients, trained through the solver."""

import functools

import numpy as np
import torch
from torch import nn

from skident.dynamics._pde_terms import own_first
from skident.dynamics._pde_units import field_units, term_units
from skident.solvers import PdeSystem
from skident.solvers._pde_torch import solve_tensors
from skident.utils import iterate
from skident.utils._torch import placed
from skident.utils._training_net import at_rows, train_module

# Frames of one snapshot, for a network that looks along time: a field at rest.
_REST = 9


class ResidualBlock(nn.Module):
    """A convolution of 5 by 5 nodes with ReLU, added to what it is given."""

    def __init__(self, n_filters):
        super().__init__()
        self.convolution = nn.Conv2d(n_filters, n_filters, 5, padding=2)

    def forward(self, fields):
        """Fields of the same shape."""
        return fields + torch.relu(self.convolution(fields))


class Coefficients(nn.Module):
    """Coefficients of one block: a network on a vector that is learnt with it.

    Parameters
    ----------
    n_outputs, n_latents, n_hidden : int
    """

    def __init__(self, n_outputs, n_latents, n_hidden):
        super().__init__()
        self.start = nn.Parameter(torch.randn(n_latents))
        self.layers = nn.Sequential(
            nn.Linear(n_latents, n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_outputs),
        )

    def forward(self):
        """Coefficients of shape (n_outputs,)."""
        return self.layers(self.start)


class MechanisticPDENet(nn.Module):
    """Smooths patches, and holds the coefficients of each field's equation.

    Parameters
    ----------
    n_fields, n_axes : int
        Fields, and axes with time. With one spatial axis a patch is an image in time
        and space, with two it is a sequence of images.
    blocks : tuple of int
        Number of terms of each block, in the order of the terms.
    encoder : {"conv", "fixed"}
        "fixed" takes the smoothed data as they come.
    scale : tuple of float
        Unit of each field.
    n_filters, n_layers : int, default=128, 12
        Of the convolutions.
    n_latents, n_hidden : int, default=512, 1024
        Of the networks behind the coefficients.
    """

    def __init__(
        self,
        n_fields,
        n_axes,
        blocks,
        encoder,
        scale,
        n_filters=128,
        n_layers=12,
        n_latents=512,
        n_hidden=1024,
    ):
        super().__init__()
        self.config = {
            "n_fields": n_fields,
            "n_axes": n_axes,
            "blocks": tuple(blocks),
            "encoder": encoder,
            "scale": tuple(scale),
            "n_filters": n_filters,
            "n_layers": n_layers,
            "n_latents": n_latents,
            "n_hidden": n_hidden,
        }
        self.register_buffer("unit", torch.tensor(scale, dtype=torch.float64))
        self.coefficients = nn.ModuleList(
            nn.ModuleList(Coefficients(n, n_latents, n_hidden) for n in blocks)
            for _ in range(n_fields)
        )
        self.encoder = None
        if encoder == "conv":
            self.encoder = nn.Sequential(
                nn.Conv2d(n_fields, n_filters, 5, padding=2),
                nn.ReLU(),
                *(ResidualBlock(n_filters) for _ in range(n_layers)),
                nn.Conv2d(n_filters, n_fields, 5, padding=2),
            )
        self.double()

    def forward(self, data, encoded, **batch):
        """Smooth patches, and coefficients in units of the steps and the fields.

        Parameters
        ----------
        data, encoded : tensor of shape (n_patches, *shape, n_fields)
            What was observed, 0 where nothing was, and the data smoothed otherwise.

        Returns
        -------
        encoded : tensor of that shape
        theta : tensor of shape (n_fields, n_terms)
        """
        return self.encode(data) if self.encoder is not None else encoded, self.theta()

    def theta(self):
        """Coefficients of shape (n_fields, n_terms)."""
        return torch.stack(
            [torch.cat([block() for block in blocks]) for blocks in self.coefficients]
        )

    def encode(self, data):
        """Smooth patches of shape (n_patches, *shape, n_fields)."""
        images = data / self.unit
        frames = images.flatten(0, 1) if self.config["n_axes"] == 3 else images
        smooth = self.encoder(frames.movedim(-1, 1)).movedim(1, -1)
        return smooth.reshape(data.shape) * self.unit


class SolutionLoss(nn.Module):
    """Distance of solutions and data, and of smoothed data from either.

    Parameters
    ----------
    terms : list of PDETerm
    units : ndarray of shape (n_fields, n_terms)
        Coefficients in the units of the data, per unit of the network's.
    scale : sequence of float
        Unit of each field.
    consistency_weight, alpha : float
        Weights of the smoothed data's distance, and of the mean absolute coefficient.
    linear_solver : str
    """

    def __init__(self, terms, units, scale, consistency_weight, alpha, linear_solver):
        super().__init__()
        self.terms = terms
        self.register_buffer("units", torch.tensor(units, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.consistency_weight = consistency_weight
        self.alpha = alpha
        self.linear_solver = linear_solver

    def forward(self, outputs, batch):
        """Loss of a batch with "data", "observed" and the nodes of each axis."""
        encoded, theta = outputs
        data, observed = batch["data"], batch["observed"]
        solution = self.solve(encoded, theta * self.units, batch)
        # With one spatial axis the network is held to the solution, with two to the
        # data, as published.
        near, seen = (data, observed) if data.dim() == 5 else (solution, 1.0)
        loss = _mean_absolute((solution - data) / self.scale, observed)
        consistency = _mean_absolute((encoded - near) / self.scale, seen)
        loss = loss + self.consistency_weight * consistency
        # A price of training, which patches held out would not tell.
        return loss + self.alpha * theta.abs().mean() if self.training else loss

    def solve(self, encoded, theta, batch):
        """Solutions of every field's equation on every patch.

        Parameters
        ----------
        encoded : tensor of shape (n_patches, *shape, n_fields)
        theta : tensor of shape (n_fields, n_terms)
            In the units of the data.
        batch : dict of tensor
            With "nodes0", "nodes1", ...: nodes of each axis, of shape (n_patches, n).

        Returns
        -------
        solution : tensor of the shape of ``encoded``
        """
        nodes = [batch[f"nodes{k}"].cpu().numpy() for k in range(encoded.dim() - 2)]
        # One system, and one batch, for all patches of one grid.
        places = {}
        for i in range(len(encoded)):
            key = tuple(axis[i].tobytes() for axis in nodes)
            places.setdefault(key, []).append(i)
        solution = torch.empty_like(encoded)
        for key, rows in places.items():
            columns = [
                self._one_field(encoded[rows], theta[field], field, _system(key))
                for field in range(encoded.shape[-1])
            ]
            solution[rows] = torch.stack(columns, dim=-1)
        return solution

    def _one_field(self, encoded, theta, field, system):
        flat = encoded.flatten(1, -2)
        fields = own_first(flat, field)
        columns = dict.fromkeys(system.variables, torch.zeros_like(fields[0]))
        columns["u_t"] = torch.ones_like(fields[0])
        source = torch.zeros_like(fields[0])
        for term, value in zip(self.terms, theta, strict=True):
            part = value * factor(term, fields)
            if term.is_source:
                source = source + part
            else:
                columns[term.block] = columns[term.block] - part
        coefficients = torch.stack([columns[v] for v in system.variables], dim=-1)
        solved = solve_tensors(
            coefficients,
            source,
            flat[..., field],
            system,
            linear_solver=self.linear_solver,
        )
        return solved[..., 0].reshape(encoded.shape[:-1])


@functools.lru_cache(maxsize=16)
def _system(nodes):
    return PdeSystem([np.frombuffer(axis) for axis in nodes])


def factor(term, fields):
    """What multiplies a term's block, as a function of tensors.

    Parameters
    ----------
    term : PDETerm
    fields : list of tensor of one shape

    Returns
    -------
    factor : tensor of that shape

    Raises
    ------
    TypeError
        If a callable expression cannot take tensors.
    """
    if callable(term.expression):
        try:
            value = term.expression(*fields)
        except (TypeError, RuntimeError) as error:
            raise TypeError(
                f"The expression {term.name!r} of a PDETerm must take torch tensors "
                'for fitter="adam", write it with operators or torch functions.'
            ) from error
        return torch.as_tensor(value, dtype=fields[0].dtype).expand(fields[0].shape)
    value = torch.ones_like(fields[0])
    for field, exponent in zip(fields, term.expression, strict=False):
        if exponent:
            value = value * field**exponent
    return value


def _mean_absolute(values, weights):
    """Mean over what has weight."""
    weights = torch.as_tensor(weights, dtype=values.dtype).expand(values.shape)
    return (weights * values.abs()).sum() / weights.sum()


def train(model, X, patches, terms, seed):
    """Train the networks of a model on patches.

    Parameters
    ----------
    model : MechanisticPDERegressor
    X : ndarray of shape (n_samples, n_features)
        Told to callbacks.
    patches : list of Patch
        Of one shape.
    terms : list of PDETerm
    seed : int

    Returns
    -------
    module : MechanisticPDENet
        On the CPU, in evaluation mode.
    theta : ndarray of shape (n_fields, n_terms)
        Coefficients, in the units of the data.
    history : dict of ndarray
        "total", the loss by epoch, and "validation" with patches held out.
    """
    net_params = dict(model.net_params or {})
    sizes = {
        name: net_params.pop(f"module__{name}")
        for name in ("n_filters", "n_layers", "n_latents", "n_hidden")
        if f"module__{name}" in net_params
    }
    blocks = [
        sum(term.block == block for term in terms)
        for block in dict.fromkeys(term.block for term in terms)
    ]
    # Networks give coefficients block by block.
    order = sorted(range(len(terms)), key=lambda j: _block_number(terms, j))
    terms = [terms[j] for j in order]
    scale, units = field_units(patches), term_units(patches, terms)
    data = np.stack([patch.data for patch in patches])
    arrays = {
        "data": np.nan_to_num(data),
        "observed": np.isfinite(data).astype(np.float64),
        "encoded": np.stack([patch.encoded for patch in patches]),
    }
    for k in range(len(patches[0].shape)):
        arrays[f"nodes{k}"] = np.stack([patch.coordinates[k] for patch in patches])
    train, held = _split(patches, model.validation_fraction)
    held = at_rows(arrays, held) if held.any() else None
    arrays = at_rows(arrays, train)
    config = {
        "n_fields": model.n_fields,
        "n_axes": len(patches[0].shape),
        "blocks": tuple(blocks),
        "encoder": "conv" if model.encoder == "conv" else "fixed",
        "scale": tuple(scale.tolist()),
        **sizes,
    }
    module, history = train_module(
        MechanisticPDENet,
        config,
        SolutionLoss,
        arrays,
        held=held,
        options=model.get_params(deep=False) | {"net_params": net_params},
        seed=seed,
        epochs=iterate(model, model.max_epochs, X, None),
        criterion__terms=terms,
        criterion__units=units,
        criterion__scale=scale,
        criterion__consistency_weight=model.consistency_weight,
        criterion__alpha=model.alpha_l1,
        criterion__linear_solver=model.linear_solver,
    )
    with torch.inference_mode():
        found = module.theta().numpy() * units
    theta = np.empty_like(found)
    theta[:, order] = found
    return module, theta, history


def _split(patches, fraction):
    """Patches to train on, and those of the last times, which share no frame with them.

    Parameters
    ----------
    patches : list of Patch
    fraction : float
        Least share of the patches that are held out, if it makes one.

    Returns
    -------
    train, held : ndarray of bool
    """
    began = [(patch.experiment, patch.start[0]) for patch in patches]
    n_held = int(fraction * len(patches))
    if n_held == 0:
        return np.ones(len(patches), bool), np.zeros(len(patches), bool)
    cut = sorted(began)[-n_held]
    held = np.array([place >= cut for place in began])
    ended = [(patch.experiment, patch.start[0] + patch.shape[0]) for patch in patches]
    train = np.array(
        [place[0] < cut[0] or (place[0] == cut[0] and place <= cut) for place in ended]
    )
    if not train.any():
        raise ValueError(
            f"validation_fraction={fraction} leaves no patch to train on that shares "
            f"no frame with the {held.sum()} held out, of {len(patches)}."
        )
    return train, held


def _block_number(terms, j):
    return list(dict.fromkeys(term.block for term in terms)).index(terms[j].block)


def smoothed(module, data, device):
    """A whole field through the network.

    Parameters
    ----------
    module : MechanisticPDENet
    data : ndarray of shape (n_t, *grid_shape, n_fields)
        NaN where nothing was observed.
    device : str

    Returns
    -------
    encoded : ndarray of that shape
    """
    module, device = placed(module, device)
    with torch.inference_mode():
        filled = torch.tensor(np.nan_to_num(data), device=device)
        return module.encode(filled[None])[0].cpu().numpy()


def smoothed_rows(module, data, device):
    """Snapshots through the network, each as a field at rest.

    Parameters
    ----------
    module, data, device
        As in :func:`smoothed`; rows of ``data`` are independent.

    Returns
    -------
    encoded : ndarray of the shape of ``data``
    """
    rows = []
    for row in data:
        field = np.repeat(row[None], _REST, axis=0)
        rows.append(smoothed(module, field, device)[_REST // 2])
    return np.array(rows)
