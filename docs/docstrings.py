r"""The docstrings as reStructuredText.

They are written for `help()` and for the eye: formulas, single backticks for code, NumPy's sections, indented drawings, ruled tables.
Here each of these becomes what Sphinx has for it, and every character that reStructuredText would take for markup is escaped.

>>> docstring = ["E of `net`; 2 * x_", "", "Raises", "------", "GraphError, WeightError : it is", "    no network."]
>>> for line in to_rst(docstring):
...     print(line or ".")
E of :py:obj:`net`; 2 \* x\_
.
.. rubric:: Raises
.
``GraphError, WeightError``
    it is no network.
.
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise

__all__ = ["to_rst"]

_RULE = re.compile(r"=+( +=+)+")
_ITEM = re.compile(r"(\S.*?) : (.*)")
_NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")


def to_rst(lines: list[str]) -> list[str]:
    """The lines of one docstring, changed."""
    out: list[str] = []
    for block in _blocks(lines):
        out += [*_block(block), ""]
    return out


def _blocks(lines: list[str]) -> list[list[str]]:
    """Runs of lines without a blank one; a heading stands alone, drawings and tables keep the blank lines inside them."""
    found: list[list[str]] = []
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        block = [] if blank else list(group)
        while len(block) > 1 and _is_heading(block):
            found.append(block[:2])
            block = block[2:]
        if block:
            drawing = block[0].startswith(" ") and bool(found) and found[-1][0].startswith(" ")
            found[-1:] = [[*found[-1], "", *block]] if drawing else [*found[-1:], block]
    return found


def _is_heading(block: list[str]) -> bool:
    return re.fullmatch(r"-{3,}", block[1].strip()) is not None and not block[0].startswith(" ")


def _block(block: list[str]) -> list[str]:
    if len(block) > 1 and _is_heading(block):
        return [f".. rubric:: {block[0].strip()}"]
    if block[0].startswith(">>>"):
        return block
    if block[0].startswith(" "):
        return _as_it_stands(block)
    if _RULE.fullmatch(block[0].strip()):
        return _table(block)
    if _ITEM.match(block[0]) and all(line.startswith(" ") or _ITEM.match(line) for line in block):
        return _items(block)
    if any(line.startswith(" ") for line in block) and not block[0].startswith(("- ", "* ")):
        return _as_it_stands(block)
    return [_inline(line) for line in block]


def _as_it_stands(block: list[str]) -> list[str]:
    return ["::", "", *(f"    {line}" if line.strip() else "" for line in block)]


def _items(block: list[str]) -> list[str]:
    """`name : what it is`, each with its indented lines, as a list of definitions."""
    out: list[str] = []
    for line in block:
        if line.startswith(" "):
            out[-1] += f" {_inline(line.strip())}"
        else:
            name, what = _ITEM.match(line).groups()  # type: ignore[union-attr]  # as seen before
            out += [f"``{name}``", f"    {_inline(what)}"]
    return out


def _table(block: list[str]) -> list[str]:
    """A ruled table; a row whose first cell is empty goes on with the row above."""
    starts = [match.start() for match in re.finditer("=+", block[0])]
    ends = [*starts[1:], None]
    rules = [k for k, line in enumerate(block) if _RULE.fullmatch(line.strip())]
    rows: list[list[str]] = []
    for a, b in pairwise(rules):
        for line in block[a + 1 : b]:
            cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
            if cells[0] or not rows:
                rows.append(cells)
            else:
                rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    head = [f"   :header-rows: {rules[1] - rules[0] - 1}"] if len(rules) > 2 else []
    out = [".. list-table::", *head, ""]
    for row in rows:
        out += [f"   {'* -' if k == 0 else '  -'} {_inline(cell)}" for k, cell in enumerate(row)]
    return out


def _inline(text: str) -> str:
    """Code as code, a name as a reference to it where there is one; the rest without markup."""
    parts = re.split(r"`+([^`]+)`+", text)
    marked = "".join(f"\0{_code(part)}\0" if k % 2 else _plain(part) for k, part in enumerate(parts))
    return re.sub(r"(?<=\w)\0|\0(?=\w)", r"\\ ", marked).replace("\0", "")  # beside a letter, markup needs an escaped blank


def _code(text: str) -> str:
    return f":py:obj:`{text}`" if _NAME.fullmatch(text) else f"``{text}``"


def _plain(text: str) -> str:
    return re.sub(r"([\\*|]|(?<=\w)_(?!\w))", r"\\\1", text)
