"""Sparse products and selection against dense arithmetic."""

import pytest
import torch

from skident.solvers._step_encoder_torch import (
    column_blocks,
    step_encode,
    step_product,
)
from skident.solvers._topk_select_torch import TopK
from skident.solvers._topk_torch import (
    Pattern,
    encode,
    gather_sum,
    gram_moments,
    sampled_dot,
    squared_error,
)

# Rounding of a float64 sum of some hundred terms.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def dense_codes(values, pattern):
    dense = values.new_zeros(len(values), pattern.n_atoms)
    return dense.scatter(1, pattern.columns, values)


def random_pattern(n_rows, n_atoms, k, generator):
    keys = torch.rand(n_rows, n_atoms, generator=generator)
    return Pattern(keys.topk(k).indices.sort(1).values, n_atoms)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("n_rows", "n_atoms", "k"),
    [(1, 1, 1), (3, 7, 7), (50, 256, 5), (300, 4096, 40), (70, 1536, 12), (9, 3000, 3)],
)
def test_selection_is_the_sorted_top_k(signed, n_rows, n_atoms, k, generator):
    u = torch.randn(n_rows, n_atoms, generator=generator)
    expected = (u.abs() if signed else u).topk(k).indices.sort(1).values
    assert torch.equal(TopK(signed)(u, k), expected)


def test_selection_with_ties_and_nan_returns_k_distinct_columns():
    u = torch.zeros(5, 2048)
    u[1, 3], u[2] = 1.0, float("nan")
    u[3, :100] = 2.0
    columns = TopK()(u, 20)
    assert all(len(set(row.tolist())) == 20 for row in columns)
    assert 3 in columns[1]
    assert columns[3].max() < 100


def test_selection_survives_one_group_holding_all_large_entries():
    # Columns of one group, k of them: the bound from group maxima is then loose.
    u = torch.full((4, 4096), 1e-3) + 1e-6 * torch.arange(4096)
    u[:, ::256] = torch.arange(1.0, 17.0)
    assert torch.equal(TopK()(u, 16), torch.arange(0, 4096, 256).expand(4, -1))


@pytest.mark.parametrize("product", [gather_sum, sampled_dot])
def test_products_and_gradients_equal_dense_ones(product, generator):
    n_rows, n_atoms, n_features, k = 13, 31, 6, 4
    pattern = random_pattern(n_rows, n_atoms, k, generator)
    table = torch.randn(n_atoms, n_features, generator=generator, dtype=torch.float64)
    left_shape = (n_rows, k if product is gather_sum else n_features)
    left = torch.randn(left_shape, generator=generator, dtype=torch.float64)
    left.requires_grad_(), table.requires_grad_()

    if product is gather_sum:
        expected = dense_codes(left, pattern) @ table
    else:
        expected = (left @ table.t()).gather(1, pattern.columns)
    found = product(left, table, pattern)
    torch.testing.assert_close(found, expected, **EXACT)

    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weights).sum(), [left, table])
    got = torch.autograd.grad((found * weights).sum(), [left, table])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_by_atom_agrees_between_scipy_and_sorting(generator):
    from skident.solvers._topk_torch import _transpose_scipy, _transpose_sort

    columns = random_pattern(20, 9, 3, generator).columns
    for a, b in zip(
        _transpose_scipy(columns, 9), _transpose_sort(columns, 9), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("positive", [True, False])
def test_encoder_gradients_equal_dense_ones(positive, generator):
    n_rows, n_atoms, n_features, k = 11, 23, 6, 5
    x, table, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n_rows, n_features), (n_atoms, n_features), (n_features,))
    )
    table.requires_grad_(), bias.requires_grad_()
    u = (x - bias) @ table.t()
    columns = (u if positive else u.abs()).topk(k).indices
    expected = u.gather(1, columns)
    expected = expected.relu() if positive else expected

    pattern = Pattern(columns, n_atoms)
    with torch.no_grad():
        centred = x - bias
        known = centred @ table.t()
    found = encode(known, centred, table, bias, pattern, positive)
    torch.testing.assert_close(found, expected, **EXACT)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weights).sum(), [table, bias])
    got = torch.autograd.grad((found * weights).sum(), [table, bias])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("n_steps", [2, 3, 5])
