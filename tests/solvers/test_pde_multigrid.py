"""Multigrid cycles against dense algebra, and counts of iterations on growing grids."""

import numpy as np
import pytest

from skident.solvers import MultigridPreconditioner
from skident.solvers._pde_blocks import LineBlocks, interpolation, kept_nodes
from skident.solvers._pde_cg import conjugate_gradients
from skident.utils import _memory
from tests.solvers._pde_grids import burgers_box, condensed, heat_box, uneven

# Cells of odd, even and uneven grids on which more than one level is built.
SHAPES = [(14, 6), (17, 9), (4, 9, 8)]


def system_on(shape, seed=0):
    rng = np.random.default_rng(seed)
    axes = uneven(rng, shape)
    c = heat_box(shape)[1] + 0.1 * rng.random((int(np.prod(shape)), 1 + 2 * len(shape)))
    return axes, condensed(axes, c)[0]


def count(axes, c, seed=None, **params):
    matrix, rhs = condensed(axes, c)
    if seed is not None:
        rhs = np.random.default_rng(seed).standard_normal(rhs.shape)
    cycle = MultigridPreconditioner(matrix, axes, **params)
    result = conjugate_gradients(lambda v: matrix @ v, rhs, cycle.solve, max_iter=100)
    assert result.converged
    return result.n_iterations


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_sweeps": 2},
        {"block": 1, "coarsening": 2, "degree": 5},
        {"block": 3, "coarsening": 3, "degree": 1, "smoother": "chebyshev"},
    ],
)
def test_a_cycle_is_symmetric_positive_and_near_the_inverse(shape, params):
    axes, matrix = system_on(shape)
    cycle = MultigridPreconditioner(matrix, axes, **params)
    assert len(cycle.level_shapes) > 1
    inverse = cycle.solve(np.eye(matrix.shape[0]))
    # Rounding of a few hundred products, with room.
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-10 * abs(inverse).max())
    product = np.linalg.eigvals(inverse @ matrix.toarray()).real
    assert product.min() > 0
    if params.get("smoother") != "chebyshev":
        # One minus the square of an error propagation in the energy's norm.
        assert product.max() < 1 + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_sweeps", [1, 2])
def test_a_cycle_is_what_dense_algebra_says(shape, n_sweeps):
    axes, matrix = system_on(shape)
    cycle = MultigridPreconditioner(
        matrix, axes, block=2, coarsening=2, n_sweeps=n_sweeps
    )
    rhs = np.random.default_rng(1).standard_normal(matrix.shape[0])
    expected = dense_cycle(matrix, axes, rhs, 2, 2, n_sweeps)
    error = np.linalg.norm(cycle.solve(rhs) - expected)
    assert error < 1e-11 * np.linalg.norm(expected)


def dense_cycle(matrix, axes, rhs, block, every, n_sweeps):
    """The same cycle, node after node, all levels dense."""
    shape = [len(x) for x in axes]
    numbers = np.arange(len(rhs)).reshape(shape)
    if len(shape) == 3:
        axes, numbers = [*axes[1:], axes[0]], numbers.transpose(1, 2, 0)
    flat = numbers.ravel()
    out = np.empty(len(rhs))
    dense = matrix.toarray()[np.ix_(flat, flat)]
    out[flat] = _dense_level(dense, axes, rhs[flat], block, every, n_sweeps)
    return out


