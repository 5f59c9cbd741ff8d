"""Products with codes that have k entries a row, and the losses built on them.

A code matrix Z of shape (n_rows, n_atoms) with k entries a row is held as a
:class:`Pattern` (where the entries stand) and their values, both of shape
(n_rows, k); no (n_rows, n_atoms) code matrix is ever built. With a table D of shape
(n_atoms, n_features), three raw products are all a sparse autoencoder needs:

- Z @ D, gathered row by row: decoding, k multiply-adds for each output;
- (X @ D.T) read at the pattern: encoding, gradients of codes;
- Z.T @ X, gathered atom by atom: gradients of tables.

What stands on them is differentiable, each with its gradient written out.
"""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch.autograd.function import once_differentiable

with warnings.catch_warnings():
    # torch tells once a process that its CSR tensors are in beta.
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 1], [0], [0.0], size=(1, 1), check_invariants=False)


class Pattern:
    """Positions of the k entries of each row of a code matrix.

    Parameters
    ----------
    columns : tensor of shape (n_rows, k), int64
        Atom of each entry, ascending in each row.
    n_atoms : int
        Number of columns of the code matrix.
    """

    def __init__(self, columns, n_atoms):
        self.columns = columns
        self.n_atoms = n_atoms
        self._by_atom = None

    def by_atom(self):
        """The same entries, atom by atom.

        Returns
        -------
        rows : tensor of shape (n_rows * k,), int64
            Row of each entry.
        offsets : tensor of shape (n_atoms + 1,), int64
            Atom j holds ``rows[offsets[j]:offsets[j + 1]]``.
        order : tensor of shape (n_rows * k,), int64
            Place of each entry in ``columns.view(-1)``.
        """
        # One transpose serves the gradients of every table that meets the pattern.
        if self._by_atom is None:
            transpose = _transpose_scipy if self._on_cpu() else _transpose_sort
            self._by_atom = transpose(self.columns, self.n_atoms)
        return self._by_atom

    def _on_cpu(self):
        return self.columns.device.type == "cpu"


def _transpose_scipy(columns, n_atoms):
    n_rows, k = columns.shape
    nnz = n_rows * k
    # The data of the transposed matrix are then the permutation.
    csc = sparse.csr_matrix(
        (
            np.arange(nnz, dtype=np.int32),
            columns.numpy().reshape(-1).astype(np.int32),
            np.arange(0, nnz + 1, k, dtype=np.int32),
        ),
        shape=(n_rows, n_atoms),
    ).tocsc()
    return tuple(
        torch.from_numpy(a.astype(np.int64))
        for a in (csc.indices, csc.indptr, csc.data)
    )


def _transpose_sort(columns, n_atoms):
    flat = columns.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=n_atoms)
    offsets = F.pad(counts.cumsum(0), (1, 0))
    return torch.div(order, columns.shape[1], rounding_mode="floor"), offsets, order


# --- the three raw products ---------------------------------------------------------


def gather(values, table, pattern):
    """Z @ table, of shape (n_rows, n_columns); not differentiable."""
    return F.embedding_bag(
        pattern.columns, table, per_sample_weights=values, mode="sum"
    )


def scatter(values, x, pattern):
    """Z.T @ x, of shape (n_atoms, n_columns); not differentiable."""
    rows, offsets, order = pattern.by_atom()
    return F.embedding_bag(
        rows,
        x,
        offsets=offsets,
        per_sample_weights=values.reshape(-1)[order],
        mode="sum",
        include_last_offset=True,
    )


def sample(x, table, pattern):
    """x @ table.T at the pattern, of shape (n_rows, k); not differentiable."""
    rows, offsets, order = pattern.by_atom()
    # Atom by atom, a row of the table is read once and x, the smaller of the two,
    # stays in cache; row by row the product takes up to a third longer.
    product = torch.sparse_csr_tensor(
        offsets,
        rows,
        x.new_zeros(len(rows)),
        size=(pattern.n_atoms, len(x)),
        check_invariants=False,
    )
    product = torch.sparse.sampled_addmm(product, table, x.t(), beta=0.0)
    out = x.new_empty(pattern.columns.shape)
    out.view(-1)[order] = product.values()
    return out


# --- differentiable products --------------------------------------------------------


class _GatherSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, table, pattern):
        ctx.save_for_backward(values, table)
        ctx.pattern = pattern
        return gather(values, table, pattern)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        values, table = ctx.saved_tensors
        grad = grad.contiguous()
        of_values, of_table, _ = ctx.needs_input_grad
        return (
            sample(grad, table, ctx.pattern) if of_values else None,
            scatter(values, grad, ctx.pattern) if of_table else None,
            None,
        )


class _SampledDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, pattern):
        ctx.save_for_backward(x, table)
        ctx.pattern = pattern
        return sample(x, table, pattern)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, table = ctx.saved_tensors
        of_x, of_table, _ = ctx.needs_input_grad
        return (
            gather(grad, table, ctx.pattern) if of_x else None,
            scatter(grad, x, ctx.pattern) if of_table else None,
            None,
        )


def gather_sum(values, table, pattern):
    """Z @ table for codes Z with ``values`` at ``pattern``.

    Parameters
    ----------
    values : tensor of shape (n_rows, k)
    table : tensor of shape (n_atoms, n_columns)
    pattern : Pattern

    Returns
    -------
    product : tensor of shape (n_rows, n_columns)
        Differentiable in values and table, at O(n_rows k n_columns).
    """
    return _GatherSum.apply(values, table, pattern)


