"""Effects of a treatment, with what the data can and cannot say about them."""

__all__ = []
