import numpy as np
import pandas as pd
import pytest

from skident.utils._validation import (
    check_environments,
    check_instruments,
    check_sample_weight,
    check_selected,
    check_selection_prob,
    check_settings,
    check_times,
    check_trajectories,
    check_treatment,
)

X = np.zeros((4, 2))
LABEL_CHECKERS = [
    (check_environments, "environments"),
    (check_trajectories, "trajectories"),
]


@pytest.mark.parametrize(("check", "name"), LABEL_CHECKERS)
@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ([7, -1, 7, 3], [-1, 3, 7]),
        ([0.5, -1, 0.5, 3], [-1, 0.5, 3]),
        (["b", "", "b", "a"], ["", "a", "b"]),
        ([True, False, True, True], [False, True]),
        (np.array([7, 0, 7, 3], dtype=np.uint8), [0, 3, 7]),
        (np.array(["b", "a", "b", "c"], dtype=object), ["a", "b", "c"]),
        (pd.Series(["b", "a", "b", "c"], index=[9, 8, 7, 6]), ["a", "b", "c"]),
        (pd.Series(["b", "a", "b", "c"], dtype="category"), ["a", "b", "c"]),
        (pd.array([2, 1, 2, 3], dtype="Int64"), [1, 2, 3]),
        ([2**53, 2**53 + 1, 2**53, 2.5], [2.5, 2**53, 2**53 + 1]),
    ],
)
def test_labels_are_sorted_and_coded(check, name, given, labels):
    found, codes = check(given, X)
    assert found.tolist() == labels
    assert codes.tolist() == [labels.index(value) for value in given]


def test_dates_are_labels():
    dates = pd.to_datetime(["2021-01-01", "2020-01-01", "2021-01-01", "2020-01-01"])
    labels, codes = check_environments(dates, X)
    assert labels.dtype.kind == "M"
    np.testing.assert_array_equal(codes, [1, 0, 1, 0])


def test_only_the_partition_reaches_the_codes():
    _, numbers = check_environments([3, 5, 3, 9], X)
    _, names = check_environments(["x", "y", "x", "z"], X)
    np.testing.assert_array_equal(numbers, names)


@pytest.mark.parametrize(("check", "name"), LABEL_CHECKERS)
@pytest.mark.parametrize(
    ("given", "got"),
    [
        ([0, 1, 0], r"shape \(n_samples,\), got shape \(3,\)"),
        ([[0], [1], [0], [1]], r"got shape \(4, 1\)"),
        (None, r"got shape \(\)"),
        ("abcd", r"got shape \(\)"),
        ([0, 1, None, 1], "a label in every row, got missing ones"),
        (["a", "b", np.nan, "a"], "missing ones"),
        (pd.Series(["a", "b", None, "a"]), "missing ones"),
        (pd.array([1, None, 2, 1], dtype="Int64"), "missing ones"),
        (pd.to_datetime(["2020", "2021", None, "2020"]), "missing ones"),
        ([0.0, 1.0, np.nan, 1.0], "missing ones"),
        ([1, "1", 1, 1], "labels of one type that can be sorted, got types int, str"),
    ],
)
def test_bad_labels_are_refused(check, name, given, got):
    with pytest.raises(ValueError, match=rf"^{name} .*{got}; n_samples = 4\.$"):
        check(given, X)


@pytest.mark.parametrize(("check", "name"), LABEL_CHECKERS)
def test_too_few_labels_are_refused(check, name):
    check(["a", "a", "b", "a"], X, at_least=2)
    wanted = rf"{name} must have at least 2 distinct labels, got 1: \['a'\]"
    with pytest.raises(ValueError, match=wanted):
        check(["a"] * 4, X, at_least=2)


def test_settings_are_coded_column_by_column():
    given = pd.DataFrame({"arm": list("baab"), "batch": [2, 1, 2, 2]})
    for settings in (given, given.to_numpy().tolist(), given.to_numpy()):
        labels, codes = check_settings(settings, X)
        assert [column.tolist() for column in labels] == [["a", "b"], [1, 2]]
        np.testing.assert_array_equal(codes, [[1, 1], [0, 0], [0, 1], [1, 1]])


@pytest.mark.parametrize(
    "given", [[0, 1, 0, 1], np.zeros((4, 0)), [["a"], ["b"], [None], ["a"]]]
)
def test_bad_settings_are_refused(given):
    with pytest.raises(ValueError, match=r"^settings must .*n_samples = 4\.$"):
        check_settings(given, X)


def test_one_setting_is_a_column_too():
    with pytest.raises(ValueError, match=r"as frame\[\['arm'\]\] or .* are, got"):
        check_settings(pd.Series(list("baab")), X)


