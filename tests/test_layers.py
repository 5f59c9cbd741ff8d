"""Imports point down: read from the sources, and measured in fresh interpreters."""

import ast
import pathlib
import subprocess
import sys

import pytest

import skident
from tests.estimators import KINDS

ROOT = pathlib.Path(skident.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in SOURCES]

# {part: the parts it may import}; a part is a subpackage, a top-level module, or "" for
# the package itself. A part always may import itself, but see the kinds below.
GROUND = {"utils", "exceptions"}
ENGINES = GROUND | {"solvers"}
DATA = ENGINES | {"metrics", "datasets"}
ALLOWED = (
    {"exceptions": set(), "utils": GROUND, "solvers": ENGINES, "": set()}
    | dict.fromkeys(("metrics", "datasets"), DATA)
    | dict.fromkeys(KINDS, DATA)
    | dict.fromkeys(("inspection", "compose", "model_selection"), DATA | set(KINDS))
)


def part_of(path):
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree):
    """Every import in a tree as (dotted name, node), names of ``from`` joined on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def at_import_time(tree):
    """The imports that run when the module is imported."""
    pending, found = list(tree.body), []
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return [name for name, node in imports(tree) if node in found]


def may_import_torch(path):
    """Nets, torch backends of the solvers, and the one training path."""
    part, name = part_of(path), path.name
    return (
        name.endswith("_net.py")
        or (part == "solvers" and name.endswith("_torch.py"))
        or (part == "utils" and name == "_torch.py")
    )


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_reader_of_imports_tells_early_from_late():
    source = """
import a, b.c
from d.e import f
class C:
    import g
    def method(self):
        import late
try:
    import h
except ImportError:
    later = lambda: __import__("i")
async def wait():
    from late import name
"""
    tree = ast.parse(source)
    assert sorted(at_import_time(tree)) == ["a", "b.c", "d.e.f", "g", "h"]
    assert {name for name, _ in imports(tree)} > {"late", "late.name"}
    with pytest.raises(AssertionError, match="relative import in line 1"):
        list(imports(ast.parse("from . import x")))


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_point_down(path):
    part = part_of(path)
    assert part in ALLOWED, f"{part} has no place in the layers"
    for name, node in imports(parse(path)):
        if name.split(".")[0] != "skident":
            continue
        imported = name.split(".")[1]
        assert imported == part or imported in ALLOWED[part], (
            f"line {node.lineno}: {part or 'skident'} may not import {imported}"
        )


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_the_kinds_are_used_through_their_public_names(path):
    for name, node in imports(parse(path)):
        parts = name.split(".")
        if parts[0] == "skident" and part_of(path) not in KINDS and parts[1] in KINDS:
            private = any(part.startswith("_") for part in parts)
            assert not private, f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_torch_matplotlib_and_private_scikit_learn_keep_to_their_files(path):
    tree = parse(path)
    early = {name.split(".")[0] for name in at_import_time(tree)}
    assert not early & {"matplotlib", "networkx", "polars"}
    if not may_import_torch(path):
        assert not early & {"torch", "skorch"}
    if path != ROOT / "utils" / "_sklearn.py":
        private = [
            name
            for name, _ in imports(tree)
            if name.startswith("sklearn.")
            and any(p.startswith("_") for p in name.split("."))
        ]
        assert not private


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_modules_that_load_torch_are_imported_late(path):
    if may_import_torch(path):
        return
    heavy = {
        ".".join(("skident", *source.relative_to(ROOT).with_suffix("").parts))
        for source in SOURCES
        if may_import_torch(source)
    }
    for name in at_import_time(parse(path)):
        assert name not in heavy and name.rpartition(".")[0] not in heavy, name


def modules_after(code):
    """Names of the modules loaded by a fresh interpreter that ran ``code``."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_only_itself():
    bare = modules_after("import importlib, functools, pkgutil")
    assert modules_after("import skident") - bare == {"skident"}


def test_every_public_name_loads_neither_torch_nor_matplotlib():
    code = "import skident\nfor n in skident.__all__: getattr(skident, n)"
    loaded = modules_after(f"{code}\nfrom skident import *\nFromColumns")
    assert "skident.compose._from_columns" in loaded
    assert not loaded & {"torch", "skorch", "matplotlib", "networkx", "transformers"}


def test_an_exception_and_a_subpackage_come_from_the_top():
    from skident import IdentifiabilityWarning, compose
    from skident.exceptions import IdentifiabilityWarning as original

    assert IdentifiabilityWarning is original
    assert skident.FromColumns is compose.FromColumns
    assert {"FromColumns", "compose", "__version__"} <= set(dir(skident))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'skident' has no attribute 'Foo'"):
        skident.Foo  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Foo'"):
        from skident import Foo  # noqa: F401


def test_no_public_name_is_listed_twice():
    owners = {}
    for part in sorted({part_of(path) for path in SOURCES} - {"", "utils"}):
        for name in getattr(skident, part).__all__:
            assert owners.setdefault(name, part) == part, (
                f"{name} stands in {owners[name]} and in {part}"
            )
