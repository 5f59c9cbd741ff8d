"""Refuse what would not fit in memory, before it is allocated."""

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_SMALL = 2**26
# Limit and use of a container, in the two layouts that Linux has.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> int | None:
    """Bytes that this process may still allocate; None where that is not known."""
    found = [_from_meminfo(), *(_from_cgroup(*paths) for paths in _CGROUPS)]
    known = [value for value in found if value is not None]
    return min(known) if known else _from_sysconf()


def check_memory(n_bytes: float, what: str, available: int | None = None) -> None:
    """Raise where an allocation would not fit.

    Parameters
    ----------
    n_bytes : float
        What is about to be allocated.
    what : str
        What for, and how to need less: the error's first words.
    available : int or None, default=None
        Bytes that are there; by default those of this machine, best asked for a device.

    Raises
    ------
    MemoryError
        If more is needed than is available. Nothing is checked where the system does
        not say what that is, nor below 64 MiB: asking takes a millisecond.
    """
    if n_bytes < _SMALL:
        return
    if available is None:
        available = available_memory()
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"{what} needs about {_size(n_bytes)} of memory, and {_size(available)} "
            f"are available."
        )


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"


def _from_meminfo() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _from_cgroup(limit: str, usage: str) -> int | None:
    try:
        # "max" where there is no limit.
        return max(0, int(Path(limit).read_text()) - int(Path(usage).read_text()))
    except (OSError, ValueError):
        return None


def _from_sysconf() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
