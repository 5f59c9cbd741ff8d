"""What a sparse autoencoder's fit starts from, and what is said of it afterwards."""

import hashlib
import json
import pickle
import warnings
from numbers import Number
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skident.metrics import arip_statistics, top_supports
from skident.utils import Assumption, IdentifiabilityReport
from skident.utils._checkpoint import load_checkpoint
from skident.utils._explained import explained_variance
from skident.utils._rows import scale_rows
from skident.utils._validation import check_sample_weight

CHUNK_ROWS = 2048
MAX_SEED = np.iinfo(np.int32).max
_MAX_DEAD = 0.1


def sizes(est, n_features):
    """Number of atoms and nonzeros a code, for rows of ``n_features`` features."""
    auto = est.n_components == "auto"
    n_components = 4 * n_features if auto else int(est.n_components)
    k = min(est.n_active, n_components)
    if k < est.n_active:
        warnings.warn(
            f"n_active={est.n_active} was clipped to the {k} atoms of n_components.",
            UserWarning,
            stacklevel=4,
        )
    if n_components <= n_features:
        warnings.warn(
            f"The dictionary is not overcomplete: n_components={n_components} atoms "
            f"for {n_features} features.",
            UserWarning,
            stacklevel=4,
        )
    return n_components, k


def check_start(est, n_features):
    """Raise ``ValueError`` if the weights to start from are not of the sizes wanted."""
    if not hasattr(est, "components_"):
        return
    steps = est.n_encode_steps if est.variant == "isae_me" else 1
    wanted = {"components_": (est.n_components_, n_features), "step_factor_": None}
    if steps > 1 and est.step_rank is None:
        wanted["step_factor_"] = (est.n_components_, est.n_components_)
    elif steps > 1:
        wanted["step_factor_"] = ((est.n_components_, est.step_rank),) * 2
    for name, shape in wanted.items():
        given = getattr(est, name)
        if isinstance(given, tuple):
            given = tuple(factor.shape for factor in given)
        elif given is not None:
            given = given.shape
        if given != shape:
            raise ValueError(
                f"With warm_start=True, {name} of the previous fit must have shape "
                f"{shape} for these parameters and data; got {given}."
            )


def plan_fit(est, shards):
    """Seed of a fit, and the checkpoint that it writes and may go on from.

    Parameters
    ----------
    est : IdentifiableSAE
    shards : Shards

    Returns
    -------
    seed : int
    checkpoint : (Path, dict) or None
        Where checkpoints go, and what is written with them.
    saved : (dict of ndarray, dict) or None
        What an interrupted fit of the same parameters and data has left.
    """
    seed = int(check_random_state(est.random_state).randint(MAX_SEED))
    if est.checkpoint_dir is None:
        return seed, None, None
    from skident.utils._torch import world

    # What the result depends on. An unseeded fit may be resumed by any other.
    ignored = {"checkpoint_dir", "verbose", "random_state", "sparse_output"}
    facts = {k: repr(v) for k, v in est.get_params().items() if k not in ignored}
    facts |= {"net_params": _describe(est.net_params), "rows": len(shards)}
    facts |= {"seed": None if est.random_state is None else seed}
    # Positions in the stream of rows are those of so many processes.
    facts |= {"processes": world()[1]}
    if hasattr(est, "components_"):
        learned = (est.components_, est.encoder_, est.intercept_, est.step_factor_)
        start = hashlib.sha256(pickle.dumps(learned)).hexdigest()
        facts |= {"start": start}
    some = shards.read(np.unique(np.linspace(0, len(shards) - 1, 64, dtype=int)))
    facts |= {"sample": hashlib.sha256(some.tobytes()).hexdigest()}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = Path(est.checkpoint_dir) / f"{type(est).__name__}-{name[:16]}.npz"
    saved = load_checkpoint(path)
    if saved is not None:
        seed = saved[1]["identity"]["seed"]
    return seed, (path, {"seed": seed}), saved


