"""Measured series that are short enough to come with the library."""

import csv
from importlib import resources

import numpy as np
from sklearn.utils import Bunch

_LYNX_DESCR = """Pelts of snowshoe hares and of Canada lynxes, 1900 to 1920.

Thousands of pelts that trappers delivered to the Hudson's Bay Company in 21 years; how
many animals lived is unknown, and so is how the effort of the trappers changed. Numbers
of hares rise and fall about every ten years, and those of lynxes, which feed on them,
follow. Textbooks hold them for a case of the equations of Lotka and Volterra; hares
also cycle where there are no lynxes.
"""
_LYNX_CITATION = (
    "E. P. Odum, Fundamentals of Ecology, W. B. Saunders, 1953; the numbers as "
    "tabulated by J. M. Mahaffy, San Diego State University, after the records of the "
    "Hudson's Bay Company. C. Elton and M. Nicholson, The ten-year cycle in numbers of "
    "the lynx in Canada, Journal of Animal Ecology 11(2), 1942, 215-244."
)
_NINO_DESCR = """Temperature of the sea off Peru, month by month, 1950 to 2010.

Monthly means of the surface temperature, in degrees Celsius, between the equator and 10
degrees south and between 90 and 80 degrees west (the region "Niño 1+2"), of the
analysis ERSST v3b. In some years the cold water off the coast stays away around the end
of the year: El Niño, as in 1982-83 and 1997-98.
"""
_NINO_CITATION = (
    "T. M. Smith, R. W. Reynolds, T. C. Peterson and J. Lawrimore, Improvements to "
    "NOAA's historical merged land-ocean surface temperature analysis (1880-2006), "
    "Journal of Climate 21, 2008, 2283-2296. National Oceanic and Atmospheric "
    "Administration, National Weather Service, Climate Prediction Center."
)
_MONTHS = 12


def load_lynx_hare():
    """Pelts of hares and lynxes that the Hudson's Bay Company bought, 1900 to 1920.

    Returns
    -------
    pelts : :class:`~sklearn.utils.Bunch`
        X : ndarray of float64 of shape (21, 2)
            Thousands of pelts of hares and of lynxes.
        times : ndarray of float64 of shape (21,)
            Years.
        trajectories : ndarray of int of shape (21,)
            Zeros.
        dt : float
            1, a year.
        feature_names : list of str
            ``["hare", "lynx"]``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Examples
    --------
    >>> from skident.datasets import load_lynx_hare
    >>> pelts = load_lynx_hare()
    >>> pelts.X[pelts.times == 1904]
    array([[36.3, 59.4]])
    """
    names, rows = _read("_lynx_hare.csv")
    return Bunch(
        X=rows[:, 1:].copy(),
        times=rows[:, 0].copy(),
        trajectories=np.zeros(len(rows), dtype=np.int64),
        dt=1.0,
        feature_names=names[1:],
        DESCR=_LYNX_DESCR,
        licence="Counts of the early 20th century, printed in many places; no terms.",
        citation=_LYNX_CITATION,
    )


def load_el_nino():
    """Monthly temperature of the sea off Peru, 1950 to 2010.

    Returns
    -------
    sea : :class:`~sklearn.utils.Bunch`
        X : ndarray of float64 of shape (732, 1)
            Temperatures, in degrees Celsius.
        anomaly : ndarray of float64 of shape (732, 1)
            The same less the mean of the calendar month over all years.
        times : ndarray of float64 of shape (732,)
            Years; a month's value stands at its middle.
        trajectories : ndarray of int of shape (732,)
            Zeros.
        dt : float
            1/12, a month.
        feature_names : list of str
            ``["temperature"]``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Examples
    --------
    >>> from skident.datasets import load_el_nino
    >>> sea = load_el_nino()
    >>> sea.X.shape, float(sea.times[sea.anomaly[:, 0].argmax()].round(1))
    ((732, 1), 1983.5)
    """
    _, rows = _read("_el_nino.csv")
    months = rows[:, 1:]
    years = rows[:, :1] + (np.arange(_MONTHS) + 0.5) / _MONTHS
    return Bunch(
        X=months.reshape(-1, 1).copy(),
        anomaly=(months - months.mean(axis=0)).reshape(-1, 1),
        times=years.ravel(),
        trajectories=np.zeros(months.size, dtype=np.int64),
        dt=1.0 / _MONTHS,
        feature_names=["temperature"],
        DESCR=_NINO_DESCR,
        licence="Public domain (a work of the government of the United States).",
        citation=_NINO_CITATION,
    )


def _read(name):
    """Head and numbers of a table that lies beside this file."""
    text = resources.files("skident.datasets").joinpath(name).read_text("utf-8")
    head, *rows = csv.reader(text.splitlines())
    return head, np.array(rows, dtype=np.float64)
