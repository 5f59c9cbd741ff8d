import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from skident.solvers import OdeSolveInfo, _ode_checks, solve_linear_ode
from skident.utils import _memory
from tests.solvers._ode_problems import closed_form_arrays, random_problem

BACKENDS = ["torch", "banded"]


def tensors(*arrays, device="cpu"):
    return [torch.tensor(a, device=device, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
# Odd and even numbers of steps at all levels of the reduction, and with central of
# the pairs of steps too.
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 11, 29])
def test_agrees_with_arrays(n, backend, central):
    problem = random_problem(n, 2, 2, 3, n_init=2, batch=(3,))
    settings = {"w_eq": 1.3, "w_init": 0.7, "w_smooth": 2.0, "central": central}
    wanted, info = solve_linear_ode(*problem, **settings, return_info=True)
    given = tensors(*problem)
    y, told = solve_linear_ode(*given, **settings, backend=backend, return_info=True)
    assert y.requires_grad
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=0, atol=1e-10)
    assert isinstance(told, OdeSolveInfo)
    for name in ("equation_residual", "smoothness_residual", "init_residual"):
        np.testing.assert_allclose(getattr(told, name), getattr(info, name), atol=1e-9)
    assert (told.relative_residual < 1e-12).all()
    # The same matrix, whose inverse is estimated along the same steps.
    np.testing.assert_allclose(told.condition, info.condition, rtol=1e-6)


@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_all_four_inputs(backend, central):
    given = tensors(*random_problem(7, 2, 2, 3, n_init=2, batch=(2,)))

    def solve(*args):
        return solve_linear_ode(*args, w_eq=0.8, central=central, backend=backend)

    # Along random directions of the inputs and the outputs; entry by entry below.
    assert torch.autograd.gradcheck(solve, given, fast_mode=True)


