"""Weekly temperatures of a sea that is made up: seasons, a trend, and weather."""

from numbers import Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.datasets._series import NON_NEGATIVE, REAL, at_least
from skident.utils._sklearn import Interval, validate_parameter_constraints

_CONSTRAINTS = {
    "n_weeks": at_least(2),
    "n_lat": at_least(2),
    "n_lon": at_least(2),
    "trend": REAL,
    "weather": NON_NEGATIVE,
    "persistence": [Interval(Real, 0, 1, closed="left")],
    "random_state": ["random_state"],
}
_WEEKS_A_YEAR = 365.25 / 7


def make_sst_like(
    n_weeks=1727,
    n_lat=18,
    n_lon=36,
    *,
    trend=0.015,
    weather=0.5,
    persistence=0.9,
    random_state=None,
):
    """Weekly maps that resemble temperatures of the sea's surface.

    A stand-in for weekly analyses of the sea surface, which have 1727 maps of 180 by
    360 degrees: a mean by latitude, annual and semi-annual waves of opposite sign in
    the two hemispheres, a slow trend, and weather that persists.

    Parameters
    ----------
    n_weeks : int, default=1727
        Number of maps.
    n_lat, n_lon : int, default=18, 36
        Nodes from south to north, and eastwards.
    trend : float, default=0.015
        Degrees per year, at the equator; half of that at the poles.
    weather : float, default=0.5
        Standard deviation of the weather, in degrees.
    persistence : float, default=0.9
        Correlation of the weather between weeks at each node, in [0, 1).
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_weeks, n_lat * n_lon)
            Temperatures in degrees, one map a row in C order of (latitude, longitude).
        climate : ndarray of shape (n_weeks, n_lat * n_lon)
            The part without weather.
        times : ndarray of shape (n_weeks,)
            Weeks from 0.
        trajectories : ndarray of int of shape (n_weeks,)
            Zeros.
        grid_shape : tuple of int
            ``(n_lat, n_lon)``.
        n_fields : int
            1.
        spacing : tuple of float
            Steps in degrees of latitude and longitude.
        dt : float
            1, a week.
        coordinates : tuple of two ndarrays
            Latitudes and longitudes, in degrees.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skident.datasets import make_sst_like
    >>> data = make_sst_like(104, 6, 12, random_state=0)
    >>> data.X.shape, data.grid_shape
    ((104, 72), (6, 12))
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_sst_like"
    )
    rng = check_random_state(random_state)
    lat = -90 + 180 / n_lat * (np.arange(n_lat) + 0.5)
    lon = 360 / n_lon * (np.arange(n_lon) + 0.5)
    north, warmth = np.sin(np.deg2rad(lat)), np.cos(np.deg2rad(lat))
    weeks = np.arange(n_weeks, dtype=np.float64)
    year = 2 * np.pi * weeks / _WEEKS_A_YEAR
    # Weeks by latitudes; the two waves are warmest in late summer of each hemisphere.
    zonal = (
        -1.0
        + 29.0 * warmth**1.5
        - 4.5 * np.outer(np.cos(year - 1.0), north)
        + 0.8 * np.outer(np.cos(2 * year - 0.5), warmth)
        + trend * np.outer(weeks / _WEEKS_A_YEAR, 0.5 * (1 + warmth))
    )
    # Basins: a wave in longitude that does not change.
    basins = 1.2 * np.outer(warmth, np.cos(np.deg2rad(2 * lon)))
    climate = (zonal[:, :, None] + basins).reshape(n_weeks, -1)
    noise = rng.standard_normal(climate.shape)
    noise[1:] *= np.sqrt(1 - persistence**2)
    for week in range(1, n_weeks):
        noise[week] += persistence * noise[week - 1]
    return Bunch(
        X=climate + weather * noise,
        climate=climate,
        times=weeks,
        trajectories=np.zeros(n_weeks, dtype=np.int64),
        grid_shape=(n_lat, n_lon),
        n_fields=1,
        spacing=(180 / n_lat, 360 / n_lon),
        dt=1.0,
        coordinates=(lat, lon),
        DESCR=(
            f"{n_weeks} weekly maps of {n_lat} x {n_lon} made-up sea temperatures with "
            f"seasons, a trend of {trend:g} degrees a year and weather of {weather:g} "
            "degrees."
        ),
    )
