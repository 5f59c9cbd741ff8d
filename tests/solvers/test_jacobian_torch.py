"""Jacobians of modules against known ones and finite differences."""

import numpy as np
import torch
from torch import nn

from skident.solvers._jacobian_torch import forward, jacobian


def test_of_a_linear_map():
    torch.manual_seed(0)
    module = nn.Linear(3, 5)
    Z = np.random.default_rng(0).standard_normal((7, 3))
    weight = module.weight.detach().double().numpy()
    bias = module.bias.detach().double().numpy()
    np.testing.assert_allclose(forward(module, Z), Z @ weight.T + bias, rtol=1e-14)
    expected = np.broadcast_to(weight, (7, 5, 3))
    np.testing.assert_allclose(jacobian(module, Z), expected, rtol=1e-14)


def test_of_images_against_central_differences():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(2, 36),
        nn.BatchNorm1d(36),
        nn.Unflatten(1, (4, 3, 3)),
        nn.ConvTranspose2d(4, 2, 3, stride=2),
        nn.InstanceNorm2d(2),
        nn.Tanh(),
    )
    Z = np.random.default_rng(0).standard_normal((5, 2))
    found = jacobian(module, Z)
    assert found.shape == (5, 2 * 7 * 7, 2) and found.dtype == np.float64
    step = 1e-5
    for j in range(2):
        shift = step * np.eye(2)[j]
        column = (forward(module, Z + shift) - forward(module, Z - shift)) / (2 * step)
        # Error of order step^2, and rounding over step.
        np.testing.assert_allclose(found[:, :, j], column, atol=1e-8)


def test_leaves_the_module_as_it_is():
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    Z = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    Z.flags.writeable = False
    one = jacobian(module, Z)
    # In evaluation mode rows do not see each other, and nothing is dropped.
    np.testing.assert_array_equal(one[:3], jacobian(module, Z[:3]))
    assert module.training and next(module.parameters()).dtype == torch.float32
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
