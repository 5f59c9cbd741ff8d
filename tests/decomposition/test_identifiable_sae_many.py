"""Several processes: one training shared by two, and many trainings spread."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skident.decomposition import IdentifiableSAE, SAEStability
from tests.decomposition import _sae_process as process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::skident.exceptions.IdentifiabilityWarning",
        "ignore::sklearn.exceptions.ConvergenceWarning",
    ),
]
ROOT = Path(__file__).parents[2]
PARAMS = {
    "n_components": 48,
    "n_active": 2,
    "n_encode_steps": 3,
    "batch_size": 16,
    "max_steps": 40,
    "dead_window": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 10,
    "random_state": 0,
}
KINDS = [
    {"variant": "topk"},
    {"variant": "abstopk"},
    {"variant": "isae"},
    {"variant": "isae_me"},
    {"variant": "isae_me", "step_rank": 3},
]


def environment():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # One thread each: the sums of both runs then differ by the processes alone.
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def in_two_processes(directory, jobs):
    """What two gloo processes have learned in each job, by rank."""
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
    }
    command = [sys.executable, process.__file__, str(directory / "{rank}.npz")]
    running = [
        subprocess.Popen(
            [*command, json.dumps(jobs)], env=environment() | group | {"RANK": rank}
        )
        for rank in "01"
    ]
    try:
        codes = [one.wait(timeout=300) for one in running]
    finally:
        for one in running:
            one.kill()
    assert codes == [0, 0]
    return [read(directory / f"{rank}.npz", len(jobs)) for rank in range(2)]


def read(path, n_jobs):
    with np.load(path) as archive:
        found = [{} for _ in range(n_jobs)]
        for name in archive.files:
            job, _, attribute = name.partition(" ")
            found[int(job)][attribute] = archive[name]
    return found


def assert_same_bits(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], name)


def assert_same_to_rounding(shared, single):
    """Two halves of a sum against the whole of it.

    A gradient is then off by some eps of its terms' size. Adam divides by the root
    mean square of a gradient's past, so a weight whose gradients nearly cancel can be
    off by that, relative to them, times the learning rate, each step: 40 steps of 1e-3
    with a thousandth of the sign wrong make 4e-5. A wrong average, the noise of one
    half or uses not counted together, change terms by per cents.
    """
    assert shared.keys() == single.keys()
    for name, value in single.items():
        rtol = 1e-3 if name.startswith("history") else 0.0
        np.testing.assert_allclose(
            shared[name], value, rtol=rtol, atol=1e-4, err_msg=name
        )


def test_two_processes_train_as_one_on_batches_of_twice_the_size(tmp_path):
    jobs = [(how, PARAMS | kind) for how in ("fit", "partial_fit") for kind in KINDS]
    jobs.append(("fit", PARAMS | {"bias_init_samples": 64, "validation_fraction": 0.1}))
    ranks = in_two_processes(tmp_path, jobs)
    for (how, params), first, second in zip(jobs, *ranks, strict=True):
        # Both have the same weights, to the last bit.
        assert_same_bits(first, second)
        single = process.train(how, params | {"batch_size": 32})
        assert_same_to_rounding(first, single)
        # The path of dead atoms is taken.
        assert (single["history aux"][:5] > 0).all()


def test_processes_without_a_seed_share_one(tmp_path):
    jobs = [(how, PARAMS | {"random_state": None}) for how in ("fit", "partial_fit")]
    for first, second in zip(*in_two_processes(tmp_path, jobs), strict=True):
        assert_same_bits(first, second)
        seeded = process.train("fit", PARAMS | {"batch_size": 32})
        assert not np.allclose(first["components_"], seeded["components_"], atol=0.01)


def test_torchrun(tmp_path):
    jobs = [("fit", PARAMS | {"variant": "isae_me"})]
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--master-addr=127.0.0.1", f"--master-port={free_port()}"),
            *(process.__file__, str(tmp_path / "{rank}.npz"), json.dumps(jobs)),
        ],
        env=environment(),
        check=True,
        timeout=300,
    )
    (first,), (second,) = (read(tmp_path / f"{rank}.npz", 1) for rank in "01")
    assert_same_bits(first, second)
    single = process.train("fit", jobs[0][1] | {"batch_size": 32})
    assert_same_to_rounding(first, single)


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={"PYTHONPATH": environment()["PYTHONPATH"]},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_fits_spread_over_a_cluster_are_those_made_here(cluster):
    def where(estimator, X, y=None):  # a score that tells the process that made it
        return float(os.getpid())

    X = process.data()
    estimator = IdentifiableSAE(**PARAMS)
    stability = SAEStability(estimator, n_fits=3, random_state=0)
    search = GridSearchCV(estimator, {"n_active": [1, 3]}, cv=2, refit=False)
    watched = GridSearchCV(
        estimator, {"n_active": [1, 3]}, cv=2, refit=False, scoring=where
    )
    with joblib.parallel_config(backend="dask"):
        spread = stability.fit(X).pairwise_, search.fit(X).cv_results_
        pids = watched.fit(X).cv_results_
    components, stable = stability.components_, stability.stable_
    here = stability.fit(X).pairwise_, search.fit(X).cv_results_
    # One thread there and here, so the same bits but for other processors' kernels.
    np.testing.assert_allclose(spread[0], here[0], atol=1e-6)
    np.testing.assert_allclose(
        spread[1]["mean_test_score"], here[1]["mean_test_score"], atol=1e-6
    )
    np.testing.assert_array_equal(stable, stability.stable_)
    np.testing.assert_allclose(components, stability.components_, atol=1e-6)
    scores = [pids[f"split{i}_test_score"] for i in range(2)]
    assert os.getpid() not in np.unique(scores)
