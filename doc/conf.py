"""Configuration of the documentation."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import skident

HERE = Path(__file__).parent

project = "skident"
author = "skident developers"
copyright = "2026, skident developers"
release = skident.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_api_tables.rst",
    # Sections that the pages of effects include.
    "user_guide/effects_invariant_risk.rst",
    "user_guide/effects_score_matching.rst",
]
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = f"skident {release}"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"by_paper": [], "whats_new": []}

autosummary_generate = ["_api_tables.rst"]
# autosummary lists the members itself; numpydoc would list them a second time.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"[/\\]plot_",
    # The script of `make demo` is no gallery page.
    "ignore_pattern": r"(__init__|quickstart)\.py",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skident",),
    "backreferences_dir": "generated/backreferences",
    "show_signature": False,
    "download_all_examples": False,
}

# -- API page ------------------------------------------------------------------
# The tables of the API page are written from each subpackage's __all__, so that a new
# method needs no edit here. Subpackages that are not named come last.
API_ORDER = [
    "decomposition",
    "discovery",
    "effects",
    "dynamics",
    "probing",
    "transfer",
    "metrics",
    "datasets",
    "inspection",
    "compose",
    "model_selection",
    "solvers",
    "utils",
    "exceptions",
]


def public_modules():
    """Return the public modules one level below skident, in reading order."""
    names = [
        info.name
        for info in pkgutil.iter_modules(skident.__path__)
        if not info.name.startswith("_")
    ]
    known = {name: rank for rank, name in enumerate(API_ORDER)}
    names.sort(key=lambda name: (known.get(name, len(known)), name))
    modules = [importlib.import_module(f"skident.{name}") for name in names]
    return [module for module in modules if getattr(module, "__all__", ())]


def api_table(module):
    """Return the section of the API page on one module, as reStructuredText."""
    title = f"``{module.__name__}``"
    summary = (inspect.getdoc(module) or "").split("\n\n")[0]
    lines = [
        title,
        "-" * len(title),
        "",
        summary,
        "",
        f".. currentmodule:: {module.__name__}",
    ]
    for is_class in (True, False):
        names = [
            name
            for name in module.__all__
            if inspect.isclass(getattr(module, name)) is is_class
            and callable(getattr(module, name))
        ]
        if names:
            lines += [
                "",
                ".. autosummary::",
                "   :toctree: generated/",
                "",
                *(f"   {name}" for name in names),
            ]
    return "\n".join([*lines, "", ""])


(HERE / "_api_tables.rst").write_text(
    "\n".join(api_table(module) for module in public_modules()), encoding="utf-8"
)


def skip_request_methods(app, what, name, obj, skip, options):
    """Leave out ``set_*_request``: scikit-learn's text links to its own pages."""
    if name.startswith("set_") and name.endswith("_request"):
        return True
    return None


TYPE_LINE = re.compile(r"^\s*\*{0,2}\w[\w, *]* : .*\(")


def escape_fitted_names(app, what, name, obj, options, lines):
    """Escape names such as ``n_features_in_`` in shapes, else they read as links."""
    for i, line in enumerate(lines):
        if TYPE_LINE.match(line):
            lines[i] = re.sub(r"(?<=\w)_(?=[,)])", r"\_", line)


def setup(app):
    """Connect the hooks above."""
    app.connect("autodoc-skip-member", skip_request_methods)
    # Before numpydoc, which works at the default priority of 500.
    app.connect("autodoc-process-docstring", escape_fitted_names, priority=400)
