"""One HTML file: the document as JSON that nothing in it can break out of, the template, the styles, the scripts, all inline.

Numbers travel as base64 of little-endian float64, so that no bit is lost and NaN and ∞ need no words.  The page may load nothing: its
Content-Security-Policy allows only what stands in it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from graphbp.exceptions import printable

__all__ = ["document_json", "page_of"]

PARTS = {
    "style": "view.css",
    "cytoscape": "cytoscape.min.js",
    "dagre": "cytoscape-dagre.min.js",
    "numbers": "numbers.js",
    "steps": "steps.js",
    "graph": "graph.js",
    "script": "view.js",
}
"""What the template calls each asset."""


@cache
def _asset(name: str) -> str:
    return resources.files("graphbp.view").joinpath("assets", name).read_text(encoding="utf-8")


def page_of(document: Mapping[str, Any]) -> str:
    """The page of a document."""
    filled = {name: _asset(file) for name, file in PARTS.items()}
    filled |= {"title": html.escape(printable(document["title"])), "data": document_json(document)}
    filled |= {"licences": _comment(_asset("LICENSES.txt"))}
    return re.sub("@@([a-z]+)@@", lambda mark: filled[mark[1]], _asset("page.html"))  # in one pass: a title may hold a mark


def _comment(text: str) -> str:
    return text.replace("--", "\u2010\u2010")


def document_json(document: Mapping[str, Any]) -> str:
    """ASCII JSON without <, > and &, so that no name ends the script that it stands in."""
    text = json.dumps(_plain(document), allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        kind, dtype = ("f64", "<f8") if value.dtype.kind == "f" else ("i32", "<i4")
        return {kind: base64.b64encode(np.ascontiguousarray(value, dtype).tobytes()).decode("ascii"), "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
