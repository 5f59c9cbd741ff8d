"""The house's common checks: each takes an unfitted estimator and asserts one rule."""

import inspect
import os
import pickle
import random
import re
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRequest

import skident
from skident.utils import IdentifiabilityReport
from skident.utils._sklearn import check_is_fitted
from tests.common_params import (
    KEEPS_TRAINING_DATA,
    ROW_ORDER_MATTERS,
    SCORES_ROWS_IN_ORDER,
)
from tests.estimators import SIDE_INPUTS, kind_of, make_side_inputs, side_inputs_of

N_SAMPLES, N_FEATURES = 100, 4
OUTPUTS = ("predict", "predict_proba", "decision_function", "transform", "effect")
METHODS = ("fit", "partial_fit", "score", *OUTPUTS)


def make_problem(estimator, n_samples=N_SAMPLES, seed=0):
    """Covariates, target (None where it is not needed) and required side inputs."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, N_FEATURES))
    tags = get_tags(estimator)
    if tags.input_tags.positive_only:
        X = np.abs(X)
    y = None
    if tags.target_tags.required:
        y = X @ np.arange(1.0, N_FEATURES + 1) + rng.standard_normal(n_samples)
        if tags.target_tags.positive_only:
            y = np.abs(y)
        if is_classifier(estimator):
            y = np.where(y > np.median(y), "high", "low")
    return X, y, make_side_inputs(side_inputs_of(estimator), X)


def fresh(estimator, seed=0):
    """Clone with every random state set."""
    estimator = clone(estimator)
    states = [p for p in estimator.get_params() if p.split("__")[-1] == "random_state"]
    return estimator.set_params(**dict.fromkeys(states, seed))


def fit(estimator, X, y, side):
    return estimator.fit(X, **side) if y is None else estimator.fit(X, y, **side)


def outputs(estimator, X):
    """What the fitted estimator says of ``X``, as dense arrays by method name."""
    found = {}
    for method in OUTPUTS:
        if hasattr(estimator, method):
            side = make_side_inputs(side_inputs_of(estimator, method), X)
            value = getattr(estimator, method)(X, **side)
            value = value.toarray() if sparse.issparse(value) else value
            found[method] = np.asarray(value)
    return found


def same(one, two):
    """Whether two results of ``outputs`` are equal, bit for bit."""
    return one.keys() == two.keys() and all(
        np.array_equal(one[key], two[key], equal_nan=one[key].dtype.kind == "f")
        for key in one
    )


# -- numbers -------------------------------------------------------------------


def check_row_order_does_not_matter(estimator):
    if type(estimator).__name__ in ROW_ORDER_MATTERS:
        return
    X, y, side = make_problem(estimator)
    order = np.random.default_rng(1).permutation(len(X))
    shuffled = {name: value[order] for name, value in side.items()}
    one = outputs(fit(fresh(estimator), X, y, side), X)
    y_shuffled = None if y is None else y[order]
    two = outputs(fit(fresh(estimator), X[order], y_shuffled, shuffled), X)
    for key, value in one.items():
        if value.dtype.kind != "f":
            np.testing.assert_array_equal(two[key], value, err_msg=key)
            continue
        # Another order of summation changes rounding only; half the digits are left
        # to the conditioning of the problem.
        tolerance = np.sqrt(np.finfo(value.dtype).eps)
        np.testing.assert_allclose(
            two[key], value, rtol=0, atol=tolerance * np.abs(value).max(), err_msg=key
        )


def check_label_names_do_not_matter(estimator):
    X, y, side = make_problem(estimator)
    for name in ("environments", "settings", "trajectories"):
        if name in side_inputs_of(estimator, required_only=False):
            codes = SIDE_INPUTS[name](len(X))
            results = [
                outputs(fit(fresh(estimator), X, y, side | {name: labels}), X)
                for labels in (
                    codes,
                    codes * 10 - 7.5,
                    np.array(["", "z"])[codes],
                    np.array(["a", "b"], dtype=object)[codes],
                    (codes == 1),
                )
            ]
            assert all(same(results[0], other) for other in results[1:]), (
                f"the names of {name} change the result"
            )


def check_float32_is_kept(estimator):
    X, y, side = make_problem(estimator)
    X = X.astype(np.float32)
    y = y.astype(np.float32) if y is not None and y.dtype.kind == "f" else y
    estimator = fit(fresh(estimator), X, y, side)
    transformer_tags = get_tags(estimator).transformer_tags
    kept = []
    if transformer_tags and "float32" in transformer_tags.preserves_dtype:
        kept.append("transform")
    if is_regressor(estimator):
        kept.append("predict")
    found = outputs(estimator, X)
    results = {method: found[method] for method in kept if method in found}
    for name in ("coef_", "components_", "encoder_", "mixing_"):
        value = getattr(estimator, name, None)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            results[name] = value
    for name, value in results.items():
        assert value.dtype == np.float32, f"{name} is {value.dtype} for float32 data"


def check_same_seed_gives_the_same_bits(estimator):
    X, y, side = make_problem(estimator)
    one, two = (outputs(fit(fresh(estimator), X, y, side), X) for _ in range(2))
    assert same(one, two), "two fits with one random_state differ"


def check_global_generators_are_left_alone(estimator):
    X, y, side = make_problem(estimator)

    def states():
        legacy = np.random.get_state()  # noqa: NPY002
        found = [random.getstate(), legacy[1].tobytes(), legacy[2:]]
        if "torch" in sys.modules:
            found.append(sys.modules["torch"].get_rng_state().numpy().tobytes())
        return found

    outputs(fit(fresh(estimator), X, y, side), X)  # torch may be loaded only now
    before = states()
    outputs(fit(fresh(estimator, seed=3), X, y, side), X)
    assert states() == before, "a global random generator was drawn from or seeded"


# -- side inputs ---------------------------------------------------------------


def malformed(name, n_samples):
    """Values of a side input that must be refused, by what is wrong with them."""
    good = SIDE_INPUTS[name](n_samples)
    missing = good.astype(float)
    missing[-1] = np.nan
    return {
        "too short": good[:-1],
        "too long": np.concatenate([good, good[:1]]),
        "an axis too many": np.stack([good] * 2, axis=-1)[:, None]
        if name == "treatment"
        else np.stack([good] * 2, axis=-1),
        "a scalar": good.ravel()[0],
        "missing entries": missing,
    }


def check_malformed_side_inputs_are_refused(estimator):
    X, y, side = make_problem(estimator)
    for name in side_inputs_of(estimator, required_only=False):
        for what, value in malformed(name, len(X)).items():
            with pytest.raises(ValueError) as raised:
                fit(fresh(estimator), X, y, side | {name: value})
            assert name in str(raised.value), (
                f"{name} with {what} is refused without its name: {raised.value}"
            )


def check_side_inputs_are_requested(estimator):
    routing = estimator.get_metadata_routing()
    if not isinstance(routing, MetadataRequest):
        return
    for method in filter(lambda method: hasattr(estimator, method), METHODS):
        names = side_inputs_of(estimator, method, required_only=False)
        for name in names if hasattr(routing, method) else []:
            assert getattr(routing, method).requests.get(name) is True, (
                f"{name} has no class-level request on {method}: "
                f'__metadata_request__{method} = {{"{name}": True}}'
            )
        if method == "transform" and names:
            owner = next(
                c for c in type(estimator).__mro__ if "fit_transform" in vars(c)
            )
            assert not owner.__module__.startswith("sklearn"), (
                "transform takes a side input, so fit_transform must be its own"
            )


# -- scores --------------------------------------------------------------------


def must_weigh(estimator):
    """Whether there is a score that has to weigh rows: any but scikit-learn's own."""
    if not hasattr(estimator, "score"):
        return False
    parameters = inspect.signature(estimator.score).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return must_weigh(estimator.estimator)  # a wrapper passes everything on
    # In scikit-learn, scores of transformers such as PCA take no weights.
    ours = not type(estimator).__module__.startswith("sklearn.")
    return ours or "sample_weight" in parameters


