"""Effects of a treatment, with what the data can and cannot say about them."""

from skident.effects._expectile_bounds import selection_bounds

__all__ = ["selection_bounds"]
