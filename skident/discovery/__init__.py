"""What changed between environments, and what causes what."""

from skident.discovery._shifted_nodes import ShiftedNodeDetector

__all__ = ["ShiftedNodeDetector"]
