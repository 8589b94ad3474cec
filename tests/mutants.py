"""Change an operator or a constant at random, and see whether a test notices: `python -m tests.mutants FILE... --count 20 --seed 1`.

Each mutant is one change in a copy of the tree, tried by the tests of the module (`tests/*/test_MODULE*.py`, those of its package, or
what stands after `--`).  What survives is printed with its line: a test is missing there, or the change is no fault.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
REVERSED: dict[type[ast.AST], type[ast.AST]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True)
class Mutant:
    """One changed file: its new text, and what was changed where."""

    file: Path
    line: int
    before: str
    after: str
    text: str


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand where this node stands."""
    new: ast.AST
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes | type(None) | type(...)):
        value = node.value
        for other in [not value] if isinstance(value, bool) else [value + 1, -value] if value else [1]:
            yield ast.Constant(other)
    elif isinstance(node, ast.Compare):
        for table in (SWAPS, REVERSED):
            if type(node.ops[0]) in table:
                new = copy.deepcopy(node)
                new.ops[0] = table[type(node.ops[0])]()  # type: ignore[call-overload]
                yield new
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        new = copy.deepcopy(node)
        new.op = SWAPS[type(node.op)]()
        yield new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node that may be replaced: parent, field, place in the field's list; annotations, decorators, f-strings and `raise` are left."""
    for field, value in ast.iter_fields(tree):
        if field in (
            "annotation",
            "returns",
            "decorator_list",
            "slice" if isinstance(tree, ast.Subscript) and _is_type(tree) else "",
        ):
            continue
        for k, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr | ast.Raise):
                yield tree, field, k, child
                yield from places(child)


def _is_type(node: ast.Subscript) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("Callable", "Literal", "Iterator", "dict", "list", "tuple")


def mutants(file: Path) -> list[Mutant]:
    """Every mutant of a file."""
    source = file.read_text(encoding="utf-8")
    tree, lines, found = ast.parse(source), source.splitlines(), []
    for parent, field, k, node in places(tree):
        for new in replacements(node):
            _put(parent, field, k, new)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, k, node)
            found.append(
                Mutant(file, node.lineno, f"{ast.unparse(node)}  in  {lines[node.lineno - 1].strip()}", ast.unparse(new), text)
            )
    return found


def _put(parent: ast.AST, field: str, k: int | None, node: ast.AST) -> None:
    if k is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[k] = node


def tests_of(file: Path) -> list[str]:
    """The test files that mirror a module; where there are none, those that mirror the modules that import it."""
    importing = f"from {'.'.join(file.relative_to(ROOT).with_suffix('').parts)} import"
    users = [path for path in (ROOT / "graphbp").rglob("*.py") if importing in path.read_text(encoding="utf-8")]
    return mirrors_of(file) or list(dict.fromkeys(test for user in users for test in mirrors_of(user)))


def mirrors_of(file: Path) -> list[str]:
    """The test files that are named after a module or its package, or import one of them."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    files = [path for folder in ("core", "properties") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    by_name = [
        path for name in (parts[-1], *parts[1:-1]) for path in files if path.stem.startswith(f"test_{name.removeprefix('_')}")
    ]
    imported = [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
    by_import = [path for path in files if any(f"{name} import" in path.read_text(encoding="utf-8") for name in imported)]
    return [str(path.relative_to(ROOT)) for path in dict.fromkeys(by_name + by_import)]


class Copy:
    """A copy of the tree, whose `graphbp` is imported; backends stay those that are installed, with the kernels they have compiled."""

    def __init__(self, folder: Path):
        self.root = folder / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "runs", ".hypothesis")
        shutil.copytree(ROOT, self.root, ignore=ignored)
        self.environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, tests: list[str], seconds: float) -> str:
        """How the tests end: passed, failed, or late."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(
                command, cwd=self.root, env=self.environment, timeout=seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "late"
        return "passed" if done.returncode == 0 else "failed"

    def tried(self, mutant: Mutant, tests: list[str], seconds: float) -> str:
        target = self.root / mutant.file.relative_to(ROOT)
        whole = target.read_text(encoding="utf-8")
        target.write_text(mutant.text, encoding="utf-8")
        try:
            return self.run(tests, seconds)
        finally:
            target.write_text(whole, encoding="utf-8")


def main() -> int:
    arguments, chosen = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, chosen = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="modules of graphbp/")
    parser.add_argument("--count", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300, help="a mutant's tests that take longer count as caught")
    given = parser.parse_args(arguments)
    rng, total = random.Random(given.seed), Counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = Copy(Path(folder))
        for file in [path.resolve() for path in given.files]:
            tests = chosen or tests_of(file)
            if not tests:
                parser.error(f"no test file mirrors {file.relative_to(ROOT)}: name some after --")
            if (state := tree.run(tests, 10 * given.seconds)) != "passed":
                print(f"{file.relative_to(ROOT)}: without a change its tests {state}: {' '.join(tests)}", flush=True)
                continue
            every = mutants(file)
            for mutant in rng.sample(every, min(given.count, len(every))):
                state = tree.tried(mutant, tests, given.seconds)
                total["caught" if state != "passed" else "survived"] += 1
                if state == "passed":
                    print(f"{file.relative_to(ROOT)}:{mutant.line}: {mutant.before}  →  {mutant.after}", flush=True)
    print(f"{total.total()} mutants, {total['caught']} caught, {total['survived']} survived")
    return 0


if __name__ == "__main__":
    sys.exit(main())
