"""Gradients of solves by central differences, and batches against single solves."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skident.solvers import PdeSystem, _pde_torch, solve_linear_pde
from skident.solvers._pde_blocks_torch import BlockFactor
from skident.utils import _memory
from tests.solvers._pde_problems import FLUX, heat, random_problem, random_system


@pytest.fixture(params=["loop", "blocks"])
def path(request, monkeypatch):
    """Both ways of solving a batch, on this device."""
    if request.param == "blocks":
        monkeypatch.setattr(_pde_torch, "_one_by_one", _pde_torch._batched)
    return request.param


def batch_problem(rng, system, n_batch):
    problems = [random_problem(rng, system) for _ in range(n_batch)]
    return [torch.tensor(np.stack(part)) for part in zip(*problems, strict=True)]


def coordinates_of(system):
    return [torch.tensor(a.nodes * a.mean_step) for a in system.axes]


SHAPES = [((5, 6), "faces"), ((4, 5, 4), "faces"), ((8, 9), FLUX), ((6, 5), "box")]


@pytest.mark.parametrize(("shape", "boundary"), SHAPES)
def test_gradients_equal_central_differences(path, shape, boundary):
    rng = np.random.default_rng(0)
    system = random_system(rng, shape, boundary)
    inputs = [*batch_problem(rng, system, 2), *coordinates_of(system)]
    weight = torch.tensor(rng.standard_normal((2, system.n_nodes, system.n_variables)))

    def value(*args):
        z = solve_linear_pde(*args[:3], list(args[3:]), boundary=boundary)
        return (z * weight).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    value(*leaves).backward()
    for i, leaf in enumerate(leaves):
        along = torch.tensor(rng.standard_normal(leaf.shape))

        def at(step, i=i, along=along):
            moved = list(inputs)
            moved[i] = moved[i] + step * along
            return float(value(*moved))

        # Fourth-order differences: truncation falls below 1e-8 and rounding, some
        # 1e-12 of the value over the step, too.
        h = 2e-4
        difference = 8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))
        difference /= 12 * h
        found = float((leaf.grad * along).sum())
        size = float((leaf.grad.abs() * along.abs()).sum())
        assert abs(found - difference) < 1e-6 * size


def test_a_batch_is_solved_as_one_each(path):
    rng = np.random.default_rng(1)
    for shape, boundary in SHAPES:
        system = random_system(rng, shape, boundary)
        c, b, g = batch_problem(rng, system, 3)
        z = solve_linear_pde(c, b, g, system)
        assert z.shape == (3, system.n_nodes, system.n_variables)
        for j in range(3):
            one = solve_linear_pde(c[j].numpy(), b[j].numpy(), g[j].numpy(), system)
            np.testing.assert_allclose(
                z[j], one.values, rtol=0, atol=1e-8 * abs(one.values).max()
            )


def test_blocks_need_not_fill_the_longest_axis():
    # 13 levels in blocks of four, and a longest axis that is not time.
    rng = np.random.default_rng(2)
    for shape in [(13, 5), (5, 13), (4, 5, 6), (6, 2)]:
        system = random_system(rng, shape)
        c, b, g = batch_problem(rng, system, 2)
        factor = BlockFactor(system, c)
        z = factor.solve(b, g)
        assert factor.residual < 1e-11
        one = solve_linear_pde(c[1].numpy(), b[1].numpy(), g[1].numpy(), system)
        np.testing.assert_allclose(
            z[1], one.values, rtol=0, atol=1e-8 * abs(one.values).max()
        )


def test_shapes_broadcast_and_single_problems_stay_single():
    rng = np.random.default_rng(3)
    system = random_system(rng, (5, 6))
    c, b, g = batch_problem(rng, system, 2)
    z = solve_linear_pde(c, b[0], g[0], system)
    one = solve_linear_pde(c[1], b[0], g[0], system)
    assert one.shape == (30, 5)
    np.testing.assert_array_equal(z[1], one)
    c.requires_grad_()
    solve_linear_pde(c[0], b[0], g[0], system).sum().backward()
    assert (c.grad[1] == 0).all()


def test_dtype_follows_the_coefficients_and_whole_fields_serve_as_given_values():
    axes, c, exact = heat(16)
    c, exact = torch.tensor(c), torch.tensor(exact)
    source = torch.zeros(256)
    double = solve_linear_pde(c, source, exact, axes)
    single = solve_linear_pde(c.float(), source, exact.float(), axes)
    assert double.dtype == torch.float64
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-4)
    assert abs(double[:, 0] - exact).max() < 2 * 9e-4


def test_a_coefficient_is_found_by_its_gradient():
    # Heat with an unknown diffusion: Newton's steps on the squared error.
    axes, c, exact = heat(16, nu=0.5)
    system, exact = PdeSystem(axes), torch.tensor(exact)
    nu = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    pattern = torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0], dtype=torch.float64)
    base = torch.tensor(c) * (pattern == 0)
    for _ in range(6):
        z = solve_linear_pde(base + nu * pattern, torch.zeros(256), exact, system)
        gap = z[:, 0] - exact
        # One parameter: the gradient of each half by itself would do, too.
        (slope,) = torch.autograd.grad((gap**2).sum(), nu)
        with torch.no_grad():
            nearby = base + (nu + 1e-4) * pattern
            other = solve_linear_pde(nearby, torch.zeros(256), exact, system)
            curvature = 2 * (((other - z)[:, 0] / 1e-4) ** 2).sum()
            nu -= slope / curvature
    # The solver's own error at 16 nodes is near 1e-3.
    assert abs(float(nu.detach()) - 0.5) < 5e-3


def test_batches_that_cannot_be_solved_are_refused(path, monkeypatch):
    axes, c, exact = heat(8)
    system = PdeSystem(axes, boundary="initial")
    c, exact, zero = torch.tensor(c), torch.tensor(exact), torch.zeros(64)
    with pytest.raises(ValueError, match="do not determine the field"):
        solve_linear_pde(torch.stack([c, 0 * c]), zero, exact, system)
    with pytest.raises(ValueError, match="finite at the equation nodes"):
        solve_linear_pde(torch.stack([c, torch.nan * c]), zero, exact, system)
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**10)
    monkeypatch.setattr(_memory, "_SMALL", 0)
    with pytest.raises(MemoryError, match="needs about"):
        solve_linear_pde(torch.stack([c, c]), zero, exact, system)


def test_a_batch_that_lost_the_equation_says_so(monkeypatch):
    axes, c, exact = heat(8)
    factor = BlockFactor(PdeSystem(axes), torch.tensor(c)[None])
    inner = factor._substitute
    monkeypatch.setattr(factor, "_substitute", lambda rhs: 0.9 * inner(rhs))
    given = torch.tensor(exact[factor.system.boundary_nodes])[None]
    zero = torch.zeros(1, 64, dtype=torch.float64)
    with pytest.warns(ConvergenceWarning, match=r"residual of 1\.0e-02, above 1e-06"):
        factor.solve(zero, given)


def test_an_iterative_tolerance_reaches_every_solve(monkeypatch):
    seen = []
    plain = PdeSystem.factor

    def spy(self, c, linear_solver="auto", tol=1e-8):
        seen.append((linear_solver, tol))
        return plain(self, c, linear_solver=linear_solver, tol=tol)

    monkeypatch.setattr(PdeSystem, "factor", spy)
    axes, c, exact = heat(8)
    c, exact = torch.tensor(c), torch.tensor(exact)
    solve_linear_pde(
        torch.stack([c, c]), torch.zeros(64), exact, axes, linear_solver="direct", tol=1
    )
    assert seen == [("direct", 1)] * 2


@pytest.mark.parametrize("shape", [(32, 32), (16, 16, 16)])
def test_gradients_do_not_depend_on_the_solver(shape):
    # Advection along x by a wave, diffusion, and a squared error at every node.
    system = PdeSystem([np.linspace(0, 1, n) for n in shape])
    t, x = np.meshgrid(*(a.nodes / (a.n - 1) for a in system.axes), indexing="ij")[:2]
    wave = torch.tensor(np.sin(2 * np.pi * (x - 0.3 * t)).ravel())
    c = torch.zeros(system.n_nodes, system.n_variables, dtype=torch.float64)
    c[:, 1], c[:, 2], c[:, 2 + len(shape) :] = 1.0, wave, -0.1
    found = []
    for solver in ("direct", "multigrid"):
        leaves = [c, torch.zeros_like(wave), wave[system.boundary_nodes]]
        leaves = [x.clone().requires_grad_() for x in leaves]
        z = solve_linear_pde(*leaves, system, linear_solver=solver)
        (z[:, 0] - wave).square().sum().backward()
        found.append([z.detach(), *(x.grad for x in leaves)])
    for one, other in zip(*found, strict=True):
        assert abs(one - other).max() < 1e-4 * abs(one).max()
        assert not torch.equal(one, other)


def test_shapes_that_do_not_fit_are_named():
    axes, c, exact = heat(8)
    c, exact, zero = torch.tensor(c), torch.tensor(exact), torch.zeros(64)
    with pytest.raises(ValueError, match=r"shape \(..., 64, 5\), got \(64, 4\)"):
        solve_linear_pde(c[:, 1:], zero, exact, axes)
    with pytest.raises(ValueError, match="source must hold 64 values"):
        solve_linear_pde(c, zero[1:], exact, axes)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu():
    rng = np.random.default_rng(4)
    system = random_system(rng, (9, 12))
    inputs = batch_problem(rng, system, 3)
    found = []
    for device in ("cpu", "cuda"):
        leaves = [x.clone().to(device).requires_grad_() for x in inputs]
        z = solve_linear_pde(*leaves, system)
        assert z.device.type == device
        z.square().sum().backward()
        found.append([z.detach().cpu(), *(x.grad.cpu() for x in leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-7, atol=1e-7 * float(one.abs().max())
        )
