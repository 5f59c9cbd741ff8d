from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.utils._module_state import warn_if_unfinished
from skident.utils._training_net import Watch


def test_a_held_out_loss_that_is_not_finite_ends_the_fit():
    net = SimpleNamespace(history=[{"train_loss": 1.0, "valid_loss": np.nan}])
    with pytest.raises(FloatingPointError, match="held-out loss in epoch 1 is nan"):
        Watch(0.1).on_epoch_end(net)


@pytest.mark.parametrize("name", ["total", "validation"])
def test_a_training_that_goes_on_improving_is_unfinished(name):
    falling, flat = np.linspace(1.0, 0.0, 100), np.ones(100)
    history = {"total": flat} | {name: falling}
    with pytest.warns(ConvergenceWarning, match="still falling"):
        warn_if_unfinished(history, 0.01, 100, 1.0)
    # Rows held out ended it.
    warn_if_unfinished(history, 0.01, 101, 1.0)
    warn_if_unfinished({"total": falling} | {name: flat}, 0.01, 100, 1.0)
