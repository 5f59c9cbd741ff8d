"""The report: quiet where the theory holds, loud where it does not."""

import numpy as np
import pytest
from scipy import stats

from skident.datasets import make_multi_env_scm
from skident.discovery import TwoEnvCausalDiscovery
from skident.discovery import _two_env_report as module
from skident.discovery._causal_order import CausalOrder
from skident.discovery._mechanisms import fit_mechanisms
from skident.discovery._triangular import abduct
from skident.exceptions import IdentifiabilityWarning
from tests.discovery._rescalings import RESCALE

CAUSE, SEEDS = "a base and two auxiliary environments", range(3)
ROWS, RANK = "enough rows in every environment", "every environment has full rank"
CONTINUOUS = "every column is continuous"
ONE_SCALE = "columns were not rescaled one environment at a time"
CHANGES = "every noise changes its size in every auxiliary environment"
RATIOS = "the noises of cause and effect change in different ratios"
SHAPE = "noises are only rescaled: mechanisms and laws are shared"
CENTRE = "no noise has moved"
INDEPENDENT = "noises are independent of causes and of each other"
DIRECTIONS = "causes do not pass for effects"
SINKS = "each sink looks like one of the fitted model"


def problem(seed, n_samples=500, **options):
    return make_multi_env_scm(n_samples, 5, kind="linear", random_state=seed, **options)


def report(X, environments, **params):
    """The report, after checking that it is also the warning."""
    settings = {"score_estimator": "gaussian", "random_state": 0} | params
    model = TwoEnvCausalDiscovery(**settings)
    with pytest.warns(IdentifiabilityWarning) as caught:
        model.fit(X, environments=environments)
    (warning,) = caught
    violated = {a.name for a in model.identifiability_.violated}
    assert violated and all(name in str(warning.message) for name in violated)
    assert not model.identifiability_.ok
    return violated


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines"])
def test_the_model_itself_passes(seed, estimator):
    data = problem(seed)
    model = TwoEnvCausalDiscovery(score_estimator=estimator, random_state=0)
    model.fit(data.X, environments=data.environments)
    report = model.identifiability_
    assert report.ok
    assert {a.name for a in report.assumptions if a.verdict == "holds"} == {
        CAUSE,
        ROWS,
        RANK,
        CONTINUOUS,
        ONE_SCALE,
        CHANGES,
        RATIOS,
        SHAPE,
        CENTRE,
        INDEPENDENT,
        SINKS,
        DIRECTIONS,
    }
    assert any("closest ratios" in note for note in report.notes)
    assert any("narrowest choice" in note for note in report.notes)
    assert any("Variances in the base" in note for note in report.notes)
    assert any("around one line" in note for note in report.notes)
    scale = any("columns were taken as" in note.lower() for note in report.notes)
    assert scale == (estimator == "splines")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines"])
def test_equal_auxiliary_environments(seed, estimator):
    scales = problem(seed).noise_scales
    scales[2] = scales[1]
    data = problem(seed, noise_scales=scales)
    violated = report(data.X, data.environments, score_estimator=estimator)
    # Directions stay open where, by chance, nothing else tells them; wrong ones leave
    # noises that depend on causes.
    assert RATIOS in violated and violated <= {RATIOS, DIRECTIONS, INDEPENDENT}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines"])
def test_one_noise_that_does_not_change(seed, estimator):
    scales = problem(seed).noise_scales
    scales[1, 3] = 1.0
    data = problem(seed, noise_scales=scales)
    violated = report(data.X, data.environments, score_estimator=estimator)
    assert CHANGES in violated and violated <= {CHANGES, DIRECTIONS}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines", "stein"])
