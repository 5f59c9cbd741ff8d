"""Each house check catches the fault it is there for, and only a fault."""

import numpy as np
import pytest
from sklearn.base import TransformerMixin

from tests import house_checks
from tests._anchor import AnchorRegressor


class DependsOnRowOrder(AnchorRegressor):
    def fit(self, X, y, *, environments):
        super().fit(X, y, environments=environments)
        self.coef_ = self.coef_ + 1e-3 * X[0]
        return self


class ReadsLabels(AnchorRegressor):
    def fit(self, X, y, *, environments):
        super().fit(X, y, environments=environments)
        self.intercept_ += len(str(self.environments_[0]))
        return self


class AnswersInFloat64(AnchorRegressor):
    def predict(self, X):
        return super().predict(X).astype(np.float64)


class DrawsWithoutSeed(AnchorRegressor):
    def fit(self, X, y, *, environments):
        super().fit(X, y, environments=environments)
        self.intercept_ += np.random.default_rng().random()
        return self


class DrawsGlobally(AnchorRegressor):
    def fit(self, X, y, *, environments):
        np.random.random()  # noqa: NPY002
        return super().fit(X, y, environments=environments)


class TakesAnyLength(AnchorRegressor):
    def fit(self, X, y, *, environments):
        return super().fit(X, y, environments=np.resize(environments, len(X)))


class RefusesWithoutName(AnchorRegressor):
    def fit(self, X, y, *, environments):
        try:
            return super().fit(X, y, environments=environments)
        except ValueError:
            raise ValueError("Bad input.") from None


class ScoresWithoutRequest(AnchorRegressor):
    def score(self, X, y, *, environments=None):
        return super().score(X, y)


class TransformsWithoutOwnFitTransform(TransformerMixin, AnchorRegressor):
    __metadata_request__transform = {"environments": True}

    def transform(self, X, *, environments):
        return X


class ScoresWithoutWeights(AnchorRegressor):
    def score(self, X, y):
        return super().score(X, y)


class IgnoresWeights(AnchorRegressor):
    def score(self, X, y, sample_weight=None):
        return super().score(X, y)


class KeepsData(AnchorRegressor):
    def fit(self, X, y, *, environments):
        super().fit(X, y, environments=environments)
        self._X = X.astype(np.float32)
        return self


class ClearsFirst(AnchorRegressor):
    def fit(self, X, y, *, environments):
        self.coef_ = np.zeros(np.shape(X)[1])
        return super().fit(X, y, environments=environments)


class SwallowsInterrupt(AnchorRegressor):
    def fit(self, X, y, *, environments):
        try:
            return super().fit(X, y, environments=environments)
        except KeyboardInterrupt:
            return self


class DropsParam(AnchorRegressor):
    def set_params(self, **params):
        return AnchorRegressor()


class ManyPositional(AnchorRegressor):
    def __init__(self, gamma=10.0, a=1, b=2, c=3):
        super().__init__(gamma)


class TrainsWithoutHoldingOut(AnchorRegressor):
    def __init__(self, gamma=10.0, *, max_epochs=1, batch_size=1, learning_rate=1.0):
        super().__init__(gamma)


class Terse(AnchorRegressor):
    """Least squares."""


class UndocumentedParameter(AnchorRegressor):
    __doc__ = AnchorRegressor.__doc__

    def __init__(self, gamma=10.0, *, delta=1.0):
        super().__init__(gamma)


class UndocumentedAttribute(AnchorRegressor):
    __doc__ = AnchorRegressor.__doc__

    def fit(self, X, y, *, environments):
        self.extra_ = 1
        return super().fit(X, y, environments=environments)


class UndocumentedMethod(AnchorRegressor):
    def effect(self, X):
        return self.predict(X)


class ReportsNothing(AnchorRegressor):
    __module__ = "skident.effects._fault"

    def fit(self, X, y, *, environments):
        super().fit(X, y, environments=environments)
        self.identifiability_ = "the slopes"
        return self


FAULTS = {
    DependsOnRowOrder: "row_order_does_not_matter",
    ReadsLabels: "label_names_do_not_matter",
    AnswersInFloat64: "float32_is_kept",
    DrawsWithoutSeed: "same_seed_gives_the_same_bits",
    DrawsGlobally: "global_generators_are_left_alone",
    TakesAnyLength: "malformed_side_inputs_are_refused",
    RefusesWithoutName: "malformed_side_inputs_are_refused",
    ScoresWithoutRequest: "side_inputs_are_requested",
    TransformsWithoutOwnFitTransform: "side_inputs_are_requested",
    ScoresWithoutWeights: "search_in_a_routed_pipeline_scores",
    IgnoresWeights: "weights_count_rows_in_score",
    KeepsData: "training_data_are_not_kept",
    ClearsFirst: "failed_fit_changes_nothing",
    SwallowsInterrupt: "interrupt_passes_and_changes_nothing",
    DropsParam: "params_round_trip",
    ManyPositional: "constructor_is_mostly_keyword_only",
    TrainsWithoutHoldingOut: "settings_of_training_come_last",
    Terse: "docstring_is_complete",
    UndocumentedParameter: "docstring_is_complete",
    UndocumentedAttribute: "docstring_is_complete",
    UndocumentedMethod: "public_methods_are_documented",
    ReportsNothing: "identifiability_is_reported",
}


@pytest.mark.parametrize(("faulty", "check"), FAULTS.items())
def test_the_fault_is_caught(faulty, check):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(house_checks, f"check_{check}")(faulty())


def test_an_interrupt_that_leaves_a_mixture_is_caught():
    with pytest.raises(AssertionError, match="leaves a mixture"):
        house_checks.check_interrupt_passes_and_changes_nothing(ClearsFirst())


def test_every_check_has_a_fault():
    names = {
        check.__name__.removeprefix("check_") for check in house_checks.HOUSE_CHECKS
    }
    assert names == set(FAULTS.values())
