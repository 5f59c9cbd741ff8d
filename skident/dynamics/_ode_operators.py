"""Solutions of u' = right side on windows, linear in right side and first states."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skident.dynamics._windows import WindowGroup
from skident.solvers import ode_window_operator

# Weight of the equations where the mean step is the unit of time: that of weight 1
# where it is a tenth of the unit. Equations then hold closely beside the Taylor rows,
# and the matrix is still conditioned well, at every order.
_EQUATION_WEIGHT = 10.0


@dataclass(frozen=True)
class SolvedGroup:
    """Windows of one length, and the operators that solve them.

    The solution of a window is ``step * S @ rhs + s @ first``.

    Parameters
    ----------
    group : WindowGroup
    S : ndarray of shape (length, length) or (n_windows, length, length)
        In units of the mean step; one for all windows of even steps.
    s : ndarray of shape (length, n_init_steps) or (n_windows, length, n_init_steps)
    """

    group: WindowGroup
    S: np.ndarray
    s: np.ndarray

    def __len__(self):
        return len(self.group)

    @property
    def length(self):
        """Rows of each window."""
        return self.group.length

    def part(self, which):
        """The windows that an index picks."""
        if self.group.ratios is None:
            return SolvedGroup(self.group.part(which), self.S, self.s)
        return SolvedGroup(self.group.part(which), self.S[which], self.s[which])

    def chunks(self, floats_per_window, budget=2**23):
        """Parts of a bounded number of floats, at least a window each."""
        size = max(1, int(budget // max(1, floats_per_window)))
        for low in range(0, len(self), size):
            yield self.part(slice(low, low + size))

    def integrate(self, terms):
        """Solutions (n_windows, length, k) of terms as right sides, from zero."""
        return self.group.step[:, None, None] * (self.S @ terms)

    def carry(self, states):
        """What first states alone contribute, (n_windows, length, n_states).

        Parameters
        ----------
        states : ndarray of shape (n_windows, length, n_states)
        """
        return self.s @ states[:, : self.s.shape[-1]]

    def solve(self, rhs, states):
        """Solutions (n_windows, length, n_states) from the first of the states."""
        return self.integrate(rhs) + self.carry(states)


def solve_groups(groups, order, n_init_steps):
    """Operators of each group of windows.

    Parameters
    ----------
    groups : list of WindowGroup
    order : int
        Highest derivative that the solver keeps.
    n_init_steps : int
        First states that are given; at most all of a window but one.

    Returns
    -------
    solved : list of SolvedGroup

    Warns
    -----
    ConvergenceWarning
        If windows of uneven steps are ill-conditioned: once, whatever their number.
    """
    solved = []
    for group in groups:
        w = group.length

        def operator(ratios, w=w):
            return ode_window_operator(
                w,
                ratios,
                # Few steps do not determine many derivatives.
                n_orders=min(order, w) + 1,
                n_init_steps=min(n_init_steps, w - 1),
                w_eq=_EQUATION_WEIGHT,
            )

        if group.ratios is None:
            S, s = operator(1.0)
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                pairs = [operator(ratios) for ratios in group.ratios]
            _pass_on(caught, group)
            S, s = (np.stack(part) for part in zip(*pairs, strict=True))
        solved.append(SolvedGroup(group, S, s))
    return solved


def _pass_on(caught, group):
    """One warning for all windows that are ill-conditioned; any other as it came."""
    weak = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    for other in caught:
        if other not in weak:
            warnings.warn_explicit(
                other.message, other.category, other.filename, other.lineno
            )
    if weak:
        warnings.warn(
            f"{len(weak)} of {len(group)} windows of uneven steps are ill-conditioned: "
            f"one step is up to {group.ratios.max():.3g} times their mean. Give what "
            "follows a long gap a label of its own in trajectories, or take a lower "
            "order.",
            ConvergenceWarning,
            stacklevel=5,
        )
