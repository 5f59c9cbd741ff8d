"""Every public estimator, found, and made ready for the common tests."""

import functools
import importlib
import inspect
import pkgutil

import numpy as np
from sklearn.base import BaseEstimator

import skident
from skident.utils._sklearn import _num_samples
from tests import _anchor
from tests.common_params import CHEAP_PARAMS

KINDS = ("decomposition", "discovery", "effects", "dynamics", "probing", "transfer")

# What a required side input is made from: the number of rows and nothing else, so that
# scikit-learn's checks can call fit(X, y) on any data of theirs.
SIDE_INPUTS = {
    "environments": lambda n: np.arange(n) % 2,
    "treatment": lambda n: np.arange(n) // 2 % 2,
    "instruments": lambda n: (np.arange(n) % 3 + 0.0).reshape(-1, 1),
    "selected": lambda n: np.arange(n) % 3 > 0,
    "selection_prob": lambda n: 0.25 + np.arange(n) % 3 / 4,
    "settings": lambda n: (np.arange(n) % 2).reshape(-1, 1),
    "trajectories": lambda n: 2 * np.arange(n) // max(1, n),
    "times": lambda n: np.arange(n) + 0.0,
}


def public_estimators():
    """Public estimator classes of skident, sorted by name, with the fixture last."""
    found = {}
    for info in pkgutil.iter_modules(skident.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"skident.{info.name}")
            found |= {name: getattr(module, name) for name in module.__all__}
    classes = [
        value
        for _, value in sorted(found.items())
        if inspect.isclass(value) and issubclass(value, BaseEstimator)
    ]
    return [*classes, _anchor.AnchorRegressor]


def kind_of(estimator):
    """The kind's folder an estimator comes from, or None."""
    parts = type(estimator).__module__.split(".")
    return parts[1] if parts[0] == "skident" and parts[1] in KINDS else None


def instances(wrap=lambda cls: cls):
    """Cheap instances of every public estimator, of ``wrap`` of its class."""
    made = []
    for cls in public_estimators():
        params = CHEAP_PARAMS.get(cls.__name__, {})
        for kwargs in params if isinstance(params, list) else [params]:
            made.append(wrap(cls)(**kwargs))
    return made


def side_inputs_of(estimator, method="fit", *, required_only=True):
    """Names of the side inputs that a method takes, in the order of its signature."""
    return [
        p.name
        for p in inspect.signature(getattr(estimator, method)).parameters.values()
        if p.name in SIDE_INPUTS
        and (p.default is inspect.Parameter.empty or not required_only)
    ]


def make_side_inputs(names, X):
    """The named side inputs for the rows of ``X``, whatever ``X`` may be."""
    try:
        n_samples = _num_samples(X)
    except TypeError:  # not even rows: refusing X is up to the estimator
        n_samples = 0
    return {name: SIDE_INPUTS[name](n_samples) for name in names}


@functools.cache
def with_side_inputs(cls):
    """Subclass whose methods make the side inputs that they require.

    A class that requires none is returned as it is. The subclass keeps the name, and
    stands in this module under it, so that instances pickle.
    """
    supplied = {}
    for method in dir(cls):
        function = inspect.getattr_static(cls, method)
        if not method.startswith("_") and inspect.isfunction(function):
            names = side_inputs_of(cls, method)
            if names:
                supplied[method] = _supply(function, names)
    if not supplied:
        return cls
    attributes = {"__module__": __name__, "__doc__": cls.__doc__, **supplied}
    globals()[cls.__name__] = type(cls.__name__, (cls,), attributes)
    return globals()[cls.__name__]


def _supply(function, names):
    """``function`` with defaults for the side inputs it requires."""

    @functools.wraps(function)
    def method(self, X, *args, **kwargs):
        return function(self, X, *args, **(make_side_inputs(names, X) | kwargs))

    signature = inspect.signature(function)
    method.__signature__ = signature.replace(
        parameters=[
            p.replace(default=None) if p.name in names else p
            for p in signature.parameters.values()
        ]
    )
    return method
