"""A structural causal model that is known, with its noises and counterfactuals."""

from numbers import Integral

import numpy as np

from skident.utils._graphs import topological_order


class StructuralModel:
    """Variables x_j = c_j F_j(s_j, (x_k / c_k) of the parents k), along a graph.

    Parameters
    ----------
    adjacency_matrix : ndarray of int of shape (n_nodes, n_nodes)
        1 in ``[i, j]`` for i -> j; acyclic.
    mechanisms : list of n_nodes mechanisms
        F_j, with ``value(s, parents)`` and ``noise(x, parents)``; the parents stand in
        the order of their numbers.
    column_scales : ndarray of shape (n_nodes,)
        c_j, the units of the variables.

    Attributes
    ----------
    causal_order : ndarray of int of shape (n_nodes,)
        The nodes, causes before effects.
    """

    def __init__(self, adjacency_matrix, mechanisms, column_scales):
        self.adjacency_matrix = adjacency_matrix
        self.mechanisms = mechanisms
        self.column_scales = column_scales
        self.causal_order = topological_order(adjacency_matrix, "adjacency_matrix")

    def generate(self, noises, interventions=None):
        """Variables that noises lead to.

        Parameters
        ----------
        noises : array-like of shape (n_samples, n_nodes)
        interventions : dict or None, default=None
            Value of each node that is set from outside, a number or an array-like of
            shape (n_samples,), in the units of the variables.

        Returns
        -------
        X : ndarray of shape (n_samples, n_nodes)

        Raises
        ------
        ValueError
            If a shape does not fit, or an intervention is on no node.
        """
        noises = self._check(noises, "noises")
        values = self._check_interventions(interventions, len(noises))
        raw = np.empty_like(noises)
        X = np.empty_like(noises)
        for j in self.causal_order:
            if j in values:
                X[:, j] = values[j]
                raw[:, j] = values[j] / self.column_scales[j]
            else:
                parents = raw[:, self.parents(j)]
                raw[:, j] = self.mechanisms[j].value(noises[:, j], parents)
                X[:, j] = raw[:, j] * self.column_scales[j]
        return X

    def abduct(self, X):
        """Noises of given rows, of the shape of ``X``: the inverse of ``generate``."""
        raw = self._check(X, "X") / self.column_scales
        noises = np.empty_like(raw)
        for j in self.causal_order:
            parents = raw[:, self.parents(j)]
            noises[:, j] = self.mechanisms[j].noise(raw[:, j], parents)
        return noises

    def counterfactual(self, X, interventions):
        """What the rows would have been, had some nodes been set to other values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_nodes)
            What was observed.
        interventions : dict
            As for ``generate``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_nodes)
            Entries none of whose causes changed are those observed, bit for bit.

        Raises
        ------
        ValueError
            If a shape does not fit, or an intervention is on no node.
        """
        X = self._check(X, "X")
        values = self._check_interventions(interventions, len(X))
        noises = self.abduct(X)
        result = X.copy()
        for j in self.causal_order:
            if j in values:
                result[:, j] = values[j]
                continue
            parents = self.parents(j)
            rows = (result[:, parents] != X[:, parents]).any(axis=1)
            if rows.any():
                raw = result[np.ix_(rows, parents)] / self.column_scales[parents]
                result[rows, j] = self.column_scales[j] * self.mechanisms[j].value(
                    noises[rows, j], raw
                )
        return result

    def parents(self, j):
        """Numbers of the parents of node j, ascending."""
        return np.flatnonzero(self.adjacency_matrix[:, j])

    def _check(self, array, name):
        array = np.asarray(array, dtype=np.float64)
        n_nodes = len(self.adjacency_matrix)
        if array.ndim != 2 or array.shape[1] != n_nodes:
            raise ValueError(
                f"{name} must be of shape (n_samples, {n_nodes}), got {array.shape}."
            )
        return array

    def _check_interventions(self, interventions, n_samples):
        n_nodes = len(self.adjacency_matrix)
        values = {}
        for node, value in (interventions or {}).items():
            if not isinstance(node, Integral) or not 0 <= node < n_nodes:
                raise ValueError(
                    f"interventions must be on nodes 0 to {n_nodes - 1}, got {node!r}."
                )
            value = np.asarray(value, dtype=np.float64)
            if value.shape not in ((), (n_samples,)):
                raise ValueError(
                    f"The intervention on node {node} must be a number or of shape "
                    f"({n_samples},), got shape {value.shape}."
                )
            values[int(node)] = value
        return values
