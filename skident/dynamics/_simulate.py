"""Trajectories of equations that were found, until they end or blow up."""

import warnings

import numpy as np
from scipy.integrate import LSODA
from sklearn.utils import check_array

# Steps of one trajectory: an integration that needs more has stalled.
_MAX_STEPS = 200_000
# States this many times larger than any seen are taken to blow up.
_BLOW_UP = 1e4


def simulate(coef, library, largest, names, x0, times, controls, rtol):
    """Trajectories of equations from one state, or from several.

    Parameters
    ----------
    coef : ndarray of shape (n_states, n_terms)
    library : Library
    largest : ndarray of shape (n_states,)
        Largest size of each state that was seen.
    names : list of str
        Of states and controls.
    x0, times, controls, rtol
        As in ``MechanisticODERegressor.simulate``.

    Returns
    -------
    states : ndarray of shape (n_times, n_states) or (n_starts, n_times, n_states)
    """
    times = check_array(times, ensure_2d=False, dtype=np.float64, input_name="times")
    if times.ndim != 1 or (np.diff(times) <= 0).any():
        raise ValueError("times must be one-dimensional and grow.")
    starts = check_array(x0, ensure_2d=False, dtype=np.float64, input_name="x0")
    n_states = len(coef)
    if starts.ndim not in (1, 2) or starts.shape[-1] != n_states:
        raise ValueError(
            f"x0 must be of shape ({n_states},) or (n_starts, {n_states}), got "
            f"shape {starts.shape}."
        )
    inputs = _controls_at(controls, times, len(names) - n_states)

    def rate(t, state):
        return coef @ library.evaluate(np.append(state, inputs(t)))

    def jacobian(t, state):
        slopes = library.jacobian(np.append(state, inputs(t)))
        return coef @ slopes[:, :n_states]

    largest = np.where(largest > 0, largest, 1.0)
    found = [
        integrate(
            rate,
            jacobian,
            start,
            times,
            bounds=_BLOW_UP * np.maximum(largest, np.abs(start)),
            names=names,
            rtol=rtol,
        )
        for start in np.atleast_2d(starts)
    ]
    return np.stack(found) if starts.ndim == 2 else found[0]


def _controls_at(controls, times, n_controls):
    """Function of a time that returns the controls there."""
    if callable(controls):
        return controls
    if controls is None and n_controls == 0:
        return lambda t: ()
    wanted = (len(times), n_controls)
    if n_controls == 1 and np.shape(controls) == wanted[:1]:
        controls = np.reshape(controls, wanted)
    if controls is None or np.shape(controls) != wanted:
        got = "None" if controls is None else f"shape {np.shape(controls)}"
        raise ValueError(
            f"controls must be of shape (n_times, n_controls) = {wanted} or a "
            f"function of a time, got {got}."
        )
    columns = check_array(controls, dtype=np.float64, input_name="controls").T
    return lambda t: [np.interp(t, times, column) for column in columns]


def integrate(rate, jacobian, start, times, *, bounds, names, rtol, max_steps=None):
    """Integrate one trajectory by steps that adapt, stiff where they have to be.

    Parameters
    ----------
    rate, jacobian : callable
        Of a time and a state (n_states,): its rate (n_states,), and the derivatives
        (n_states, n_states) of that.
    start : ndarray of shape (n_states,)
        State at the first of the times.
    times : ndarray of shape (n_times,)
        Growing.
    bounds : ndarray of shape (n_states,)
        A state beyond is taken to blow up.
    names : sequence of str
        Of the states, for the error.
    rtol : float
        Relative error of a step.
    max_steps : int or None, default=None

    Returns
    -------
    states : ndarray of shape (n_times, n_states)

    Raises
    ------
    FloatingPointError
        If a state blows up, or the integration stalls; it says which, and when.
    """
    found = np.empty((len(times), len(start)))
    found[0] = start
    if len(times) == 1:
        return found
    # A rate that overflows is seen in the state that it leads to.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        solver = LSODA(
            rate,
            times[0],
            start,
            times[-1],
            rtol=rtol,
            atol=rtol * np.maximum(np.abs(bounds) * 1e-6, np.finfo(float).tiny),
            jac=jacobian,
        )
        done = 1
        for _ in range(_MAX_STEPS if max_steps is None else max_steps):
            solver.step()
            _check(solver, bounds, names)
            reached = np.searchsorted(times, solver.t, side="right")
            if reached > done:
                found[done:reached] = solver.dense_output()(times[done:reached]).T
                done = reached
            if solver.status != "running":
                break
        else:
            raise FloatingPointError(
                f"The integration stalled at t = {solver.t:.6g}, after {_MAX_STEPS:,} "
                "steps: the equations are too stiff, or run into a singularity. "
                "Simulate to an earlier time."
            )
    return found


def _check(solver, bounds, names):
    state = solver.y
    beyond = ~(np.abs(state) <= bounds)
    if beyond.any():
        worst = int(np.argmax(np.where(beyond, np.abs(state) / bounds, 0)))
        if not np.isfinite(state).all():
            worst = int(np.flatnonzero(~np.isfinite(state))[0])
        raise FloatingPointError(
            f"The solution blows up: {names[worst]} is {state[worst]:.3g} at t = "
            f"{solver.t:.6g}, beyond {bounds[worst]:.3g}. The equations are unstable "
            "from this start, or hold only where the data were; simulate to an "
            "earlier time."
        )
    if solver.status == "failed":
        raise FloatingPointError(
            f"The integration failed at t = {solver.t:.6g}, with a step too small for "
            "the precision of numbers: the equations blow up there, or are singular. "
            "Simulate to an earlier time."
        )
