"""Sphinx: ``make docs``."""

import re

project = "amtheory"
author = "The amtheory developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "amsmath"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # for each cell: a slow processor takes longer than the 30 s of the default
nb_merge_streams = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has them, and the star of a shape "*B L" is no markup
suppress_warnings = ["ref.python"]  # a name may be told at its package and at its module
html_theme = "furo"
exclude_patterns = ["_build", "jupyter_execute"]

SECTION = re.compile(r"^(\w[\w ]*)$")
ENTRY = re.compile(r"^([\w*`.]+(?:, [\w*`.]+)*) : (.+)$")


def spread(app, what, name, obj, options, lines):
    """Our entries say what a parameter is on its own line, where numpydoc expects its type."""
    found, section = [], ""
    for line, following in zip(lines, [*lines[1:], ""]):
        if SECTION.match(line) and set(following) == {"-"}:
            section = line
        if section == "Returns" and (line == section or set(line) == {"-"}):  # prose, where numpydoc expects types
            found += ["**Returns**"] if line == section else [""]
            continue
        entry = ENTRY.match(line) if section in ("Parameters", "Raises", "Warns", "Attributes") else None
        found += [entry[1], f"    {entry[2]}"] if entry else [line]
    lines[:] = found


def setup(app):
    app.connect("autodoc-process-docstring", spread, priority=100)
