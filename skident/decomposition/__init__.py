"""Observations to codes and the dictionary behind them."""

__all__ = []
