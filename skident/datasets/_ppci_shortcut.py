"""An experiment whose visible treatment is a shortcut for its outcome."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.utils._sklearn import Interval, validate_parameter_constraints

_N_NOISE = 3
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "p1": [Interval(Real, 0, 1, closed="both")],
    "p0": [Interval(Real, 0, 1, closed="both")],
    "sigma": [Interval(Real, 0, None, closed="left")],
    "settings_noise": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}


def make_ppci_shortcut(
    n_samples=4000,
    *,
    p1=0.9,
    p0=0.1,
    sigma=0.5,
    settings_noise=0.3,
    random_state=None,
):
    """Noisy recordings of a binary outcome that show the treatment as well.

    A randomised trial of a treatment T with outcome Y, of which only a recording X is
    cheap. One feature is the outcome with noise, another the treatment with less noise:
    a learner that is trained where the treatment acts (``p1`` far from ``p0``) reads
    the outcome off the treatment, and finds an effect where there is none. Draw a
    training experiment, and then targets with other probabilities.

    Parameters
    ----------
    n_samples : int, default=4000
        Number of rows.
    p1, p0 : float, default=0.9 and 0.1
        Probability of the outcome 1 with and without treatment.
    sigma : float, default=0.5
        Standard deviation of the noise on the recorded outcome.
    settings_noise : float, default=0.3
        Standard deviation of the noise on the recorded treatment.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, 5)
            The outcome with noise, the treatment with noise, and three standard normal
            features that tell of neither.
        y : ndarray of int of shape (n_samples,)
            Outcomes, 0 or 1.
        treatment : ndarray of int of shape (n_samples,)
            0 or 1, each with probability one half.
        settings : ndarray of int of shape (n_samples, 1)
            The treatment, as the only setting of the experiment.
        potential_outcomes : ndarray of int of shape (n_samples, 2)
            Y(0) and Y(1).
        true_effect : float
            ``p1 - p0``.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skident.datasets import make_ppci_shortcut
    >>> train = make_ppci_shortcut(random_state=0)
    >>> target = make_ppci_shortcut(p1=0.5, p0=0.5, random_state=1)
    >>> train.X.shape, train.true_effect, target.true_effect
    ((4000, 5), 0.8, 0.0)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_ppci_shortcut"
    )
    rng = check_random_state(random_state)
    treatment = rng.randint(2, size=n_samples)
    # One draw for both arms: Y(1) >= Y(0) in every row where p1 >= p0.
    uniform = rng.uniform(size=n_samples)
    outcomes = (uniform[:, None] < np.array([p0, p1])).astype(np.int64)
    y = outcomes[np.arange(n_samples), treatment]
    X = rng.standard_normal((n_samples, 2 + _N_NOISE))
    X[:, 0] = y + sigma * X[:, 0]
    X[:, 1] = treatment + settings_noise * X[:, 1]
    return Bunch(
        X=X,
        y=y,
        treatment=treatment,
        settings=treatment[:, None].copy(),
        potential_outcomes=outcomes,
        true_effect=float(p1 - p0),
        DESCR=(
            f"{n_samples} rows of a randomised trial: outcome 1 with probability "
            f"{p1:g} under treatment and {p0:g} without; recorded with noise {sigma:g} "
            f"on the outcome and {settings_noise:g} on the treatment."
        ),
    )
