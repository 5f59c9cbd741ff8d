"""The loss and its gradients against a dense autoencoder written out in full."""

import numpy as np
import pytest
import torch

from skident.decomposition._identifiable_sae_net import (
    SparseAutoencoder,
    normalise_rows,
)
from skident.utils._rows import scale_rows

N, K, ACTIVE, ROWS = 10, 32, 4, 24
RELATIVE = 1e-6


def make_module(variant, n_steps=1, step_rank=None, aux_k=3, dead_window=2, seed=0):
    module = SparseAutoencoder(
        N,
        K,
        ACTIVE,
        variant=variant,
        rip_active=2 * ACTIVE if variant.startswith("isae") else 0,
        n_encode_steps=n_steps,
        step_rank=step_rank,
        aux_k=aux_k,
        dead_window=dead_window,
    ).double()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module.initialise(0.1 * torch.randn(N), 0.07)
        with torch.no_grad():  # away from the start, where encoder and atoms agree
            module.encoder += 0.3 * torch.randn(K, N)
            if module.step is not None:
                module.step += 0.05 * torch.randn(module.step.shape)
    module.noise = torch.Generator().manual_seed(1)
    return module


def dense_terms(module, rows, noise):
    """Terms of the loss with dense codes and autograd, from the definitions."""
    positive = module.positive
    atoms, encoder, bias = module.dictionary, module.encoder, module.bias
    x = rows - rows.mean(1, keepdim=True)
    x = x / x.norm(dim=1, keepdim=True)

    def keep(u, k):
        key = u if positive else u.abs()
        mask = torch.zeros_like(u).scatter(1, key.topk(k).indices, 1.0)
        return (u.relu() if positive else u) * mask

    u0 = (x - bias) @ encoder.t()
    u = u0
    if module.n_encode_steps > 1:
        if module.step_right is None:
            learned = module.step
        else:
            learned = module.step @ module.step_right.t()
        matrix = torch.eye(K, dtype=u.dtype) - learned
    z = keep(u0, ACTIVE)
    for _ in range(module.n_encode_steps - 1):
        u = z @ matrix + u0
        z = keep(u, ACTIVE)
    residual = z @ atoms + bias - x
    terms = {
        "reconstruction": residual.square().mean() / module.loss_scale,
        "l1": z.abs().sum() / (len(x) * ACTIVE),
        "rip": torch.zeros((), dtype=u.dtype),
        "aux": torch.zeros((), dtype=u.dtype),
    }
    if module.rip_active:
        key = u if positive else u.abs()
        columns = key.topk(module.rip_active).indices.sort(1).values
        n = torch.zeros_like(u).scatter(1, columns, noise)
        kept = torch.zeros_like(u).scatter(1, columns, 1.0)
        p = n @ atoms
        q = (p @ atoms.t()) * kept
        h, h2 = p.square().sum(1).mean(), q.square().sum(1).mean()
        terms["rip"] = module.rip_active * h2 / h**2 - 1
    dead = (z != 0).sum(0) == 0
    if dead.any():
        r = -residual.detach()
        mine = (u.relu() if positive else u)[:, dead]
        size = min(module.aux_k, int(dead.sum()))
        mask = torch.zeros_like(mine).scatter(1, mine.abs().topk(size).indices, 1.0)
        missed = r - (mine * mask) @ atoms[dead]
        terms["aux"] = missed.square().mean() / (r - r.mean(0)).square().mean()
    return terms


CASES = [
    ("topk", 1, None),
    ("abstopk", 1, None),
    ("isae", 1, None),
    ("isae_me", 3, None),
    ("isae_me", 3, 5),
]


@pytest.mark.parametrize(("variant", "n_steps", "step_rank"), CASES)
@pytest.mark.parametrize("term", ["reconstruction", "rip", "aux", "l1"])
def test_terms_and_gradients_equal_the_dense_ones(variant, n_steps, step_rank, term):
    module = make_module(variant, n_steps, step_rank)
    rows = torch.randn(
        ROWS, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    noise = torch.randn(
        ROWS,
        max(1, module.rip_active),
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float64,
    )
    leaves = list(module.parameters())
    found = module(rows)[term]
    expected = dense_terms(module, rows, noise)[term]
    torch.testing.assert_close(found, expected, rtol=RELATIVE, atol=1e-12)
    if variant in ("topk", "abstopk") and term == "rip":
        assert found == 0
        return
    assert found != 0
    wanted = torch.autograd.grad(expected, leaves, allow_unused=True)
    got = torch.autograd.grad(found, leaves, allow_unused=True)
    for a, b, leaf in zip(got, wanted, leaves, strict=True):
        a = torch.zeros_like(leaf) if a is None else a
        b = torch.zeros_like(leaf) if b is None else b
        torch.testing.assert_close(a, b, rtol=RELATIVE, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 7.0])
