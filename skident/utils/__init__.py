"""What estimators share: reports, progress, conversions."""

from skident.utils._callbacks import iterate
from skident.utils._graphs import to_networkx
from skident.utils._report import Assumption, IdentifiabilityReport

__all__ = ["Assumption", "IdentifiabilityReport", "iterate", "to_networkx"]
