"""From the rows of several environments to an order, a graph and mechanisms."""

import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from sklearn.utils import check_random_state

from skident.discovery._additive_order import additive_order
from skident.discovery._causal_order import sink_order
from skident.discovery._edge_pruning import prune_order
from skident.discovery._hessian_order import hessian_order
from skident.discovery._invariance_order import invariance_order
from skident.discovery._leaf_order import leaf_order
from skident.discovery._mechanisms import fit_mechanisms
from skident.discovery._scores import score_differences
from skident.discovery._triangular import abduct, sample
from skident.discovery._two_env_report import BLUR, LEVEL, Evidence, make_report
from skident.utils import iterate
from skident.utils._sklearn import validate_data
from skident.utils._validation import check_environments

_MAX_SEED = np.iinfo(np.int32).max
_LEAST_ROWS = 50
_ROWS_A_NODE = 5
# Up to so many rows an environment F tests of splines err more often than they say: at
# 0.1 % in 0.2 % of 5,900 pairs without an edge, in 0.7 % where parents move spreads.
_LIBERAL_ROWS = 100


def fit_model(est, X, y, environments, watched):
    """Fit ``est``, a copy of the estimator ``watched`` whose callbacks are called."""
    X = validate_data(
        est,
        X,
        dtype=[np.float64, np.float32],
        ensure_min_samples=2,
        ensure_min_features=2,
    )
    check_combination(est)
    labels, blocks = split(est, X, environments)
    names = getattr(est, "feature_names_in_", None)
    names = [str(j) for j in range(X.shape[1])] if names is None else names.tolist()
    constant = np.ptp(X, axis=0) == 0
    if constant.any():
        which = [name for name, c in zip(names, constant, strict=True) if c]
        raise ValueError(
            f"X must not have constant columns, got {which}; n_samples = {len(X)}."
        )
    seed = check_random_state(est.random_state).randint(_MAX_SEED)
    # A generator each: one step's draws do not move the next one's.
    streams = np.random.SeedSequence(seed).spawn(4)
    rngs = [np.random.default_rng(stream) for stream in streams]

    found, route = find_order(est, blocks, rngs[0], n_jobs=est.n_jobs)
    adjacency, scores, notes = find_edges(est, blocks, found, rngs[1])
    noises, model = None, None
    est.mechanisms_, est.noise_scales_, est.history_ = None, None, {}
    if est.mechanism is not None:
        est.mechanisms_, est.noise_scales_, est.history_ = fit_mechanisms(
            blocks,
            adjacency,
            kind=est.mechanism,
            max_kernel_samples=est.max_kernel_samples,
            max_epochs=est.max_epochs,
            batch_size=est.batch_size,
            learning_rate=est.learning_rate,
            tol=est.tol,
            validation_fraction=est.validation_fraction,
            device=est.device,
            net_params=est.net_params,
            verbose=est.verbose,
            epochs=iterate(watched, est.max_epochs, X, y),
            n_jobs=est.n_jobs,
            rng=rngs[2],
        )
        model = est.mechanisms_, adjacency, est.noise_scales_
        noises = [abduct(est.mechanisms_, adjacency, block) for block in blocks]
    est.environments_ = labels
    est.causal_order_ = found.order
    est.adjacency_matrix_ = adjacency
    est.edge_scores_ = scores
    est.criterion_path_ = found.criterion_path
    est.margins_ = found.margins
    est.noise_ratio_ = found.noise_ratio
    est.shift_strength_ = found.shift_strength
    est.sink_p_values_ = sink_p_values(est, blocks, found, model, rngs[3])
    est.open_edges_ = open_edges(est, len(blocks), found, adjacency)
    est._ranges = np.stack([X.min(axis=0), X.max(axis=0)]).astype(np.float64)
    est._shares = np.array([len(block) for block in blocks]) / len(X)
    est.identifiability_, est.ratio_gaps_ = make_report(
        Evidence(
            labels=labels.tolist(),
            names=names,
            blocks=blocks,
            found=found,
            route=route,
            adjacency=adjacency,
            noises=noises,
            noise_scales=est.noise_scales_,
            p_values=est.sink_p_values_,
            open_edges=est.open_edges_,
            pruned=est.prune is not None,
            blur=0.0 if _is(score_of(est), "gaussian", "splines") else BLUR,
            fewest_rows=max(_LEAST_ROWS, _ROWS_A_NODE * X.shape[1]),
            notes=[*found.notes, *notes],
        )
    )


