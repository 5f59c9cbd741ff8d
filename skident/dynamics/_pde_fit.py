"""Equations of fields, from rows to a report: the steps of a fit in their order."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skident.dynamics._field_encoders import encode_field, encode_rows
from skident.dynamics._pde_choice import even_choice, informative_choice
from skident.dynamics._pde_correction import (
    check_correction_memory,
    solve_patches,
    with_errors,
    without_errors,
)
from skident.dynamics._pde_equations import field_names
from skident.dynamics._pde_inputs import (
    check_grid,
    check_informative,
    check_spacing,
    make_experiments,
)
from skident.dynamics._pde_patches import make_patches, stitch
from skident.dynamics._pde_paths import corrects, find_path, fit_terms
from skident.dynamics._pde_report import Evidence, make_report, oracle_residual
from skident.dynamics._pde_terms import block_library, check_terms
from skident.utils._memory import check_memory
from skident.utils._sklearn import validate_data

# What snapshots may be, in fit and later.
FIELD_INPUT = {
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}


@dataclass(frozen=True)
class Reconstruction:
    """Solutions on patches, put together.

    Parameters
    ----------
    fields : list of ndarray of shape (n_t, *grid_shape, n_fields)
        One an experiment; NaN where no patch lies.
    residual : float
        Largest relative residual of the linear systems.
    """

    fields: list
    residual: float


def fit_model(fitted, X, trajectories, times, model):
    """Fit a model, and set what it has learnt on ``fitted``.

    Parameters
    ----------
    fitted : MechanisticPDERegressor
        Takes the attributes.
    X, trajectories, times
        As in ``fit``.
    model : MechanisticPDERegressor
        Whose parameters are read, and whose callbacks are told.
    """
    X = validate_data(
        fitted,
        X,
        ensure_min_samples=2,
        ensure_min_features=2,
        **FIELD_INPUT,
    )
    _check_parameters(model)
    shape = check_grid(X.shape[1], model.grid_shape, model.n_fields)
    space = check_spacing(model.spacing, shape)
    experiments = make_experiments(
        X,
        trajectories,
        times,
        grid_shape=shape,
        n_fields=model.n_fields,
        space=space,
        dt=model.dt,
    )
    names = field_names(model.n_fields)
    check_informative(experiments, names)
    terms = model.terms
    if terms is None:
        terms = block_library(model.n_fields, len(shape), model.degree, model.blocks)
    terms = check_terms(terms, model.n_fields, len(shape))
    _check_enough(experiments, terms, names)

    encodings = _encode(model, experiments)
    encoded = [encoding.field for encoding in encodings]
    patches = _cut(model, experiments, encoded, terms)
    found = _find(model, X, experiments, encoded, patches, terms)
    encoded, patches, fits = found["encoded"], found["patches"], found["fits"]
    observed = [
        replace(p, data=experiments[p.experiment].field[p.box]) for p in patches
    ]

    fitted.grid_shape_ = shape
    fitted.spacing_ = _mean_steps(experiments, space)
    fitted._space_ = space
    longest = max(range(len(experiments)), key=lambda i: experiments[i].n_frames)
    fitted._cutoff_ = encodings[longest].cutoff
    fitted._rest_ = np.mean([f.mean(axis=0) for f in encoded], axis=0)
    fitted._corrected_ = found["corrected"]
    fitted.terms_ = terms
    fitted.path_ = [_light(path) for path in found["paths"]]
    fitted.support_ = np.array([fit.support for fit in fits])
    fitted.coef_ = np.array([fit.theta for fit in fits]).astype(X.dtype)
    fitted.stderr_ = np.array([fit.stderr for fit in fits])
    fitted.coef_encoded_ = found["before"]
    fitted.loss_ = np.array([fit.loss for fit in fits])
    fitted.n_patches_ = len(patches)
    fitted.solver_residual_ = max(fit.solver_residual for fit in fits)
    fitted.history_ = found["history"]
    fitted.n_iter_ = max([1, *map(_n_steps, found["paths"])])
    fitted.n_epochs_ = len(found["history"].get("total", ()))
    if found["module"] is not None:
        fitted.module_ = found["module"]
    fitted.noise_ = _pooled([encoding.noise for encoding in encodings])
    fitted.noise_ratio_ = _noise_ratio(experiments, encoded, encodings, fitted.noise_)
    whole = _stitched(experiments, patches, _solutions(fits))
    fitted.encoded_ = by_row(encoded, experiments, X)
    fitted.reconstruction_ = by_row(whole, experiments, X)
    fitted.oracle_residual_ = oracle_residual(
        observed, terms, [fit.theta for fit in fits], model.linear_solver
    )
    evidence = Evidence(
        experiments=experiments,
        patches=patches,
        observed=observed,
        terms=terms,
        fits=fits,
        paths=found["paths"],
        names=names,
        encoder=model.encoder,
        noise=fitted.noise_,
        noise_ratio=fitted.noise_ratio_,
        oracle=fitted.oracle_residual_,
        n_left_out=_n_single(trajectories, X, experiments),
        corrected=found["corrected"],
        options={
            "tol": [path.tol for path in found["paths"]],
            "linear_solver": model.linear_solver,
            "n_jobs": model.n_jobs,
        },
    )
    fitted.condition_number_, fitted.identifiability_ = make_report(evidence)
    if model.fitter == "lm" or model.sparsifier == "elimination" or model.refine:
        _warn_unconverged(fits, names, model.max_iter)


# -- smoothing -----------------------------------------------------------------


def denoise_experiments(model, experiments):
    """Smooth fields of a fitted model's kind, one an experiment."""
    if model.encoder == "conv":
        from skident.dynamics._mechanistic_pde_net import smoothed

        return [smoothed(model.module_, e.field, model.device) for e in experiments]
    return [encoding.field for encoding in _encode(model, experiments)]


