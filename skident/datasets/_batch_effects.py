"""Embeddings of cells or images in which batches differ and a perturbation acts."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.datasets._near_isometry import LeakyMap, draw_sources
from skident.utils._sklearn import Interval, validate_parameter_constraints

_ACTIVITY = 0.5
_N_LAYERS, _SLOPE = 3, 0.7
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_batches": [Interval(Integral, 1, None, closed="left")],
    "n_bio": [Interval(Integral, 2, None, closed="left")],
    "n_tech": [Interval(Integral, 0, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "effect": [Interval(Real, 0, None, closed="left")],
    "batch_effect": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}


def make_batch_effect_embeddings(
    n_samples=3000,
    *,
    n_batches=6,
    n_bio=8,
    n_tech=8,
    n_features=64,
    effect=1.0,
    batch_effect=2.0,
    random_state=None,
):
    """Embeddings of perturbed and control samples, taken in several batches.

    Independent biological factors, two of which the perturbation shifts, and technical
    factors, whose means differ from batch to batch, go through a map that nearly keeps
    distances. To tell perturbed from control in a batch that was not trained on, the
    two kinds of factors have to be told apart: a stand-in for microscopy data [1]_.

    Parameters
    ----------
    n_samples : int, default=3000
        Number of rows, spread evenly over batches and, within one, over the classes.
    n_batches : int, default=6
        Number of batches.
    n_bio : int, default=8
        Number of biological factors, at least 2.
    n_tech : int, default=8
        Number of technical factors.
    n_features : int, default=64
        Width of the embeddings, at least ``n_bio + n_tech``.
    effect : float, default=1.0
        Shift of two biological factors in perturbed rows, in standard deviations of a
        factor.
    batch_effect : float, default=2.0
        Standard deviation of the means of the technical factors over batches, in
        standard deviations of a factor within a batch.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, n_features)
            Embeddings.
        y : ndarray of int of shape (n_samples,)
            1 for perturbed rows, 0 for controls.
        batches : ndarray of int of shape (n_samples,)
            Batch of each row: ``groups`` of a cross-validation.
        bio : ndarray of shape (n_samples, n_bio)
            Biological factors: before the perturbation, 0 with probability one half and
            else Laplace, with unit variance.
        tech : ndarray of shape (n_samples, n_tech)
            Technical factors: uniform with unit variance, plus the mean of the batch.
        perturbed : ndarray of int of shape (2,)
            Biological factors that the perturbation shifts.
        batch_means : ndarray of shape (n_batches, n_tech)
            Means of the technical factors.
        decode : callable
            The map, of ``np.hstack([bio, tech])``; distances shrink by factors in
            [0.49, 1]. It pickles.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range or ``n_features`` is less than
        ``n_bio + n_tech``.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Table 3.

    Examples
    --------
    >>> from skident.datasets import make_batch_effect_embeddings
    >>> data = make_batch_effect_embeddings(120, random_state=0)
    >>> data.X.shape, np.bincount(data.batches), np.bincount(data.y)
    ((120, 64), array([20, 20, 20, 20, 20, 20]), array([60, 60]))
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_batch_effect_embeddings"
    )
    if n_bio + n_tech > n_features:
        raise ValueError(
            f"n_features must be at least n_bio + n_tech = {n_bio + n_tech}, got "
            f"{n_features}."
        )
    rng = check_random_state(random_state)
    decode = LeakyMap.draw(n_bio + n_tech, n_features, _N_LAYERS, _SLOPE, rng)
    batch_means = batch_effect * rng.standard_normal((n_batches, n_tech))
    perturbed = np.sort(rng.choice(n_bio, 2, replace=False))
    # Batch by batch and, in each, class by class; then in random order.
    order = rng.permutation(n_samples)
    batches = np.arange(n_samples)[order] % n_batches
    y = (np.arange(n_samples)[order] // n_batches) % 2
    bio, _ = draw_sources(n_samples, n_bio, "laplace", rng)
    bio *= (rng.uniform(size=bio.shape) < _ACTIVITY) / np.sqrt(_ACTIVITY)
    bio[:, perturbed] += effect * y[:, None]
    tech = batch_means[batches]
    if n_tech:
        tech = tech + draw_sources(n_samples, n_tech, "uniform", rng)[0]
    return Bunch(
        X=decode(np.hstack([bio, tech])),
        y=y,
        batches=batches,
        bio=bio,
        tech=tech,
        perturbed=perturbed,
        batch_means=batch_means,
        decode=decode,
        DESCR=(
            f"{n_samples} rows in {n_batches} batches: {n_bio} biological factors, of "
            f"which {perturbed.tolist()} are shifted by {effect:g} in perturbed rows, "
            f"and {n_tech} technical ones, whose means differ between batches by "
            f"{batch_effect:g}, in {n_features} dimensions."
        ),
    )
