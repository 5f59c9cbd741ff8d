"""Memory of a process of its own, from /proc (so Linux only)."""

import json
import subprocess
import sys
import time
from pathlib import Path


def memory(pid):
    """(own, mapped) bytes resident in a process; own is anonymous and shared."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssShmem", "RssFile"):
            fields[name] = int(value.split()[0]) * 1024
    own = fields.get("RssAnon", 0) + fields.get("RssShmem", 0)
    return own, fields.get("RssFile", 0)


def watched(*command):
    """Figures that a Python script prints as JSON in its last line, with its peaks.

    ``own`` and ``mapped`` are the largest values of :func:`memory` while it ran.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    own = mapped = 0
    while process.poll() is None:
        try:
            now = memory(process.pid)
        except (FileNotFoundError, ProcessLookupError):
            break
        own, mapped = max(own, now[0]), max(mapped, now[1])
        time.sleep(0.02)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"The script ended with status {process.returncode}.")
    return json.loads(output.splitlines()[-1]) | {"own": own, "mapped": mapped}
