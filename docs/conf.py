"""Sphinx: `sphinx-build -W docs docs/_build`.  How docstrings become pages: `docstrings.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

import graphbp

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import to_rst  # the path comes first

project = "graphbp"
author = "the graphbp authors"
copyright = "2026, the graphbp authors"
release = graphbp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["graphbp.css"]
highlight_language = "none"
smartquotes = False  # "numba" is a value, not a quotation
autodoc_member_order = "bysource"
autodoc_typehints = "none"
nitpicky = False
suppress_warnings = ["autodoc.import_cycle", "ref.python"]


class Commands(Directive):
    """The help of every command, as it is printed."""

    def run(self) -> list[nodes.Node]:
        import click

        from graphbp.cli.program import program

        context = click.Context(program, info_name="graphbp", max_content_width=100, terminal_width=100)
        found: list[nodes.Node] = [nodes.literal_block("", program.get_help(context), language="none")]
        for name, command in program.commands.items():
            inner = click.Context(command, parent=context, info_name=name, max_content_width=100, terminal_width=100)
            section = nodes.section(ids=[f"graphbp-{name}"])
            section += nodes.title(text=f"graphbp {name}")
            section += nodes.literal_block("", command.get_help(inner), language="none")
            found.append(section)
        return found


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def setup(app: Any) -> None:
    app.add_directive("graphbp-commands", Commands)
    app.connect("autodoc-process-docstring", _docstring)
