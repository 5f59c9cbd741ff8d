"""Identifiable representations, causal effects and mechanisms for scikit-learn.

Every public estimator and exception can be imported from here as well as from its
subpackage; nothing beyond this file is loaded until a name is asked for.
"""

import functools
import importlib
import pkgutil

__version__ = "0.1.0.dev0"


@functools.cache
def _submodules():
    """Public submodules, by name."""
    return tuple(
        module.name
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )


@functools.cache
def _public_classes():
    """Estimators and exceptions that the public submodules list, by name."""
    # The submodules' own __all__ is the one list of names: estimator modules import
    # torch only in fit, so reading all of them stays light.
    from sklearn.base import BaseEstimator

    classes = {}
    for submodule in _submodules():
        module = importlib.import_module(f"{__name__}.{submodule}")
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(
                value, (BaseEstimator, Exception)
            ):
                classes[name] = value
    return classes


def __getattr__(name):
    if name == "__all__":
        return sorted([*_submodules(), *_public_classes()])
    if not name.startswith("_"):
        if name in _submodules():
            return importlib.import_module(f"{__name__}.{name}")
        if name in _public_classes():
            return _public_classes()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return ["__version__", *_submodules(), *_public_classes()]
