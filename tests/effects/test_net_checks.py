"""scikit-learn's checks on the estimators with networks, given their side inputs."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from skident.effects import IRMClassifier, ScoreMatchingSelectionATE, VRExClassifier
from tests.estimators import make_side_inputs


class Treated(ScoreMatchingSelectionATE):
    def fit(self, X, y, *, treatment=None):
        return super().fit(X, y, **make_side_inputs(["treatment"], X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Two epochs learn nothing; the bare estimator is trained in the common tests.
        tags.regressor_tags.poor_score = True
        return tags


class Settings:
    def fit(self, X, y, *, settings=None):
        return super().fit(X, y, **make_side_inputs(["settings"], X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class VREx(Settings, VRExClassifier):
    pass


class IRM(Settings, IRMClassifier):
    pass


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::sklearn.exceptions.SkipTestWarning",
    "ignore::UserWarning",
)
@pytest.mark.parametrize(
    "estimator",
    [
        Treated(
            hidden=(4,),
            max_epochs=2,
            n_mixture=None,
            n_grid=20,
            propensity_learner=LogisticRegression(),
        ),
        VREx(hidden=(4,), max_epochs=2),
        IRM(hidden=(4,), max_epochs=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scikit_learn_checks_with_side_inputs(estimator):
    check_estimator(estimator)
