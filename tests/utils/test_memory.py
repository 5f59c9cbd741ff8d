"""What would not fit is refused before it is allocated."""

import pytest

from skident.utils import _memory
from skident.utils._memory import available_memory, check_memory


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine that says of itself what the test writes."""
    monkeypatch.setattr(_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(
        _memory, "_CGROUPS", [(str(tmp_path / "limit"), str(tmp_path / "use"))]
    )
    monkeypatch.setattr(_memory, "_from_sysconf", lambda: None)
    return tmp_path


def test_more_than_is_available_is_refused_with_both_sizes(machine):
    (machine / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:  1048576 kB\n")
    assert available_memory() == 2**30
    check_memory(2**30, "A factor")
    with pytest.raises(
        MemoryError, match=r"A factor needs about 1\.5 GiB .*, and 1 GiB"
    ):
        check_memory(1.5 * 2**30, "A factor")


def test_the_limit_of_a_container_counts(machine):
    (machine / "meminfo").write_text("MemAvailable: 1048576 kB\n")
    (machine / "limit").write_text(f"{2**29}\n")
    (machine / "use").write_text(f"{2**28}\n")
    assert available_memory() == 2**28
    (machine / "limit").write_text("max\n")
    assert available_memory() == 2**30
    (machine / "use").unlink()
    assert available_memory() == 2**30


def test_silence_where_the_system_says_nothing(machine):
    assert available_memory() is None
    check_memory(1e30, "A factor")
    (machine / "meminfo").write_text("MemTotal: 99 kB\n")
    assert available_memory() is None


def test_small_needs_are_not_asked_about(machine):
    (machine / "meminfo").write_text("MemAvailable: 1 kB\n")
    check_memory(2**20, "A factor")


def test_this_machine_has_some_memory():
    available = available_memory()
    assert available is None or available > 2**20
