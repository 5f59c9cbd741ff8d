"""A fitted autoencoder: copies and files, devices, place in pipelines."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skident.decomposition import AutoencoderTransformer
from tests._copies import by_joblib, by_pickle, by_skops
from tests.decomposition._autoencoders import (
    X,
    assert_same,
    autoencoder,
    quiet,
)

# --- state -------------------------------------------------------------------------

WAYS = [by_pickle, by_joblib, by_skops, copy.deepcopy, copy.copy]
VARIANTS = [{}, {"isometry_penalty": 0.1, "validation_fraction": 0.1}]


@quiet
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_a_fitted_estimator_survives(way, params):
    fitted = autoencoder(**params).fit(X)
    generator = torch.get_rng_state()
    back = way(fitted)
    assert torch.equal(generator, torch.get_rng_state())
    assert_same(back, fitted)
    assert not back.module_.training
    assert fitted.get_params() == back.get_params()
    assert_same(back.fit(X), fitted)


@quiet
def test_convolutions_survive_and_so_does_a_changed_parameter():
    rows = np.random.default_rng(0).random((4, 4096)).astype(np.float32)
    fitted = autoencoder(
        2, (4,), architecture="conv64", channels=(2, 2), max_epochs=1
    ).fit(rows)
    codes = fitted.transform(rows)
    # The network is that of the fit, whatever the parameters say by now.
    fitted.set_params(n_latents=7, architecture="mlp")
    np.testing.assert_array_equal(by_pickle(fitted).transform(rows), codes)
    assert len(fitted.get_feature_names_out()) == 2


@quiet
def test_a_state_has_nothing_of_torch_or_of_a_device():
    fitted = autoencoder(validation_fraction=0.2).fit(X)
    assert b"torch" not in pickle.dumps(fitted)
    assert "module_" in vars(fitted)
    many = np.tile(X, (9, 1))
    one, two = (len(pickle.dumps(autoencoder().fit(rows))) for rows in (X, many))
    assert abs(one - two) < 100


@quiet
def test_a_device_that_is_not_there_is_done_without():
    fitted = autoencoder(device="cpu").fit(X)
    codes = fitted.transform(X)
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(
            fitted.set_params(device="cuda").transform(X), codes
        )


@pytest.mark.gpu
@quiet
def test_a_fit_on_a_gpu_is_a_fit():
    fitted = autoencoder(device="cuda", max_epochs=50, isometry_penalty=0.1).fit(X)
    assert next(fitted.module_.parameters()).device.type == "cpu"
    on_cpu = by_pickle(fitted).set_params(device="cpu")
    # Products of another order of summation, in TF32 at worst.
    np.testing.assert_allclose(on_cpu.transform(X), fitted.transform(X), atol=1e-2)
    same = autoencoder(device="cpu", max_epochs=50, isometry_penalty=0.1).fit(X)
    assert fitted.score(X) == pytest.approx(same.score(X), abs=0.05)


@quiet
def test_clone_keeps_parameters_only():
    cloned = clone(autoencoder(hidden=[4, 4]).fit(X))
    assert cloned.get_params() == autoencoder(hidden=[4, 4]).get_params()
    with pytest.raises(NotFittedError):
        cloned.score(X)
    assert "module_" not in cloned.__getstate__()


# --- scikit-learn's tools ----------------------------------------------------------


@quiet
def test_kinds_of_input_agree():
    fitted = autoencoder().fit(X)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    by_name = autoencoder().fit(frame)
    np.testing.assert_array_equal(by_name.transform(frame), fitted.transform(X))
    assert by_name.feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="feature names should match"):
        by_name.transform(frame[list("bacdef")])
    for other in (X.astype(float), X.tolist(), np.asfortranarray(X)):
        wide = autoencoder().fit(other)
        # Scaled in float64, and then rounded: some last bits differ.
        np.testing.assert_allclose(
            wide.transform(other), fitted.transform(X), atol=1e-4
        )
    assert fitted.transform(X).dtype == np.float32
    read_only = X.copy()
    read_only.flags.writeable = False
    assert_same(autoencoder().fit(read_only), fitted)


@quiet
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_names_the_latents(container):
    pytest.importorskip(container)
    fitted = autoencoder().fit(X).set_output(transform=container)
    codes = fitted.transform(X)
    assert list(codes.columns) == [f"autoencodertransformer{i}" for i in range(3)]
    np.testing.assert_array_equal(codes.to_numpy(), autoencoder().fit(X).transform(X))


@quiet
def test_a_search_over_a_pipeline_prefers_what_reproduces_more():
    pipeline = make_pipeline(StandardScaler(), autoencoder(max_epochs=20))
    grid = {"autoencodertransformer__n_latents": [1, 3]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X)
    assert search.best_params_ == {"autoencodertransformer__n_latents": 3}
    assert search.best_estimator_.transform(X).shape == (300, 3)
    assert by_pickle(search).score(X) == search.score(X)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_folds_in_processes_give_the_same_scores():
    pipeline = make_pipeline(StandardScaler(), autoencoder(max_epochs=1))
    grid = {"autoencodertransformer__learning_rate": [1e-3, 1e-2]}
    serial, parallel = (
        GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(X).cv_results_
        for n in (None, 2)
    )
    name = "mean_test_score"
    # Workers may run another number of threads.
    np.testing.assert_allclose(serial[name], parallel[name], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_bare_estimator_passes_the_common_checks():
    check_estimator(AutoencoderTransformer())
