"""Imports of packages that only some features need."""

import importlib
from types import ModuleType


def import_optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a package that is not a core dependency.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of skident that installs it.
    purpose : str
        What needs it, as the subject of a sentence: "IdentifiabilityReport.to_frame".

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If the package is missing, with the command that installs it. A package that
        is there but fails while being imported keeps its own error.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ImportError(
            f"{purpose} needs {package}, which is not installed. Install it with: "
            f'pip install "skident[{extra}]"',
            name=package,
        ) from error
