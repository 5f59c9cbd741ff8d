import numpy as np
import pytest

from skident.dynamics._block_triangles import BlockLayout, BlockTriangles, collect
from skident.dynamics._libraries import make_library
from skident.dynamics._ode_operators import solve_groups
from skident.dynamics._ode_smoothing import smooth
from skident.dynamics._windows import cut_windows, make_table, order_series


def series_of(lengths, dt=1.0):
    labels = np.repeat(np.arange(len(lengths)), lengths)
    return order_series(np.zeros((len(labels), 1)), labels, None, dt)


# -- windows -----------------------------------------------------------------------


def test_rows_are_put_in_order():
    X = np.arange(6.0)[:, None]
    series = order_series(X, list("babaab"), [3, 1, 2, 9, 0, 1], 1.0)
    np.testing.assert_array_equal(series.order, [4, 1, 3, 5, 2, 0])
    np.testing.assert_array_equal(series.times, [0, 1, 9, 1, 2, 3])
    np.testing.assert_array_equal(series.starts, [0, 3, 6])
    assert not series.even()
    assert series.mean_step == pytest.approx((1 + 8 + 1 + 1) / 4)
    table = make_table(np.column_stack([X, -X]), 1, None, None, 0.5)
    np.testing.assert_array_equal(table.controls, -X)
    assert table.series.even() and table.series.mean_step == 0.5


@pytest.mark.parametrize("stride", [1, 3, 5])
def test_windows_stay_in_a_trajectory_and_use_every_row(stride):
    series = series_of([11, 1, 4, 7])
    groups = cut_windows(series, 5, stride)
    seen = np.concatenate([group.rows.ravel() for group in groups])
    # The trajectory of one row has no window.
    np.testing.assert_array_equal(np.unique(seen), np.delete(np.arange(23), 11))
    of = np.repeat(np.arange(4), series.lengths)
    for group in groups:
        assert (of[group.rows] == of[group.rows[:, :1]]).all()
        assert (np.diff(group.rows, axis=1) == 1).all()
    assert sorted(group.length for group in groups) == [4, 5]


def test_uneven_windows_stand_apart():
    times = np.r_[0:10, 12:20].astype(float)
    series = order_series(np.zeros((18, 1)), None, times, 1.0)
    even, uneven = cut_windows(series, 4, 1)
    assert even.ratios is None and (even.step == 1).all()
    assert len(even) == 7 + 5 and len(uneven) == 3
    np.testing.assert_allclose(uneven.step, 5 / 3)
    np.testing.assert_allclose(uneven.ratios.mean(axis=1), 1)


@pytest.mark.parametrize("uneven", [False, True])
def test_operators_solve_windows(uneven):
    times = np.linspace(0, 2, 30)
    if uneven:
        times = times + 0.02 * np.sin(40 * times)
    series = order_series(np.zeros((30, 1)), None, times, 1.0)
    for order, bar in ((2, 2e-3), (3, 1e-4)):
        solved = solve_groups(cut_windows(series, 10, 4), order, 1)
        for group in solved:
            t = times[group.group.rows][..., None]
            u = group.solve(np.cos(t), np.sin(t))
            assert np.abs(u - np.sin(t)).max() < bar
            # Parts of a group are those windows.
            part = np.concatenate([p.solve(np.cos(t[:1]), np.sin(t[:1])) for p in
                                   group.chunks(1, budget=1)][:1])  # fmt: skip
            np.testing.assert_allclose(part, u[:1], rtol=1e-13)


# -- blocks ------------------------------------------------------------------------


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    series = series_of([60, 40, 30])
    layout = BlockLayout(series, 8, 4)
    starts = np.concatenate([np.arange(0, 53), np.arange(60, 93), np.arange(100, 123)])
    rows = rng.normal(size=(len(starts), 8, 4))
    rows[..., 3] += rows[..., 0] - 2 * rows[..., 1]
    triangles = BlockTriangles(layout, 3, 1)
    blocks = layout.of_rows(starts)
    # In two parts, as chunks come.
    triangles.add(blocks[:30], rows[:30])
    triangles.add(blocks[30:], rows[30:])
    return layout, starts, blocks, rows, triangles


def test_blocks_fit_as_all_rows_do(regression):
    *_, rows, triangles = regression
    flat = rows.reshape(-1, 4)
    coef, loss = triangles.solve(np.array([0, 2]))
    best, rest, *_ = np.linalg.lstsq(flat[:, [0, 2]], flat[:, 3], rcond=None)
    np.testing.assert_allclose(coef, best)
    assert loss == pytest.approx(rest[0])
    assert triangles.solve(np.zeros(0, int))[1] == pytest.approx(
        flat[:, 3] @ flat[:, 3]
    )
    design = flat[:, :3] / np.linalg.norm(flat[:, :3], axis=0)
    values, weakest = triangles.singular()
    np.testing.assert_allclose(values, np.linalg.svd(design, compute_uv=False))
    assert np.linalg.norm(design @ weakest) == pytest.approx(values[-1])


