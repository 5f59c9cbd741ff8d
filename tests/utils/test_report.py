import pickle
import warnings

import numpy as np
import pytest

from skident.exceptions import IdentifiabilityWarning
from skident.utils import Assumption, IdentifiabilityReport
from tests._anchor import AnchorRegressor

HELD = Assumption.at_most("no overlap", "largest overlap", 0.25, 0.5)
BROKEN = Assumption.at_least("environments differ", "F statistic", 1.23456, 4)
UNTESTED = Assumption("no confounder", "no instrument")


def report(*assumptions, **kwargs):
    return IdentifiabilityReport("the slopes", "scale", assumptions, **kwargs)


@pytest.mark.parametrize(
    ("compare", "statistic", "verdict"),
    [
        (Assumption.at_most, 0.9, "holds"),
        (Assumption.at_most, 1.0, "holds"),
        (Assumption.at_most, 1.1, "violated"),
        (Assumption.at_least, 1.1, "holds"),
        (Assumption.at_least, 1.0, "holds"),
        (Assumption.at_least, 0.9, "violated"),
        (Assumption.at_most, np.inf, "violated"),
        (Assumption.at_most, np.nan, "untestable"),
        (Assumption.at_least, np.nan, "untestable"),
    ],
)
def test_verdict_follows_from_the_comparison(compare, statistic, verdict):
    assert compare("a", "t", statistic, 1.0).verdict == verdict


@pytest.mark.parametrize("compare", [Assumption.at_most, Assumption.at_least])
def test_nan_threshold_tests_nothing(compare):
    assert compare("a", "t", 1.0, np.nan).verdict == "untestable"


def test_a_verdict_is_never_made_up():
    with pytest.raises(ValueError, match="NaN: its verdict can only be"):
        Assumption("a", "t", np.nan, 1.0, "holds")
    with pytest.raises(ValueError, match="verdict must be one of"):
        Assumption("a", "t", verdict="fine")
    with pytest.raises(ValueError, match="bound must be"):
        Assumption("a", "t", bound="below")


def test_records_are_immutable_plain_and_comparable():
    assumption = Assumption.at_most("a", "t", np.float32(0.5), np.int64(1))
    assert type(assumption.statistic) is float and type(assumption.threshold) is float
    with pytest.raises(AttributeError):
        assumption.verdict = "holds"
    one = report(HELD, BROKEN, notes=["a note"])
    assert one.assumptions == (HELD, BROKEN) and one.notes == ("a note",)
    with pytest.raises(AttributeError):
        one.target = "more"
    assert pickle.loads(pickle.dumps(one)) == one
    assert report(HELD, notes="one note").notes == ("one note",)


def test_ok_only_falls_with_a_violated_assumption():
    assert report(HELD, UNTESTED).ok
    assert report(UNTESTED).ok and report().ok
    mixed = report(HELD, BROKEN, UNTESTED)
    assert not mixed.ok
    assert mixed.violated == (BROKEN,)


def test_printed_table():
    text = str(
        report(HELD, BROKEN, UNTESTED, stability={"dcs": 0.987654}, notes=["n = 9"])
    )
    # An independent rendering: cells joined by hand.
    assert text.splitlines() == [
        "May not be identified: the slopes, up to scale. 1 assumption is violated.",
        "assumption          | tested by       | statistic | threshold   | verdict",
        "--------------------+-----------------+-----------+-------------+-"
        + "-" * len("untestable from these data"),
        "no overlap          | largest overlap | 0.25      | at most 0.5 | holds",
        "environments differ | F statistic     | 1.235     | at least 4  | violated",
        "no confounder       | no instrument   |           |             | "
        "untestable from these data",
        "Stability over re-runs: dcs = 0.9877.",
        "Note: n = 9",
    ]


@pytest.mark.parametrize(
    ("assumptions", "outcome"),
    [
        ((HELD, UNTESTED), "No tested assumption is violated."),
        ((UNTESTED,), "No assumption could be tested."),
        ((), "No assumption could be tested."),
        ((BROKEN, BROKEN), "2 assumptions are violated."),
    ],
)
def test_headline(assumptions, outcome):
    assert str(report(*assumptions)).splitlines()[0].endswith(outcome)


def test_long_cells_are_wrapped_without_losing_words():
    words = " ".join(f"word{i}" for i in range(40))
    lines = str(report(Assumption("a", words))).splitlines()
    assert max(map(len, lines)) < 150
    column = " ".join(line.split("|")[1].strip() for line in lines[3:])
    assert lines[3].startswith("a ") and column.split() == words.split()


def test_html_has_every_row_and_escapes():
    html = report(Assumption("p < q", "a & b"), notes=["<script>"])._repr_html_()
    assert "<td>p &lt; q</td><td>a &amp; b</td>" in html
    assert html.count("<tr>") == 2
    assert "<script>" not in html
    assert "<table>" not in report()._repr_html_()


def test_advice_is_given_only_where_something_is_violated():
    with pytest.warns(IdentifiabilityWarning, match=r"whole report\. Do this\.$"):
        report(BROKEN, advice="Do this.").warn(object())
    assert str(report(BROKEN, advice="Do this.")).endswith("\nAdvice: Do this.")
    assert "Do this." not in str(report(HELD, advice="Do this."))


def test_frame_keeps_the_numbers():
    frame = report(HELD, BROKEN, UNTESTED).to_frame()
    assert list(frame.index) == [a.name for a in (HELD, BROKEN, UNTESTED)]
    assert frame.loc["environments differ", "statistic"] == 1.23456
    assert list(frame["bound"])[:2] == ["at_most", "at_least"]
    assert np.isnan(frame.loc["no confounder", "threshold"])
    assert frame["verdict"].tolist() == ["holds", "violated", "untestable"]
    assert report().to_frame().shape == (0, 5)


def test_one_warning_names_every_violated_assumption():
    told = Assumption("signed", "reading the paper", verdict="violated")
    with pytest.warns(IdentifiabilityWarning) as caught:
        report(HELD, BROKEN, told).warn(AnchorRegressor())
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "AnchorRegressor: the slopes may not be identified" in text
    assert "as 2 assumptions are violated: " in text
    assert "environments differ (F statistic): 1.235, wanted at least 4" in text
    assert "signed (reading the paper)." in text
    assert "no overlap" not in text


def test_no_warning_where_nothing_is_violated():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(HELD, UNTESTED).warn(AnchorRegressor())


def test_the_warning_points_at_the_callers_line():
    with pytest.warns(IdentifiabilityWarning) as caught:
        report(BROKEN).warn(AnchorRegressor())
    assert caught[0].filename == __file__