def check_search_in_a_routed_pipeline_scores(estimator):
    if not must_weigh(estimator):
        return
    X, y, side = make_problem(estimator)
    name = min(estimator.get_params(deep=False))
    with config_context(enable_metadata_routing=True):
        steps = [("before", FunctionTransformer()), ("last", fresh(estimator))]
        search = GridSearchCV(
            Pipeline(steps),
            {f"last__{name}": [getattr(estimator, name)]},
            cv=[np.split(np.arange(len(X)), 2)],
            refit=False,
            error_score="raise",
        )
        try:
            search.fit(X, y, **side)
        except TypeError as error:
            # A pipeline routes sample_weight to score even where it is None.
            pytest.fail(f"score takes no sample_weight: {error}")
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def check_weights_count_rows_in_score(estimator):
    if not must_weigh(estimator) or type(estimator).__name__ in SCORES_ROWS_IN_ORDER:
        return
    X, y, side = make_problem(estimator)
    fitted = fit(fresh(estimator), X, y, side)
    taken = side_inputs_of(estimator, "score", required_only=False)
    values = {"X": X, "y": y} | {name: side[name] for name in taken if name in side}
    counts = np.random.default_rng(1).integers(0, 4, len(X))
    repeated = {
        name: None if value is None else np.repeat(value, counts, axis=0)
        for name, value in values.items()
    }
    # A net may round a row by the batch in which it comes: some hundred roundings of
    # float32, where these weights change every score by 3e-4 at least.
    tolerance = 100 * np.finfo(np.float32).eps
    np.testing.assert_allclose(
        fitted.score(**values, sample_weight=counts),
        fitted.score(**repeated),
        rtol=tolerance,
        atol=tolerance,
    )
    with pytest.raises(ValueError):
        fitted.score(**values, sample_weight=counts[:-1])


