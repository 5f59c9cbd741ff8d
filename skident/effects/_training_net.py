"""How the networks of effects are trained, kept and evaluated."""

from skident.utils._training_net import mapped, train_module

__all__ = ["mapped", "train_module"]