def split(est, X, environments):
    """Labels, base first, and float64 rows of each environment."""
    labels, codes = np.zeros(1, dtype=int), np.zeros(len(X), dtype=int)
    if environments is not None:
        labels, codes = check_environments(environments, X)
    base = 0
    if est.base_environment is not None:
        known = labels.tolist()
        if est.base_environment not in known:
            raise ValueError(
                f"base_environment must be among environments, {known}, got "
                f"{est.base_environment!r}; n_samples = {len(X)}."
            )
        base = known.index(est.base_environment)
    order = np.r_[base, np.delete(np.arange(len(labels)), base)]
    sizes = np.bincount(codes)
    if sizes.min() < 2:
        label = labels.tolist()[np.argmin(sizes)]
        raise ValueError(
            "environments must have at least two rows each, got one of "
            f"{label!r}; n_samples = {len(X)}."
        )
    return labels[order], [X[codes == k].astype(np.float64) for k in order]


def check_combination(est):
    """Refuse settings that do not go together."""
    score, regressions = score_of(est), ("gaussian", "splines")
    if est.criterion == "invariance" and not _is(score, *regressions):
        raise ValueError(
            'criterion="invariance" is a likelihood ratio of regressions: it needs '
            f'score_estimator="gaussian" or "splines", got {score!r}.'
        )
    if est.method == "hessian" and not _is(score, "stein", "gaussian"):
        raise ValueError(
            'method="hessian" needs Hessians, which score_estimator="stein" and '
            f'"gaussian" have, got {score!r}.'
        )
    if _is(score, "splines") and est.criterion not in ("auto", "invariance"):
        raise ValueError(
            'score_estimator="splines" makes regressions, which take criterion='
            f'"invariance"; "{est.criterion}" takes scores, as of "stein".'
        )


def score_of(est):
    """The setting ``score_estimator``, "auto" resolved."""
    if not _is(est.score_estimator, "auto"):
        return est.score_estimator
    regressions = est.method == "mcd" and est.criterion in ("auto", "invariance")
    return "splines" if regressions else "stein"


def find_order(est, blocks, rng, *, given=None, n_jobs=None):
    """Order of the nodes as the settings say, and by what it was found.

    Parameters
    ----------
    est : TwoEnvCausalDiscovery
    blocks : list of ndarray of shape (n_e, d)
    rng : numpy.random.Generator
    given : sequence of int or None, default=None
        An order to follow, for its criteria.
    n_jobs : int or None, default=None

    Returns
    -------
    found : CausalOrder
    route : str
    """
    criterion, score = criterion_of(est, len(blocks)), score_of(est)
    gaussian = _is(score, "gaussian")
    marginals = "normal" if est.marginals == "auto" else est.marginals
    kernel = {
        "eta": est.eta,
        "bandwidth": est.bandwidth,
        "max_kernel_samples": est.max_kernel_samples,
        "n_jobs": n_jobs,
        "rng": rng,
    }
    if criterion == "leaf":
        route = "the curvature of log-densities, under additive Gaussian noise"
        return leaf_order(blocks, **kernel), route
    if criterion == "hessian":
        found = hessian_order(
            blocks,
            score_estimator=score,
            marginals=marginals,
            keep_fraction=est.keep_fraction,
            max_points=est.max_points,
            **kernel,
        )
        return found, "Hessians where all noises are zero" + _linear(gaussian)
    if criterion == "invariance":
        route = "regressions that no environment changes"
        if gaussian:
            return invariance_order(blocks, given=given), route + _linear(True)
        found = additive_order(blocks, marginals=est.marginals, given=given)
        return found, route + ", in additive models"
    found = sink_order(
        blocks,
        criterion=criterion,
        score_estimator=score,
        marginals=marginals,
        keep_fraction=est.keep_fraction,
        max_points=est.max_points,
        net_settings=net_settings(est),
        given=given,
        **kernel,
    )
    ratios = "independent" if criterion == "independence" else "constant"
    return found, f"{ratios} ratios of score differences" + _linear(gaussian)


def criterion_of(est, n_environments):
    """What makes a sink, by the settings and the data; also "hessian" and "leaf"."""
    score = score_of(est)
    regressions = _is(score, "gaussian", "splines")
    pairs = regressions and est.criterion not in ("studentized", "independence")
    if n_environments < (2 if pairs else 3):
        return "leaf"
    if est.method == "hessian":
        return "hessian"
    if est.criterion == "auto":
        return "invariance" if regressions else "studentized"
    return est.criterion


def net_settings(est):
    """Settings of the network of scores; other estimators ignore them."""
    if not _is(est.score_estimator, "neural"):
        return None
    return {
        "max_epochs": est.max_epochs,
        "batch_size": est.batch_size,
        "learning_rate": est.learning_rate,
        "tol": est.tol,
        "validation_fraction": est.validation_fraction,
        "device": est.device,
        "net_params": est.net_params,
        "verbose": est.verbose,
    }


