"""The sparse autoencoder as a torch module: forward pass, loss terms, training."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from skident.solvers._step_encoder_torch import column_blocks, step_encode
from skident.solvers._topk_select_torch import TopK
from skident.solvers._topk_torch import (
    Pattern,
    encode,
    gather,
    gather_sum,
    gram_moments,
    read_codes,
    sampled_dot,
    squared_error,
)
from skident.utils._torch import mean_over_world, world


def normalise_rows(x, how):
    """Rows as the autoencoder sees them; the torch twin of ``scale_rows``.

    Parameters
    ----------
    x : tensor of shape (n_rows, n_features)
    how : {"center_l2", "l2", None}

    Returns
    -------
    scaled : tensor of shape (n_rows, n_features)
        Unit rows; zeros for a row that is zero or, with "center_l2", constant.
    shift, scale : tensors of shape (n_rows, 1)
        ``x = scaled * scale + shift``.
    """
    if how is None:
        return x, x.new_zeros(len(x), 1), x.new_ones(len(x), 1)
    scaled, shift, norm = _centre(x, how)
    limits = torch.finfo(x.dtype)
    small = norm.flatten() <= (limits.tiny / limits.eps) ** 0.5
    if not (norm < limits.max**0.5).all() or scaled[small].any():
        # Squares overflow or lose digits: divided by its largest magnitude first, no
        # row does.
        peak = x.abs().amax(1, keepdim=True)
        peak = torch.where(peak > 0, peak, 1.0)
        scaled, shift, norm = _unit(*_centre(x / peak, how))
        return scaled, shift * peak, norm * peak
    return _unit(scaled, shift, norm)


def _centre(x, how):
    """Rows less their shift, the shift, and what norm then remains."""
    shift = x.new_zeros(len(x), 1)
    if how == "center_l2":
        shift = x.mean(1, keepdim=True)
        x = x - shift
    return x, shift, torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _unit(scaled, shift, norm):
    """Rows over their norm; a flat row, which was centred to rounding, to zeros."""
    rounding = 4 * torch.finfo(norm.dtype).eps * scaled.shape[1] ** 0.5
    flat = norm <= rounding * shift.abs()
    if flat.any():
        scaled = torch.where(flat, 0.0, scaled)
        norm = torch.where(flat, 0.0, norm)
    return scaled / torch.where(flat, 1.0, norm), shift, norm


class Codes(NamedTuple):
    """Codes of a batch.

    ``values`` (n_rows, n_active), at ``pattern``, are differentiable in the parameters;
    ``centred`` (n_rows, n_features) are the rows minus the bias, without gradient;
    ``u`` (n_rows, n_atoms) holds the pre-activations of the last step, without
    gradient, in scratch that the next batch overwrites; ``upper`` is the support of
    the isometry term; ``before`` and ``pattern_before`` are the code of the last step
    but one, where there are several.
    """

    values: torch.Tensor
    pattern: Pattern
    centred: torch.Tensor
    u: torch.Tensor
    upper: Pattern | None = None
    before: torch.Tensor | None = None
    pattern_before: Pattern | None = None


class SparseAutoencoder(nn.Module):
    """TopK autoencoder whose forward pass in training gives its loss terms.

    Parameters
    ----------
    n_features, n_components, n_active : int
    variant : {"topk", "abstopk", "isae", "isae_me"}
    rip_active : int
        Size of the supports of the isometry term; 0 for no such term.
    n_encode_steps : int
        Encoder steps; above 1 with a step matrix.
    step_rank : int or None
        Rank of the step matrix's learned part; None for full.
    aux_k, dead_window : int
    normalize : {"center_l2", "l2", None}
    device : str
        Where the module will stand.

    Attributes
    ----------
    dictionary, encoder : Parameters of shape (n_components, n_features)
    bias : Parameter of shape (n_features,)
    step : Parameter or None
        Learned part F of the step matrix I - F; with a ``step_rank``, the left factor
        of F.
    step_right : Parameter or None
        The right factor.
    """

    def __init__(
        self,
        n_features,
        n_components,
        n_active,
        *,
        variant="isae",
        rip_active=0,
        n_encode_steps=1,
        step_rank=None,
        aux_k=1,
        dead_window=64,
        normalize="center_l2",
        device="cpu",
    ):
        super().__init__()
        self.n_active = n_active
        self.rip_active = rip_active
        self.n_encode_steps = n_encode_steps
        self.aux_k = aux_k
        self.normalize = normalize
        self.positive = variant == "topk"
        self.select = TopK(signed=not self.positive)
        self.dictionary = nn.Parameter(torch.empty(n_components, n_features))
        self.encoder = nn.Parameter(torch.empty(n_components, n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.step, self.step_right = None, None
        if n_encode_steps > 1:
            rank = n_components if step_rank is None else step_rank
            self.step = nn.Parameter(torch.empty(n_components, rank))
            if step_rank is not None:
                self.step_right = nn.Parameter(torch.empty(n_components, rank))
        self.register_buffer("loss_scale", torch.ones(()))
        # Uses of each atom in each of the last batches; zero before the first one.
        self.register_buffer(
            "uses", torch.zeros(dead_window, n_components, dtype=torch.int32)
        )
        self.register_buffer("rows_seen", torch.zeros(dead_window, dtype=torch.int64))
        self.n_steps = 0
        self.noise = None
        self._scratch = {}

    # --- state ---------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, bias, loss_scale):
        """Draw the dictionary; start the encoder and the step matrix from it."""
        atoms = F.normalize(torch.randn_like(self.encoder), dim=1)
        step = None
        if self.step is not None:
            # Gram / (1.1 lambda_max).
            u, s, _ = torch.linalg.svd(atoms, full_matrices=False)
            root = u * (s / (1.1**0.5 * s[0]))
            if self.step_right is None:
                step = root @ root.t()
            else:
                rank = self.step.shape[1]
                left, right = (F.pad(root, (0, max(0, rank - len(s)))) for _ in "UV")
                # Columns beyond the rank of the atoms: zero on one side only, or
                # neither side would ever get a gradient.
                left[:, len(s) :] = torch.randn_like(left[:, len(s) :]) * root.std()
                step = left[:, :rank], right[:, :rank]
        self.set_weights(atoms, atoms, bias, step)
        self.loss_scale.fill_(loss_scale)

    @torch.no_grad()
    def set_weights(self, atoms, encoder, bias, step):
        """Take over weights as :meth:`get_weights` gives them."""
        self.dictionary.copy_(atoms)
        self.encoder.copy_(encoder)
        self.bias.copy_(bias)
        if self.step_right is not None:
            self.step.copy_(step[0])
            self.step_right.copy_(step[1])
        elif self.step is not None:
            self.step.copy_(step)

    def get_weights(self):
        """Atoms, encoder, bias, and step matrix F, its two factors or None."""
        step = self.step
        if self.step_right is not None:
            step = self.step.detach(), self.step_right.detach()
        elif step is not None:
            step = step.detach()
        return self.dictionary.detach(), self.encoder.detach(), self.bias.detach(), step

    @torch.no_grad()
    def normalise_atoms(self):
        """Project the dictionary's atoms to unit norm."""
        norms = torch.linalg.vector_norm(self.dictionary, dim=1, keepdim=True)
        self.dictionary.div_(torch.where(norms > 0, norms, 1.0))

    def decode(self, values, pattern):
        """Rows that codes stand for, of shape (n_rows, n_features)."""
        return gather(values, self.dictionary, pattern) + self.bias

    def _buffer(self, name, rows):
        """Scratch of shape (n_rows, n_atoms), kept: a fresh one costs page faults."""
        table = self.encoder
        held = self._scratch.get(name)
        if held is None or len(held) < len(rows) or held.device != rows.device:
            held = torch.empty(
                len(rows), len(table), dtype=table.dtype, device=rows.device
            )
            self._scratch[name] = held
        return held[: len(rows)]

    # --- encoder -------------------------------------------------------------------

    def normalised(self, X):
        """Raw rows as the module sees them, in its precision."""
        # Centred in the precision of X: a large offset costs its digits, not ours.
        x = X.float() if X.dtype == torch.float16 else X
        scaled = normalise_rows(x, self.normalize)[0].to(self.encoder.dtype)
        if x.dtype != scaled.dtype and not scaled.isfinite().all():
            raise ValueError(
                f"X has entries too large for {scaled.dtype}: scale it, or set "
                "normalize."
            )
        return scaled

    def encode(self, x):
        """:class:`Codes` of normalised rows, of shape (n_rows, n_features)."""
        centred, u0 = self._product(x)
        if self.n_encode_steps == 1:
            pattern, upper = self._supports(u0)
            values = encode(
                u0, centred, self.encoder, self.bias, pattern, self.positive
            )
            return Codes(values, pattern, centred, u0, upper)
        encode_steps = self._encode_steps
        if self.step_right is not None:
            encode_steps = self._encode_steps_low_rank
        values, before, u, pattern, pattern_before = encode_steps(u0, centred)
        upper = self._pattern(u, self.rip_active) if self._wants_rip() else None
        return Codes(values, pattern, centred, u, upper, before, pattern_before)

    @torch.no_grad()
    def _product(self, x):
        centred = x - self.bias
        out = self._buffer("u", x)
        if torch.is_autocast_enabled(x.device.type):
            out.copy_(torch.mm(centred, self.encoder.t()))
        else:
            torch.mm(centred, self.encoder.t(), out=out)
        return centred, out

    def _wants_rip(self):
        return self.training and self.rip_active > 0

    def _pattern(self, u, k):
        return Pattern(self.select(u, k), u.shape[1])

    @torch.no_grad()
    def _supports(self, u):
        if not self._wants_rip():
            return self._pattern(u, self.n_active), None
        # The k largest are among the 2k largest: one pass over u serves both.
        upper = self._pattern(u, self.rip_active)
        if self.rip_active < self.n_active:
            return self._pattern(u, self.n_active), upper
        inner = self.select(u.gather(1, upper.columns), self.n_active)
        return Pattern(upper.columns.gather(1, inner), u.shape[1]), upper

    def _encode_steps(self, u0, centred):
        return step_encode(
            u0,
            centred,
            self.encoder,
            self.bias,
            self.step,
            self.n_active,
            self.n_encode_steps,
            self.select,
            self._buffer("work", u0),
            self._step_blocks(),
        )

    def _step_blocks(self):
        step, held = self.step.detach(), self._scratch.get("blocks")
        if held is None or (held.device, held.dtype) != (step.device, step.dtype):
            self._scratch["blocks"] = held = column_blocks(step)
        return held

    def _encode_steps_low_rank(self, u0, centred):
        pattern = self._pattern(u0, self.n_active)
        values = encode(u0, centred, self.encoder, self.bias, pattern)
        for _ in range(self.n_encode_steps - 1):
            before, pattern_before = values, pattern
            low = gather_sum(before, self.step, pattern_before)
            with torch.no_grad():
                u = torch.addmm(u0, low, self.step_right.t(), alpha=-1.0)
                u.scatter_add_(1, pattern_before.columns, before)
            pattern = self._pattern(u, self.n_active)
            values = (
                encode(u0, centred, self.encoder, self.bias, pattern)
                + read_codes(before, pattern_before, pattern)
                - sampled_dot(low, self.step_right, pattern)
            )
        return values, before, u, pattern, pattern_before

    # --- loss ----------------------------------------------------------------------

    def forward(self, X):
        """Terms of the loss of a batch of raw rows, by name."""
        x = self.normalised(X)
        if self.training:
            self.normalise_atoms()
        codes = self.encode(x)
        error, residual = squared_error(
            codes.values, self.dictionary, self.bias, codes.centred, codes.pattern
        )
        dead = self._count_uses(codes)
        zero = x.new_zeros(())
        error = mean_over_world(error / x.numel())
        return {
            "reconstruction": error / self.loss_scale,
            "rip": zero if codes.upper is None else self._isometry(codes),
            "aux": self._revive(x, codes, residual, dead),
            "l1": mean_over_world(codes.values.abs().mean()),
        }

    def _isometry(self, codes):
        """Estimate of tr(G_S^2) / |S| - 1, whatever the atoms' scale."""
        u, upper = codes.u, codes.upper
        noise = self._draw(upper.columns.shape, u)
        size = float(upper.columns.shape[1])
        if self.positive:
            kept = u.gather(1, upper.columns) > 0
            noise *= kept
            size = mean_over_world(kept.sum() / len(kept))
        h, h2 = gram_moments(noise, self.dictionary, upper)
        h, h2 = mean_over_world(h / len(noise)), mean_over_world(h2 / len(noise))
        return size * h2 / h.square() - 1.0 if size > 0 else h * 0.0

    def _draw(self, shape, like):
        """Standard normal draws, those of this process out of the whole batch's."""
        rank, size = world()
        n_rows, k = shape
        draws = torch.randn(
            n_rows * size, k, generator=self.noise, dtype=like.dtype, device=like.device
        )
        return draws[rank * n_rows : (rank + 1) * n_rows]

    @torch.no_grad()
    def _count_uses(self, codes):
        """Count the batch's nonzero codes; return the atoms that are dead now."""
        if not self.training:
            return None
        counts = codes.pattern.by_atom()[1].diff()
        if not codes.values.all():
            used = codes.pattern.columns[codes.values != 0]
            counts = torch.bincount(used, minlength=self.uses.shape[1])
        rows = torch.tensor(len(codes.values), device=counts.device)
        if world()[1] > 1:
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(rows)
        slot = self.n_steps % len(self.uses)
        self.uses[slot] = counts.to(torch.int32)
        self.rows_seen[slot] = rows
        return torch.nonzero(self.uses.amax(0) == 0).flatten()

    def _revive(self, x, codes, residual, dead):
        """Share of the error, reconstruction minus rows, that dead atoms leave."""
        if dead is None or len(dead) == 0:
            return residual.new_zeros(())
        # The dead atoms' pre-activations anew, with gradient: their values are in u.
        pre = (x - self.bias) @ self.encoder[dead].t()
        if self.n_encode_steps > 1:
            pre = pre + self._step_at(dead, codes)
        pre = pre.relu() if self.positive else pre
        if len(dead) > self.aux_k:
            top = torch.topk(pre.abs(), self.aux_k, sorted=False).indices
            pre = torch.zeros_like(pre).scatter(1, top, pre.gather(1, top))
        explained = pre @ self.dictionary[dead]
        mean = mean_over_world(residual.mean(0))
        spread = mean_over_world((residual - mean).square().mean())
        missed = mean_over_world((residual + explained).square().mean())
        # Equal residuals leave rounding as their spread: nothing to revive for.
        rounding = (4 * torch.finfo(residual.dtype).eps) ** 2
        real = spread > rounding * mean_over_world(residual.square().mean())
        return missed / spread if real else missed * 0.0

    def _step_at(self, atoms, codes):
        """z (I - F) at some atoms only, for the code before the last."""
        values, pattern = codes.before, codes.pattern_before
        place = torch.full_like(self.uses[0], len(atoms), dtype=torch.int64)
        place[atoms] = torch.arange(len(atoms), device=atoms.device)
        kept = values.new_zeros(len(values), len(atoms) + 1)
        kept = kept.scatter_add(1, place[pattern.columns], values)[:, :-1]
        if self.step_right is not None:
            low = gather_sum(values, self.step, pattern)
            return kept - low @ self.step_right[atoms].t()
        return kept - gather_sum(values, self.step[:, atoms], pattern)
