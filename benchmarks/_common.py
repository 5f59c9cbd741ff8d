"""What the benchmark scripts share: verdicts, versions, a table, kept results."""

import datetime
import json
import multiprocessing
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
OUTPUT = Path(__file__).parent / "output"
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


class Runs:
    """Results by key, kept in a file from which a later call goes on."""

    def __init__(self, path):
        self.path, self.found = path, {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                key, result = json.loads(line)
                self.found[json.dumps(key)] = result

    def get(self, key, run):
        """The result of ``run()``, from the file if it is there."""
        name = json.dumps(key)
        if name not in self.found:
            self.found[name] = run()
            print(name, self.found[name], flush=True)
            if self.path is not None:
                self.path.parent.mkdir(exist_ok=True)
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.found[name]]) + "\n")
        return self.found[name]

    def some(self, *start):
        """Results whose key starts so, as a list."""
        keys = (json.loads(name) for name in self.found)
        begin = json.loads(json.dumps(start))
        return [self.found[json.dumps(k)] for k in keys if k[: len(begin)] == begin]