def test_two_environments_only(seed, estimator):
    data = problem(seed, n_samples=200)
    two = data.environments < 2
    violated = report(data.X[two], data.environments[two], score_estimator=estimator)
    assert CAUSE in violated


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.parametrize("criterion", ["studentized", "independence"])
def test_two_environments_have_no_ratio(criterion):
    # One difference lies along one line, for every node.
    data = problem(0, n_samples=200)
    two = data.environments < 2
    model = TwoEnvCausalDiscovery(
        criterion=criterion, score_estimator="gaussian", mechanism=None
    )
    model.fit(data.X[two], environments=data.environments[two])
    assert any("curvature" in note for note in model.identifiability_.notes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines"])
def test_a_noise_that_moves(seed, estimator):
    data = problem(seed)
    noises, where = data.noises.copy(), data.environments == 1
    noises[where, 2] += 1.5 * noises[where, 2].std()
    violated = report(
        data.scm.generate(noises), data.environments, score_estimator=estimator
    )
    assert CENTRE in violated


@pytest.mark.parametrize("seed", SEEDS)
def test_environments_standardised_one_by_one(seed):
    data = problem(seed)
    X = data.X.copy()
    for label in range(3):
        rows = data.environments == label
        X[rows] = (X[rows] - X[rows].mean(axis=0)) / X[rows].std(axis=0)
    assert {ONE_SCALE, CHANGES} <= report(X, data.environments)


@pytest.mark.parametrize("how", list(RESCALE))
def test_environments_rescaled_one_by_one(how):
    data = problem(0, n_samples=[300, 200, 250])
    X = data.X.copy()
    for label in range(3):
        rows = data.environments == label
        X[rows] = RESCALE[how](X[rows])
    assert ONE_SCALE in report(X, data.environments, mechanism=None)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_noise_of_another_law_in_one_environment(seed):
    data = problem(seed)
    noises, where = data.noises.copy(), data.environments == 2
    noises[where, 1] = np.abs(noises[where, 1]) ** 3
    noises[where, 1] -= np.median(noises[where, 1])
    assert SHAPE in report(data.scm.generate(noises), data.environments)


@pytest.mark.parametrize("estimator", ["gaussian", "splines", "stein"])
def test_edges_whose_direction_stays_open(estimator):
    pair = np.array([[0, 1], [0, 0]])

    def both(scales):
        data = make_multi_env_scm(
            500,
            kind="linear",
            adjacency_matrix=pair,
            noise_scales=scales,
            random_state=0,
        )
        return data.X, data.environments

    # Noises that change together: all covariances are multiples of one another, and
    # both regressions are the same everywhere.
    X, labels = both([[1, 1], [2, 2], [0.5, 0.5]])
    assert DIRECTIONS in report(X, labels, score_estimator=estimator)
    model = TwoEnvCausalDiscovery(score_estimator=estimator, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match=DIRECTIONS):
        model.fit(X, environments=labels)
    np.testing.assert_array_equal(model.open_edges_, model.adjacency_matrix_ == 1)
    assert any("direction stays open of" in n for n in model.identifiability_.notes)
    edge = "{} -> {}".format(*np.argwhere(model.open_edges_)[0])
    assert f"but for the direction of {edge}" in model.identifiability_.target
    X, labels = both([[1, 1], [3, 0.5], [0.4, 2]])
    model.fit(X, environments=labels)
    np.testing.assert_array_equal(model.adjacency_matrix_, pair)
    assert not model.open_edges_.any()
    assert "but for" not in model.identifiability_.target
    if estimator != "splines":
        model.set_params(criterion="collinearity").fit(X, environments=labels)
        assert model.open_edges_ is None


@pytest.mark.parametrize("seed", SEEDS)
def test_environments_that_are_all_louder(seed):
    # Ratios that differ, by more than their errors, but less than scores resolve.
    scales = np.array([[1, 1, 1], [2, 2.3, 1.8], [4, 4.5, 3.6]])
    data = make_multi_env_scm(
        2000,
        3,
        kind="linear",
        adjacency_matrix=np.triu(np.ones((3, 3)), 1),
        noise_scales=scales,
        random_state=seed,
    )
    assert (module.ratio_angles(scales)[np.triu_indices(3, 1)] < module.BLUR).all()
    settings = {"max_kernel_samples": 100, "max_points": 100, "prune": None}
    violated = report(data.X, data.environments, score_estimator="stein", **settings)
    assert RATIOS in violated


@pytest.mark.parametrize("params", [{}, {"score_estimator": "stein"}])
def test_columns_of_few_values(params):
    data = problem(0, n_samples=200)
    binary = np.heaviside(data.X - np.median(data.X, axis=0), 0.0)
    X = np.column_stack([data.X[:, 0], binary[:, 1], data.X[:, 2:]])
    assert CONTINUOUS in report(X, data.environments, **params)
    # All of them: scores have halves of equal rows to go by.
    assert CONTINUOUS in report(binary, data.environments, **params)
    # Rounding to a tenth of a standard deviation is of no consequence.
    rounded = np.round(data.X / data.X.std(axis=0), 1)
    model = TwoEnvCausalDiscovery(score_estimator="gaussian", mechanism=None)
    model.fit(rounded, environments=data.environments)
    assert CONTINUOUS not in {a.name for a in model.identifiability_.violated}


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_rows_an_environment(seed):
    data = problem(seed, n_samples=20)
    assert ROWS in report(data.X, data.environments)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("prune", ["ci", None])
def test_two_rows_an_environment_tell_no_scales(seed, prune):
    data = problem(seed, n_samples=2)
    assert {ROWS, RANK, CHANGES} <= report(data.X, data.environments, prune=prune)


@pytest.mark.parametrize("params", [{}, {"criterion": "collinearity"}])
def test_an_environment_of_lower_rank(params):
    data = problem(0)
    X, rows = data.X.copy(), data.environments == 1
    X[rows, 4] = X[rows, 0] + X[rows, 1]
    assert RANK in report(X, data.environments, **params)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["gaussian", "splines"])
