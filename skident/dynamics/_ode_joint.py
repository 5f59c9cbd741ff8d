"""States and coefficients together: Gauss-Newton steps on solved windows.

The loss of a window is ``|u(v, C) - x|^2 + smooth_weight |v - x|^2``, with x the data,
v the smoothed states, C the coefficients and u the solution of ``u' = terms(v) C`` from
the first of v. States stand in units of their scales.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from skident.dynamics._block_triangles import BlockTriangles

# Halvings of a step that does not lower the loss.
_HALVINGS = 6
# Bytes of linear models that a step may reuse rather than compute anew.
_KEPT_BYTES = 2**29


class JointFit:
    """Windows with their own smoothed states, which all share coefficients.

    Parameters
    ----------
    solved : list of SolvedGroup
    states : ndarray of shape (n_rows, n_states)
        Smoothed states to start from.
    inputs : ndarray of shape (n_rows, n_inputs)
        Data and controls; only the controls are used.
    data : ndarray of shape (n_rows, n_states)
    library : Library
    layout : BlockLayout
    smooth_weight : float
        Positive.
    scales : ndarray of shape (n_states,)
        Units in which errors of the states are counted.

    Attributes
    ----------
    states : list of ndarray of shape (n_windows, length, n_states)
        Smoothed states of each group.
    """

    def __init__(
        self, solved, states, inputs, data, library, layout, smooth_weight, scales
    ):
        self.solved, self.library, self.layout = solved, library, layout
        self.weight, self.scales = smooth_weight, scales
        self.n_states = data.shape[1]
        self.data = [data[group.group.rows] for group in solved]
        self.states = [states[group.group.rows] for group in solved]
        controls = inputs[:, self.n_states :]
        self.controls = [controls[group.group.rows] for group in solved]
        self._kept = None

    def loss(self, coef, states=None):
        """Sum of squares of all windows, over its two parts.

        Parameters
        ----------
        coef : ndarray of shape (n_states, n_terms)
        states : list of ndarray or None
            None: those held.

        Returns
        -------
        solutions, smoothing : float
        """
        states = self.states if states is None else states
        parts = np.zeros(2)
        for group, own, data, controls in zip(
            self.solved, states, self.data, self.controls, strict=True
        ):
            terms = self.library.evaluate(np.concatenate([own, controls], axis=-1))
            rest = (group.solve(terms @ coef.T, own) - data) / self.scales
            moved = (own - data) / self.scales
            parts += np.sum(rest**2), self.weight * np.sum(moved**2)
        return parts

    def solutions(self, coef):
        """Solutions u of each group."""
        found = []
        for group, own, controls in zip(
            self.solved, self.states, self.controls, strict=True
        ):
            terms = self.library.evaluate(np.concatenate([own, controls], axis=-1))
            found.append(group.solve(terms @ coef.T, own))
        return found

    def linearised(self, coef, support):
        """The loss as a regression on coefficients, states being fitted along.

        Parameters
        ----------
        coef : ndarray of shape (n_states, n_terms)
        support : ndarray of bool of shape (n_states, n_terms)

        Returns
        -------
        triangles : BlockTriangles
            A column for each supported term of each equation, in order; one target,
            such that its least squares are the next coefficients.
        """
        n_columns = int(support.sum())
        triangles = BlockTriangles(self.layout, n_columns, 1)
        size = sum(own.shape[0] * own[0].size ** 2 for own in self.data)
        kept = [] if 16 * size <= _KEPT_BYTES else None
        for system in self._systems(coef, support):
            white = system.white
            target = white[..., :-1] @ coef[support][:, None] - white[..., -1:]
            rows = np.concatenate([white[..., :-1], target], axis=-1)
            triangles.add(self.layout.of_rows(system.first_rows), rows)
            if kept is not None:
                kept.append(system)
        self._kept = None if kept is None else (coef, support, kept)
        return triangles

    def step(self, coef, support, new):
        """Smoothed states that go with new coefficients, by a Gauss-Newton step.

        Parameters
        ----------
        coef, support
            As :meth:`linearised` got them.
        new : ndarray of shape (n_states, n_terms)

        Returns
        -------
        states : list of ndarray
        """
        systems = self._systems(coef, support)
        if self._kept is not None and self._kept[0] is coef:
            systems = self._kept[2]
        change = np.append((new - coef)[support], 1.0)[:, None]
        found = []
        for system in systems:
            pull = _triangular(system.factor, system.white @ change, transposed=True)
            move = -system.slopes.swapaxes(-1, -2) @ pull / self.weight
            shape = (len(move), -1, self.n_states)
            found.append(system.data + move.reshape(shape) * self.scales)
        self._kept = None
        return self._regrouped(found)

    def advance(self, coef, support, new):
        """Take the step to new coefficients, as much of it as lowers the loss.

        Returns
        -------
        coef : ndarray of shape (n_states, n_terms)
        loss : float
        """
        goal = self.step(coef, support, new)
        before = self.loss(coef).sum()
        share = 1.0
        for _ in range(_HALVINGS):
            states = [
                old + share * (there - old)
                for old, there in zip(self.states, goal, strict=True)
            ]
            moved = coef + share * (new - coef)
            loss = self.loss(moved, states).sum()
            if loss <= before:
                self.states = states
                return moved, loss
            share /= 2
        return coef, before

    def smooth(self, coef, n_rounds, tol):
        """Fit the smoothed states alone, with the coefficients given.

        Returns
        -------
        loss : float
        """
        support = np.zeros(coef.shape, bool)
        before = self.loss(coef).sum()
        for _ in range(n_rounds):
            _, loss = self.advance(coef, support, coef)
            if before - loss <= tol * before:
                return loss
            before = loss
        return before

    def _systems(self, coef, support):
        """Linear models of the windows, part by part."""
        n_columns = int(support.sum())
        for i, group in enumerate(self.solved):
            size = group.length * self.n_states
            low = 0
            for part in group.chunks(size * (4 * size + 3 * n_columns)):
                here = slice(low, low + len(part))
                low += len(part)
                own, data = self.states[i][here], self.data[i][here]
                yield self._system(
                    part, own, data, self.controls[i][here], coef, support
                )

    def _regrouped(self, parts):
        """Chunks of all groups, in order, as one array a group."""
        found, parts = [], iter(parts)
        for own in self.states:
            chunks, n = [], 0
            while n < len(own):
                chunks.append(next(parts))
                n += len(chunks[-1])
            found.append(np.concatenate(chunks))
        return found

    def _system(self, group, own, data, controls, coef, support):
        """Linear model of some windows, in units of the scales.

        With d the move of the states from the data, the solution's residual is
        ``columns dC + slopes d + shift``; minimised over d, the loss is that residual
        without d, weighted by the inverse of a kernel.
        """
        K, w, D = own.shape
        inputs = np.concatenate([own, controls], axis=-1)
        terms = self.library.evaluate(inputs)
        rates = self.library.jacobian(inputs)[..., :D]
        # rates[k, t, d, e]: of the right side of state d by state e.
        rates = np.einsum("dp,ktpe->ktde", coef, rates)
        S = group.S * group.group.step[:, None, None]
        slopes = S[:, :, None, :, None] * rates.transpose(0, 2, 1, 3)[:, None]
        s = np.broadcast_to(group.s, (K, *group.s.shape[-2:]))
        for d in range(D):
            slopes[:, :, d, : s.shape[-1], d] += s
        slopes *= (self.scales / self.scales[:, None])[:, None, :]
        slopes = slopes.reshape(K, w * D, w * D)
        design = S @ terms
        columns = np.zeros((K, w, D, int(support.sum())))
        at = 0
        for d in range(D):
            chosen = np.flatnonzero(support[d])
            own_columns = design[..., chosen] / self.scales[d]
            columns[:, :, d, at : at + len(chosen)] = own_columns
            at += len(chosen)
        rest = (group.solve(terms @ coef.T, own) - data) / self.scales
        moved = ((own - data) / self.scales).reshape(K, w * D, 1)
        shift = rest.reshape(K, w * D, 1) - slopes @ moved
        kernel = slopes @ slopes.swapaxes(-1, -2) / self.weight
        kernel[:, np.arange(w * D), np.arange(w * D)] += 1.0
        factor = np.linalg.cholesky(kernel)
        rows = np.concatenate([columns.reshape(K, w * D, -1), shift], axis=-1)
        white = _triangular(factor, rows)
        return _System(group.group.rows[:, 0], data, factor, white, slopes)


class _System(NamedTuple):
    """Linear model of some windows, whitened.

    ``white`` is the inverse of ``factor``, Cholesky's of the kernel, times the columns
    and, last, the shift.
    """

    first_rows: np.ndarray
    data: np.ndarray
    factor: np.ndarray
    white: np.ndarray
    slopes: np.ndarray


def _triangular(factors, rights, transposed=False):
    """Solve lower triangular systems, one a window, or those of their transposes."""
    return np.stack(
        [
            solve_triangular(
                factor, right, lower=True, trans=int(transposed), check_finite=False
            )
            for factor, right in zip(factors, rights, strict=True)
        ]
    )
