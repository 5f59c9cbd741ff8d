"""What the tests of shifted nodes share: names of components, silent fits."""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment

from skident.datasets import make_latent_shift
from skident.discovery import ShiftedNodeDetector
from skident.discovery._shift_statistics import row_costs
from skident.exceptions import IdentifiabilityWarning


def nodes_of(detector, data):
    """True node of each component, by the true unmixing of the first environment."""
    found = detector.unmixing_[0].astype(np.float64)
    return linear_sum_assignment(row_costs(found, data.unmixing[0])[0])[1]


def fitted(data, n_components=None, **params):
    """A fit on generated data, and the names of the assumptions that it warns of."""
    d = data.sources.shape[1] if n_components is None else n_components
    detector = ShiftedNodeDetector(d, **({"random_state": 0} | params))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.fit(data.X, environments=data.environments)
    violated = {a.name for a in detector.identifiability_.violated}
    ours = [w for w in caught if w.category is IdentifiabilityWarning]
    assert len(ours) == bool(violated)
    assert all(name in str(ours[0].message) for name in violated)
    return detector, violated


def scores_by_node(detector, data):
    """Scores of the first two environments in the order of the true nodes."""
    scores = np.empty(detector.n_components_)
    scores[nodes_of(detector, data)] = detector.shift_scores_[0, 1]
    return scores


def found_nodes(detector, data):
    """The true nodes that were found."""
    return np.sort(nodes_of(detector, data)[detector.shifted_nodes_])


def laplace(n=8000, d=4, seed=0, **params):
    """Laplace noises: the easiest law."""
    return make_latent_shift(n, d, noise="laplace", random_state=seed, **params)
