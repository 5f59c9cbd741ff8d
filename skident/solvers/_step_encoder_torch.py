"""The multi-step TopK encoder u_t = z_(t-1) (I - F) + u_0, z_t = A_k(u_t).

F, of shape (n_atoms, n_atoms), is read at k rows a row of codes and never multiplied
whole. Products with it gather from one block of its columns at a time, which stays in
the second-level cache; from F in one piece they take twice as long.
"""

import torch
from torch.autograd.function import once_differentiable

from skident.solvers._topk_torch import Pattern, encoder_gradients, gather, read_codes

# Entries of a column block of F: 2 MiB of float32.
_BLOCK_ENTRIES = 2**19
# Codes whose gradient is computed at a time, so that what they gather stays cached.
_CHUNK_CODES = 2048


def column_blocks(matrix, out=None):
    """Contiguous blocks of columns, of shape (n_blocks, n_rows, width).

    Parameters
    ----------
    matrix : tensor of shape (n_rows, n_columns)
    out : tensor of shape (n_blocks, n_rows, width) or None, default=None
        Written and returned if given.
    """
    width = _block_width(matrix)
    blocks = matrix.view(len(matrix), -1, width).transpose(0, 1)
    return blocks.contiguous() if out is None else out.copy_(blocks)


def _block_width(matrix):
    n_rows, n_columns = matrix.shape
    if matrix.numel() <= _BLOCK_ENTRIES or matrix.device.type != "cpu":
        return n_columns
    # Narrow blocks cost more calls than the cache gives back.
    most = max(64, _BLOCK_ENTRIES // n_rows)
    widths = [w for w in range(32, most + 1) if n_columns % w == 0]
    return widths[-1] if widths else n_columns


def step_product(values, pattern, blocks, u0, out=None):
    """z (I - F) + u0; not differentiable.

    Parameters
    ----------
    values : tensor of shape (n_rows, k)
    pattern : Pattern
    blocks : tensor of shape (n_blocks, n_atoms, width)
        F as :func:`column_blocks`.
    u0 : tensor of shape (n_rows, n_atoms)
    out : tensor of shape (n_rows, n_atoms) or None, default=None
        Written and returned if given.
    """
    u = torch.empty_like(u0) if out is None else out
    width = blocks.shape[2]
    for block, part in enumerate(blocks):
        columns = slice(block * width, (block + 1) * width)
        learned = gather(values, part, pattern)
        torch.sub(u0[:, columns], learned, out=u[:, columns])
    return u.scatter_add_(1, pattern.columns, values)


class _StepEncode(torch.autograd.Function):
    """A_k iterated, and its gradient through all steps."""

    @staticmethod
    def forward(ctx, u0, centred, table, bias, step, k, n_steps, select, work, blocks):
        patterns, codes = [], []
        blocks = column_blocks(step, blocks)
        u = u0
        for t in range(n_steps):
            if t:
                u = step_product(codes[-1], patterns[-1], blocks, u0, work)
            patterns.append(Pattern(select(u, k), u.shape[1]))
            codes.append(u.gather(1, patterns[-1].columns))
        ctx.save_for_backward(centred, table, step, *codes)
        ctx.patterns = patterns
        ctx.mark_non_differentiable(u)
        ctx.set_materialize_grads(False)
        return codes[-1], codes[-2], u, patterns[-1], patterns[-2]

    @staticmethod
    @once_differentiable
    def backward(ctx, of_last, of_before, *_):
        centred, table, step, *codes = ctx.saved_tensors
        patterns = ctx.patterns
        grad = torch.zeros_like(codes[-1]) if of_last is None else of_last
        grads = [grad]
        for t in range(len(codes) - 1, 0, -1):
            before, after = patterns[t - 1], patterns[t]
            through = _sampled_step(grad, after, before, step)
            grad = read_codes(grad, after, before) - through
            if t == len(codes) - 1 and of_before is not None:
                grad += of_before
            grads.append(grad)
        grads.reverse()
        of_step = _step_gradient(codes[:-1], patterns[:-1], grads[1:], patterns[1:])
        columns = torch.cat([pattern.columns for pattern in patterns], 1)
        of_table, of_bias = encoder_gradients(
            torch.cat(grads, 1), Pattern(columns, len(table)), centred, table
        )
        return None, None, of_table, of_bias, of_step, *(None,) * 5


def _sampled_step(grad, after, before, step):
    """(G F.T) read at ``before``, for G with ``grad`` at ``after``."""
    n_atoms = len(step)
    flat = step.reshape(-1)
    rows, offsets, order = before.by_atom()
    row_of_step = torch.repeat_interleave(
        torch.arange(n_atoms, device=step.device) * n_atoms, offsets.diff()
    )
    out = torch.empty_like(grad)
    # Atom by atom, the entries read one after another share one row of F.
    for low in range(0, len(rows), _CHUNK_CODES):
        piece = slice(low, low + _CHUNK_CODES)
        places = after.columns[rows[piece]] + row_of_step[piece, None]
        entries = torch.take(flat, places)
        out.view(-1)[order[piece]] = (entries * grad[rows[piece]]).sum(1)
    return out


def _step_gradient(codes, patterns, grads, patterns_after):
    """Minus the sum over steps of Z.T @ G, of shape (n_atoms, n_atoms)."""
    n_atoms = patterns[0].n_atoms
    # The steps one below the other: one product writes the whole matrix once.
    before = Pattern(torch.cat([p.columns for p in patterns]), n_atoms)
    columns = torch.cat([p.columns for p in patterns_after])
    rows, offsets, order = before.by_atom()
    values = torch.cat(codes).view(-1)[order]
    n_rows, k = columns.shape
    starts = torch.arange(0, n_rows * k + 1, k, device=columns.device)
    unchecked = {"check_invariants": False}
    left = torch.sparse_csr_tensor(
        offsets, rows, values, size=(n_atoms, n_rows), **unchecked
    )
    right = torch.sparse_csr_tensor(
        starts,
        columns.view(-1),
        torch.cat(grads).view(-1),
        size=(n_rows, n_atoms),
        **unchecked,
    )
    out = values.new_empty(n_atoms, n_atoms)
    if out.device.type != "cpu":
        # Only MKL multiplies two sparse matrices into a dense one.
        return torch.neg(left @ right.to_dense())
    return torch.addmm(out, left, right, beta=0.0, alpha=-1.0, out=out)


def step_encode(
    u0, centred, table, bias, step, k, n_steps, select, work=None, blocks=None
):
    """Codes of the multi-step encoder.

    Parameters
    ----------
    u0, centred, table, bias :
        As in :func:`skident.solvers._topk_torch.encode`.
    step : tensor of shape (n_atoms, n_atoms)
        The matrix F.
    k : int
        Entries kept a row.
    n_steps : int
        Number of codes computed, at least two; the first from ``u0`` itself.
    select : callable
        ``select(u, k)`` gives the kept columns, ascending in each row.
    work : tensor of shape (n_rows, n_atoms) or None, default=None
        Scratch for u; the u returned may be this tensor.
    blocks : tensor of shape (n_blocks, n_atoms, width) or None, default=None
        Scratch for the column blocks of F.

    Returns
    -------
    values, values_before : tensors of shape (n_rows, k)
        The last code and the one before it, differentiable in table, bias and step
        through all steps.
    u : tensor of shape (n_rows, n_atoms)
        Last pre-activations, without gradient.
    pattern, pattern_before : Pattern
    """
    return _StepEncode.apply(
        u0, centred, table, bias, step, k, n_steps, select, work, blocks
    )
