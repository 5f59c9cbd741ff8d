"""Linear ODEs for tests: the rows one by one, and equations of known solution."""

import math

import numpy as np


def dense_solution(
    coefficients, rhs, init, steps, *, weights=(1.0, 1.0, 1.0), central=False
):
    """Least squares of the rows, each written out from its definition."""
    n = max(len(coefficients), len(rhs), len(steps) + 1)
    n_equations, n_states, n_orders = coefficients.shape[1:]
    c = np.broadcast_to(coefficients, (n, n_equations, n_states, n_orders))
    b = np.broadcast_to(rhs, (n, n_equations))
    steps = np.broadcast_to(steps, n - 1)
    w_eq, w_init, w_smooth = weights
    top = n_orders - 1
    rows, values = [], []

    def add(entries, value, weight):
        row = np.zeros((n, n_states, n_orders))
        for place, entry in entries:
            row[place] += entry
        rows.append(weight * row.ravel())
        values.append(weight * value)

    for t in range(n):
        for q in range(n_equations):
            add([(t, c[t, q])], b[t, q], w_eq)
    for place in np.ndindex(init.shape):
        add([(place, 1.0)], init[place], w_init)
    for t in range(n - 1):
        for here, there, h in ((t, t + 1, steps[t]), (t + 1, t, -steps[t])):
            for d in range(n_states):
                for r in range(top if central else top + 1):
                    taylor = [
                        ((here, d, o), h**r * h ** (o - r) / math.factorial(o - r))
                        for o in range(r, n_orders)
                    ]
                    add([*taylor, ((there, d, r), -(h**r))], 0.0, w_smooth)
    for t in range(n - 2 if central else 0):
        gap = steps[t] + steps[t + 1]
        for d in range(n_states):
            outer = gap ** float(top - 2)
            ends = [((t, d, top - 1), outer), ((t + 2, d, top - 1), -outer)]
            add([*ends, ((t + 1, d, top), gap * outer)], 0.0, w_smooth)
    solved = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return solved.reshape(n, n_states, n_orders)


def random_problem(n, n_equations, n_states, n_orders, n_init=1, seed=0, batch=()):
    """Coefficients, rhs, init of the first order, and steps that differ."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((*batch, n, n_equations, n_states, n_orders)),
        rng.standard_normal((*batch, n, n_equations)),
        rng.standard_normal((*batch, n_init, n_states, 1)),
        rng.uniform(0.5, 1.5, (*batch, n - 1)),
    )


def _oscillator(squared, damping, start):
    """A position and a velocity: x' = v, v' = -squared x - damping v."""
    rate = np.sqrt(squared - damping**2 / 4)

    def position(t):
        swing = (start[1] + damping * start[0] / 2) / rate
        waves = start[0] * np.cos(rate * t) + swing * np.sin(rate * t)
        return np.exp(-damping * t / 2) * waves

    equations = np.zeros((2, 2, 2))
    equations[0, 0, 1], equations[0, 1, 0] = 1.0, -1.0
    equations[1, 1, 1], equations[1, 0, 0], equations[1, 1, 0] = 1.0, squared, damping
    return equations, [0.0, 0.0], start, position


def _relaxation(slope, rate, source, start):
    """One state: slope y + rate y' = source."""
    level = source / slope

    def state(t):
        return level + (start - level) * np.exp(-slope / rate * t)

    return np.array([[[slope, rate]]]), [source], [start], state


def _chain():
    """A chain x' = y, y' = z, z' = -y - z from (0, -1, 1)."""
    equations = np.zeros((3, 3, 2))
    equations[[0, 1, 2], [0, 1, 2], 1] = 1.0
    equations[0, 1, 0] = equations[1, 2, 0] = -1.0
    equations[2, 1, 0] = equations[2, 2, 0] = 1.0
    # y solves y'' + y' + y = 0 from (-1, 1). As z' = -x' - y', the sum x + y + z stays
    # what it is at 0, which is 0: x = -y - y'.
    _, _, _, y = _oscillator(1.0, 1.0, [-1.0, 1.0])
    rate = np.sqrt(0.75)

    def state(t):
        decay, c, s = np.exp(-t / 2), np.cos(rate * t), np.sin(rate * t)
        swing = 0.5 / rate
        slope = decay * ((rate * swing + 0.5) * c + (rate - 0.5 * swing) * s)
        return -y(t) - slope

    return equations, [0.0, 0.0, 0.0], [0.0, -1.0, 1.0], state


# Equations (n_equations, n_states, 2) of orders 0 and 1, rhs, initial states, and the
# first state as a function of time.
CLOSED_FORMS = {
    "charge": _relaxation(1 / 1.2, 2.31, 0.7, 10.0),
    "growth": _relaxation(0.23, -1.0, 0.0, 4.78),
    "language": _relaxation(0.6, 1.0, 0.32, 0.14),
    "harmonic": _oscillator(2.1, 0.0, [0.4, -0.03]),
    "damped": _oscillator(4.5, 0.43, [0.12, 0.043]),
    "chain": _chain(),
}


def closed_form_arrays(name, n_orders):
    """Arguments of the solver but the steps, and the first state as a function."""
    equations, rhs, start, state = CLOSED_FORMS[name]
    coefficients = np.zeros((1, *equations.shape[:2], n_orders))
    coefficients[0, :, :, :2] = equations
    return coefficients, np.array([rhs]), np.array(start)[None, :, None], state
