import numpy as np
import pytest

from skident.utils._shards import BLOCK_ROWS, RowStream, Shards
from tests._stored import numbered, on_disk


def batches(source, batch_size=100, buffer_rows=4096, seed=0, epoch=0, start=0, **kw):
    shards = source if isinstance(source, Shards) else Shards(source)
    return list(
        RowStream(shards, batch_size, buffer_rows, seed, **kw).epoch(epoch, start)
    )


def numbers(blocks):
    return np.concatenate([block[:, 0] for block in blocks]).astype(int)


@pytest.mark.parametrize("buffer_rows", [100_000, 6 * BLOCK_ROWS, 1], ids=str)
@pytest.mark.parametrize("batch_size", [1000, 1500])
@pytest.mark.parametrize("on_file", [False, True])
def test_every_row_comes_once_an_epoch(tmp_path, buffer_rows, batch_size, on_file):
    X = numbered(12_345)
    source = [on_disk(tmp_path / "x", X) if on_file else X]
    stream = RowStream(Shards(source), batch_size, buffer_rows, seed=3)
    for epoch in range(2):
        blocks = list(stream.epoch(epoch))
        assert len(blocks) == stream.n_batches
        assert [len(b) for b in blocks[:-1]] == [batch_size] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.sort(numbers(blocks)), np.arange(12_345))
        np.testing.assert_array_equal(np.concatenate(blocks), X[numbers(blocks)])


@pytest.mark.parametrize("buffer_rows", [100_000, 4 * BLOCK_ROWS])
def test_rows_left_out_never_come_and_all_others_do(buffer_rows):
    X = numbered(10_000)
    # One whole block, the ends, and single rows.
    left_out = np.r_[0, BLOCK_ROWS : 2 * BLOCK_ROWS, 5000, 7777, 9999]
    stream = RowStream(Shards([X]), 300, buffer_rows, 0, left_out=left_out)
    assert stream.n_rows == 10_000 - len(left_out)
    got = np.sort(numbers(stream.epoch(0)))
    np.testing.assert_array_equal(got, np.delete(np.arange(10_000), left_out))


def test_orders_differ_between_epochs_and_seeds_and_none_keeps_it():
    X = numbered(3000)
    orders = [numbers(batches([X], seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)]
    for i, order in enumerate(orders):
        # Two random permutations agree in one place on average.
        assert all((order == other).sum() < 20 for other in orders[:i])
    np.testing.assert_array_equal(
        numbers(batches([X], seed=None, epoch=5, buffer_rows=2048)), np.arange(3000)
    )


def test_a_full_permutation_mixes_all_rows_and_a_window_only_its_own():
    X = numbered(16 * BLOCK_ROWS)
    whole = numbers(batches([X], buffer_rows=100_000))
    # The mean of the first quarter of a random permutation; its standard error is
    # n / sqrt(12 n / 4) < 74.
    assert abs(whole[: 4 * BLOCK_ROWS].mean() - len(X) / 2) < 5 * 74
    windowed = numbers(batches([X], buffer_rows=8 * BLOCK_ROWS))
    for window in windowed.reshape(4, 4 * BLOCK_ROWS):
        blocks, counts = np.unique(window // BLOCK_ROWS, return_counts=True)
        assert len(blocks) == 4 and (counts == BLOCK_ROWS).all()
        assert (np.diff(window // BLOCK_ROWS) != 0).mean() > 0.7  # 3/4 if mixed


@pytest.mark.parametrize("buffer_rows", [100_000, 2 * BLOCK_ROWS])
def test_an_epoch_entered_in_the_middle_is_the_rest_of_the_whole(tmp_path, buffer_rows):
    X = numbered(7000)
    for source in ([X], [on_disk(tmp_path / "x", X)]):
        kwargs = {"batch_size": 640, "buffer_rows": buffer_rows, "epoch": 2}
        whole = batches(source, **kwargs)
        for start in range(len(whole) + 1):
            rest = batches(source, start=start, **kwargs)
            assert len(rest) == len(whole) - start
            for one, two in zip(rest, whole[start:], strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("n_rows", [9216, 9217, 9999, 10_001, 601])
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_the_batches_of_one_process(n_rows, size):
    X = numbered(n_rows)
    kwargs = {"buffer_rows": 4 * BLOCK_ROWS, "seed": 1}
    single = batches([X], batch_size=600, **kwargs)
    ranks = [
        batches([X], batch_size=600 // size, rank=rank, size=size, **kwargs)
        for rank in range(size)
    ]
    n_batches = {len(blocks) for blocks in ranks}
    assert len(n_batches) == 1  # else the processes would wait for each other
    for i, pieces in enumerate(zip(*ranks, strict=True)):
        assert len({len(piece) for piece in pieces}) == 1
        together = np.concatenate(pieces)
        # A last batch that does not divide loses the rows that are over.
        np.testing.assert_array_equal(together, single[i][: len(together)])
        assert len(single[i]) - len(together) < size


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("buffer_rows", [100_000, 2 * BLOCK_ROWS])
def test_shards_give_the_rows_and_order_of_one_array(tmp_path, dtype, buffer_rows):
    X = numbered(500, 6, dtype).repeat(8, axis=0)
    X[:, 5] = np.arange(4000) % 2048
    cuts = np.split(X, [1, 700, 700, 2800])
    parts = [
        on_disk(tmp_path / str(i), cut) if len(cut) and i % 2 else cut
        for i, cut in enumerate(cuts)
    ]
    for kwargs in ({}, {"left_out": np.arange(5, 4000, 7)}):
        one = batches([X], buffer_rows=buffer_rows, **kwargs)
        two = batches(parts, buffer_rows=buffer_rows, **kwargs)
        assert all(block.dtype == dtype for block in two)
        np.testing.assert_array_equal(np.concatenate(two), np.concatenate(one))


def test_one_row_is_an_epoch():
    for source in ([numbered(1)], [numbered(1), numbered(0)]):
        (block,) = batches(source, batch_size=7)
        np.testing.assert_array_equal(block, numbered(1))
        assert Shards(source).sample(10, np.random.default_rng(0)).tolist() == [0]
