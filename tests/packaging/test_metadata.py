"""What is written in more than one place must agree: packages, versions, links, entry points."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import graphbp as gb

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = sorted(path.parent.relative_to(ROOT) for room in ("backends", "plugins") for path in (ROOT / room).glob("*/__init__.py"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_every_backend_and_plugin_is_packaged_and_held_to_the_import_rules(package):
    assert package.as_posix() in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    rules = (ROOT / ".importlinter").read_text(encoding="utf-8")
    for section in ("root_packages =", "source_modules =\n    graphbp_", "type = independence"):
        assert f"\n    {package.name}\n" in rules[rules.index(section) :].split("[importlinter:", 1)[0]
    assert f"{package.name} -> graphbp.extend" in rules


def test_every_entry_point_names_something_in_the_tree():
    for group, entries in PROJECT["project"]["entry-points"].items():
        for name, value in entries.items():
            package = value.split(":")[0].split(".")[0]
            assert any(path.name == package for path in PACKAGES), f"{group}: {name} = {value}"


def test_one_version():
    assert PROJECT["project"]["version"] == gb.__version__
    assert f"## [{gb.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_has_each_heading_once_a_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in re.split(r"^## ", text, flags=re.M)[1:]:
        headings = re.findall(r"^### (.+)$", version, re.M)
        assert len(headings) == len(set(headings)), version.splitlines()[0]
        entries = re.findall(r"^- .+$", version, re.M)
        assert len(entries) == len(set(entries)), version.splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_has_both_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("digits", "tests"):
        found = re.search(rf"<!-- command: {name} -->\n```sh\n(.+)\n```", text)
        assert found, f"no command under <!-- command: {name} -->"
        assert "\n" not in found[1], "one command is one line"


def test_extras_named_in_messages_exist():
    extras = PROJECT["project"]["optional-dependencies"]
    for path in [*(ROOT / "graphbp").rglob("*.py"), *(ROOT / "backends").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for names in re.findall(r"graphbp\[([\w,]+)\]", path.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= extras.keys(), f"{path.relative_to(ROOT)}: graphbp[{names}]"