def _dense_level(matrix, axes, rhs, block, every, n_sweeps):
    last = 12 if len(axes) == 2 else 8
    if all(len(x) <= last for x in axes[:-1]):
        return np.linalg.solve(matrix, rhs)
    counts, length = [len(x) for x in axes[:-1]], len(axes[-1])
    places = np.indices(counts).reshape(len(counts), -1) // block
    cells = [tuple(place) for place in places.T]
    order = sorted(set(cells))
    groups = [
        np.flatnonzero(np.repeat([cell == at for cell in cells], length))
        for at in order
    ]
    colours = []
    for i, nodes in enumerate(groups):
        taken = {colours[j] for j in range(i) if matrix[np.ix_(nodes, groups[j])].any()}
        colours.append(next(k for k in range(i + 1) if k not in taken))
    sequence = sorted(range(len(groups)), key=lambda i: colours[i])
    values = np.zeros(len(rhs))

    def sweep(sequence):
        for i in sequence:
            nodes = groups[i]
            gap = rhs[nodes] - matrix[nodes] @ values
            values[nodes] += np.linalg.solve(matrix[np.ix_(nodes, nodes)], gap)

    for _ in range(n_sweeps):
        sweep(sequence)
    transfer, coarse = np.ones((1, 1)), []
    for x in axes[:-1]:
        kept = kept_nodes(len(x), every if len(x) > last else 1)
        transfer = np.kron(transfer, interpolation(x, kept, 3).toarray())
        coarse.append(x[kept])
    transfer = np.kron(transfer, np.eye(length))
    values += transfer @ _dense_level(
        transfer.T @ matrix @ transfer,
        [*coarse, axes[-1]],
        transfer.T @ (rhs - matrix @ values),
        block,
        every,
        n_sweeps,
    )
    for _ in range(n_sweeps):
        sweep(sequence[::-1])
    return values


def test_several_right_sides_are_cycles_of_their_own():
    axes, matrix = system_on((17, 9))
    cycle = MultigridPreconditioner(matrix, axes)
    rhs = np.random.default_rng(0).standard_normal((matrix.shape[0], 3))
    together = cycle.solve(rhs)
    alone = np.column_stack([cycle.solve(column) for column in rhs.T])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12 * abs(alone).max())


@pytest.mark.parametrize("shape", [(12, 30), (2, 5), (20, 8, 7), (3, 2, 4)])
def test_grids_of_few_lines_are_solved_exactly(shape):
    axes, matrix = system_on(shape)
    cycle = MultigridPreconditioner(matrix, axes)
    # Lines first: they run along time where space has two axes.
    lines = shape if len(shape) == 2 else (*shape[1:], shape[0])
    assert cycle.level_shapes == [lines]
    exact = np.random.default_rng(0).standard_normal(matrix.shape[0])
    np.testing.assert_allclose(cycle.solve(matrix @ exact), exact, atol=1e-8)


def test_interpolation_is_exact_on_polynomials():
    nodes = np.r_[0.0, np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 20))]
    kept = kept_nodes(21, 3)
    for degree in (1, 2, 3, 5):
        matrix = interpolation(nodes, kept, degree)
        for power in range(degree + 1):
            values = (nodes / nodes[-1]) ** power
            np.testing.assert_allclose(matrix @ values[kept], values, atol=1e-12)
        assert (matrix[kept] != np.eye(len(kept))).sum() == 0
    # Three nodes hold a polynomial of degree two at most.
    few = interpolation(nodes[:3], np.array([0, 1, 2]), 5)
    np.testing.assert_array_equal(few.toarray(), np.eye(3))


def test_blocks_of_one_colour_are_not_coupled():
    matrix = system_on((5, 9, 10))[1]
    numbers = np.arange(450).reshape(5, 9, 10).transpose(1, 2, 0).ravel()
    level = LineBlocks(matrix[numbers][:, numbers].tocsr(), [9, 10, 5], 2)
    dense = matrix.toarray()[np.ix_(numbers, numbers)]
    dense = dense[np.ix_(level.order, level.order)]
    coupled = level.lower.toarray() + level.upper.toarray()
    inside = dense - coupled
    # Solving with the blocks inverts what is left of the matrix without the couplings.
    rhs = np.random.default_rng(0).standard_normal(450)
    np.testing.assert_allclose(inside @ level.solve_blocks(rhs), rhs, atol=1e-9)
    assert not np.triu(level.lower.toarray()).any()