# -- state ---------------------------------------------------------------------


def check_training_data_are_not_kept(estimator):
    if type(estimator).__name__ in KEEPS_TRAINING_DATA:
        return
    sizes = []
    for n_samples in (N_SAMPLES, 4 * N_SAMPLES):
        X, y, side = make_problem(estimator, n_samples)
        sizes.append(len(pickle.dumps(fit(fresh(estimator), X, y, side))))
    extra = 3 * N_SAMPLES * N_FEATURES * 8
    # Half would be a float32 copy of the rows; a quarter is one float64 a row.
    assert sizes[1] - sizes[0] < extra / 4, (
        f"the pickle grows by {sizes[1] - sizes[0]} bytes over {extra} bytes of rows"
    )


def bad_fits(estimator):
    """Arguments of fits that must fail, all of the good problem's width."""
    X, y, side = make_problem(estimator)
    if not get_tags(estimator).input_tags.allow_nan:
        hole = X.copy()
        hole[-1, -1] = np.nan
        yield "X", hole, y, side
    if y is not None:
        yield "y", X, y[:-1], side
    for name in side_inputs_of(estimator, required_only=False):
        yield name, X, y, side | {name: malformed(name, len(X))["missing entries"]}


def check_failed_fit_changes_nothing(estimator):
    X, y, side = make_problem(estimator, seed=5)
    for what, *bad in bad_fits(estimator):
        fitted = fit(fresh(estimator), X, y, side)
        before = outputs(fitted, X)
        with pytest.raises(ValueError):
            fit(fitted, *bad)
        assert same(before, outputs(fitted, X)), f"a fit refused for {what} left traces"
        if what in ("X", "y"):
            unfitted = fresh(estimator)
            with pytest.raises(ValueError):
                fit(unfitted, *bad)
            with pytest.raises(NotFittedError):
                check_is_fitted(unfitted)


def interrupted_at(call, estimator, X, y, side):
    """Fit, with Ctrl-C at the given call into our own code; number of calls seen."""
    package = os.path.dirname(skident.__file__) + os.sep
    classes = [c for c in type(estimator).__mro__ if c.__module__ != "builtins"]
    ours = {
        inspect.getfile(c) for c in classes if not c.__module__.startswith("sklearn")
    }
    seen = 0

    def profile(frame, event, arg):
        nonlocal seen
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        # What a finaliser raises never reaches its caller: no place for Ctrl-C.
        if event != "call" or name == "__del__":
            return
        if file in ours or file.startswith(package):
            seen += 1
            if seen == call:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        fit(estimator, X, y, side)
    finally:
        sys.setprofile(None)
    return seen