def test_errors_are_the_sandwich(regression):
    layout, starts, blocks, rows, triangles = regression
    columns = np.array([0, 1])
    coef, _ = triangles.solve(columns)
    scores = np.zeros((layout.n_blocks, 2))
    for block, own in zip(blocks, rows, strict=True):
        scores[block] += own[:, columns].T @ (own[:, 3] - own[:, columns] @ coef)
    trajectory = np.full(layout.n_blocks, -1)
    trajectory[blocks] = np.searchsorted([0, 60, 100], starts, side="right")
    meat = np.zeros((2, 2))
    # What a stretch of scores that sum to zero over all blocks loses.
    share = np.bincount(blocks, minlength=layout.n_blocks) / len(blocks)
    lost = 0.0
    for a, one in enumerate(scores):
        for b, two in enumerate(scores):
            if trajectory[a] == trajectory[b]:
                weight = 1 - abs(a - b) / (layout.lag + 1)
                meat += max(weight, 0) * np.outer(one, two)
                lost += max(weight, 0) * share[a] * share[b]
    flat = rows.reshape(-1, 4)[:, columns]
    bread = np.linalg.inv(flat.T @ flat)
    n = (60 + 40 + 30) / 8
    wanted = np.sqrt(np.diag(bread @ meat @ bread) * n / (n - 2) / (1 - lost))
    np.testing.assert_allclose(triangles.errors(columns, coef), wanted)


def test_columns_of_others_are_projected_out(regression):
    *_, triangles = regression
    whole, loss = triangles.solve(np.arange(3))
    errors = triangles.errors(np.arange(3), whole)
    part = triangles.partial(np.array([0, 2]), np.array([1]))
    coef, partial_loss = part.solve(np.arange(2))
    np.testing.assert_allclose(coef, whole[[0, 2]])
    assert partial_loss == pytest.approx(loss)
    # Frisch, Waugh and Lovell; but for the count of fitted coefficients.
    n = (60 + 40 + 30) / 8
    np.testing.assert_allclose(
        part.errors(np.arange(2), coef),
        errors[[0, 2]] * np.sqrt((n - 3) / (n - 2)),
    )


def test_dependent_columns_have_no_errors(regression):
    layout, _, blocks, rows, _ = regression
    rows = rows.copy()
    rows[..., 2] = rows[..., 0]
    triangles = BlockTriangles(layout, 3, 1)
    triangles.add(blocks, rows)
    assert np.isinf(triangles.errors(np.array([0, 2]), np.zeros(2))).all()
    assert np.isfinite(triangles.solve(np.array([0, 2]))[0]).all()
    assert triangles.singular()[0][-1] < 1e-12
    # The last one of those that are dependent may go.
    assert triangles.spare(np.arange(3)) == 2
    assert triangles.spare(np.array([2, 1, 0])) == 2
    assert triangles.spare(np.array([1, 2])) is None


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 2))
    series = order_series(X, None, None, 0.1)
    solved = solve_groups(cut_windows(series, 6, 1), 2, 1)
    library = make_library("polynomial", ["x", "y"], 2, True)
    layout = BlockLayout(series, 6, 8)
    one = collect(solved, X, X, X, library, layout)
    cls = type(solved[0])
    whole = cls.chunks
    monkeypatch.setattr(cls, "chunks", lambda self, n, budget=0: whole(self, n, 500))
    two = collect(solved, X, X, X, library, layout)
    for target in (0, 1):
        np.testing.assert_allclose(
            two.solve(np.arange(6), target)[0], one.solve(np.arange(6), target)[0]
        )


# -- smoothing ---------------------------------------------------------------------


@pytest.mark.parametrize("uneven", [False, True])
def test_smoothing_knows_the_noise(uneven):
    rng = np.random.default_rng(3)
    times = np.arange(600) * 0.05
    if uneven:
        times = np.sort(rng.uniform(0, 30, 600))
    clean = np.column_stack([np.sin(times), np.cos(2 * times)])
    X = clean + 0.1 * rng.normal(size=clean.shape)
    series = order_series(X, None, times if uneven else None, 0.05)
    states, noise = smooth(X, series)
    # A standard deviation of 600 rows has a relative error of 3 %.
    np.testing.assert_allclose(noise, 0.1, rtol=0.12)
    # Lengths of a dozen rows or more leave less than half of the noise.
    assert np.sqrt(np.mean((states - clean) ** 2)) < 0.05


def test_few_rows_pass_as_they_are():
    X = np.arange(6.0)[:, None] ** 2
    states, noise = smooth(X, order_series(X, None, None, 1.0))
    np.testing.assert_array_equal(states, X)
    assert np.isnan(noise).all()
    # Cubics reproduce a parabola; a short trajectory beside a long one passes too.
    X = np.concatenate([np.arange(9.0) ** 2, [5, 1, 7]])[:, None]
    series = order_series(X, np.repeat([0, 1], [9, 3]), None, 1.0)
    states, noise = smooth(X, series)
    np.testing.assert_allclose(states, X, atol=1e-12)
    assert noise[0] < 1e-12
