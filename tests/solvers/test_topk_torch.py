"""Sparse products and selection against dense arithmetic."""

import pytest
import torch

from skident.solvers._topk_torch import (
    Pattern,
    TopK,
    block_width,
    encode,
    from_blocks,
    gather_sum,
    sampled_dot,
    step_encode,
    sum_of_squares,
    to_blocks,
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


@pytest.mark.parametrize("width", [6, 2])
@pytest.mark.parametrize("product", [gather_sum, sampled_dot])
def test_products_and_gradients_equal_dense_ones(product, width, generator):
    n_rows, n_atoms, n_features, k = 13, 31, 6, 4
    pattern = random_pattern(n_rows, n_atoms, k, generator)
    table = torch.randn(n_atoms, n_features, generator=generator, dtype=torch.float64)
    left_shape = (n_rows, k if product is gather_sum else n_features)
    left = torch.randn(left_shape, generator=generator, dtype=torch.float64)
    left.requires_grad_(), table.requires_grad_()

    if product is gather_sum:
        expected = dense_codes(left, pattern) @ table
        found = from_blocks(product(left, to_blocks(table, width), pattern))
    else:
        expected = (left @ table.t()).gather(1, pattern.columns)
        found = product(to_blocks(left, width), to_blocks(table, width), pattern)
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
    found = encode(known, to_blocks(centred, 3), table, bias, pattern, positive)
    torch.testing.assert_close(found, expected, **EXACT)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weights).sum(), [table, bias])
    got = torch.autograd.grad((found * weights).sum(), [table, bias])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("n_blocks", [1, 4])
@pytest.mark.parametrize("n_steps", [2, 3, 5])
def test_multi_step_gradients_equal_dense_ones(n_blocks, n_steps, generator):
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

    blocks = matrix.view(n_atoms, n_blocks, -1).transpose(0, 1).contiguous()
    with torch.no_grad():
        centred = x - bias
        known = centred @ table.t()
    last, before, u_last, pattern, pattern_before = step_encode(
        known, centred[None], table, bias, blocks, k, n_steps, TopK()
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
    step = torch.full((1, 1, 1), 0.3, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64)
    rows = torch.ones(1, 1, dtype=torch.float64)
    last, *_ = step_encode(rows, rows[None], table, bias, step, 1, 3, TopK())
    assert last.item() == pytest.approx(1 + 0.7 + 0.49)
    of_table, of_step = torch.autograd.grad(last.sum(), [table, step])
    assert of_table.item() == pytest.approx(2.19)
    assert of_step.item() == pytest.approx(-(1 + 2 * 0.7))


def test_blocks_are_columns_and_fit_the_cache():
    x = torch.arange(12.0).view(2, 6)
    blocks = to_blocks(x, 2)
    assert torch.equal(blocks[1], x[:, 2:4])
    assert torch.equal(from_blocks(blocks), x)
    assert block_width(256, 64) == 64
    assert block_width(4096, 768) == 128
    assert block_width(4096, 769) == 769  # a prime has no other width
    assert block_width(4096, 768, "cuda") == 768


def test_sum_of_squares_and_gradient(generator):
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sum_of_squares, x)
    torch.testing.assert_close(sum_of_squares(x), x.square().sum())
