"""Representations whose factors are known, one at a time or two runs at once."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.datasets._near_isometry import LeakyMap, draw_sources, haar
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_sources": [Interval(Integral, 1, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "n_layers": [Interval(Integral, 1, None, closed="left")],
    "negative_slope": [Interval(Real, 0, 1, closed="right")],
    "source": [StrOptions({"uniform", "laplace", "mixed"})],
    "eps": [Interval(Real, 0, None, closed="left")],
    "cond": [Interval(Real, 1, None, closed="left")],
    "random_state": ["random_state"],
}


def make_near_isometric_sources(
    n_samples,
    n_sources=4,
    n_features=16,
    *,
    n_layers=3,
    negative_slope=0.7,
    source="uniform",
    random_state=None,
):
    """Draw independent sources, seen through a map that nearly keeps distances.

    The data of the theorem on structural identifiability [1]_: an autoencoder that
    reconstructs them has the sources as its code, up to a rigid map and a slack that
    falls with the distortion; whitening and ICA then find them, up to order and sign.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    n_sources : int, default=4
        Number of sources, at most ``n_features``.
    n_features : int, default=16
        Width of the data.
    n_layers : int, default=3
        Number L of linear maps, with L - 1 activations in between.
    negative_slope : float, default=0.7
        Slope s in (0, 1] of the LeakyReLU below 0; 1 makes the map an isometry.
    source : {"uniform", "laplace", "mixed"}, default="uniform"
        Law of the sources, of zero mean and unit variance; "mixed" alternates the two,
        from uniform.
    random_state : int, RandomState instance or None, default=None
        Seed. The map does not depend on ``n_samples``.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, n_features)
            ``decode(sources)``.
        sources : ndarray of shape (n_samples, n_sources)
            The truth.
        decode : callable
            The map, from (n, n_sources) to (n, n_features); it pickles.
        lower, upper : float
            Factors between which the map changes every distance, s^(L - 1) and 1.
        distortion : float
            Bound on the distortion after the best scale,
            ``sqrt(upper / lower) - 1``: what ``bilipschitz_constants`` is at most.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range or ``n_sources`` exceeds ``n_features``.

    See Also
    --------
    skident.metrics.bilipschitz_constants : Measures the distortion of a map.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Theorem 3.

    Examples
    --------
    >>> from skident.datasets import make_near_isometric_sources
    >>> data = make_near_isometric_sources(100, random_state=0)
    >>> data.X.shape, data.sources.shape
    ((100, 16), (100, 4))
    >>> round(data.lower, 2), data.upper, round(data.distortion, 2)
    (0.49, 1.0, 0.43)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_near_isometric_sources"
    )
    if n_sources > n_features:
        raise ValueError(
            f"n_sources must be at most n_features = {n_features}, got {n_sources}."
        )
    rng = check_random_state(random_state)
    decode = LeakyMap.draw(n_sources, n_features, n_layers, negative_slope, rng)
    sources, kinds = draw_sources(n_samples, n_sources, source, rng)
    return Bunch(
        X=decode(sources),
        sources=sources,
        decode=decode,
        lower=decode.lower,
        upper=1.0,
        distortion=decode.lower**-0.5 - 1.0,
        DESCR=(
            f"{n_sources} independent sources of unit variance ({', '.join(kinds)}) "
            f"through {n_layers} random semi-orthogonal maps to {n_features} "
            f"dimensions, with LeakyReLU of slope {negative_slope:g} in between."
        ),
    )


def make_perturbed_representations(
    n_samples,
    n_sources=5,
    eps=0.1,
    *,
    cond=3.0,
    source="uniform",
    random_state=None,
):
    """Two representations of the same rows that agree up to a linear map and a slack.

    Each is ``(u + eps sin(2 u M)) A``, with u the sources and M and A its own: the
    setting of the theorem on ICA after near-identifiability up to linear maps [1]_,
    where errors after ICA grow in proportion to ``eps``, as long as it is small.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    n_sources : int, default=5
        Number of sources, and width of either representation.
    eps : float, default=0.1
        Size of the nonlinear difference, in standard deviations of a source.
    cond : float, default=3.0
        Condition number of the linear maps, whose singular values are spread evenly
        from 1 to ``cond``.
    source : {"uniform", "laplace", "mixed"}, default="uniform"
        See :func:`make_near_isometric_sources`.
    random_state : int, RandomState instance or None, default=None
        Seed. With one seed the sources and the maps are the same for every ``eps``.

    Returns
    -------
    data : Bunch
        With the fields

        F1, F2 : ndarray of shape (n_samples, n_sources)
            The two representations.
        sources : ndarray of shape (n_samples, n_sources)
            What they share.
        mixing : list of two ndarrays of shape (n_sources, n_sources)
            The linear maps A.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Theorem 2.

    Examples
    --------
    >>> from skident.datasets import make_perturbed_representations
    >>> data = make_perturbed_representations(100, eps=0.0, random_state=0)
    >>> back = data.F1 @ np.linalg.solve(data.mixing[0], data.mixing[1])
    >>> np.allclose(back, data.F2)
    True
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_perturbed_representations"
    )
    rng = check_random_state(random_state)
    mixing, bends = [], []
    for _ in range(2):
        singular = np.linspace(1.0, cond, n_sources)
        mixing.append(haar(n_sources, rng) * singular @ haar(n_sources, rng))
        bends.append(rng.standard_normal((n_sources, n_sources)) / np.sqrt(n_sources))
    sources, kinds = draw_sources(n_samples, n_sources, source, rng)
    F1, F2 = (
        (sources + eps * np.sin(2.0 * sources @ M)) @ A
        for M, A in zip(bends, mixing, strict=True)
    )
    return Bunch(
        F1=F1,
        F2=F2,
        sources=sources,
        mixing=mixing,
        DESCR=(
            f"Two representations of {n_sources} independent sources of unit variance "
            f"({', '.join(kinds)}), each bent by {eps:g} and mixed linearly with "
            f"condition number {cond:g}."
        ),
    )
