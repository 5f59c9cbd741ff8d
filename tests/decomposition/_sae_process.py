"""One process of a training in several: python _sae_process.py out.npz params.json.

The process group is made from the environment, as ``torchrun`` sets it.
"""

import json
import os
import sys
import warnings

import numpy as np
import torch

from skident.decomposition import IdentifiableSAE

LEARNED = ("components_", "encoder_", "intercept_", "activation_frequency_")


def data():
    """Rows on few directions, so that many of the atoms die."""
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((12, 8))
    codes = rng.standard_normal((640, 12)) * (rng.random((640, 12)) < 0.2)
    return (codes @ atoms + 0.01 * rng.standard_normal((640, 8))).astype(np.float32)


def train(how, params):
    """Fitted attributes, as a dict of arrays, and of the history."""
    estimator = IdentifiableSAE(**params)
    X = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "fit":
            estimator.fit(X)
        else:
            estimator.partial_fit(X[:320]).partial_fit(X[320:])
    found = {name: getattr(estimator, name) for name in LEARNED}
    found |= {f"history {k}": v for k, v in estimator.history_.items()}
    step = estimator.step_factor_
    step = [] if step is None else step if isinstance(step, tuple) else [step]
    return found | {f"step {i}": factor for i, factor in enumerate(step)}


if __name__ == "__main__":
    out, jobs = sys.argv[1:]
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    results = {}
    for i, (how, params) in enumerate(json.loads(jobs)):
        for name, value in train(how, params).items():
            results[f"{i} {name}"] = value
    np.savez(out.format(rank=os.environ["RANK"]), **results)
    torch.distributed.destroy_process_group()
