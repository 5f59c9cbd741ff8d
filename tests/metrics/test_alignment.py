"""Errors after alignment by groups and by ICA."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_perturbed_representations
from skident.metrics import (
    _alignment,
    _diameter,
    _groups,
    alignment_errors,
    ica_efficiency,
    match_components,
    near_identifiability_score,
)

GROUPS = ("signed_permutation", "rigid", "linear")


def uniform(seed, n_samples, k):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, size=(n_samples, k))


def laplace(seed, n_samples, k):
    return np.random.default_rng(seed).laplace(size=(n_samples, k))


# -- groups --------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["mean", "max", "q99"])
@pytest.mark.parametrize("member", GROUPS)
def test_a_group_undoes_its_members_and_no_others(member, norm):
    F = laplace(0, 400, 4)
    rng = np.random.default_rng(1)
    h = {
        "signed_permutation": np.eye(4)[rng.permutation(4)] * [1, -1, -1, 1],
        "rigid": ortho_group.rvs(4, random_state=1),
        "linear": rng.standard_normal((4, 4)),
    }[member]
    moved = F @ h + rng.standard_normal(4)
    reached = GROUPS.index(member)
    for i, group in enumerate(GROUPS):
        error = near_identifiability_score(F, moved, group, norm)
        if i >= reached:
            assert error < 1e-13
        else:
            assert error > 1e-2


def test_reflections_are_rigid():
    F = uniform(0, 100, 3)
    mirrored = F * [1, 1, -1]
    assert near_identifiability_score(F, mirrored, "rigid") < 1e-14


def test_maps_are_the_least_squares_members():
    eye = np.eye(3)
    signed = [
        eye[list(p)] * signs
        for p in permutations(range(3))
        for signs in product([-1, 1], repeat=3)
    ]
    turns = ortho_group.rvs(3, size=500, random_state=0)
    by_correlation = []
    for seed in range(20):
        A, B = laplace(seed, 50, 3), laplace(seed + 100, 50, 3) * [1.0, 5.0, 0.2]
        A, B = A - A.mean(axis=0), B - B.mean(axis=0)
        found = {group: _groups.best_map(A, B, group) for group in GROUPS}
        left = {group: np.linalg.norm(A - B @ h) for group, h in found.items()}
        best = min(np.linalg.norm(A - B @ h) for h in signed)
        assert left["signed_permutation"] == pytest.approx(best, rel=1e-12)
        np.testing.assert_allclose(found["rigid"] @ found["rigid"].T, eye, atol=1e-14)
        assert left["rigid"] <= min(np.linalg.norm(A - B @ h) for h in turns)
        # At the least-squares map what is left is orthogonal to B.
        np.testing.assert_allclose(B.T @ (A - B @ found["linear"]), 0, atol=1e-11)
        lengths = [left[group] for group in GROUPS]
        assert lengths == sorted(lengths, reverse=True)
        match = match_components(A, B)
        other = np.zeros((3, 3))
        other[match.permutation, range(3)] = match.signs
        by_correlation.append(np.linalg.norm(A - B @ other) / best)
    # Correlations, blind to spread, choose another permutation now and then.
    assert min(by_correlation) == pytest.approx(1.0) and max(by_correlation) > 1.01


def test_norms_and_units():
    F = np.zeros((100, 2))
    F[0], F[1] = [-5.0, 0.0], [5.0, 0.0]
    G = F.copy()
    # Two opposite errors of length 2 leave the mean, and are in line with no map.
    G[2], G[3] = [0.0, 2.0], [0.0, -2.0]
    score = near_identifiability_score
    assert score(F, G, norm="max") == pytest.approx(0.2)
    assert score(F, G, norm="mean") == pytest.approx(0.2 * 2 / 100)
    assert score(F, G, norm="q99") == pytest.approx(0.2)
    for group in GROUPS[:2]:
        for norm in ("mean", "max", "q99"):
            scaled = score(7 * F + 1, 7 * G - 3, group, norm)
            assert scaled == pytest.approx(score(F, G, group, norm))


@pytest.mark.parametrize("unit", [2.0**-900, 1e-170, 1e200, 1e306])
def test_errors_in_any_unit(unit):
    rng = np.random.default_rng(0)
    u = rng.uniform(size=(500, 2))
    F1, F2 = u, u @ rng.standard_normal((2, 2)) + 0.1 * rng.standard_normal((500, 2))
    wanted = alignment_errors(F1, F2, random_state=0)
    found = alignment_errors(F1 * unit, F2 * unit, random_state=0)
    # ICA ends at a gradient of 1e-6, from a start that rounding has moved.
    assert found == pytest.approx(wanted, rel=1e-4)
    for group in ("signed_permutation", "rigid", "linear"):
        one = near_identifiability_score(F1, F2, group)
        two = near_identifiability_score(F1 * unit, F2 * unit, group)
        assert two == pytest.approx(one, rel=1e-9)


def test_row_order_does_not_matter():
    data = make_perturbed_representations(500, 3, 0.2, random_state=0)
    order = np.random.default_rng(0).permutation(500)
    for group in GROUPS:
        one = near_identifiability_score(data.F1, data.F2, group)
        two = near_identifiability_score(data.F1[order], data.F2[order], group)
        assert one == pytest.approx(two, rel=1e-10)


# -- the diameter --------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("law", ["uniform", "laplace", "normal", "sphere"])
def test_diameter_is_exact(law, k):
    rng = np.random.default_rng(k)
    for _ in range(3):
        F = getattr(rng, "normal" if law == "sphere" else law)(size=(700, k)) + 3.0
        if law == "sphere":
            F /= np.linalg.norm(F, axis=1, keepdims=True)
        assert _diameter.diameter(F) == pytest.approx(pdist(F).max(), rel=1e-12)


def test_diameter_of_few_rows():
    assert _diameter.diameter(np.array([[1.0, 2.0]])) == 0.0
    assert _diameter.diameter(np.array([[0.0, 0.0], [3.0, 4.0]])) == 5.0
    assert _diameter.diameter(np.full((9, 2), 0.1)) == pytest.approx(0.0, abs=1e-15)


def test_diameter_of_too_many_rows_is_a_close_lower_bound(monkeypatch):
    F = np.random.default_rng(0).standard_normal((2000, 50))
    exact = pdist(F).max()
    monkeypatch.setattr(_diameter, "_MAX_ROWS", 200)
    assert 0.95 * exact < _diameter.diameter(F) <= exact * (1 + 1e-12)


# -- with ICA ------------------------------------------------------------------


def test_ica_undoes_linear_maps_of_non_gaussian_sources():
    u = laplace(0, 3000, 4)
    A, B = np.random.default_rng(1).standard_normal((2, 4, 4))
    errors = alignment_errors(u @ A, u @ B + 3.0, random_state=0)
    assert set(errors) == {
        *("permutation", "rigid", "linear", "whitened_permutation"),
        *("whitened_rigid", "ica", "efficiency", "whitened_efficiency"),
    }
    assert errors["linear"] < 1e-12 and errors["whitened_rigid"] < 1e-12
    # The two ICAs stop within 1e-6 of the same optimum, in the units of the gradient.
    assert errors["ica"] < 1e-5
    assert errors["whitened_efficiency"] == pytest.approx(1.0, abs=1e-3)
    # Across spaces: whitening undoes what no rigid map can.
    assert errors["efficiency"] > 1.2
    for space in ("", "whitened_"):
        expected = ica_efficiency(
            errors[f"{space}permutation"], errors[f"{space}rigid"], errors["ica"]
        )
        assert errors[f"{space}efficiency"] == expected


def test_raw_errors_are_the_scores_of_each_group():
    data = make_perturbed_representations(800, 3, 0.2, random_state=0)
    for norm in ("mean", "max", "q99"):
        errors = alignment_errors(data.F1, data.F2, norm, random_state=0)
        for name, group in zip(("permutation", *GROUPS[1:]), GROUPS, strict=True):
            score = near_identifiability_score(data.F1, data.F2, group, norm)
            assert errors[name] == score
        assert errors["linear"] < errors["rigid"] < errors["permutation"]
        assert errors["whitened_rigid"] < errors["whitened_permutation"]


def test_ica_cannot_align_gaussian_data():
    F = np.random.default_rng(0).standard_normal((4000, 3))
    with np.errstate(all="raise"):
        errors = alignment_errors(F, F.copy(), random_state=0)
    # The same rows: every other error is 0, and equal starts would hide that these
    # components are noise.
    assert errors["permutation"] < 1e-14
    turned = [
        alignment_errors(F, F @ ortho_group.rvs(3, random_state=s), random_state=s)
        for s in range(3)
    ]
    assert max(e["ica"] for e in [errors, *turned]) > 0.02


def test_widths_differ():
    u = laplace(0, 2000, 3)
    rng = np.random.default_rng(1)
    wide = u @ rng.standard_normal((3, 6))
    narrow = u @ rng.standard_normal((3, 3))
    for F1, F2 in ((wide, narrow), (narrow, wide)):
        errors = alignment_errors(F1, F2, random_state=0)
        assert errors["rigid"] == errors["whitened_rigid"] < 1e-12
        assert errors["ica"] < 1e-5
        assert near_identifiability_score(F1, F2, "rigid") == errors["rigid"]
    # Equal widths, unequal ranks: whitened to the smaller one.
    flat = u[:, :2] @ rng.standard_normal((2, 6))
    errors = alignment_errors(flat, wide, random_state=0)
    assert np.isfinite(list(errors.values())).all()


def test_whitened_errors_ignore_linear_maps():
    data = make_perturbed_representations(1000, 3, 0.2, random_state=0)
    A = np.random.default_rng(1).standard_normal((3, 3))
    one = alignment_errors(data.F1, data.F2, random_state=0)
    two = alignment_errors(data.F1 @ A + 1.0, data.F2, random_state=0)
    assert two["whitened_rigid"] == pytest.approx(one["whitened_rigid"], rel=1e-9)
    assert two["ica"] == pytest.approx(one["ica"], rel=1e-4)
    assert two["rigid"] != pytest.approx(one["rigid"], rel=0.01)


def test_held_out_rows_show_a_fit_to_noise():
    F1, F2 = laplace(0, 120, 30), laplace(1, 120, 30)
    seen = near_identifiability_score(F1, F2, "linear")
    held = near_identifiability_score(F1, F2, "linear", test_size=0.5, random_state=0)
    assert held > 1.3 * seen
    again = near_identifiability_score(F1, F2, "linear", test_size=0.5, random_state=0)
    assert held == again
    u = laplace(0, 1000, 3)
    A = np.random.default_rng(1).standard_normal((3, 3))
    errors = alignment_errors(u, u @ A, test_size=0.3, random_state=0)
    assert errors["linear"] < 1e-12 and errors["ica"] < 1e-5


def test_says_when_ica_has_not_converged(monkeypatch):
    solve = _alignment.ica
    monkeypatch.setattr(
        _alignment, "ica", lambda *a, **k: solve(*a, **k, max_iter=1, tol=1e-14)
    )
    with pytest.warns(ConvergenceWarning, match="has not converged") as caught:
        alignment_errors(laplace(0, 300, 3), laplace(1, 300, 3), random_state=0)
    assert ["ICA of F1" in str(w.message) for w in caught] == [True, False]
    assert "ICA of F2" in str(caught[1].message)


def scaling(n_samples, seeds):
    """Errors over eps and seeds, and the slope of the mean in logarithms."""
    sizes = np.array([0.01, 0.03, 0.1])
    found = []
    for eps in sizes:
        runs = []
        for seed in seeds:
            data = make_perturbed_representations(n_samples, 5, eps, random_state=seed)
            errors = alignment_errors(data.F1, data.F2, random_state=seed)
            runs.append((errors["ica"], errors["whitened_rigid"]))
        found.append(np.mean(runs, axis=0))
    ica, rigid = np.transpose(found)
    return ica, rigid, np.polyfit(np.log(sizes), np.log(ica), 1)[0]


def test_errors_grow_in_proportion_to_the_perturbation():
    assert abs(scaling(2000, [0])[2] - 1.0) < 0.1


@pytest.mark.slow
def test_errors_after_ica_have_the_size_that_the_theory_gives():
    ica, rigid, slope = scaling(10_000, range(5))
    np.testing.assert_allclose(ica, [0.0028, 0.0083, 0.028], rtol=0.3)
    assert abs(slope - 1.0) < 0.1
    # The best rotation, which sees both sides, is hardly better than ICA.
    assert np.all(rigid <= ica) and np.all(rigid >= 0.85 * ica)


# -- efficiency and errors -----------------------------------------------------


def test_efficiency_of_the_published_errors():
    permutation = [0.219, 0.197, 0.218, 0.382]
    rigid = [0.150, 0.109, 0.104, 0.206]
    ica = [0.202, 0.145, 0.175, 0.312]
    np.testing.assert_allclose(
        ica_efficiency(permutation, rigid, ica), [0.246, 0.591, 0.377, 0.398], atol=5e-4
    )
    assert isinstance(ica_efficiency(0.219, 0.150, 0.202), float)


def test_efficiency_is_not_clipped():
    assert ica_efficiency(0.2, 0.1, 0.3) == pytest.approx(-1.0)
    assert ica_efficiency(0.2, 0.1, 0.05) == pytest.approx(1.5)
    assert np.isnan(ica_efficiency(0.2, 0.2, 0.1))
    with pytest.raises(ValueError, match="ica must be finite and not negative"):
        ica_efficiency(0.2, 0.1, -0.1)
    with pytest.raises(ValueError, match="rigid must be finite"):
        ica_efficiency(0.2, np.nan, 0.1)


@pytest.mark.parametrize("score", [near_identifiability_score, alignment_errors])
def test_errors_name_the_argument(score):
    F = laplace(0, 20, 3)
    hole = F.copy()
    hole[3, 1] = np.inf
    with pytest.raises(ValueError, match="F1 and F2 must be of the same rows: got 20"):
        score(F, F[:-1])
    with pytest.raises(ValueError, match="F2 must be finite"):
        score(F, hole)
    with pytest.raises(ValueError, match="F1 must be two-dimensional and not empty"):
        score(F[:0], F)
    with pytest.raises(ValueError, match="F1 must have rows that differ; n_samples"):
        score(np.ones((20, 3)), F)
    with pytest.raises(ValueError, match="norm"):
        score(F, F, norm="l2")
    with pytest.raises(ValueError, match=r"test_size = 0.01 leaves 0 of 20 rows"):
        score(F, F, test_size=0.01)
    with pytest.raises(ValueError, match="test_size"):
        score(F, F, test_size=1.0)


def test_too_few_rows_for_ica():
    F1, F2 = laplace(0, 20, 30), laplace(1, 20, 30)
    # Centring leaves 19 dimensions of 20 rows.
    with pytest.raises(
        ValueError, match=r"19 components, for which ICA needs .* 38 row"
    ):
        alignment_errors(F1, F2)
    with pytest.raises(ValueError, match=r"it has 5 \(n_samples = 20\)"):
        alignment_errors(F1[:, :3], F2[:, :3], test_size=0.75)


def test_unknown_group():
    F = laplace(0, 20, 3)
    with pytest.raises(ValueError, match="group"):
        near_identifiability_score(F, F, "affine")
