"""scikit-learn's common checks, and the house's, on every public estimator."""

import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

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

# From scikit-learn 1.8 an expected failure that passes can be made to fail.
STRICT = (
    {"xfail_strict": True}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


@parametrize_with_checks(
    instances(with_side_inputs),
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS,
    **STRICT,
)
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
