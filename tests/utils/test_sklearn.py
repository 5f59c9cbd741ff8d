"""The names that the rest of the package takes from private scikit-learn."""

from sklearn.base import BaseEstimator

from skident.utils import _sklearn


def test_every_listed_name_is_there():
    assert all(hasattr(_sklearn, name) for name in _sklearn.__all__)


def test_the_callback_mixin_adds_no_parameter_on_any_release():
    class Estimator(_sklearn.CallbackSupportMixin, BaseEstimator):
        pass

    assert Estimator().get_params() == {}
