"""Ways to rescale the rows of an environment by themselves."""

import numpy as np

RESCALE = {
    "standard": lambda X: (X - X.mean(axis=0)) / X.std(axis=0),
    # As pandas does; environments of unequal size then differ over n.
    "unbiased": lambda X: (X - X.mean(axis=0)) / X.std(axis=0, ddof=1),
    "extremes": lambda X: (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0)),
    "magnitude": lambda X: X / np.abs(X).max(axis=0),
}