def test_treatment_keeps_its_shape():
    one = check_treatment(np.array([0, 1, 0, 1], dtype=np.int8), X)
    assert one.dtype == np.float64 and one.shape == (4,)
    assert check_treatment(np.ones((4, 3), dtype=np.float32), X).shape == (4, 3)
    np.testing.assert_array_equal(
        check_treatment([True, False, True, True], X, binary=True), [1, 0, 1, 1]
    )
    with pytest.raises(ValueError, match=r"treatment must be 0 or 1 .*, got 2;"):
        check_treatment([0, 1, 2, 1], X, binary=True)
    with pytest.raises(ValueError, match=r"treatment must be 0 or 1 .*, got dtype"):
        check_treatment(["drug", "none", "none", "drug"], X, binary=True)


def test_instruments_are_a_table():
    assert check_instruments(pd.DataFrame(np.eye(4)), X).shape == (4, 4)


def test_selected_is_boolean():
    for given in ([1, 0, 1, 1], [True, False, True, True], [1.0, 0.0, 1.0, 1.0]):
        found = check_selected(given, X)
        assert found.dtype == bool and found.tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match="selected must be 0 or 1"):
        check_selected([1, 0, 1, -1], X)


def test_selection_probabilities_are_probabilities_where_rows_were_selected():
    given = [0.5, 1, 0.25, 1e-9]
    np.testing.assert_array_equal(check_selection_prob(given, X), given)
    selected = np.array([True, True, False, True])
    found = check_selection_prob([0.5, 1, np.nan, 1], X, selected=selected)
    np.testing.assert_array_equal(found, [0.5, 1, 1, 1])
    with pytest.raises(
        ValueError, match=r"selection_prob must lie in \(0, 1\], got 0;"
    ):
        check_selection_prob([0.5, 1, 0, 1], X)
    with pytest.raises(ValueError, match=r"\(0, 1\], got 1.5; n_samples = 4"):
        check_selection_prob([0.5, 1.5, 1, 1], X, selected=selected)


def test_times_are_distinct_within_a_trajectory():
    np.testing.assert_array_equal(check_times([3, 1, 2, 0], X), [3, 1, 2, 0])
    with pytest.raises(ValueError, match="distinct within a trajectory, got 1 twice"):
        check_times([1, 0, 1, 2], X)
    times = [1, 0, 1, 0]
    _, codes = check_trajectories(list("aabb"), X)
    np.testing.assert_array_equal(check_times(times, X, trajectories=codes), times)
    _, codes = check_trajectories(list("abab"), X)
    with pytest.raises(ValueError, match="times must be distinct"):
        check_times(times, X, trajectories=codes)


def test_sample_weight():
    np.testing.assert_array_equal(check_sample_weight(None, X), np.ones(4))
    np.testing.assert_array_equal(check_sample_weight(2, X), np.full(4, 2.0))
    assert check_sample_weight([1, 0, 2, 3], X, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        check_sample_weight([1, -1, 2, 3], X)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        check_sample_weight(np.zeros(4), X)


NUMBER_CHECKERS = [
    (check_treatment, "treatment", 1),
    (check_treatment, "treatment", 2),
    (check_instruments, "instruments", 2),
    (check_selected, "selected", 1),
    (check_selection_prob, "selection_prob", 1),
    (check_times, "times", 1),
    (check_sample_weight, "sample_weight", 1),
]


@pytest.mark.parametrize(("check", "name", "ndim"), NUMBER_CHECKERS)
@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ([0, 1, 0], "be of shape"),
        ([0, 1, np.nan, 1], "be finite, got nan"),
        ([0, 1, np.inf, 1], "be finite, got inf"),
        ([0, 1, None, 1], "be finite, got nan"),
        (["0", "1", "0", "1"], "be numbers.*, got dtype"),
        (["a", 1, 0, 1], "be numbers.*, got"),
        ([0, 1j, 0, 1], "be numbers.*, got dtype complex"),
        (np.array(["2020", "2021", "2022", "2023"], "M8[Y]"), "be numbers.*, got"),
    ],
)
def test_what_is_no_column_of_numbers_is_refused(check, name, ndim, column, wanted):
    given = np.array(column).reshape(-1, 1) if ndim == 2 else column
    with pytest.raises(ValueError, match=rf"^{name} must {wanted}.*n_samples = 4\.$"):
        check(given, X)


@pytest.mark.parametrize(("check", "name", "ndim"), NUMBER_CHECKERS)
def test_a_wrong_number_of_axes_is_refused(check, name, ndim):
    given = np.ones((4, 1, 1)) if name == "treatment" else np.ones((4, 1)[: 3 - ndim])
    with pytest.raises(ValueError, match=rf"^{name} must be of shape .*, got shape"):
        check(given, X)


@pytest.mark.parametrize(
    ("check", "name"),
    [(check_treatment, "treatment"), (check_instruments, "instruments")],
)
def test_a_table_without_columns_is_refused(check, name):
    with pytest.raises(ValueError, match=rf"^{name} must have at least one column"):
        check(np.ones((4, 0)), X)
