"""Places in the kernels' tables have one name each: a wrong one would compile, and read the column beside it."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp_numba
from graphbp_numba.plan import tables

FOLDER = Path(graphbp_numba.__file__).parent
NAMES = {name: value for name, value in vars(tables).items() if name.isupper()}
TABLES = {"PLAN": tables.PLAN_SIZE, "RUN": tables.RUN_FIELDS, "HEAD": tables.HEAD_FIELDS, "LEVEL": tables.LEVEL_FIELDS}
TABLES |= {"BLOCK": tables.BLOCK_FIELDS, "SEGMENT": tables.SEGMENT_FIELDS, "CUT": 4, "SPARSE": 4}
TABLES |= {"PAIR": tables.PAIR_FIELDS, "TREE": tables.TREE_FIELDS, "CHOICE": tables.CHOICE_FIELDS}
TABLES |= {"NET": tables.NET_SIZE, "STEP": tables.STEP_FIELDS, "RECT": tables.RECT_FIELDS, "JOB": tables.JOB_FIELDS}
FUNCTIONS = {"PLAN": range(tables.PLAN_FORWARD_RUNS, tables.PLAN_SIZE, 3), "NET": range(tables.NET_PRODUCTS, tables.NET_SIZE, 3)}
SETS = ("KIND", "FORM", "CODE", "MODE", "COMBINE")


def assigned(path: Path) -> list[str]:
    """Constants that a module gives a value, in the order of its lines."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for target in node.targets if isinstance(node, ast.Assign) else []:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            found += [part.id for part in parts if isinstance(part, ast.Name) and part.id.isupper()]
    return found


def test_every_place_of_a_table_has_one_name():
    by_table = defaultdict(list)
    for name, value in NAMES.items():
        prefix, _, rest = name.partition("_")
        if rest not in ("SIZE", "FIELDS"):
            by_table[prefix].append(value)
    assert sorted(by_table) == sorted([*TABLES, *SETS])
    for prefix, values in by_table.items():
        assert len(set(values)) == len(values), prefix
        values = sorted(
            {*values, *(at + k for at in FUNCTIONS.get(prefix, ()) for k in range(3))}
        )  # C functions take three places each
        if prefix in TABLES:
            assert sorted(values) == list(range(TABLES[prefix])), prefix


def test_no_constant_of_the_backend_has_two_meanings():
    owners = defaultdict(list)
    for path in FOLDER.rglob("*.py"):
        for name in assigned(path):
            owners[name].append(path.name)
    assert {name: files for name, files in owners.items() if len(files) > 1} == {}


def test_places_are_named_in_one_module_only():
    prefixes = tuple(f"{prefix}_" for prefix in (*TABLES, *SETS))
    elsewhere = {
        (path.name, name)
        for path in FOLDER.rglob("*.py")
        for name in assigned(path)
        if path.name != "tables.py" and name.startswith(prefixes)
    }
    assert elsewhere == set()
    assert len(assigned(FOLDER / "plan" / "tables.py")) == len(NAMES), "a name is given twice"