def _describe(value):
    """Text of a setting that is the same in another process."""
    if isinstance(value, dict):
        return str(sorted((str(k), _describe(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return str([_describe(v) for v in value])
    plain = value is None or isinstance(value, str | Number)
    # The address in an object's repr changes from run to run.
    return repr(value) if plain else getattr(value, "__name__", type(value).__name__)


def explained(inference, shards, rows=None, sample_weight=None):
    """Score of some rows (all if None); see ``IdentifiableSAE.score``."""
    if rows is None:
        blocks, n_rows = shards.chunks(CHUNK_ROWS), len(shards)
    else:
        n_rows = len(rows)
        pieces = (rows[i : i + CHUNK_ROWS] for i in range(0, n_rows, CHUNK_ROWS))
        blocks = (shards.read(piece) for piece in pieces)
    weights = check_sample_weight(sample_weight, range(n_rows))
    return explained_variance(inference.residuals(blocks), weights)


def examine(est, inference, rows):
    """Test the theorem's assumptions on some raw rows.

    Parameters
    ----------
    est : IdentifiableSAE
        With fitted weights.
    inference : Inference
        Its encoder.
    rows : ndarray of shape (n_rows, n_features)

    Returns
    -------
    arip : float
        Mean over supports.
    report : IdentifiabilityReport
    """
    u = np.concatenate(list(inference.pre_activations([rows])))
    size = min(est.rip_multiplier * est.k_, est.n_components_)
    norm_bound = None
    if est.normalize is not None:
        norm_bound = 1.0 + float(np.linalg.norm(est.intercept_))
    report = arip_statistics(
        scale_rows(rows, est.normalize)[0] - est.intercept_,
        est.components_,
        inference.codes([rows], len(rows)),
        top_supports(u, size, positive=est.variant == "topk"),
        n_active=est.k_,
        norm_bound=norm_bound,
        random_state=0,
    )
    dead = Assumption.at_most(
        "no dead atoms",
        "share of atoms that the last batches did not use",
        float(est.dead_.mean()),
        _MAX_DEAD,
    )
    return report.arip_mean, IdentifiabilityReport(
        target="dictionary and codes",
        up_to="one signed permutation of the atoms",
        assumptions=(*report.assumptions(), dead),
        notes=_notes(report),
        advice="The theorem asks for more than training gives on most data: whether "
        "atoms come back all the same is measured by SAEStability.",
    )


def _notes(report):
    notes = [
        f"Mean aRIP {report.arip_mean:.3g}, where random atoms give "
        f"{report.arip_floor:.3g}; reconstruction errors up to "
        f"{report.residual_quantiles[-1]:.3g}."
    ]
    if report.theorem_holds is None:
        notes.append(
            "Whether the theorem's bound applies cannot be told from these data."
        )
    elif not report.theorem_holds:
        notes.append("The theorem does not apply on these data.")
    return notes


def warn_of_fit(est, *, streaming=False):
    """Warn of a fit that was too short, left atoms dead or broke an assumption."""
    n_dead = int(est.dead_.sum())
    if est.n_steps_ <= est.warmup_steps:
        steps = f"{est.n_steps_} steps, within warmup_steps={est.warmup_steps}"
        warnings.warn(
            f"Training has come to {steps}: the codes say little before further calls "
            "of partial_fit."
            if streaming
            else f"Training ended after {steps}: the codes say little. Increase "
            "max_epochs or max_steps, or lower batch_size.",
            ConvergenceWarning,
            stacklevel=4,
        )
    elif n_dead > _MAX_DEAD * est.n_components_:
        warnings.warn(
            f"{n_dead} of {est.n_components_} atoms are dead: no row used them in the "
            f"last {est.dead_window} batches; up to {_MAX_DEAD:.0%} is usual. Train "
            "for more steps, lower n_components, or increase aux_weight.",
            ConvergenceWarning,
            stacklevel=4,
        )
    est.identifiability_.warn(est)
