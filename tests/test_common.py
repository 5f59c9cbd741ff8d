"""scikit-learn's common checks, and the house's, on every public estimator."""

import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.common_params import (
    CHEAP_PARAMS,
    KEEPS_TRAINING_DATA,
    ROW_ORDER_MATTERS,
    SCORES_ROWS_IN_ORDER,
)
from tests.estimators import instances, public_estimators, with_side_inputs
from tests.house_checks import HOUSE_CHECKS

pytestmark = [
    pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

# {check: why it cannot hold}; "not supported yet" is no reason.
EXPECTED_FAILED_CHECKS = {}


def scikit_learn_checks(estimators):
    """Parametrise with every check; an expected failure that passes is an error."""
    options = {"expected_failed_checks": lambda estimator: EXPECTED_FAILED_CHECKS}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters:
        options["xfail_strict"] = True
    mark = parametrize_with_checks(estimators, **options)
    names, values = mark.args
    # A generator up to scikit-learn 1.7, which pytest 9 warns about.
    return pytest.mark.parametrize(names, list(values), **mark.kwargs)


@scikit_learn_checks(instances(with_side_inputs))
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", HOUSE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", instances(), ids=repr)
def test_house_check(estimator, check):
    check(estimator)


def test_discovery_finds_what_the_top_level_exports():
    import skident

    top = {name for name in dir(skident) if inspect.isclass(getattr(skident, name))}
    found = {cls.__name__ for cls in public_estimators()}
    assert "FromColumns" in found
    assert found - {"AnchorRegressor"} <= top


def test_tables_name_estimators_that_exist():
    names = {cls.__name__ for cls in public_estimators()}
    tables = (
        CHEAP_PARAMS,
        ROW_ORDER_MATTERS,
        KEEPS_TRAINING_DATA,
        SCORES_ROWS_IN_ORDER,
    )
    assert set().union(*tables) <= names
