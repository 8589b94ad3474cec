"""Machine code on disk is found again by what it is made of, and by nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import namedtuple

import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

from graphbp.extend import activation_table, error_table
from graphbp.plugins import load_plugins
from graphbp_numba.machine import functions
from graphbp_numba.machine.identity import identity_of, source_digest

BASE = """
import math
import numpy as np
CONSTANT, TABLE = 2.0, np.array([1.0, 2.0])
def inner(a):
    return a * CONSTANT
def outer(a, k=3.0, *, c=4.0):
    return inner(np.tanh(a)) * k + c + TABLE[0] + math.e
"""


def made_of(text: str) -> str | None:
    scope: dict = {"__name__": "somebody"}
    exec(text, scope)
    return identity_of(scope["outer"])


def test_the_same_source_has_one_identity_wherever_it_stands():
    first = made_of(BASE)
    assert first is not None
    assert made_of("\n\n# a comment\n" + BASE) == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CONSTANT, TABLE = 2.0", "CONSTANT, TABLE = 2"),
        ("CONSTANT, TABLE = 2.0", "CONSTANT, TABLE = 3.0"),
        ("[1.0, 2.0]", "[1.0, 2.5]"),
        ("a * CONSTANT", "a + CONSTANT"),
        ("np.tanh", "np.sinh"),
        ("math.e", "math.pi"),
        ("k=3.0", "k=3.5"),
        ("c=4.0", "c=4.5"),
        ("def inner(a):\n    return", "def inner(a):\n    return (lambda x: x + 1)(1) + "),
    ],
)
def test_whatever_changes_the_result_changes_the_identity(old, new):
    assert old in BASE
    changed = made_of(BASE.replace(old, new))
    assert changed not in (None, made_of(BASE))


def test_a_closure_counts():
    def scaled(k):
        return lambda a: k * a

    assert identity_of(scaled(2.0)) == identity_of(scaled(2.0)) != identity_of(scaled(2.5))
    assert identity_of(scaled(0.0)) != identity_of(scaled(-0.0))
    assert identity_of(scaled(scaled(1.0))) != identity_of(scaled(scaled(2.0)))


@pytest.mark.parametrize("fields", [["a", "c"], ["b", "a"], ["a", "b", "c"]])
def test_a_named_tuple_is_its_fields(fields):
    def makes(cls):
        return lambda a: cls(*a)

    first = identity_of(makes(namedtuple("Pair", ["a", "b"])))
    assert first == identity_of(makes(namedtuple("Pair", ["a", "b"])))
    assert identity_of(makes(namedtuple("Pair", fields))) not in (None, first)


def test_recursion_ends():
    assert made_of(BASE.replace("a * CONSTANT", "a if a < 1 else inner(a - 1)")) not in (None, made_of(BASE))


@pytest.mark.parametrize("value", [object(), [1.0], np.array([object()]), np.frompyfunc(abs, 1, 1), os.path, sys.stdout])
def test_what_cannot_be_told_from_outside_has_none(value):
    assert identity_of(lambda: value) is None


def test_the_tables_have_identities():
    """Those of the core and of graphbp's own plugins; rows that other tests registered may reach anything."""
    load_plugins("activations")
    rows = [row for row in activation_table if row.builtin or row.name.startswith(("neat.", "wann."))]
    functions = {(row.name, kind): getattr(row, kind) for row in rows for kind in ("f", "df", "d2f")}
    functions |= {(row.name, kind): getattr(row, kind) for row in error_table if row.builtin for kind in ("value", "dy", "d2y")}
    assert [name for name, function in functions.items() if identity_of(function) is None] == []
    assert len({name for name, _ in functions}) > 40


def test_a_file_in_a_subfolder_is_part_of_the_source(tmp_path):
    def digest():
        source_digest.cache_clear()
        return source_digest(tmp_path)

    (tmp_path / "rooms").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "rooms" / "b.py").write_text("y = 1\n")
    first = digest()
    (tmp_path / "rooms" / "b.py").write_text("y = 2\n")
    second = digest()
    (tmp_path / "rooms" / "b.py").rename(tmp_path / "rooms" / "c.py")
    assert len({first, second, digest()}) == 3


USER = textwrap.dedent(
    """
    import ctypes
    import sys
    import numpy as np
    import graphbp as gb
    from graphbp.extend import get_activation
    from graphbp_numba.machine import functions

    factor = float(sys.argv[1])

    def shifted(a):
        return a + factor

    def slope(a):
        return 1 / np.cosh(shifted(a)) ** 2

    gb.register_activation("bend", lambda a: np.tanh(shifted(a)), slope, lambda a: -2 * np.tanh(shifted(a)) * slope(a))
    a, z = np.full(8, 0.25), np.empty(8)
    address = functions.activation_functions(get_activation("bend"), "float64").address("f")
    ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 3)(address)(a.ctypes.data, z.ctypes.data, 8)
    got = z[0]
    compiled = sum(not made.cache_hits for made in functions._user.values())
    assert abs(got - np.tanh(0.25 + factor)) < 1e-15, (got, factor)
    print(compiled)
    """
)


def test_a_formula_of_the_user_comes_from_disk_and_is_never_another(tmp_path):
    (tmp_path / "model.py").write_text(USER)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(factor):
        command = [sys.executable, str(tmp_path / "model.py"), factor]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert run("1.0") > 0
    assert run("1.0") == 0
    assert run("2.0") > 0, "the constant of a function that the formula calls has changed"


def test_formulas_of_one_meaning_share_what_is_compiled_and_others_do_not():
    def half(factor):
        return lambda a: factor * np.tanh(a)

    def formula(factor):
        inner = half(factor)
        return lambda a: inner(a) + 1

    first, again, other = (functions._compilable(formula(factor)) for factor in (2.0, 2.0, 3.0))
    assert first is again
    assert first is not other
    assert functions._compilable(half(2.0)) is first.py_func.__closure__[0].cell_contents