def smooth_snapshots(model, fields):
    """Snapshots smoothed in space, each by itself.

    Parameters
    ----------
    model : MechanisticPDERegressor
        Fitted.
    fields : ndarray of shape (n, *grid_shape, n_fields)

    Returns
    -------
    smooth : ndarray of that shape
        Where a whole snapshot is missing, the mean of the fields of ``fit``.
    """
    if model.encoder == "conv":
        from skident.dynamics._mechanistic_pde_net import smoothed_rows

        return smoothed_rows(model.module_, fields, model.device)
    return encode_rows(
        fields,
        model._space_,
        encoder=model.encoder,
        cutoff=model._cutoff_,
        periodic=model.periodic,
        known=model._rest_,
    )


def _encode(model, experiments):
    # A network's fields replace these; its noise estimate stands.
    name = "dct" if model.encoder == "conv" else model.encoder
    cutoff = model.encoder_cutoff
    if cutoff is not None and np.ndim(cutoff) == 0:
        cutoff = (cutoff,) * len(experiments[0].coordinates)
    return [
        encode_field(
            experiment.field,
            experiment.coordinates,
            encoder=name,
            cutoff=cutoff,
            periodic=model.periodic,
        )
        for experiment in experiments
    ]


# -- fitting -------------------------------------------------------------------


