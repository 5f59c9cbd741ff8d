"""What changed between environments, and what causes what."""

from skident.discovery._shifted_nodes import ShiftedNodeDetector
from skident.discovery._two_env import TwoEnvCausalDiscovery

__all__ = ["ShiftedNodeDetector", "TwoEnvCausalDiscovery"]