def check_interrupt_passes_and_changes_nothing(estimator):
    X, y, side = make_problem(estimator)
    X_old, y_old, side_old = make_problem(estimator, seed=5)
    # Before calls are counted: the first fit in a process also imports and caches.
    new = outputs(fit(fresh(estimator), X, y, side), X)
    n_calls = interrupted_at(None, fresh(estimator), X, y, side)
    for call in sorted({1, (n_calls + 1) // 2, n_calls}):
        fitted = fit(fresh(estimator), X_old, y_old, side_old)
        old = outputs(fitted, X)
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(call, fitted, X, y, side)
        # Interrupted after the last assignment, the new fit is complete.
        now = outputs(fitted, X)
        assert same(now, old) or same(now, new), (
            f"interrupted at call {call} of {n_calls}, fit leaves a mixture"
        )


def check_params_round_trip(estimator):
    params = estimator.get_params(deep=False)
    twin = clone(estimator)
    assert twin.set_params(**twin.get_params(deep=False)) is twin
    assert repr(twin) == repr(estimator)
    for name, value in twin.get_params(deep=False).items():
        # Nested estimators are cloned, so that only their settings can be equal.
        if isinstance(value, BaseEstimator):
            assert value is not params[name]
            assert repr(value) == repr(params[name])
        else:
            assert value is params[name] or np.array_equal(value, params[name])


# -- interface -----------------------------------------------------------------


def check_constructor_is_mostly_keyword_only(estimator):
    parameters = inspect.signature(type(estimator)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= 3, f"keyword-only from the fourth on: {positional}"


def check_settings_of_training_come_last(estimator):
    names = list(inspect.signature(type(estimator)).parameters)
    if "max_epochs" not in names:
        return
    wanted = ["max_epochs", "batch_size", "learning_rate", "tol"]
    wanted += ["validation_fraction", "device", "net_params", "verbose", "random_state"]
    if "tol" not in names:  # a schedule alone ends the training
        wanted.remove("tol")
    assert names[-len(wanted) :] == wanted


def docstring_sections(cls):
    """Sections of a numpydoc docstring, by title; the summary under ""."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.getdoc(cls), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(section):
    """Names that a Parameters or Attributes section describes."""
    heads = re.findall(r"^([\w*][\w, *]*) : \S", section, flags=re.MULTILINE)
    return {name for head in heads for name in head.split(", ")}


def check_docstring_is_complete(estimator):
    cls = type(estimator)
    sections = docstring_sections(cls)
    assert sections[""].splitlines()[0].endswith("."), "no summary sentence"
    wanted = ["Parameters", "Attributes", "Examples"]
    wanted += ["Notes", "References"] if kind_of(estimator) else []
    absent = [title for title in wanted if title not in sections]
    assert not absent, f"no section {absent}"
    assert ">>> " in sections["Examples"]

    parameters = set(inspect.signature(cls).parameters)
    assert documented(sections["Parameters"]) == parameters

    X, y, side = make_problem(estimator)
    fitted = fit(fresh(estimator), X, y, side)
    found = {name for name in vars(fitted) if public_result(name)}
    for base in cls.__mro__:
        if not base.__module__.startswith("sklearn"):
            found |= {
                name
                for name, value in vars(base).items()
                if public_result(name) and isinstance(value, property)
            }
    undocumented = found - documented(sections["Attributes"])
    assert not undocumented, f"undocumented attributes: {sorted(undocumented)}"


def public_result(name):
    return name.endswith("_") and not name.startswith("_")


def check_public_methods_are_documented(estimator):
    for name in dir(type(estimator)):
        function = inspect.getattr_static(type(estimator), name)
        if name.startswith("_") or not callable(function):
            continue
        doc = inspect.getdoc(function)
        assert doc and doc.splitlines()[0].endswith("."), f"{name} has no docstring"


def check_identifiability_is_reported(estimator):
    if kind_of(estimator) is None:
        return
    X, y, side = make_problem(estimator)
    report = fit(fresh(estimator), X, y, side).identifiability_
    assert isinstance(report, IdentifiabilityReport)
    assert report.target and report.up_to and report.assumptions
    assert pickle.loads(pickle.dumps(report)) == report


HOUSE_CHECKS = [
    value
    for name, value in sorted(globals().items())
    if name.startswith("check_") and value.__module__ == __name__
]