def test_a_hidden_root_shows_in_the_sinks(seed, estimator):
    data = problem(seed)
    seen = np.sort(data.causal_order[1:])
    children = data.adjacency_matrix[data.causal_order[0]].sum()
    assert children > 1  # or else nothing is confounded
    assert SINKS in report(
        data.X[:, seen], data.environments, score_estimator=estimator
    )


def test_mechanisms_that_differ_show():
    one, two = problem(0), problem(1)
    rows = one.environments == 2
    X = np.where(rows[:, None], two.X, one.X)
    assert {SINKS, INDEPENDENT} & report(X, one.environments)


@pytest.mark.parametrize("params", [{"mechanism": None}, {"prune": None}])
def test_what_cannot_be_tested_says_so(params):
    data = problem(0)
    model = TwoEnvCausalDiscovery(score_estimator="gaussian", random_state=0, **params)
    model.fit(data.X, environments=data.environments)
    verdicts = {a.name: a.verdict for a in model.identifiability_.assumptions}
    assert verdicts["no hidden confounder"] == "untestable"
    wanted = "untestable" if "prune" in params else "holds"
    assert verdicts[DIRECTIONS] == wanted
    wanted = "untestable" if "mechanism" in params else "holds"
    assert verdicts[CHANGES] == verdicts[SHAPE] == verdicts[INDEPENDENT] == wanted
    assert np.isnan(model.ratio_gaps_).all() == ("mechanism" in params)
    target, notes = model.identifiability_.target, model.identifiability_.notes
    assert ("mechanisms along it" in target) == ("mechanism" not in params)
    assert ("if noises changed" in target) == ("mechanism" in params)
    assert any("mechanism=None" in n for n in notes) == ("mechanism" in params)


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.parametrize(("n_samples", "said"), [(100, True), (101, False)])
def test_levels_of_few_rows_are_said(n_samples, said):
    data = problem(0, n_samples=n_samples)
    for prune in ("cam", None):
        model = TwoEnvCausalDiscovery(
            score_estimator="gaussian", prune=prune, mechanism=None
        )
        model.fit(data.X, environments=data.environments)
        notes = model.identifiability_.notes
        assert any("false edges" in note for note in notes) == (said and prune == "cam")


# -- statistics --------------------------------------------------------------------


def evidence(scales, n_samples, seed):
    """Noises of two independent nodes with given scales, and nothing else."""
    rng = np.random.default_rng(seed)
    noises = [rng.standard_normal((n_samples, 2)) * row for row in scales]
    spread = np.stack([s.std(axis=0) for s in noises])
    return module.Evidence(
        labels=[0, 1, 2],
        names=["a", "b"],
        blocks=noises,
        found=CausalOrder(np.arange(2), [], [], np.zeros((2, 2)), np.zeros((2, 2))),
        route="",
        adjacency=np.zeros((2, 2)),
        noises=[s / spread[0] for s in noises],
        noise_scales=spread / spread[0],
        p_values=None,
        open_edges=None,
        pruned=True,
        blur=0.0,
        fewest_rows=0,
        notes=[],
    )


@pytest.mark.parametrize("kind", ["bivariate_i", "bivariate_ii"])
@pytest.mark.parametrize("mechanism", ["location_scale", "quantile"])
def test_bent_noises_are_only_rescaled(kind, mechanism):
    # A bent mechanism's noise is found up to a relabelling, and the tails of loud ones
    # are not those of the base: with root mean squares for units the distances were
    # 0.15 to 0.45 in one to five of ten models.
    for seed in range(4):
        data = make_multi_env_scm(
            600,
            2,
            kind=kind,
            noise_scales=[[1, 1], [3, 3.5], [2, 0.4]],
            random_state=seed,
        )
        blocks = [data.X[data.environments == e] for e in range(3)]
        mechanisms, scales, _ = fit_mechanisms(
            blocks, data.adjacency_matrix, kind=mechanism, rng=0
        )
        fit = evidence(scales, 10, 0)
        fit.noises = [abduct(mechanisms, data.adjacency_matrix, b) for b in blocks]
        shape, centre = module._only_rescaled(fit)
        assert shape.verdict == centre.verdict == "holds"