def _find(model, X, experiments, encoded, patches, terms):
    """Paths and fits of all equations, with what came before them."""
    history, module, start = {}, None, [None] * model.n_fields
    fields = range(model.n_fields)
    if model.fitter == "adam":
        from skident.dynamics._mechanistic_pde_net import train

        seed = check_random_state(model.random_state).randint(np.iinfo(np.int32).max)
        module, start, history = train(model, X, patches, terms, seed)
        if model.encoder == "conv":
            from skident.dynamics._mechanistic_pde_net import smoothed

            encoded = [smoothed(module, e.field, model.device) for e in experiments]
            patches = _moved(patches, encoded)
    paths, gaps = zip(
        *(find_path(model, patches, terms, j, start[j]) for j in fields), strict=True
    )
    for j in fields:
        if gaps[j] is not None:
            patches = without_errors(patches, gaps[j], j)
    fits = _on_finer_grids([path.fit for path in paths], gaps)
    corrected = [own is not None for own in gaps]
    before = None
    if model.refine:
        before = np.array([fit.theta for fit in fits]).astype(X.dtype)
        whole = _stitched(experiments, patches, _solutions(fits))
        encoded = [
            np.where(np.isfinite(solution), solution, smooth)
            for solution, smooth in zip(whole, encoded, strict=True)
        ]
        patches = _moved(patches, encoded)
        fits = [
            fit_terms(
                model, patches, terms, j, fit.support, fit.theta, weights=fit.weights
            )
            for j, fit in enumerate(fits)
        ]
        fits = _on_finer_grids(fits, gaps)
    return {
        "encoded": encoded,
        "patches": patches,
        "paths": paths,
        "fits": fits,
        "before": before,
        "history": history,
        "module": module,
        "corrected": corrected,
    }


def _on_finer_grids(fits, gaps):
    """Fits of all fields with the solutions of finer grids, where these are known."""
    return [
        fit if own is None else with_errors(fit, own)
        for fit, own in zip(fits, gaps, strict=True)
    ]


# -- patches -------------------------------------------------------------------


def _cut(model, experiments, encoded, terms):
    """Patches of all experiments, the most telling of them if there are too many."""
    patches = _all_patches(model, experiments, encoded, model.patch_stride)
    if not patches:
        raise ValueError(
            "No patch holds an observed entry of every field: all of X is missing "
            "where it could tell an equation."
        )
    nodes = max(patch.data[..., 0].size for patch in patches)
    n_kept = min(len(patches), model.max_patches)
    check_memory(
        8.0 * nodes * (n_kept * (2 + model.n_fields) + 20 * (1 + len(terms))),
        f"A fit on {n_kept} patches of {nodes} nodes (patch_size, max_patches)",
    )
    if corrects(model):
        largest = max((patch.shape for patch in patches), key=np.prod)
        check_correction_memory(largest, model.linear_solver, model.n_jobs)
    return informative_choice(patches, terms, model.max_patches)


def _all_patches(model, experiments, encoded, stride):
    return [
        patch
        for i, (experiment, smooth) in enumerate(zip(experiments, encoded, strict=True))
        for patch in make_patches(
            experiment.field,
            smooth,
            experiment.coordinates,
            patch_size=model.patch_size,
            patch_stride=stride,
            experiment=i,
        )
    ]


def _moved(patches, encoded):
    """The same patches of other smooth fields."""
    return [replace(p, encoded=encoded[p.experiment][p.box]) for p in patches]


def reconstruct_experiments(model, experiments, n_most=None):
    """Solve a fitted model's equations on patches of other data.

    Parameters
    ----------
    model : MechanisticPDERegressor
    experiments : list of Experiment
    n_most : int or None, default=None
        Patches, evenly over the data; None is all.

    Returns
    -------
    reconstruction : Reconstruction
    """
    encoded = denoise_experiments(model, experiments)
    patches = _all_patches(model, experiments, encoded, model.patch_stride)
    if n_most is not None:
        patches = even_choice(patches, n_most)
    theta = np.where(model.support_, model.coef_, 0.0).astype(np.float64)
    options = {"linear_solver": model.linear_solver, "n_jobs": model.n_jobs}
    values, worst = [], np.nan
    for j, corrected in enumerate(model._corrected_):
        solved, residual = solve_patches(
            patches, model.terms_, theta[j], field=j, corrected=corrected, **options
        )
        values.append(solved)
        worst = np.fmax(worst, residual)
    grouped = [np.stack(fields, axis=-1) for fields in zip(*values, strict=True)]
    return Reconstruction(_stitched(experiments, patches, grouped), worst)


def _solutions(fits):
    """Solutions of all fields, of each patch."""
    by_patch = zip(*(fit.solutions for fit in fits), strict=True)
    return [np.stack(values, axis=-1) for values in by_patch]


