"""Ways to save an estimator and to get it back."""

import io
import pickle

import joblib
import pytest


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def by_skops(estimator):
    skops_io = pytest.importorskip("skops.io")
    data = skops_io.dumps(estimator)
    trusted = skops_io.get_untrusted_types(data=data)
    assert trusted and all(name.startswith("skident.") for name in trusted)
    return skops_io.loads(data, trusted=trusted)
