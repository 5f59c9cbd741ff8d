"""Putting estimators and tables together."""

from skident.compose._from_columns import FromColumns

__all__ = ["FromColumns"]