def test_gaps_of_equal_ratios_are_standard_normal():
    scales = np.array([[1, 1], [2, 2], [0.5, 0.5]])
    gaps = [
        module.ratio_gaps(evidence(scales, 1000, seed))[0, 1] for seed in range(150)
    ]
    # The angle is not negative: half a normal law.
    assert stats.kstest(gaps, stats.halfnorm.cdf).pvalue > 1e-3


def test_gaps_of_other_ratios_grow_with_the_rows():
    scales = np.array([[1, 1], [2, 0.7], [0.5, 3]])
    few, many = (
        np.mean([module.ratio_gaps(evidence(scales, n, s))[0, 1] for s in range(20)])
        for n in (200, 3200)
    )
    assert few > 3
    # Standard errors fall with the root of the number of rows.
    assert many / few == pytest.approx(4, rel=0.2)


def test_no_change_at_all_has_no_ratio():
    same = evidence(np.ones((3, 2)), 50, 0)
    same.noise_scales = np.ones((3, 2))
    np.testing.assert_array_equal(module.ratio_gaps(same)[0, 1], 0)


def test_errors_of_scales_are_those_of_normal_and_other_laws():
    rng = np.random.default_rng(0)
    laws = {
        "normal": rng.standard_normal((2000, 200)),
        "laplace": rng.laplace(size=(2000, 200)),
    }
    for noises in laws.values():
        found = evidence(np.ones((3, 2)), 10, 0)
        found.noises = [noises]
        stated = module.scale_errors(found)[0].mean()
        seen = np.log(noises.std(axis=0)).var()
        # A variance of 200 draws has a relative error of 0.1.
        assert stated == pytest.approx(seen, rel=0.4)


def test_errors_of_scales_of_two_rows_are_those_of_a_normal_law():
    rng = np.random.default_rng(0)
    found = evidence(np.ones((3, 2)), 10, 0)
    found.noises = [rng.standard_normal((2, 3))]
    seen = np.log(rng.standard_normal((2, 20_000)).std(axis=0)).var()
    # A variance of 20,000 draws of a law with a long tail: some percent.
    np.testing.assert_allclose(module.scale_errors(found), seen, rtol=0.1)


def test_varsortability_counts_paths():
    chain = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    X = np.random.default_rng(0).standard_normal((500, 3)) * [1, 3, 2]
    # 0 -> 1 and 0 -> 2 grow, 1 -> 2 does not.
    assert module.varsortability(X, chain) == pytest.approx(2 / 3)
    assert np.isnan(module.varsortability(X, np.zeros((3, 3))))


def test_variances_alone_do_not_tell_rescaled_columns():
    # The generator's columns are on random scales.
    shares = [
        module.varsortability(data.X[data.environments == 0], data.adjacency_matrix)
        for data in (problem(seed) for seed in range(30))
    ]
    assert 0.3 < np.mean(shares) < 0.7


# -- p-values of the sinks ---------------------------------------------------------


def test_p_values_of_the_likelihood_ratio():
    data = problem(0)
    model = TwoEnvCausalDiscovery(score_estimator="gaussian", mechanism=None)
    model.fit(data.X, environments=data.environments)
    sinks = model.causal_order_[:0:-1]
    assert model.sink_p_values_.shape == (4,)
    # Two ratios of one node each: two degrees of freedom for each other node left.
    least = [crit.min() for crit in model.criterion_path_]
    np.testing.assert_allclose(
        model.sink_p_values_, stats.chi2.sf(least, [8, 6, 4, 2]), rtol=1e-10
    )
    assert len(set(sinks)) == 4


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.parametrize("estimator", ["gaussian", "stein"])
def test_p_values_by_draws_from_the_model(estimator):
    data = problem(1, n_samples=150)
    model = TwoEnvCausalDiscovery(
        criterion="collinearity",
        score_estimator=estimator,
        n_bootstraps=9,
        max_points=200,
        random_state=0,
    )
    model.fit(data.X, environments=data.environments)
    p = model.sink_p_values_
    assert p.shape == (4,)
    # Counts of 0 to 9 draws, plus one, over ten.
    np.testing.assert_allclose(p * 10, np.round(p * 10))
    assert p.min() >= 0.1 and p.max() <= 1
    assert p.mean() > 0.2
    verdicts = {a.name: a.verdict for a in model.identifiability_.assumptions}
    assert verdicts[SINKS] == "holds"