@pytest.mark.parametrize("variant", ["isae", "topk"])
def test_isometry_term_estimates_the_gram_matrix(variant, scale):
    # tr(G^2) / |S| over 20,000 draws, within 3 standard errors, at any atom scale.
    module = make_module(variant)
    module.rip_active = 2 * ACTIVE
    rows = torch.randn(4, N, generator=torch.Generator().manual_seed(3)).double()
    x = normalise_rows(rows, "center_l2")[0]
    with torch.no_grad():
        module.dictionary *= scale
        module.train()
        codes = module.encode(x.repeat(20_000 // 4, 1))
        atoms = module.dictionary / scale
        traces, sizes = [], []
        for i in range(4):
            u = codes.u[i].gather(0, codes.upper.columns[i])
            mine = (
                codes.upper.columns[i][u > 0]
                if variant == "topk"
                else (codes.upper.columns[i])
            )
            gram = atoms[mine] @ atoms[mine].t()
            traces.append(float(gram.square().sum()))
            sizes.append(len(mine))
        draws = [float(module._isometry(codes)) + 1 for _ in range(20)]
    expected = np.mean(traces) / np.mean(sizes)
    assert np.mean(draws) == pytest.approx(
        expected, abs=max(0.01 * expected, 3 * np.std(draws) / 20**0.5)
    )


def test_isometry_term_is_zero_for_orthonormal_atoms():
    module = SparseAutoencoder(12, 12, 3, rip_active=6).double()
    module.noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        atoms = torch.linalg.qr(torch.randn(12, 12).double())[0]
        module.set_weights(atoms, atoms, torch.zeros(12), None)
        x = torch.randn(20_000, 12, generator=torch.Generator().manual_seed(1)).double()
        assert abs(float(module._isometry(module.encode(x)))) < 0.01


@pytest.mark.parametrize("how", ["center_l2", "l2", None])
def test_rows_are_normalised_as_scale_rows_does(how):
    rng = np.random.default_rng(0)
    X = 10.0 ** rng.uniform(-20, 20, size=(50, 1)) * rng.standard_normal((50, 8))
    X[3], X[4] = 0.0, 7.3
    expected = scale_rows(X, how)
    found = normalise_rows(torch.tensor(X), how)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)


def test_constant_float32_rows_become_zeros():
    X = torch.full((4, 37), 0.1) * torch.tensor([[1.0], [1e-30], [1e30], [3.0]])
    scaled, _, scale = normalise_rows(X, "center_l2")
    assert not scaled.any()
    assert not scale.any()


def test_atoms_have_unit_norm_in_every_training_pass():
    module = make_module("isae")
    with torch.no_grad():
        module.dictionary *= 3
    module(torch.randn(5, N, dtype=torch.float64))
    norms = module.dictionary.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_first_step_counts_unused_atoms_as_dead_and_signed_codes_as_alive():
    module = make_module("abstopk", dead_window=3)
    rows = torch.randn(2, N, dtype=torch.float64)
    codes = module.encode(normalise_rows(rows, "center_l2")[0])
    used = set(codes.pattern.columns.flatten().tolist())
    dead = set(module._count_uses(codes).tolist())
    assert dead == set(range(K)) - used
    assert (codes.values < 0).any()


def test_atom_is_dead_after_the_window_and_not_before():
    module = make_module("abstopk", dead_window=2)
    first, second = (
        module.encode(torch.eye(N, dtype=torch.float64)[i : i + 1]) for i in (0, 1)
    )
    gone = set(first.pattern.columns[0].tolist()) - set(
        second.pattern.columns[0].tolist()
    )
    assert gone
    for codes, expected in ((first, False), (second, False), (second, True)):
        dead = set(module._count_uses(codes).tolist())
        module.n_steps += 1
        assert gone <= dead if expected else not gone & dead


def test_step_matrix_starts_as_scaled_gram():
    module = SparseAutoencoder(6, 256, 3, variant="isae_me", n_encode_steps=2).double()
    module.initialise(torch.zeros(6), 1.0)
    atoms, encoder, _, step = module.get_weights()
    assert torch.equal(atoms, encoder)
    gram = atoms @ atoms.t()
    torch.testing.assert_close(step, gram / (1.1 * torch.linalg.eigvalsh(gram)[-1]))
    low = SparseAutoencoder(
        6, 256, 3, variant="isae_me", n_encode_steps=2, step_rank=6
    ).double()
    low.initialise(torch.zeros(6), 1.0)
    atoms, _, _, (left, right) = low.get_weights()
    gram = atoms @ atoms.t()
    torch.testing.assert_close(
        left @ right.t(), gram / (1.1 * torch.linalg.eigvalsh(gram)[-1])
    )
