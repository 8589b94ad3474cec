"""No circle among modules, imports for type checkers and inside functions counted, but for the doors of the face; drawings that are true."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    {path.parent for pattern in ("graphbp", "backends/*", "plugins/*") for path in ROOT.glob(f"{pattern}/__init__.py")}
)


def modules_of(package: Path) -> dict[str, Path]:
    """Name of a module → its file."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> nx.DiGraph:
    """Who imports whom inside a package."""
    modules = modules_of(package)
    graph = nx.DiGraph()
    graph.add_nodes_from(modules)
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph.add_edges_from((name, alias.name) for alias in node.names if alias.name in modules)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                named = (f"{node.module}.{alias.name}" for alias in node.names)
                graph.add_edges_from(
                    (name, other if other in modules else node.module) for other in named if node.module in modules
                )
    return graph


def contract(name: str) -> configparser.SectionProxy:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    return contracts[f"importlinter:contract:{name}"]


def doors() -> set[tuple[str, str]]:
    """What the face imports when it is called: the exemptions of the contract on floors."""
    return set(re.findall(r"(\S+) -> (\S+)", contract("floors")["ignore_imports"]))


def floors(name: str) -> list[set[str]]:
    """The rooms on each floor of a contract, from the top."""
    return [{room.split(".")[-1] for room in re.findall(r"[\w.]+", line)} for line in contract(name)["layers"].strip().splitlines()]


def drawn(first: str) -> list[list[str]]:
    """The drawing of the page on architecture whose first line begins with `first`: the lines' words before the text on them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page[page.index(f"\n    {first}") :].split("\n\n")[0]
    return [re.findall(r"\w+", re.split(r" {2,}", line.strip())[0]) for line in block.strip().splitlines()]


def circles(graph: nx.DiGraph) -> list[list[str]]:
    return [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_circle(package):
    graph = imports(package)
    assert graph.number_of_edges()
    graph.remove_edges_from(doors())
    assert circles(graph) == []


def test_the_doors_are_those_of_the_face_and_all_are_used():
    assert {source for source, _ in doors()} == {"graphbp.network"}
    assert doors() <= set(imports(ROOT / "graphbp").edges)


def test_a_circle_is_seen(tmp_path):
    package = tmp_path / "house"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("from house import a\n")
    (package / "room" / "__init__.py").write_text("")
    (package / "a.py").write_text("from house.room import b\n")
    (package / "room" / "b.py").write_text("def f():\n    from house import c\n")
    (package / "c.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.a import A\n")
    assert circles(imports(package)) == [["house.a", "house.c", "house.room.b"]]


def test_the_drawing_of_the_core_is_that_of_the_contract():
    assert [set(line) for line in drawn("cli ")] == floors("floors")


def test_the_drawing_of_the_numba_backend_is_that_of_the_contract_and_of_its_folders():
    package = ROOT / "backends" / "graphbp_numba"
    rooms = [line[0] for line in drawn("executable ")]
    assert set(rooms) == {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {
        "__init__"
    }
    order = {room: floor for floor, names in enumerate(floors("numba")) for room in names}
    assert [order[room] for room in rooms] == sorted(order.values())


def strangers(text: str, modules: dict[str, Path]) -> list[str]:
    """Names in backticks that begin with a package of ours and lead nowhere."""
    found = []
    for name in re.findall(r"`((?:graphbp|graphbp_\w+)(?:\.\w+)+)`", text):
        module = next((head for n in range(name.count(".") + 1, 0, -1) if (head := ".".join(name.split(".")[:n])) in modules), None)
        rest = name.removeprefix(f"{module}.").split(".")[0] if module != name else None
        if module is not None and rest is not None and not re.search(rf"\b{rest}\b", modules[module].read_text(encoding="utf-8")):
            found.append(name)
    return found


OTHERS = {"graphbp.toml", "graphbp.exporters", "graphbp.importers"}  # a file, groups of entry points


def test_what_docstrings_point_to_is_there():
    modules = {name: path for package in PACKAGES for name, path in modules_of(package).items()}
    found = {name for path in modules.values() for name in strangers(path.read_text(encoding="utf-8"), modules)}
    assert sorted(found - OTHERS) == []


def test_a_name_that_leads_nowhere_is_seen():
    modules = {"graphbp": ROOT / "graphbp" / "__init__.py", "graphbp.spec": ROOT / "graphbp" / "spec.py"}
    text = "`graphbp.spec`, `graphbp.spec.GraphSpec`, `graphbp.spec.GraphSpecs` and `graphbp.specs`"
    assert strangers(text, modules) == ["graphbp.spec.GraphSpecs", "graphbp.specs"]
