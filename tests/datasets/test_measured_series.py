"""Measured series: what is in them."""

import numpy as np

from skident.datasets import load_el_nino, load_lynx_hare


def test_lynxes_follow_hares():
    pelts = load_lynx_hare()
    assert pelts.X.shape == (21, 2) and pelts.X.dtype == np.float64
    np.testing.assert_array_equal(pelts.times, np.arange(1900, 1921))
    assert pelts.feature_names == ["hare", "lynx"] and pelts.dt == 1.0
    # The means that textbooks print.
    np.testing.assert_allclose(pelts.X.mean(axis=0), [34.08, 20.17], atol=0.005)
    hare, lynx = np.log(pelts.X).T
    assert np.corrcoef(hare[:-1], lynx[1:])[0, 1] > np.corrcoef(hare, lynx)[0, 1] + 0.2
    assert {"DESCR", "licence", "citation"} <= set(pelts)


def test_the_sea_has_seasons_and_two_great_ninos():
    sea = load_el_nino()
    assert sea.X.shape == sea.anomaly.shape == (732, 1)
    np.testing.assert_allclose(np.diff(sea.times), 1 / 12, atol=1e-9)
    assert sea.times[0] == 1950 + 1 / 24 and 2010 < sea.times[-1] < 2011
    months = sea.X.reshape(61, 12)
    assert months.mean(axis=0).argmax() == 2 and months.mean(axis=0).argmin() in (7, 8)
    np.testing.assert_allclose(sea.anomaly.reshape(61, 12).mean(axis=0), 0, atol=1e-12)
    warmest = np.sort(sea.anomaly.reshape(61, 12).max(axis=1).argsort()[-4:] + 1950)
    assert {1983, 1997} <= set(warmest)