def sampled_dot(x, table, pattern):
    """Entries of x @ table.T at ``pattern``.

    Parameters
    ----------
    x : tensor of shape (n_rows, n_columns)
    table : tensor of shape (n_atoms, n_columns)
    pattern : Pattern

    Returns
    -------
    entries : tensor of shape (n_rows, k)
        Differentiable in x and table, at O(n_rows k n_columns).
    """
    return _SampledDot.apply(x, table, pattern)


def read_codes(values, pattern, other):
    """Codes with ``values`` at ``pattern``, read at another pattern.

    Parameters
    ----------
    values : tensor of shape (n_rows, k)
    pattern, other : Pattern

    Returns
    -------
    entries : tensor of shape (n_rows, k of other)
        Zero where ``pattern`` has no entry; differentiable in values.
    """
    place = torch.searchsorted(pattern.columns, other.columns)
    place = place.clamp(max=values.shape[1] - 1)
    there = pattern.columns.gather(1, place) == other.columns
    return values.gather(1, place) * there


# --- encoder ------------------------------------------------------------------------


class _Encode(torch.autograd.Function):
    """Values of a code already known, with the gradients of what they came from."""

    @staticmethod
    def forward(ctx, values, centred, table, bias, pattern):
        ctx.save_for_backward(centred, table)
        ctx.pattern = pattern
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        centred, table = ctx.saved_tensors
        of_table, of_bias = encoder_gradients(grad, ctx.pattern, centred, table)
        return None, None, of_table, of_bias, None


def encode(u, centred, table, bias, pattern, positive=False):
    """Codes A_k(u) of the encoder u = centred @ table.T, at a pattern chosen from u.

    Parameters
    ----------
    u : tensor of shape (n_rows, n_atoms)
        The product, computed without gradient.
    centred : tensor of shape (n_rows, n_features)
        Rows minus ``bias``, computed without gradient.
    table : tensor of shape (n_atoms, n_features)
        Encoder; receives a gradient through the kept entries only.
    bias : tensor of shape (n_features,)
        Receives its gradient through ``centred``.
    pattern : Pattern
        The kept entries.
    positive : bool, default=False
        Clip the kept entries at zero.

    Returns
    -------
    values : tensor of shape (n_rows, k)
    """
    values = u.gather(1, pattern.columns)
    values = _Encode.apply(values, centred, table, bias, pattern)
    return values.relu() if positive else values


def encoder_gradients(grad, pattern, centred, table):
    """Gradients of encoder and bias for gradients of codes at a pattern."""
    of_table = scatter(grad, centred, pattern)
    # Every row sees the same bias, so its gradient is the column sums of the code
    # gradients times the encoder: no (n_rows, n_features) product.
    sums = grad.new_zeros(len(table))
    sums.index_add_(0, pattern.columns.reshape(-1), grad.reshape(-1))
    return of_table, -(sums @ table)


# --- losses -------------------------------------------------------------------------


def _sum_of_squares(x):
    return torch.dot(x.reshape(-1), x.reshape(-1))


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, table, bias, centred, pattern):
        residual = gather(values, table, pattern).sub_(centred)
        ctx.save_for_backward(values, table, residual)
        ctx.pattern = pattern
        ctx.mark_non_differentiable(residual)
        return _sum_of_squares(residual), residual

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        values, table, residual = ctx.saved_tensors
        grad = 2.0 * grad
        return (
            sample(residual, table, ctx.pattern).mul_(grad),
            scatter(values * grad, residual, ctx.pattern),
            residual.sum(0).mul_(grad),
            None,
            None,
        )


def squared_error(values, table, bias, centred, pattern):
    """Sum of squares of Z @ table + bias - x, for rows x given as x - bias.

    Parameters
    ----------
    values : tensor of shape (n_rows, k)
    table : tensor of shape (n_atoms, n_features)
    bias : tensor of shape (n_features,)
    centred : tensor of shape (n_rows, n_features)
        Rows minus ``bias``, computed without gradient.
    pattern : Pattern

    Returns
    -------
    error : tensor of shape ()
        Differentiable in values, table and bias.
    residual : tensor of shape (n_rows, n_features)
        Reconstruction minus rows, without gradient.
    """
    return _SquaredError.apply(values, table, bias, centred, pattern)


class _GramMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, noise, table, pattern):
        image = gather(noise, table, pattern)
        back = sample(image, table, pattern)
        # Entries without noise are outside the support.
        back *= noise != 0
        ctx.save_for_backward(noise, table, image, back)
        ctx.pattern = pattern
        return _sum_of_squares(image), _sum_of_squares(back)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_h, of_h2):
        noise, table, image, back = ctx.saved_tensors
        inward = noise * (2.0 * of_h) + back * (2.0 * of_h2)
        grad = scatter(inward, image, ctx.pattern)
        again = gather(back, table, ctx.pattern)
        grad += scatter(noise * (2.0 * of_h2), again, ctx.pattern)
        return None, grad, None


def gram_moments(noise, table, pattern):
    """Quadratic forms of the supports' Gram matrices G_S = D_S D_S.T in noise n.

    Parameters
    ----------
    noise : tensor of shape (n_rows, k)
        Zero where the support of a row ends before ``pattern`` does.
    table : tensor of shape (n_atoms, n_features)
    pattern : Pattern

    Returns
    -------
    h, h2 : tensors of shape ()
        Sums over rows of n.T G_S n and of ||G_S n||^2, differentiable in table; for
        standard normal noise their means are the traces of G_S and of its square.
    """
    return _GramMoments.apply(noise, table, pattern)
