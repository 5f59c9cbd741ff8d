"""Join benchmarks/results/*.md into benchmarks/results.md, verdicts first.

python benchmarks/collect.py
"""

import re

from _common import RESULTS


def section(path):
    """Title, text without it, and counts of bars met and missed of a result."""
    first, _, text = path.read_text(encoding="utf-8").partition("\n")
    met, missed = (len(re.findall(rf"\b{word}\b", text)) for word in ("PASS", "FAIL"))
    return first.lstrip("# "), text.strip(), met, missed


def main():
    sections = [section(path) for path in sorted(RESULTS.glob("*.md"))]
    lines = [
        "# Benchmark results",
        "",
        "Written by `collect.py` from the runs in `results`; each section names its",
        "machine, versions and date. `README.md` says what the scripts claim.",
        "",
        "| benchmark | bars met | bars missed |",
        "| --- | --- | --- |",
        *(f"| {title} | {met} | {missed} |" for title, _, met, missed in sections),
    ]
    for title, text, _, _ in sections:
        lines += ["", f"## {title}", "", text]
    path = RESULTS.with_suffix(".md")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
