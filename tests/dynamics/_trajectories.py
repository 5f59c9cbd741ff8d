"""Small systems of known equations for the tests of mechanistic ODEs."""

import numpy as np
from scipy.integrate import solve_ivp

# Of "x" and "y" in the order 1, x, y, x^2, x y, y^2.
PREY = np.array([[0, 1.0, 0, 0, -0.5, 0], [0, 0, -0.8, 0, 0.3, 0]])


def prey_and_predators(n=400, dt=0.05, start=(2.0, 1.5), noise=0.0, seed=0):
    """Trajectory of ``x' = x - x y / 2``, ``y' = -0.8 y + 0.3 x y``."""

    def rate(t, state):
        x, y = state
        return [x - 0.5 * x * y, -0.8 * y + 0.3 * x * y]

    times = dt * np.arange(n)
    found = solve_ivp(
        rate, (0, times[-1]), start, t_eval=times, rtol=1e-9, atol=1e-9
    ).y.T
    rng = np.random.default_rng(seed)
    return found + noise * found.std(axis=0) * rng.standard_normal(found.shape)


def pendulum(n=400, dt=0.05, start=2.0):
    """Angles and speeds of a damped pendulum, ``v' = -sin(x) - 0.1 v``."""

    def rate(t, state):
        return [state[1], -np.sin(state[0]) - 0.1 * state[1]]

    times = dt * np.arange(n)
    return solve_ivp(
        rate, (0, times[-1]), [start, 0.0], t_eval=times, rtol=1e-9, atol=1e-9
    ).y.T


def jaccard(support, truth):
    """True positives over all that is true or taken for it."""
    truth = truth != 0
    return (support & truth).sum() / (support | truth).sum()


def largest_error(coef, truth):
    """Largest relative error of a true coefficient."""
    at = truth != 0
    return (np.abs(coef - truth)[at] / np.abs(truth[at])).max()


def lorenz_coef(data, terms):
    """True coefficients (3, n_terms) of Lorenz data in the names x0, x1, x2."""
    names = {"x": "x0", "y": "x1", "z": "x2"}
    truth = np.zeros((3, len(terms)))
    for d, state in enumerate("xyz"):
        for term, value in data.coef[state].items():
            renamed = " ".join(names[factor] for factor in term.split())
            truth[d, terms.index(renamed)] = value
    return truth