def _stitched(experiments, patches, solutions):
    """Solutions on patches as one field an experiment."""
    whole = []
    for i, experiment in enumerate(experiments):
        own = [k for k, patch in enumerate(patches) if patch.experiment == i]
        shape = experiment.field.shape
        columns = [
            stitch(
                [patches[k] for k in own],
                [solutions[k][..., j] for k in own],
                shape[:-1],
            )
            for j in range(shape[-1])
        ]
        whole.append(np.stack(columns, axis=-1))
    return whole


# -- bookkeeping ---------------------------------------------------------------


def _check_parameters(model):
    if model.encoder == "conv" and model.fitter != "adam":
        raise ValueError(
            'encoder="conv" is a network that is learnt with the equation: it needs '
            f'fitter="adam", got fitter={model.fitter!r}.'
        )


def _check_enough(experiments, terms, names):
    for j, name in enumerate(names):
        seen = sum(np.isfinite(e.field[..., j]).sum() for e in experiments)
        if seen < len(terms):
            raise ValueError(
                f"Field {name} has {seen} observed entries, fewer than the library's "
                f"{len(terms)} terms; lower degree, or give terms or blocks."
            )


def _mean_steps(experiments, space):
    spans = sum(e.coordinates[0][-1] for e in experiments)
    steps = spans / sum(e.n_frames - 1 for e in experiments)
    return np.array([steps, *(nodes[-1] / (len(nodes) - 1) for nodes in space)])


def _pooled(noises):
    """Root mean square of each field's noise over experiments that tell it."""
    noises = np.array(noises) ** 2
    known = np.isfinite(noises)
    total = np.where(known, noises, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.sqrt(np.where(count, total / np.maximum(count, 1), np.nan))


def _noise_ratio(experiments, encoded, encodings, noise):
    """Distance of smoothed data and data over the noise."""
    if len(encodings) == 1 and encoded[0] is encodings[0].field:
        return encodings[0].ratio
    rest = np.concatenate(
        [
            (e.field - smooth).reshape(-1, e.field.shape[-1])
            for e, smooth in zip(experiments, encoded, strict=True)
        ]
    )
    size = np.sqrt(np.nanmean(rest**2, axis=0))
    return np.divide(size, noise, out=np.full(len(noise), np.nan), where=noise > 0)


def by_row(fields, experiments, X):
    """Fields of experiments as rows of ``X``.

    Parameters
    ----------
    fields : list of ndarray of shape (n_t, *grid_shape, n_fields)
    experiments : list of Experiment
    X : ndarray of shape (n_samples, n_features)

    Returns
    -------
    rows : ndarray of that shape and dtype
        NaN for rows of no experiment.
    """
    rows = np.full(X.shape, np.nan)
    for field, experiment in zip(fields, experiments, strict=True):
        kept = field[experiment.frames]
        rows[experiment.rows] = kept.reshape(len(kept), -1)
    return rows.astype(X.dtype, copy=False)


def _light(path):
    """A path without the fields of its patches."""
    steps = [
        replace(step, fit=replace(step.fit, residuals=[], solutions=[]))
        for step in path.steps
    ]
    return replace(path, steps=steps)


def _n_steps(path):
    return sum(step.fit.n_iter for step in path.steps)


def _n_single(trajectories, X, experiments):
    """Number of rows that are alone in their trajectory."""
    return 0 if trajectories is None else len(X) - sum(len(e.rows) for e in experiments)


def _warn_unconverged(fits, names, max_iter):
    late = [name for name, fit in zip(names, fits, strict=True) if not fit.converged]
    if late:
        warnings.warn(
            f"The fit of the equation of {', '.join(late)} had not converged after "
            f"max_iter={max_iter} steps; the loss is "
            f"{', '.join(f'{fit.loss:.4g}' for fit in fits if not fit.converged)}. "
            "Increase max_iter, or look at identifiability_.",
            ConvergenceWarning,
            stacklevel=4,
        )
