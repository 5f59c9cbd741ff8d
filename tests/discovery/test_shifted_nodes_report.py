"""Every diagnostic fires where its assumption is broken, and is silent elsewhere."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_latent_shift
from skident.discovery import ShiftedNodeDetector
from skident.discovery._shift_report import (
    _optimum,
    cut_angle,
    n_near_gaussian,
    rank_dependence,
    undecided,
)
from skident.exceptions import IdentifiabilityWarning
from tests.discovery._rescalings import RESCALE
from tests.discovery._shifts import fitted, found_nodes, laplace

SEVERAL = "there are environments to compare"
GAUSSIAN = "at most one Gaussian noise"
ROWS = "enough rows for a rotation"
OPTIMUM = "the optimum was reached"
ROUNDING = "no component is made of rounding"
INDEPENDENT = "noises are independent"
NOISE = "there is no measurement noise"
ABOVE = "noise does not pass for shifts"
CUT = "the spectrum has a gap where it is cut"
MIXING = "one mixing for all environments"
SCALE = "features were not rescaled one environment at a time"
LAWS_DIFFER = "laws of the noises are told apart"
PARTNER = "components that did not shift have one partner"
ALIKE = "environments are matched alike directly and through the first"
LAWS_STAY = "noises keep their laws"
KEPT = "between any two environments some mechanism is the same"
SPLITS = "enough splits for the error level"
VISIBLE = "a shift that scores 0.2 would be seen"
MODEL = "latents follow a linear acyclic model"
FAST = {"threshold": 0.2}


def names(detector):
    return [a.name for a in detector.identifiability_.assumptions]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", ["laplace", "uniform"])
def test_nothing_fires_on_the_model(seed, noise):
    data = make_latent_shift(20_000, 4, noise=noise, random_state=seed)
    detector, violated = fitted(data, n_calibration=4)
    assert not violated
    verdicts = {a.name: a.verdict for a in detector.identifiability_.assumptions}
    assert verdicts.pop(MODEL) == "untestable"
    assert set(verdicts.values()) == {"holds"}
    assert detector.identifiability_.notes == ()


def test_one_gaussian_noise_is_no_harm_and_two_are():
    for laws, expected in ((2, 1), (3, 2)):
        rng = np.random.default_rng(laws)
        sources = rng.laplace(size=(20_000, 4))
        sources[:, 1:laws] = rng.standard_normal((20_000, laws - 1))
        data = make_latent_shift(20_000, sources=sources, random_state=0)
        detector, violated = fitted(data, **FAST)
        (line,) = [
            a for a in detector.identifiability_.assumptions if a.name == GAUSSIAN
        ]
        assert line.statistic == expected
        assert (GAUSSIAN in violated) == (expected > 1)


def test_gaussian_rows_may_be_gaussian_whatever_their_number():
    for n in (50, 1000, 20_000):
        data = make_latent_shift(n, 3, noise="gaussian", random_state=0)
        _, violated = fitted(data, **FAST)
        assert GAUSSIAN in violated


def test_the_bound_of_near_gaussian_components():
    assert n_near_gaussian(np.array([3.0, -1.2, 0.1]), 10**6) == 1
    assert n_near_gaussian(np.array([3.0, -1.2, 0.25]), 10**6) == 0
    # Fewer rows say less: sqrt(24 / 500) (2 sqrt(2) + 3.7) is 1.4.
    assert n_near_gaussian(np.array([3.0, -1.2, 0.25]), 500) == 2
    assert n_near_gaussian(np.array([3.0, 1.2, 1.2]), 1000) == 0


def test_single_environments_are_said_not_raised():
    data = laplace(3000, 3)
    detector = ShiftedNodeDetector(3, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match=SEVERAL):
        detector.fit(data.X)
    assert not detector.identifiability_.ok
    assert "one environment" in detector.identifiability_.target
    assert detector.environments_.tolist() == [0]
    assert len(detector.shifted_nodes_) == 0
    assert MIXING not in names(detector) and VISIBLE not in names(detector)
    same = ShiftedNodeDetector(3, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match=SEVERAL):
        same.fit(data.X, environments=["only"] * 6000)
    assert same.environments_.tolist() == ["only"]


def test_twenty_rows_cannot_tell():
    data = laplace(20, 3, seed=1)
    detector, violated = fitted(data)
    assert {ROWS, VISIBLE} <= violated
    assert len(detector.undecided_nodes_) + len(detector.shifted_nodes_) == 3
    assert "cannot tell whether components" in str(detector.identifiability_)


def test_halves_of_too_few_rows_give_no_threshold():
    data = laplace(7, 3, seed=1)
    detector, violated = fitted(data)
    assert VISIBLE in violated and np.isinf(detector.threshold_).all()
    np.testing.assert_array_equal(detector.undecided_nodes_, [0, 1, 2])


def test_too_few_rows_of_an_environment_are_refused_by_its_name():
    data = laplace(50, 3)
    labels = np.where(np.arange(100) < 97, "many", "few")
    with pytest.raises(ValueError, match=r"'few' has 3 rows, at least 4 .* = 100"):
        ShiftedNodeDetector(3).fit(data.X, environments=labels)


def test_an_environment_of_lower_rank_is_refused_by_its_name():
    data = laplace(500, 3)
    flat = data.environments == 1
    X = data.X.copy()
    X[flat] = data.latents[flat] * [1, 1, 0] @ data.mixing.T
    labels = np.where(flat, "flat", "full")
    for n_components in (None, 3):
        for dtype in (np.float64, np.float32):
            with pytest.raises(ValueError, match="the rows of 'flat' span"):
                ShiftedNodeDetector(n_components).fit(
                    X.astype(dtype), environments=labels
                )
    one = ShiftedNodeDetector(2, threshold=0.2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        assert one.fit(X, environments=labels).n_components_ == 2


def test_what_cannot_be_had_is_refused():
    data = laplace(100, 3)
    X, labels = data.X, data.environments
    with pytest.raises(ValueError, match=r"n_components = 5 exceeds .* which is 3"):
        ShiftedNodeDetector(5).fit(X, environments=labels)
    with pytest.raises(ValueError, match="all rows of X are the same"):
        ShiftedNodeDetector().fit(np.ones((10, 2)), environments=np.arange(10) % 2)
    for value in (np.nan, np.inf):
        hole = X.copy()
        hole[150, 1] = value
        with pytest.raises(ValueError, match=r"contains (NaN|infinity).* row 150"):
            ShiftedNodeDetector(3).fit(hole, environments=labels)
    mixed = np.array(["a", 1] * 100, dtype=object)
    with pytest.raises(ValueError, match="environments must be labels of one type"):
        ShiftedNodeDetector(3).fit(X, environments=mixed)
    with pytest.raises(ValueError, match="environments must be of shape"):
        ShiftedNodeDetector(3).fit(X, environments=labels[:-1])
    with pytest.raises(ValueError, match="environments must have a label in every row"):
        ShiftedNodeDetector(3).fit(X, environments=[None] * 200)


def test_constant_features_do_no_harm():
    data = laplace(8000, 4)
    whole, _ = fitted(data, **FAST)
    data.X = np.insert(data.X, [0, 3], 7.5, axis=1)
    detector, violated = fitted(data, **FAST)
    assert not violated
    np.testing.assert_allclose(
        detector.shift_scores_, whole.shift_scores_, rtol=0, atol=1e-3
    )
    assert np.abs(detector.unmixing_[:, :, [0, 4]]).max() < 1e-9
    # Constant in each environment, but not the same: only the mean has changed.
    data.X[:, 0] = data.environments
    again, violated = fitted(data, **FAST)
    assert not violated
    np.testing.assert_allclose(again.shift_scores_, detector.shift_scores_, atol=1e-3)


def test_a_search_that_does_not_converge_says_which_environment():
    data = laplace(3000, 4)
    labels = np.array(["a", "b"])[data.environments]
    detector = ShiftedNodeDetector(4, max_iter=1, tol=1e-12, random_state=0, **FAST)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.fit(data.X, environments=labels)
    ours = [str(w.message) for w in caught if w.category is ConvergenceWarning]
    assert len(ours) == 2 and "environment 'b' did not converge in 1 it" in ours[1]
    assert "Increase max_iter or tol" in ours[0]
    assert all(w.filename == __file__ for w in caught)
    assert not detector.converged_.any()


def test_a_search_that_stops_far_away_is_a_violation():
    def found(*gradients):
        unmixed = [SimpleNamespace(gradient_norm=norm) for norm in gradients]
        aligned = SimpleNamespace(unmixed=unmixed)
        sizes = np.array([10_000, 10**8])
        return SimpleNamespace(aligned=aligned, tol=1e-4, n_samples=sizes)

    # A tenth of what sampling does to it is 1e-3 for the smaller environment.
    assert _optimum(found(9e-4, 9e-5)).verdict == "holds"
    assert _optimum(found(2e-3, 9e-5)).verdict == "violated"
    assert _optimum(found(9e-4, 2e-4)).statistic == pytest.approx(2)


def test_rounded_data_make_components_of_rounding():
    data = laplace(4000, 3, seed=2)
    X = data.X - data.X.mean(axis=0)
    # A third direction not much larger than the rounding of half precision, or below.
    left, scale, right = np.linalg.svd(X, full_matrices=False)
    offset = 30 * np.abs(X).max()
    for small, refused in ((0.025, False), (0.001, True)):
        scale[2] = small * scale[0]
        X = (left[:, :3] * scale[:3]) @ right[:3]
        data.X = (10 * X + offset).astype(np.float16)
        if refused:
            with pytest.raises(ValueError, match="Lower n_components"):
                fitted(data, 3, **FAST)
        else:
            assert ROUNDING in fitted(data, 3, **FAST)[1]


def test_noises_that_depend_on_each_other_are_seen():
    rng = np.random.default_rng(0)
    data = laplace(8000, 4)
    # One volatility for all noises of a row.
    volatility = rng.uniform(0.3, 2, (len(data.sources), 1))
    for k in (0, 1):
        of = data.environments == k
        data.X[of] = (data.sources * volatility)[of] @ np.linalg.pinv(
            data.unmixing[k]
        ).T
    _, violated = fitted(data, **FAST)
    assert INDEPENDENT in violated


def test_rank_dependence_keeps_its_level():
    rng = np.random.default_rng(1)
    found = [rank_dependence(rng.laplace(size=(300, 4))) for _ in range(300)]
    # 1 in 1000 each: three or more of 300 come once in 280 times.
    assert sum(statistic > bound for statistic, bound in found) <= 2
    statistic, bound = rank_dependence(np.ones((300, 2)))
    assert statistic == 0 and bound > 0
    assert np.isnan(rank_dependence(rng.laplace(size=(300, 1)))).all()


def test_measurement_noise_and_a_flat_cut_are_seen():
    rng = np.random.default_rng(2)
    data = laplace(8000, 4)
    data.X = data.X + data.X.std() * rng.standard_normal(data.X.shape)
    _, violated = fitted(data, **FAST)
    assert NOISE in violated
    data.X = rng.laplace(size=data.X.shape)
    _, violated = fitted(data, **FAST)
    assert {NOISE, CUT} <= violated


def test_full_rank_for_want_of_a_number_of_components_is_noted():
    rng = np.random.default_rng(3)
    data = laplace(3000, 3)
    X = data.X + 0.01 * data.X.std() * rng.standard_normal(data.X.shape)
    detector = ShiftedNodeDetector(random_state=0, **FAST)
    with pytest.warns(IdentifiabilityWarning, match="Set n_components: noise makes"):
        detector.fit(X, environments=data.environments)
    assert detector.n_components_ == 6
    (note,) = detector.identifiability_.notes
    assert "set n_components" in note and "gap of the spectrum is after 3" in note


def test_another_mixing_is_seen():
    data = laplace(8000, 4)
    second = data.environments == 1
    rng = np.random.default_rng(4)
    other = data.mixing + 0.02 * rng.standard_normal(data.mixing.shape)
    data.X[second] = data.latents[second] @ other.T
    detector, violated = fitted(data, **FAST)
    assert MIXING in violated
    assert detector.subspace_angles_[0] == 0 and detector.subspace_angles_[1] > 0.01


def test_noise_does_not_pass_for_another_mixing():
    for seed in range(4):
        data = laplace(2000, 3, seed=seed)
        rng = np.random.default_rng(seed)
        data.X = data.X + 0.1 * data.X.std() * rng.standard_normal(data.X.shape)
        _, violated = fitted(data, **FAST)
        assert MIXING not in violated


def test_the_error_of_principal_directions_is_that_of_samples():
    rng = np.random.default_rng(5)
    spectrum, n, angles = np.array([9.0, 4.0, 1.0, 0.5]), 2000, []
    for _ in range(200):
        X = rng.standard_normal((n, 4)) * np.sqrt(spectrum)
        vectors = np.linalg.eigh(np.cov(X.T))[1][:, ::-1]
        angles.append(np.square(np.linalg.norm(vectors[2:, :2])))
    expected = cut_angle(spectrum, 2, n, largest=True)
    # A mean of 200 squares is good to 7 %.
    assert np.sqrt(np.mean(angles)) == pytest.approx(expected, rel=0.25)
    assert cut_angle(spectrum, 2, n) < expected
    assert cut_angle(np.ones(3), 2, n) == np.pi / 2


@pytest.mark.parametrize("how", list(RESCALE))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rescaling_one_environment_at_a_time_is_seen(how, dtype):
    # As many features as latents: then spans of environments tell nothing.
    data = laplace([3000, 1000], 3, n_observed=3)
    common = data.X / data.X.std(axis=0)
    for k in (0, 1):
        rows = data.environments == k
        data.X[rows] = RESCALE[how](data.X[rows])
    data.X = data.X.astype(dtype)
    _, violated = fitted(data, **FAST)
    assert SCALE in violated
    data.X = common.astype(dtype)
    _, violated = fitted(data, **FAST)
    assert SCALE not in violated


def test_scales_that_agree_for_another_reason_pass():
    # Answers from 1 to 6 have the same extremes in all groups, but not alone.
    rng = np.random.default_rng(6)
    data = laplace(500, 3)
    data.X = rng.integers(1, 7, (1000, 4)).astype(np.float64)
    _, violated = fitted(data, **FAST)
    assert SCALE not in violated
    # A copy is alike in everything.
    data.X[500:] = data.X[:500]
    _, violated = fitted(data, **FAST)
    assert SCALE not in violated


def test_equal_laws_are_seen_where_they_matter():
    data = laplace(8000, 4)
    _, violated = fitted(data, matching="psi", **FAST)
    assert LAWS_DIFFER in violated
    detector, violated = fitted(data, **FAST)
    assert not violated and LAWS_DIFFER not in names(detector)


def test_a_law_that_changes_is_seen():
    data = laplace(8000, 4, shift="none")
    rng = np.random.default_rng(7)
    second = data.environments == 1
    sources = data.sources[second]
    sources[:, 2] = rng.uniform(-1, 1, len(sources)) * np.sqrt(3)
    data.X[second] = sources @ np.linalg.pinv(data.unmixing[1]).T
    detector, violated = fitted(data, **FAST)
    assert violated == {LAWS_STAY} and len(detector.shifted_nodes_) == 0


def test_components_without_a_clear_partner_are_seen():
    # Under Gaussian noises rows are any rows.
    data = make_latent_shift(400, 6, noise="gaussian", random_state=1)
    detector, violated = fitted(data, threshold=1.0)
    assert PARTNER in violated
    assert np.isnan(detector.margins_[0]).all() and (detector.margins_[1] < 0).any()


def test_nodes_that_may_be_mistaken_for_each_other_are_seen():
    # All nodes shift anew in each environment: partners are a guess.
    found = set()
    for seed in range(4):
        data = laplace(4000, 5, seed=seed, n_environments=3, shift_fraction=1.0)
        detector, violated = fitted(data, **FAST)
        assert ALIKE in names(detector)
        found |= violated & {ALIKE}
    assert len(detector.shifted_nodes_) > 0 and found == {ALIKE}


def test_nodes_are_undecided_only_where_a_threshold_hides_them():
    threshold = np.full((2, 2, 3), np.inf)
    threshold[[0, 1], [1, 0]] = 0.1, 0.3, 0.3
    shifted = np.zeros((2, 2, 3), dtype=bool)
    shifted[[0, 1], [1, 0], 1] = True
    np.testing.assert_array_equal(undecided(shifted, threshold), [2])


def test_the_threshold_of_one_node_can_hide_it_and_no_other():
    # The second and third laws are nearly Gaussian, at this number of rows.
    data = make_latent_shift(3000, 5, random_state=0)
    detector, violated = fitted(data)
    assert VISIBLE in violated
    assert 0 < len(detector.undecided_nodes_) < 5
    assert "cannot tell whether" in " ".join(detector.identifiability_.notes)
    assert set(found_nodes(detector, data)) <= set(data.shifted[0, 1])


@pytest.mark.parametrize(
    ("n_calibration", "quantile", "enough"),
    [(4, 0.95, True), (3, 0.95, False), (10, 0.99, False), (2, 0.9, True)],
)
def test_strict_levels_take_many_splits(n_calibration, quantile, enough):
    params = {"n_calibration": n_calibration, "calibration_quantile": quantile}
    _, violated = fitted(laplace(2000, 3), **params)
    assert (SPLITS not in violated) == enough


def test_environments_in_which_everything_shifted_are_violations():
    data = laplace(4000, 3, n_observed=3, shift="none")
    assert KEPT not in fitted(data, **FAST)[1]
    # As many features as latents: no test can tell another mixing from shifts.
    second = data.environments == 1
    data.X[second] = data.X[second] @ np.random.default_rng(0).standard_normal((3, 3))
    detector, violated = fitted(data, **FAST)
    assert len(detector.shifted_nodes_) == 3
    assert KEPT in violated
    assert not {MIXING, SCALE} & violated


def test_noise_that_passes_for_shifts_is_seen():
    # The nodes beside the one that shifted: with many rows their scores, which only
    # noise makes, stand above any threshold of sampling.
    data = laplace(50_000, 3, n_observed=6, seed=1)
    clean = data.X
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    for size, seen in ((0.01, False), (0.2, True)):
        data.X = clean + size * clean.std() * noise
        detector, violated = fitted(data, n_calibration=4)
        others = set(found_nodes(detector, data)) - set(data.shifted[0, 1])
        assert bool(others) == seen
        assert (ABOVE in violated) == seen