# 5 to 7 were counted for the heat equation, 6 to 8, 9 to 10 and 10 to 24 for Burgers'
# equation from the strongest diffusion to the weakest, up to 256^2 nodes.
@pytest.mark.parametrize("n", [16, 32, 64])
@pytest.mark.parametrize(
    ("nu", "bound"), [(None, 12), (0.1, 12), (0.01, 14), (0.001, 30)]
)
def test_iterations_in_one_dimension_of_space(n, nu, bound):
    problem = heat_box((n, n)) if nu is None else burgers_box(n, nu)
    assert count(*problem) <= bound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nu", "bound"), [(None, 12), (0.1, 12), (0.01, 14), (0.001, 30)]
)
def test_iterations_hardly_depend_on_the_grid(nu, bound):
    def problem(n):
        return heat_box((n, n)) if nu is None else burgers_box(n, nu)

    counts = [count(*problem(n)) for n in (64, 128, 256)]
    assert max(counts) <= bound
    assert max(counts) <= 1.35 * min(counts)


@pytest.mark.parametrize(
    ("shape", "nu"), [((8, 16, 16), 0.1), ((8, 16, 16), 1e-4), ((8, 24, 24), 0.1)]
)
def test_iterations_in_two_dimensions_of_space(shape, nu):
    # 9 to 16 were counted.
    assert count(*heat_box(shape, nu)) <= 24


@pytest.mark.slow
def test_iterations_in_two_dimensions_hardly_depend_on_the_grid():
    counts = [count(*heat_box(shape)) for shape in ((8, 32, 32), (16, 64, 64))]
    assert max(counts) <= min(24, 1.35 * min(counts))


@pytest.mark.parametrize(
    ("problem", "bound"), [(heat_box((50, 41)), 20), (heat_box((5, 17, 18)), 40)]
)
def test_other_smoothers_converge_as_well(problem, bound):
    classical = {"block": 1, "coarsening": 2, "degree": 5, "n_sweeps": 2}
    assert count(*problem, seed=0, **classical) <= bound
    assert count(*problem, seed=0, smoother="chebyshev") <= bound


def test_uneven_steps_and_rough_coefficients_converge():
    rng = np.random.default_rng(0)
    axes = uneven(rng, (45, 37))
    c = heat_box((45, 37))[1] + 0.3 * rng.standard_normal((45 * 37, 5))
    # Random coefficients of half the diffusion's size took 25 at most on 128^2 nodes.
    assert count(axes, c) <= 50


def test_memory_of_the_levels_is_counted():
    axes, matrix = system_on((40, 30))
    cycle = MultigridPreconditioner(matrix, axes)
    assert cycle.level_shapes == [(40, 30), (11, 30)]
    assert 1.0 < cycle.operator_complexity < 2.0
    # A band of 8 lines, 4 nodes wide, and couplings fewer than the matrix holds.
    assert 8 * 1200 * 33 < cycle.n_bytes < 8 * 1200 * 33 * 2 + 24 * matrix.nnz


def test_errors_name_what_is_wrong(monkeypatch):
    axes, matrix = system_on((14, 6))
    for wrong in (axes[:1], [*axes, *axes]):
        with pytest.raises(ValueError, match="one axis of time and one or two"):
            MultigridPreconditioner(matrix, wrong)
    with pytest.raises(ValueError, match="those of 78 nodes"):
        MultigridPreconditioner(matrix, [axes[0][:-1], axes[1]])
    with pytest.raises(ValueError, match="smoother must be one of"):
        MultigridPreconditioner(matrix, axes, smoother="jacobi")
    with pytest.raises(ValueError, match="coarsening at least 2"):
        MultigridPreconditioner(matrix, axes, coarsening=1)
    with pytest.raises(np.linalg.LinAlgError):
        MultigridPreconditioner(-matrix, axes)
    monkeypatch.setattr(_memory, "available_memory", lambda: 1000)
    monkeypatch.setattr(_memory, "_SMALL", 0)
    with pytest.raises(MemoryError, match="Multigrid, narrower with a smaller block"):
        MultigridPreconditioner(matrix, axes)
