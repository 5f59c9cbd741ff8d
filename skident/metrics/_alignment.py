"""How far two representations of the same rows agree, up to a group of maps."""

import warnings
from numbers import Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skident.metrics._diameter import diameter
from skident.metrics._groups import GROUPS, group_error
from skident.metrics._inputs import check_matrix, check_same_rows, in_range
from skident.solvers import ica, whitening
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_CONSTRAINTS = {
    "group": [StrOptions(set(GROUPS))],
    "norm": [StrOptions({"mean", "max", "q99"})],
    "test_size": [Interval(Real, 0, 1, closed="neither"), None],
    "random_state": ["random_state"],
}


def near_identifiability_score(
    F1,
    F2,
    group="signed_permutation",
    norm="mean",
    *,
    test_size=None,
    random_state=None,
):
    """Distance of two representations after the best map of a group, in diameters.

    The slack in near-identifiability up to a group [1]_: two trainings of one model
    whose representations of the same rows, ``F1`` and ``F2``, agree up to the group
    score 0.

    Parameters
    ----------
    F1 : array-like of shape (n_samples, n_latents_1)
        Representation to which the other one is mapped.
    F2 : array-like of shape (n_samples, n_latents_2)
        Another representation of the same rows.
    group : {"signed_permutation", "rigid", "linear"}, default="signed_permutation"
        Maps h allowed: a permutation of the coordinates with signs; a rotation with or
        without a reflection; any linear map. Each together with a translation.
    norm : {"mean", "max", "q99"}, default="mean"
        Of the Euclidean lengths of the rows of ``F1 - h(F2)``: their mean; their
        maximum, which the definition of near-identifiability asks for; or their 99 %
        quantile, which one row alone does not decide.
    test_size : float in (0, 1) or None, default=None
        Share of the rows, drawn at random, on which the error is measured, with h found
        on the others. None is all rows for both.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of ``test_size``.

    Returns
    -------
    error : float
        Norm of ``F1 - h(F2)`` divided by the diameter of ``F1``, the largest distance
        of two of its rows. 0 is perfect.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional, is empty or is not finite, if the numbers
        of rows differ, or if all rows of one are the same.

    See Also
    --------
    alignment_errors : All groups at once, before and after ICA.

    Notes
    -----
    h is the least-squares map of the group, found exactly (assignment of absolute
    covariances; orthogonal Procrustes problem; regression). It minimises the root mean
    square length and not ``norm``: the score is an upper bound of the minimum over the
    group, a close one for the mean and a loose one for the maximum.

    Not symmetric in ``F1`` and ``F2``: the error is in the units of ``F1``.
    Representations of different widths are first whitened, both to as many components
    as the smaller of their numerical ranks. The linear group has n_latents^2 numbers to
    fit: it needs many times as many rows as latents, or ``test_size``.

    O(n d^2 + d^3) time and O(n d) memory for n rows of d latents, and O(8192^2 d) for
    the diameter: that is exact up to 8192 rows far from the mean, and with more of them
    the largest distance among the 8192 furthest ones.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Definition 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import near_identifiability_score
    >>> F = np.random.default_rng(0).uniform(size=(1000, 2))
    >>> turned = F @ np.array([[0.6, -0.8], [0.8, 0.6]]) + 5.0
    >>> round(near_identifiability_score(F, turned, "rigid"), 6)
    0.0
    >>> near_identifiability_score(F, turned) > 0.1
    True
    """
    validate_parameter_constraints(
        _CONSTRAINTS,
        {"group": group, "norm": norm, "test_size": test_size}
        | {"random_state": random_state},
        caller_name="near_identifiability_score",
    )
    F1, F2 = _check_pair(F1, F2)
    fit, test = _split(len(F1), test_size, check_random_state(random_state))
    if F1.shape[1] != F2.shape[1]:
        F1, F2 = _whitened(F1, F2, _whitenings(F1, F2, fit))
    return group_error(F1, F2, group, norm, fit, test) / diameter(F1)