def test_gradients_entry_by_entry():
    given = tensors(*random_problem(3, 1, 2, 2, batch=(2,)))
    assert torch.autograd.gradcheck(solve_linear_ode, given)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_what_broadcasts(backend):
    # One operator and one step for all, two columns of right sides, an initial value.
    rng = np.random.default_rng(0)
    shapes = ((2, 1, 1, 1, 2, 3), (3, 4, 1), (2, 2, 1))
    given = tensors(*(rng.standard_normal(shape) for shape in shapes), np.float64(0.7))

    def solve(*args):
        return solve_linear_ode(*args, backend=backend)

    assert solve(*given).shape == (2, 3, 4, 2, 3)
    assert torch.autograd.gradcheck(solve, given, fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_only_of_what_asks_for_them(backend):
    problem = random_problem(6, 1, 1, 3)
    for wanted in range(4):
        given = [torch.tensor(a) for a in problem]
        given[wanted].requires_grad_()
        solve_linear_ode(*given, backend=backend).square().sum().backward()
        assert [a.grad is not None for a in given] == [i == wanted for i in range(4)]
        whole = tensors(*problem)
        solve_linear_ode(*whole, backend=backend).square().sum().backward()
        torch.testing.assert_close(given[wanted].grad, whole[wanted].grad)
    assert not solve_linear_ode(*map(torch.tensor, problem)).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_are_learned_from_a_solution(backend):
    coefficients, rhs, init, state = closed_form_arrays("language", 3)
    truth = torch.tensor(state(0.13 * np.arange(20)))

    def loss(logarithm):
        logarithm = torch.tensor(logarithm, requires_grad=True)
        y = solve_linear_ode(
            *(coefficients, np.broadcast_to(rhs, (20, 1)), init, logarithm.exp()),
            backend=backend,
        )
        value = (y[:, 0, 0] - truth).square().sum()
        value.backward()
        return value.item(), logarithm.grad.numpy()

    found = minimize(loss, [np.log(0.1)], jac=True)
    # The solver's own error at this step, which is of second order, moves the answer.
    assert np.exp(found.x[0]) == pytest.approx(0.13, rel=1e-2)


@pytest.mark.slow
def test_a_free_equation_learned_through_the_solver_denoises():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 15, 150)
    clean = np.sin(2 * t) * np.exp(-0.1 * t)
    noisy = clean + 0.5 * rng.standard_normal(150) * np.exp(-0.1 * t)
    coefficients = torch.tensor(rng.standard_normal((150, 1, 1, 3)), requires_grad=True)
    logits = torch.full((149,), np.log(0.1 / 0.9), requires_grad=True)
    optimizer = torch.optim.Adam([coefficients, logits], lr=2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        y = solve_linear_ode(
            coefficients, np.ones((1, 1)), np.empty((0, 1, 1)), logits.sigmoid()
        )
        (y[:, 0, 0] - torch.tensor(noisy)).square().mean().backward()
        optimizer.step()
    left = np.square(y[:, 0, 0].detach().numpy() - clean).mean()
    # 0.09 to 0.27 of the noise over eight seeds.
    assert left < 0.5 * np.square(noisy - clean).mean()


def test_arrays_may_go_through_torch_and_tensors_mix_with_them():
    problem = random_problem(7, 2, 2, 3)
    wanted = solve_linear_ode(*problem)
    found = solve_linear_ode(*problem, backend="torch")
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    coefficients, rhs, init, steps = problem
    mixed = solve_linear_ode(coefficients, torch.tensor(rhs), init, list(steps))
    assert isinstance(mixed, torch.Tensor)
    np.testing.assert_allclose(mixed.numpy(), wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_is_solved_in_float64(backend):
    single = [np.float32(a) for a in random_problem(7, 2, 2, 3)]
    given = tensors(*single)
    y = solve_linear_ode(*given, backend=backend)
    assert y.dtype == torch.float64
    wanted = solve_linear_ode(*single)
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=0, atol=1e-11)
    y.sum().backward()
    assert all(a.grad.dtype == torch.float32 for a in given)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_singular_system_warns_and_is_answered(backend):
    zero = torch.zeros(1, 1, 1, 3, dtype=torch.float64, requires_grad=True)
    args = (zero, torch.ones(30, 1), torch.empty(0, 1, 1), 0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y, info = solve_linear_ode(*args, backend=backend, return_info=True)
    assert info.condition > 1e13
    assert any("ill-conditioned" in str(w.message) for w in caught)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(zero.grad).all()


def test_memory_is_checked_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**30)
    args = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3), torch.zeros(10_000_000, 1)
    with pytest.raises(MemoryError, match="10000000 steps"):
        solve_linear_ode(*args, torch.zeros(1, 1, 1), 0.1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_inaccurate_solve_warns_with_its_residual(backend, monkeypatch):
    monkeypatch.setattr(_ode_checks, "_RESIDUAL", -1.0)
    with pytest.warns(ConvergenceWarning, match="relative residual is"):
        solve_linear_ode(*tensors(*random_problem(9, 1, 1, 3)), backend=backend)


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (0, np.nan, "coefficients contains NaN"),
        (1, np.inf, "rhs contains NaN or infinity"),
        (2, np.nan, "init contains NaN"),
        (3, np.nan, "steps contains NaN"),
        (3, 0.0, "steps must be positive, got 0"),
    ],
)
def test_refuses_values_out_of_range(place, value, match):
    given = [torch.tensor(a) for a in random_problem(6, 1, 1, 3)]
    given[place].view(-1)[0] = value
    with pytest.raises(ValueError, match=match):
        solve_linear_ode(*given)


def test_refuses_shapes_that_do_not_fit():
    coefficients, rhs, init, steps = tensors(*random_problem(6, 1, 1, 3))
    with pytest.raises(ValueError, match="steps must be of shape"):
        solve_linear_ode(coefficients, rhs, init, steps[:3])
    with pytest.raises(ValueError, match="coefficients must have at least 4 axes"):
        solve_linear_ode(coefficients[0], rhs, init, steps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("central", [False, True])
def test_a_gpu_agrees_with_arrays(central):
    problem = random_problem(29, 2, 2, 3, n_init=2, batch=(8,))
    wanted = solve_linear_ode(*problem, central=central)
    given = tensors(*problem, device="cuda")
    y = solve_linear_ode(*given, central=central)
    assert y.is_cuda
    np.testing.assert_allclose(y.detach().cpu().numpy(), wanted, rtol=0, atol=1e-10)
    y.square().sum().backward()
    again = tensors(*problem)
    solve_linear_ode(*again, central=central).square().sum().backward()
    for one, other in zip(given, again, strict=True):
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="needs tensors on the CPU"):
        solve_linear_ode(*given, backend="banded")
