"""What the benchmark scripts share: verdicts, versions, a table."""

import datetime
import multiprocessing
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "scikit-learn", "skorch", "numpy", "scipy")


def machine():
    """One line about the machine, the versions and the date."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    try:
        import torch

        threads = f", {torch.get_num_threads()} threads"
    except ImportError:
        threads = ""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    python = platform.python_version()
    return f"{cpu}{threads}; Python {python}, {versions}; {datetime.date.today()}"


def _answer(pipe, call):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe.send(call())
    except Exception as error:  # a peer's failure is a result
        pipe.send(f"{type(error).__name__}: {error}"[:200])


def limited(call, limit):
    """What ``call()`` returns, in a process that is ended after so many seconds.

    A string says why there is none: that it was stopped (it starts with ">"), its error
    or its death.
    """
    here, there = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_answer, args=(there, call))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(limit) else f"> {limit:g} s"
    except EOFError:
        return "died"
    finally:
        process.kill()
        process.join()


class Report:
    """Collects a benchmark's table and verdicts, prints them and writes them down.

    Parameters
    ----------
    claim : str
        Name of the results file.
    title : str
        Heading.
    """

    def __init__(self, claim, title):
        self.path = RESULTS / f"{claim}.md"
        self.lines = [f"## {title}", "", machine(), ""]
        self.failed = 0

    def say(self, text=""):
        """Print a line and keep it."""
        print(text, flush=True)
        self.lines.append(text)

    def table(self, header, rows):
        """Print a markdown table and keep it."""
        for cells in (header, ["---"] * len(header), *rows):
            self.say("| " + " | ".join(str(cell) for cell in cells) + " |")
        self.say()

    def bar(self, claim, value, limit, *, at_most):
        """Print PASS or FAIL for a bar and keep it."""
        met = value <= limit if at_most else value >= limit
        self.failed += not met
        side = "at most" if at_most else "at least"
        verdict = "PASS" if met else "FAIL"
        self.say(f"- **{verdict}** {claim}: {value:.3g} ({side} {limit:g} wanted)")

    def write(self):
        """Write ``benchmarks/results/<claim>.md``."""
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text("\n".join(self.lines).rstrip() + "\n")
        print(f"written: {self.path}")