def alignment_errors(F1, F2, norm="mean", *, test_size=None, random_state=None):
    """Errors between two representations, aligned by ever larger groups and by ICA.

    Parameters
    ----------
    F1 : array-like of shape (n_samples, n_latents_1)
        Representation to which the other one is mapped.
    F2 : array-like of shape (n_samples, n_latents_2)
        Another representation of the same rows.
    norm : {"mean", "max", "q99"}, default="mean"
        See :func:`near_identifiability_score`.
    test_size : float in (0, 1) or None, default=None
        Share of the rows, drawn at random, on which errors are measured, with all maps
        (whitening and ICA among them) found on the others. None is all rows for both.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of ``test_size`` and the starts of the two ICAs, which differ.

    Returns
    -------
    errors : dict
        In diameters of ``F1``, of the raw or of the whitened one:

        permutation, rigid, linear : float
            :func:`near_identifiability_score` of the raw representations.
        whitened_permutation, whitened_rigid : float
            The same with each representation whitened: a linear difference of the two
            is then a rotation.
        ica : float
            After whitening and ICA of each by itself, up to a signed permutation.
        efficiency : float
            :func:`ica_efficiency` of ``permutation``, ``rigid`` and ``ica``.
        whitened_efficiency : float
            The same of ``whitened_permutation``, ``whitened_rigid`` and ``ica``, which
            are all in the same space.

    Raises
    ------
    ValueError
        As :func:`near_identifiability_score`, or if there are fewer rows than twice the
        number of whitened components.

    Warns
    -----
    ConvergenceWarning
        If one of the two ICAs has not converged: ``ica`` is then too large.

    Notes
    -----
    ``rigid``, ``linear`` and ``whitened_rigid`` see both representations
    ("supervised"); ``ica`` uses no more of their correspondence than a matching of
    components. ICA cannot do better than ``whitened_rigid``, but for the difference
    between ``norm`` and least squares.

    Whitening removes linear differences, which no rigid map does. ``efficiency``
    therefore compares across spaces and may exceed 1; it is the one to compare with
    published tables [1]_. ``whitened_efficiency`` is the share of the rotation that ICA
    finds. Neither is clipped.

    Whitened representations have as many components as the smaller of the two
    numerical ranks. Where widths differ, the errors of the raw ones are those of the
    whitened ones. Cost: that of two ICAs, and see :func:`near_identifiability_score`.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import alignment_errors
    >>> u = np.random.default_rng(0).laplace(size=(2000, 3))
    >>> A, B = np.random.default_rng(1).standard_normal((2, 3, 3))
    >>> errors = alignment_errors(u @ A, u @ B, random_state=0)
    >>> errors["ica"] < 1e-4 < errors["rigid"] < errors["permutation"]
    True
    """
    validate_parameter_constraints(
        _CONSTRAINTS,
        {"norm": norm, "test_size": test_size, "random_state": random_state},
        caller_name="alignment_errors",
    )
    F1, F2 = _check_pair(F1, F2)
    rng = check_random_state(random_state)
    fit, test = _split(len(F1), test_size, rng)
    whites = _whitenings(F1, F2, fit)
    n_fit, k = len(F1[fit]), len(whites[0].matrix)
    if n_fit < 2 * k:
        raise ValueError(
            f"F1 and F2 have {k} components, for which ICA needs at least {2 * k} "
            f"rows; it has {n_fit} (n_samples = {len(F1)})."
        )
    # Two starts: with one, the same Gaussian data would seem to have the same sources.
    seeds = rng.randint(np.iinfo(np.int32).max, size=2)
    rotations = [
        _ica_rotation(F[fit], white, int(seed), name)
        for F, white, seed, name in zip(
            (F1, F2), whites, seeds, ("F1", "F2"), strict=True
        )
    ]
    Z1, Z2 = _whitened(F1, F2, whites)
    if F1.shape[1] != F2.shape[1]:
        F1, F2 = Z1, Z2
    raw, white = diameter(F1), diameter(Z1)
    errors = {}
    for name, group in zip(("permutation", "rigid", "linear"), GROUPS, strict=True):
        errors[name] = group_error(F1, F2, group, norm, fit, test) / raw
    for name, group in zip(("permutation", "rigid"), GROUPS[:2], strict=True):
        errors[f"whitened_{name}"] = group_error(Z1, Z2, group, norm, fit, test) / white
    Y1, Y2 = (Z @ rotation.T for Z, rotation in zip((Z1, Z2), rotations, strict=True))
    # A rotation leaves the diameter as it is.
    errors["ica"] = group_error(Y1, Y2, GROUPS[0], norm, fit, test) / white
    errors["efficiency"] = ica_efficiency(
        errors["permutation"], errors["rigid"], errors["ica"]
    )
    errors["whitened_efficiency"] = ica_efficiency(
        errors["whitened_permutation"], errors["whitened_rigid"], errors["ica"]
    )
    return errors


