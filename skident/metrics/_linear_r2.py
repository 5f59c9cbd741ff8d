"""How much of the true factors a linear map of the latents explains."""

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

from skident.metrics._inputs import (
    check_matrix,
    check_same_rows,
    check_sources,
    in_range,
)


def linear_r2_score(sources, latents, *, cv=None):
    """Share of the variance of the sources that a linear map of the latents explains.

    Parameters
    ----------
    sources : array-like of shape (n_samples, n_sources) or (n_samples,)
        True factors.
    latents : array-like of shape (n_samples, n_latents)
        The representation of the same rows.
    cv : int, cross-validation generator, iterable or None, default=None
        How rows are held out, as scikit-learn takes it. None predicts the rows that the
        regression was fitted to.

    Returns
    -------
    r2 : float
        Mean of the sources' coefficients of determination, with equal weights: 1 if the
        sources are a linear function of the latents; 0, or with ``cv`` below, if
        latents say nothing.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional, is empty or is not finite, if the numbers
        of rows differ, or if a source is constant.

    See Also
    --------
    mean_correlation_coefficient : The same up to order and scale instead of a linear
        map.
    make_representation_scorer : Score a transformer by it in a cross-validation.

    Notes
    -----
    Unchanged by invertible linear maps and shifts of the latents: no rotation, ICA's
    either, can raise it. With ``cv=None`` noise scores n_latents / n_samples.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import linear_r2_score
    >>> u = np.random.default_rng(0).uniform(size=(100, 2))
    >>> round(linear_r2_score(u, u @ [[1.0, 2.0], [3.0, 4.0]] + 5.0), 6)
    1.0
    """
    S = check_sources(sources)
    Z = check_matrix(latents, "latents")
    check_same_rows(S, Z, ("sources", "latents"))
    (S,) = in_range(S.astype(np.float64), by_column=True)
    (Z,) = in_range(Z.astype(np.float64))
    model = LinearRegression()
    if cv is None:
        predicted = model.fit(Z, S).predict(Z)
    else:
        predicted = cross_val_predict(model, Z, S, cv=cv)
    return float(r2_score(S, predicted))
