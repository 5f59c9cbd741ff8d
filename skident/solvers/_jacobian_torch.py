"""Values and Jacobians of torch modules, as arrays."""

import copy

import torch


def forward(module, Z):
    """Output of a module, each row flattened, float64; see :func:`jacobian`."""
    with torch.no_grad():
        return _twin(module)(_tensor(Z)).flatten(1).numpy()


def jacobian(module, Z):
    """Jacobian of a module at each row, a pass for each input rather than output.

    Parameters
    ----------
    module : torch.nn.Module
        Map from (n, n_inputs) to (n, ...), each row by itself in evaluation mode, and
        twice differentiable by torch. It is left as it is: a copy is evaluated, on the
        CPU and in float64.
    Z : ndarray of shape (n_samples, n_inputs)
        Where to differentiate.

    Returns
    -------
    jacobian : ndarray of shape (n_samples, n_outputs, n_inputs), float64
        With the outputs of a row flattened.
    """
    module, Z = _twin(module), _tensor(Z).requires_grad_()
    # The gradient is linear in the weights of the outputs: its derivative by them,
    # along an input, is a column of the Jacobian.
    X = module(Z)
    weights = torch.zeros_like(X, requires_grad=True)
    (gradient,) = torch.autograd.grad(X, Z, weights, create_graph=True)
    columns = []
    for j in range(Z.shape[1]):
        direction = torch.zeros_like(gradient)
        direction[:, j] = 1.0
        (column,) = torch.autograd.grad(gradient, weights, direction, retain_graph=True)
        columns.append(column.flatten(1))
    return torch.stack(columns, dim=2).numpy()


def _twin(module):
    return copy.deepcopy(module).eval().requires_grad_(False).to("cpu", torch.float64)


def _tensor(Z):
    return torch.tensor(Z, dtype=torch.float64)
