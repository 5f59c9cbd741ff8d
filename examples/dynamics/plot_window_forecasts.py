"""
===================================
Forecasts through a solved equation
===================================

From six states of Lorenz's system the next twelve: how far ahead does a network see
that writes an equation and lets a solver solve it, beside a linear map? And what is the
equation that it writes worth?
"""

# %%
# Windows
# -------
# A row is a window: six steps of the past in ``X``, twelve to come in ``y``. The last
# windows are for the test, and those between, which share steps with both sides, for
# nothing.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV

from skident.datasets import make_lorenz
from skident.dynamics import ScalableMNNRegressor

states = make_lorenz(3000, 0.02).X[500:]
windows = np.lib.stride_tricks.sliding_window_view(states, 18, axis=0)
windows = windows.transpose(0, 2, 1)[::6]
X = windows[:, :6].reshape(len(windows), -1)
y = windows[:, 6:].reshape(len(windows), -1)
X_train, y_train, X_test, y_test = X[:300], y[:300], X[303:], y[303:]


def fit(seed):
    """A forecaster, trained for thirty epochs, ended or not."""
    model = ScalableMNNRegressor(
        state_dim=3,
        hidden=(64, 64),
        dct_keep=None,
        learning_rate=5e-3,
        max_epochs=30,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X_train, y_train)


model = fit(0)
linear = RidgeCV(np.logspace(-6, 3, 10)).fit(X_train, y_train)
print(f"explained: {model.score(X_test, y_test):.3f}, by a linear map ", end="")
print(f"{linear.score(X_test, y_test):.3f}")
print(model.identifiability_)

# %%
# How far ahead
# -------------
# Root mean square errors by the step ahead, in standard deviations of the states. All
# start from the last state of the past.

forecasts = {
    "solved equation": model.predict(X_test),
    "linear map": linear.predict(X_test),
    "last state": np.tile(X_test[:, -3:], 12),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
ahead = 0.02 * np.arange(1, 13)
for name, forecast in forecasts.items():
    error = (forecast - y_test).reshape(-1, 12, 3) / states.std(axis=0)
    left.plot(ahead, np.sqrt(np.mean(error**2, axis=(0, 2))), "o-", label=name)
left.set(xlabel="time ahead", ylabel="error, in standard deviations", yscale="log")
left.legend(frameon=False)

worst = np.argmax(np.square(forecasts["linear map"] - y_test).sum(axis=1))
past = X_test[worst].reshape(6, 3)[:, 0]
right.plot(0.02 * np.arange(-5, 1), past, "o-", color="0.6", label="the past")
right.plot(ahead, y_test[worst].reshape(12, 3)[:, 0], "k-", label="what came")
for name in ("solved equation", "linear map"):
    right.plot(ahead, forecasts[name][worst].reshape(12, 3)[:, 0], "--", label=name)
right.set(xlabel="time", ylabel="x0", title="where the linear map is at its worst")
right.legend(frameon=False)

# %%
# For four steps the linear map is the better one: so short a way is nearly straight.
# Farther on its error doubles and doubles again, and the network's hardly grows.
#
# No law
# ------
# Behind the forecast is an equation of second order for each state. Another seed ends
# with another equation, not even of the same sign, and with forecasts that differ by no
# more than they err: many equations have one solution. For the law there is
# :class:`~skident.dynamics.MechanisticODERegressor`.

other = fit(1)
moved = other.predict(X_test) - model.predict(X_test)
share = np.square(moved).sum() / np.square(y_test - y_test.mean(axis=0)).sum()
print(f"forecasts of another seed differ by {share:.3f} of the variance")
for fitted in (model, other):
    friction, inertia = fitted.ode_coefficients(X_test)[worst, -1, 0, 1:]
    print(f"x0 at the last step: {inertia:.2f} x0'' + {friction:.2f} x0' + ...")
plt.show()