def test_multi_step_gradients_equal_dense_ones(n_steps, generator):
    n_rows, n_atoms, n_features, k = 12, 24, 5, 4
    x, table, bias, matrix = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in (
            (n_rows, n_features),
            (n_atoms, n_features),
            (n_features,),
            (n_atoms, n_atoms),
        )
    )
    matrix /= 10
    for tensor in (table, bias, matrix):
        tensor.requires_grad_()
    u0 = (x - bias) @ table.t()
    u, codes = u0, []
    for _ in range(n_steps):
        if codes:
            u = codes[-1] - codes[-1] @ matrix + u0
        kept = torch.zeros_like(u).scatter(1, u.abs().topk(k).indices, 1.0)
        codes.append(u * kept)

    with torch.no_grad():
        centred = x - bias
        known = centred @ table.t()
    last, before, u_last, pattern, pattern_before = step_encode(
        known, centred, table, bias, matrix, k, n_steps, TopK()
    )
    torch.testing.assert_close(u_last, u.detach(), **EXACT)
    found = [dense_codes(last, pattern), dense_codes(before, pattern_before)]
    loss, loss_found = 0.0, 0.0
    for code, expected in zip(found, codes[:-3:-1], strict=True):
        torch.testing.assert_close(code, expected, **EXACT)
        weights = torch.randn(code.shape, generator=generator, dtype=torch.float64)
        loss = loss + (expected * weights).sum()
        loss_found = loss_found + (code * weights).sum()
    leaves = [table, bias, matrix]
    wanted = torch.autograd.grad(loss, leaves)
    got = torch.autograd.grad(loss_found, leaves)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_multi_step_gradient_flows_through_every_step(generator):
    # One atom and a step matrix c: z_T = u0 (1 + s + s^2), s = 1 - c.
    table = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    step = torch.full((1, 1), 0.3, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64)
    rows = torch.ones(1, 1, dtype=torch.float64)
    last, *_ = step_encode(rows, rows, table, bias, step, 1, 3, TopK())
    assert last.item() == pytest.approx(1 + 0.7 + 0.49)
    of_table, of_step = torch.autograd.grad(last.sum(), [table, step])
    assert of_table.item() == pytest.approx(2.19)
    assert of_step.item() == pytest.approx(-(1 + 2 * 0.7))


def test_products_with_the_step_matrix_go_block_by_block(generator):
    # Wide enough for several blocks of columns.
    n_rows, n_atoms, k = 30, 1024, 3
    u0 = torch.randn(n_rows, n_atoms, generator=generator)
    matrix = torch.randn(n_atoms, n_atoms, generator=generator)
    pattern = random_pattern(n_rows, n_atoms, k, generator)
    values = torch.randn(n_rows, k, generator=generator)
    blocks = column_blocks(matrix)
    assert len(blocks) > 1
    assert torch.equal(torch.cat(list(blocks), 1), matrix)
    z = dense_codes(values, pattern)
    # Rounding of float32 sums of four terms below 10.
    torch.testing.assert_close(
        step_product(values, pattern, blocks, u0),
        z - z @ matrix + u0,
        atol=1e-5,
        rtol=0,
    )


def test_column_blocks_fit_the_cache_or_are_one():
    assert column_blocks(torch.empty(256, 64)).shape == (1, 256, 64)
    assert column_blocks(torch.empty(4096, 768)).shape == (6, 4096, 128)
    # A prime has no other width.
    assert column_blocks(torch.empty(4096, 769)).shape == (1, 4096, 769)


def test_squared_error_and_gradient(generator):
    n_rows, n_atoms, n_features, k = 7, 15, 4, 3
    pattern = random_pattern(n_rows, n_atoms, k, generator)
    values, table, bias, x = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n_rows, k), (n_atoms, n_features), (n_features,), (7, 4))
    )
    leaves = [values, table, bias]
    for leaf in leaves:
        leaf.requires_grad_()
    residual = dense_codes(values, pattern) @ table + bias - x
    expected = residual.square().sum()
    centred = (x - bias).detach()
    found, left = squared_error(values, table, bias, centred, pattern)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(left, residual.detach(), **EXACT)
    wanted = torch.autograd.grad(3 * expected, leaves)
    for a, b in zip(torch.autograd.grad(3 * found, leaves), wanted, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_gram_moments_and_gradient(generator):
    n_rows, n_atoms, n_features, k = 7, 15, 4, 5
    pattern = random_pattern(n_rows, n_atoms, k, generator)
    noise = torch.randn(n_rows, k, generator=generator, dtype=torch.float64)
    noise[2, 3:] = 0.0
    table = torch.randn(n_atoms, n_features, generator=generator, dtype=torch.float64)
    table.requires_grad_()
    image = dense_codes(noise, pattern) @ table
    inside = dense_codes((noise != 0).double(), pattern)
    back = image @ table.t() * inside
    expected = [image.square().sum(), back.square().sum()]
    found = gram_moments(noise, table, pattern)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    (wanted,) = torch.autograd.grad(2 * expected[0] - 3 * expected[1], table)
    (got,) = torch.autograd.grad(2 * found[0] - 3 * found[1], table)
    torch.testing.assert_close(got, wanted, **EXACT)
