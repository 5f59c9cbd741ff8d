"""Every diagnostic fires where its assumption is broken, and is silent elsewhere."""

import warnings

import numpy as np
import pytest

from skident.decomposition import ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import match_components

GAUSSIAN = "at most one Gaussian component"
ROWS = "enough rows for a rotation"
SAMPLING = "other rows would give the same components"
RETURN = "components come back from other rows and another start"
ROUNDING = "no component is made of rounding"
CUT = "the spectrum has a gap where it is cut"
OPTIMUM = "the optimum was reached"
RANK = "magnitudes are uncorrelated"
DISTANCE = "magnitudes are independent"
FACTORS = "components are the factors behind the data"


def fitted(X, **params):
    """A fit and the names of the violated assumptions; the warning names them too."""
    est = ICAPostProcessor(**({"random_state": 0} | params))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X)
    violated = {a.name for a in est.identifiability_.violated}
    ours = [w for w in caught if w.category is IdentifiabilityWarning]
    assert len(ours) == bool(violated)
    assert all(name in str(ours[0].message) for name in violated)
    # It points at the line that called fit.
    assert all(w.filename == __file__ for w in caught)
    return est, violated


def laplace(n=4000, k=4, seed=0):
    rng = np.random.default_rng(seed)
    u = rng.laplace(size=(n, k))
    return u, u @ rng.standard_normal((k, k)), rng


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["laplace", "uniform", "exponential", "mixed"])
def test_nothing_fires_on_the_model(kind, seed):
    rng = np.random.default_rng(seed)
    u = {
        "laplace": lambda: rng.laplace(size=(3000, 4)),
        "uniform": lambda: rng.uniform(size=(3000, 4)),
        "exponential": lambda: rng.exponential(size=(3000, 4)),
        "mixed": lambda: np.c_[rng.laplace(size=(3000, 2)), rng.uniform(size=3000)],
    }[kind]()
    k = u.shape[1]
    est, violated = fitted(u @ rng.standard_normal((k, k)))
    assert not violated and est.identifiability_.ok
    assert est.identified_mask_.all() and not est.gaussian_mask_.any()
    names = [a.name for a in est.identifiability_.assumptions]
    assert names == [
        GAUSSIAN,
        ROWS,
        SAMPLING,
        RETURN,
        ROUNDING,
        OPTIMUM,
        RANK,
        DISTANCE,
        FACTORS,
    ]
    verdicts = {a.name: a.verdict for a in est.identifiability_.assumptions}
    assert verdicts.pop(FACTORS) == "untestable" and set(verdicts.values()) == {"holds"}


@pytest.mark.parametrize("seed", range(3))
def test_two_gaussian_sources_are_flagged_and_the_others_kept(seed):
    rng = np.random.default_rng(seed)
    gauss = rng.standard_normal((10_000, 2))
    u = np.c_[gauss, rng.laplace(size=(10_000, 3))]
    X = u @ rng.standard_normal((5, 5))
    est, violated = fitted(X)
    assert violated == {GAUSSIAN}
    assert est.gaussian_mask_.sum() == 2
    np.testing.assert_array_equal(est.identified_mask_, ~est.gaussian_mask_)
    kept = est.transform(X)[:, est.identified_mask_]
    assert match_components(u[:, 2:], kept).correlations.min() >= 0.99
    # As a block the two are found all the same.
    block = est.transform(X)[:, est.gaussian_mask_]
    left = gauss - block @ np.linalg.lstsq(block, gauss, rcond=None)[0]
    assert left.var() < 0.02


def test_one_gaussian_source_is_identified_by_the_others():
    rng = np.random.default_rng(0)
    u = np.c_[rng.standard_normal(8000), rng.laplace(size=(8000, 3))]
    X = u @ rng.standard_normal((4, 4))
    est, violated = fitted(X)
    assert not violated
    assert est.gaussian_mask_.sum() == 1 and est.identified_mask_.all()
    assert match_components(u, est.transform(X)).correlations.min() > 0.99


@pytest.mark.parametrize(("n", "k"), [(200, 2), (2000, 6)])
def test_gaussian_data(n, k):
    X = np.random.default_rng(0).standard_normal((n, k))
    est, violated = fitted(X)
    assert GAUSSIAN in violated
    assert est.gaussian_mask_.all() and not est.identified_mask_.any()
    verdicts = {a.name: a.verdict for a in est.identifiability_.assumptions}
    assert verdicts[SAMPLING] == "untestable"


def test_few_rows_for_the_rotation():
    _, X, _ = laplace(n=400, k=10)
    est, violated = fitted(X)
    assert ROWS in violated
    rows = next(a for a in est.identifiability_.violated if a.name == ROWS)
    assert (rows.statistic, rows.threshold) == (400, 500)