def find_edges(est, blocks, found, rng):
    """Edges along the order.

    Returns
    -------
    adjacency, edge_scores : ndarray of shape (d, d)
    notes : list of str
    """
    method, differences, notes = est.prune, None, []
    if method == "score" and len(blocks) == 1:
        method = "cam"
        notes = ['prune="score" takes two environments: "cam" was used']
    if method == "cam" and min(map(len, blocks)) <= _LIBERAL_ROWS:
        notes.append(
            f"with {_LIBERAL_ROWS} rows or fewer in an environment, false edges may be "
            f"several times as frequent as alpha = {est.alpha:g} says"
        )
    if method == "score":
        settings = {"seed": int(rng.integers(_MAX_SEED)), **(net_settings(est) or {})}
        # Regressions are of sinks: what children add to a score, they do not tell.
        estimator = score_of(est)
        estimator = "stein" if _is(estimator, "splines") else estimator
        eta = found.eta
        if eta is None:
            eta = 0.3 if est.eta == "cv" else est.eta

        differences = _Differences(estimator, eta, est.bandwidth, settings)
    adjacency, scores = prune_order(
        blocks,
        found.order,
        method=method,
        alpha=est.alpha,
        score_differences=differences,
        n_jobs=est.n_jobs,
        rng=rng,
    )
    return adjacency, scores, notes


class _Differences:
    """Score differences of blocks at points; picklable, for joblib's workers."""

    def __init__(self, estimator, eta, bandwidth, settings):
        self.options = {
            "estimator": estimator,
            "eta": eta,
            "bandwidth": bandwidth,
            "n_jobs": None,
            "settings": settings,
        }

    def __call__(self, blocks, points):
        return score_differences(blocks, points, **self.options)


def open_edges(est, n_environments, found, adjacency):
    """Edges whose tail, too, was as good as a sink when the head was taken for one.

    Parameters
    ----------
    est : TwoEnvCausalDiscovery
    n_environments : int
    found : CausalOrder
    adjacency : ndarray of shape (d, d)

    Returns
    -------
    open_edges : ndarray of bool of shape (d, d), or None
        None if nothing is known of how large the criterion of a sink may be, or edges
        were not tested: most are none then, and have no direction.
    """
    criterion = criterion_of(est, n_environments)
    if est.prune is None or criterion not in ("invariance", "studentized"):
        return None
    found_open = np.zeros(adjacency.shape, dtype=bool)
    steps = zip(
        found.criterion_path, found.remaining_path, found.order[:0:-1], strict=True
    )
    for crit, nodes, head in steps:
        bound = 1.0
        if criterion == "invariance":
            bound = stats.chi2.isf(LEVEL, (n_environments - 1) * (len(nodes) - 1))
        found_open[nodes, head] = crit < bound
    return found_open & (adjacency != 0)


def sink_p_values(est, blocks, found, model, rng):
    """P-value of each sink but the last, (d - 1,), or None.

    Parameters
    ----------
    est : TwoEnvCausalDiscovery
    blocks : list of ndarray of shape (n_e, d)
    found : CausalOrder
    model : tuple of (mechanisms, adjacency, noise_scales), or None
    rng : numpy.random.Generator
    """
    K, d = len(blocks), len(found.order)
    criterion = criterion_of(est, K)
    if criterion == "invariance":
        return stats.chi2.sf(found.sink_criteria, (K - 1) * np.arange(d - 1, 0, -1))
    if criterion in ("hessian", "leaf") or est.n_bootstraps == 0 or model is None:
        return None
    seeds = rng.integers(_MAX_SEED, size=est.n_bootstraps)
    sizes = [len(block) for block in blocks]
    drawn = Parallel(n_jobs=est.n_jobs)(
        delayed(_drawn_criteria)(est, model, found.order, sizes, seed) for seed in seeds
    )
    above = (np.stack(drawn) >= found.sink_criteria).sum(axis=0)
    return (1.0 + above) / (1.0 + est.n_bootstraps)


def _drawn_criteria(est, model, order, sizes, seed):
    mechanisms, adjacency, noise_scales = model
    rng = np.random.default_rng(seed)
    blocks = [
        sample(mechanisms, adjacency, order, n, scales, rng)
        for n, scales in zip(sizes, noise_scales, strict=True)
    ]
    return find_order(est, blocks, rng, given=order)[0].sink_criteria


def _is(estimator, *names):
    return isinstance(estimator, str) and estimator in names


def _linear(gaussian):
    return ", in linear models" if gaussian else ""
