"""A soft solid that is sheared to and fro: stress of a fluid with a memory."""

from numbers import Real

import numpy as np
from sklearn.utils import check_random_state

from skident.datasets._series import MEASUREMENT, POSITIVE, at_least, trajectory_data
from skident.datasets._spectral import evolve
from skident.utils._sklearn import Interval, validate_parameter_constraints

_CONSTRAINTS = {
    "n_amplitudes": at_least(1),
    "n_times": at_least(2),
    "cycles": POSITIVE,
    "yield_stress": POSITIVE,
    "consistency": POSITIVE,
    "exponent": [Interval(Real, 0, 1, closed="right")],
    "modulus": POSITIVE,
    "viscosity": POSITIVE,
    **MEASUREMENT,
}


def make_kamani(
    n_amplitudes=500,
    n_times=1000,
    *,
    cycles=5.0,
    yield_stress=94.0,
    consistency=27.93,
    exponent=0.416,
    modulus=430.0,
    viscosity=23.0,
    noise=0.0,
    random_state=None,
):
    """Stress of a yield-stress fluid under oscillating shear, amplitude by amplitude.

    Under the strain γ = a sin t, the stress σ solves
    ``((H + η)/G) σ' + σ = H (γ' + (η/G) γ'')`` with the viscosity
    ``H = τ/|γ'| + k |γ'|^(n - 1)`` of flow [1]_.

    Parameters
    ----------
    n_amplitudes : int, default=500
        Number of amplitudes a, from 1e-3 to 10, equally spaced in their logarithm.
    n_times : int, default=1000
        Times of each trajectory, from 0 to its end.
    cycles : float, default=5.0
        Periods 2π that a trajectory lasts.
    yield_stress : float, default=94.0
        τ, in pascals.
    consistency, exponent : float, default=27.93, 0.416
        k and n, of the flow beyond the yield stress.
    modulus : float, default=430.0
        G, in pascals.
    viscosity : float, default=23.0
        η, in pascal seconds.
    noise : float, default=0.0
        Standard deviation of the noise in the stress, in units of that of all stresses
        together.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_amplitudes * n_times, 3)
            Stress, strain rate and its derivative, trajectory after trajectory. The
            last two are known, not modelled: ``n_controls=2``.
        X_true, derivatives : ndarrays of shape (n_amplitudes * n_times, 3)
            The same without noise, and time derivatives.
        times, trajectories : ndarrays of shape (n_amplitudes * n_times,)
            Time and trajectory of each row.
        amplitudes : ndarray of shape (n_amplitudes,)
            Amplitudes of the strain.
        dt : float
            Time step.
        coef : dict
            The five parameters.
        feature_names : list of str
            ``["stress", "rate", "acceleration"]``.
        noise_std : float
            Standard deviation of the noise, in pascals.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The stress is 0 at time 0. Where the strain rate passes 0, H is infinite and the
    equation is σ' = G γ' + η γ'', of a solid; it is divided by H, which leaves nothing
    infinite.

    References
    ----------
    .. [1] Kamani, Donley and Rogers, "Unification of the rheological physics of
       yield stress fluids", Physical Review Letters 126, 2021.

    Examples
    --------
    >>> from skident.datasets import make_kamani
    >>> data = make_kamani(3, 50)
    >>> data.X.shape, data.coef["modulus"]
    ((150, 3), 430.0)
    """
    parameters = dict(locals())
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="make_kamani")
    amplitudes = np.geomspace(1e-3, 10.0, n_amplitudes)
    times = np.linspace(0.0, 2 * np.pi * cycles, n_times)

    def change(t, stress):
        rate, acceleration = amplitudes * np.cos(t), -amplitudes * np.sin(t)
        speed = np.abs(rate)
        fluidity = speed / (yield_stress + consistency * speed**exponent)
        drive = modulus * rate + viscosity * acceleration
        return (drive - modulus * fluidity * stress) / (1.0 + viscosity * fluidity)

    # The largest stresses are some hundreds of pascals, the smallest below one.
    stress = evolve(change, np.zeros(n_amplitudes), times, rtol=1e-9, atol=1e-9)
    slope = np.array([change(t, row) for t, row in zip(times, stress, strict=True)])
    rate = np.outer(np.cos(times), amplitudes)
    acceleration = np.outer(-np.sin(times), amplitudes)
    states = np.stack([stress.T, rate.T, acceleration.T], axis=-1).reshape(-1, 3)
    rates = np.stack([slope.T, acceleration.T, -rate.T], axis=-1).reshape(-1, 3)
    rng = check_random_state(random_state)
    data = trajectory_data(
        states,
        rates,
        np.tile(times, n_amplitudes),
        np.repeat(np.arange(n_amplitudes), n_times),
        dt=float(times[1]),
        coef={
            name: float(parameters[name])
            for name in (
                "yield_stress",
                "consistency",
                "exponent",
                "modulus",
                "viscosity",
            )
        },
        names=("stress", "rate", "acceleration"),
        noise=0.0,
        rng=rng,
        amplitudes=amplitudes,
        DESCR=(
            f"Stress of a yield-stress fluid under oscillating shear of {n_amplitudes} "
            f"amplitudes, at {n_times} times of {cycles:g} cycles, with noise of "
            f"{100 * noise:g} % of the standard deviation of the stress."
        ),
    )
    data.noise_std = float(noise * states[:, 0].std())
    if noise:
        data.X[:, 0] += data.noise_std * rng.standard_normal(len(states))
    return data