def test_directions_that_these_rows_do_not_hold():
    # A fifth of the components' variance is peaked, the rest Gaussian.
    rng = np.random.default_rng(0)
    u = 0.45 * rng.standard_t(3, size=(3000, 4)) + 0.6 * rng.standard_normal((3000, 4))
    few, violated = fitted(u[:700] @ rng.standard_normal((4, 4)))
    assert violated & {SAMPLING, GAUSSIAN}
    assert not few.identified_mask_.all()


def test_a_component_lost_in_sampling_error_is_not_kept():
    rng = np.random.default_rng(3)
    u = np.c_[rng.laplace(size=(300, 2)), rng.uniform(size=(300, 1))]
    est, violated = fitted(u @ rng.standard_normal((3, 3)))
    kept = est.angle_stderr_ <= np.pi / 12
    np.testing.assert_array_equal(est.identified_mask_, kept & ~est.gaussian_mask_)
    assert (SAMPLING in violated) == (not kept[~est.gaussian_mask_].all())


def test_components_made_of_rounding():
    _, _, rng = laplace()
    # The second feature is the first but for a part that float16 cannot hold.
    first = rng.laplace(size=3000) * 10
    X = np.c_[first, first + 1e-3 * rng.laplace(size=3000), rng.laplace(size=3000)]
    exact, violated = fitted(X)
    assert not violated and exact.identified_mask_.all()
    est, violated = fitted(X.astype(np.float16))
    assert ROUNDING in violated
    assert not est.identified_mask_.all() and est.identified_mask_.any()
    assert est.condition_number_ > 1e4
    assert f"{np.sqrt(est.condition_number_):.3g} times" in str(est.identifiability_)


def test_a_cut_where_the_spectrum_is_flat():
    rng = np.random.default_rng(0)
    signal = rng.laplace(size=(2000, 3)) @ rng.standard_normal((3, 12)) * 3
    X = signal + rng.standard_normal((2000, 12))
    clean, violated = fitted(X, n_components=3)
    assert not violated
    assert CUT in [a.name for a in clean.identifiability_.assumptions]
    _, violated = fitted(X, n_components=5)
    assert CUT in violated
    for rotation in ("none", "random"):
        _, violated = fitted(X, n_components=5, rotation=rotation)
        assert violated == {CUT}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_that_stops_early():
    _, X, _ = laplace(k=6)
    _, violated = fitted(X, max_iter=1, warm_start_subsample=10)
    assert OPTIMUM in violated
    # A gradient above tol but below its sampling error costs nothing that shows.
    _, violated = fitted(X, tol=1e-4)
    assert OPTIMUM not in violated
    loose, violated = fitted(X, tol=1e-18, max_iter=30)
    assert OPTIMUM not in violated and not loose.converged_


def test_sources_that_share_their_scale():
    u, _, rng = laplace()
    scale = rng.gamma(2.0, size=(len(u), 1))
    _, violated = fitted((u * scale) @ rng.standard_normal((4, 4)))
    assert violated >= {RANK, DISTANCE}


def test_dependence_without_rank_correlation():
    # |s| is largest where |t| is middling: no monotone relation, yet dependent.
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=6000)
    middling = 1 - np.abs(2 * np.abs(t) - 1)
    s = rng.choice([-1, 1], size=6000) * (middling + 0.1 * rng.uniform(size=6000))
    est, violated = fitted(np.c_[s, t])
    assert DISTANCE in violated and RANK not in violated
    assert est.identified_mask_.all()


def test_what_cannot_be_tested_says_so():
    x = np.random.default_rng(0).laplace(size=(100, 1))
    est, violated = fitted(x)
    assert not violated
    verdicts = {a.name: a.verdict for a in est.identifiability_.assumptions}
    assert verdicts[DISTANCE] == verdicts[FACTORS] == "untestable"
    _, X, _ = laplace(n=24, k=2)
    est, _ = fitted(X)
    verdicts = {a.name: a.verdict for a in est.identifiability_.assumptions}
    assert verdicts[DISTANCE] == "untestable"


def test_the_report_reads_as_a_table():
    _, X, _ = laplace()
    est, _ = fitted(X)
    text = str(est.identifiability_)
    assert "the 4 components, up to permutation and sign" in text
    assert "identified_mask_ keeps 4 of 4 components" in text
    frame = est.identifiability_.to_frame()
    assert frame.loc[SAMPLING, "statistic"] == est.angle_stderr_.max()
    assert frame.loc[OPTIMUM, "statistic"] == est.gradient_norm_