def ica_efficiency(permutation, rigid, ica):
    """Share of the best rigid map's gain over a permutation that ICA reaches.

    Parameters
    ----------
    permutation : float or array-like
        Error after the best signed permutation.
    rigid : float or array-like
        Error after the best rigid map.
    ica : float or array-like
        Error after ICA of either side and the best signed permutation.

    Returns
    -------
    efficiency : float or ndarray
        ``(permutation - ica) / (permutation - rigid)``: 0 if ICA gained nothing, 1 if
        as much as the rigid map, which sees both sides. Not clipped: below 0 ICA did
        harm; above 1 it removed what no rigid map can, such as unequal variances. NaN
        where the rigid map gains nothing.

    Raises
    ------
    ValueError
        If an error is negative or not finite.

    Notes
    -----
    A ratio of differences: where ``permutation`` is barely above ``rigid`` it says
    nothing.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Table 1.

    Examples
    --------
    >>> from skident.metrics import ica_efficiency
    >>> round(ica_efficiency(0.219, 0.150, 0.202), 3)  # two seeds of a language model
    0.246
    """
    values = {"permutation": permutation, "rigid": rigid, "ica": ica}
    for name, value in values.items():
        value = values[name] = np.asarray(value, dtype=np.float64)
        if not np.isfinite(value).all() or (value < 0).any():
            raise ValueError(f"{name} must be finite and not negative, got {value}.")
    permutation, rigid, ica = np.broadcast_arrays(*values.values())
    gain = permutation - rigid
    efficiency = np.full(gain.shape, np.nan)
    np.divide(permutation - ica, gain, out=efficiency, where=gain != 0)
    return efficiency if efficiency.ndim else float(efficiency)


def _check_pair(F1, F2):
    F1, F2 = (
        check_matrix(F, name).astype(np.float64, copy=False)
        for F, name in ((F1, "F1"), (F2, "F2"))
    )
    check_same_rows(F1, F2, ("F1", "F2"))
    for F, name in ((F1, "F1"), (F2, "F2")):
        if (F[0] == F).all():
            raise ValueError(
                f"{name} must have rows that differ; n_samples = {len(F)}."
            )
    # Errors are in diameters: units do not matter, but their squares must be floats.
    return in_range(F1, F2)


def _split(n_samples, test_size, rng):
    """Rows on which maps are found, and those on which errors are measured."""
    if test_size is None:
        return slice(None), slice(None)
    order = rng.permutation(n_samples)
    n_test = round(test_size * n_samples)
    if not 1 <= n_test <= n_samples - 2:
        raise ValueError(
            f"test_size = {test_size} leaves {n_test} of {n_samples} rows for testing: "
            "at least one is needed there, and two for the maps."
        )
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _whitenings(F1, F2, fit):
    """Whitening of both, to the smaller of the two numerical ranks."""
    found = [whitening(F[fit]) for F in (F1, F2)]
    k = min(white.rank for white in found)
    return [white._replace(matrix=white.matrix[:k]) for white in found]


def _whitened(F1, F2, whites):
    return [
        (F - white.mean) @ white.matrix.T
        for F, white in zip((F1, F2), whites, strict=True)
    ]


def _ica_rotation(F, white, seed, name):
    found = ica(F, white, random_state=seed)
    if not found.converged:
        warnings.warn(
            f"ICA of {name} has not converged: gradient norm "
            f"{found.gradient_norm:.2g} after {found.n_iter} iterations.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return found.rotation
