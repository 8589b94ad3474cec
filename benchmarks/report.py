"""What people see: the table on the terminal, the same as Markdown, and the JSON beside it."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.outcome import Context, Row, Workload

HEAD = ("", "median", "range", "ratio", "at best", "rate", "target", "", "note")


def seconds(value: float | None) -> str:
    """With three digits and a fitting unit."""
    if value is None:
        return ""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def cells(row: Row) -> tuple[str, ...]:
    """One row of the table, as text."""
    spread = "" if row.low is None or row.high is None else f"{seconds(row.low)} – {seconds(row.high)}"
    verdict = "" if row.met is None else "reached" if row.met else "missed"
    ratio = "" if row.ratio is None else "1" if row.reference else f"{row.ratio:.3g} ×"
    best = "" if row.ratio_of_lows is None or row.reference else f"{row.ratio_of_lows:.3g} ×"
    rate = "" if row.rate is None else f"{row.rate / 1e9:.3g} G/s"
    return row.what, row.value or seconds(row.seconds), spread, ratio, best, rate, row.target, verdict, row.note


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, int | None, list[Row]]]:
    """Rows of one workload and size, in order."""
    keys = dict.fromkeys((row.workload, row.size) for row in rows)
    for name, size in keys:
        yield name, size, [row for row in rows if (row.workload, row.size) == (name, size)]


def print_table(rows: Sequence[Row], titles: dict[str, str]) -> None:
    """A rich table of each workload."""
    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=200)
    for name, size, group in _groups(rows):
        table = Table(title=_title(name, size, titles), title_justify="left", title_style="bold")
        for number, head in enumerate(HEAD):
            table.add_column(
                head, justify="right" if number in (1, 3, 4, 5) else "left", no_wrap=number in (1, 2, 3, 4, 5), overflow="fold"
            )
        for row in group:
            style = None if row.met is None else "green" if row.met else "red"
            table.add_row(*cells(row), style=style)
        console.print(table)


def _title(name: str, size: int | None, titles: dict[str, str]) -> str:
    known = max((n for n in titles if name.startswith(n)), key=len, default="")
    title = titles.get(name) or (f"{titles[known]}, as {name.removeprefix(known).strip('-')}" if known else name)
    return title if size is None else f"{title}: size {size:,}"


def _line(texts: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def markdown(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """The same tables, for a document."""
    out = []
    for name, size, group in _groups(rows):
        out.append(f"**{_title(name, size, titles)}** \n")
        out.append("| " + " | ".join(HEAD) + " |")
        out.append("|" + "|".join("--:" if n in (1, 3, 4, 5) else ":--" for n in range(len(HEAD))) + "|")
        out += [_line(cells(row)) for row in group]
        out.append("")
    return "\n".join(out)


def summary(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """The rows that have a target, as one Markdown table."""
    out = ["| work | what | measured | at best | to reach | |", "|:--|:--|--:|--:|:--|:--|"]
    for row in rows:
        if row.target:
            what, time, _, ratio, best, _, target, verdict, _ = cells(row)
            measured = time if ratio in ("", "1") else ratio
            title = _title(row.workload, row.size, titles)
            out.append(_line((title, what, measured, best, target, verdict or "not measured")))
    return "\n".join(out) + "\n"


BEGIN, END = "<!-- measured: written by python -m benchmarks --document -->", "<!-- measured: end -->"


def refresh(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a document by `text`."""
    document = path.read_text(encoding="utf-8")
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{path} has no lines {BEGIN!r} and {END!r}, between which the results are written")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def document(head: dict[str, Any], rows: Sequence[Row]) -> str:
    """Machine, versions, dates, the targets, every table."""
    from benchmarks.machine import line

    dates = sorted({row.date for row in rows if row.date})
    versions = ", ".join(f"{name} {v}" for name, v in head["machine"]["versions"].items())
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    text = [
        f"Machine: {line(head['machine'])}; {head['machine']['capped_by']}.\n",
        f"Versions: {versions}.\n",
        f"Measured: {span} (UTC).\n",
        "### Targets\n",
        summary(rows, head["titles"]),
        "### Everything\n",
        markdown(rows, head["titles"]),
    ]
    return "\n".join(text)


def run(workload: Workload, context: Context) -> list[Row]:
    """The workload's rows, dated; if it fails, a row that says so, so that the others still run."""
    try:
        rows = list(workload.run(context))
    except Exception as problem:
        rows = [Row(workload.name, "all", value="failed", note=f"{type(problem).__name__}: {problem}")]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    for row in rows:
        row.date = now
    return rows


def merge(kept: Sequence[Row], fresh: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """`kept` without the workloads measured again, and `fresh`, in the order of the workloads."""
    again = {row.workload for row in fresh}

    def place(row: Row) -> int:
        fits = [name for name in order if row.workload.startswith(name)]
        return order.index(max(fits, key=len)) if fits else len(order)

    return sorted([*(row for row in kept if row.workload not in again), *fresh], key=place)


def save(path: Path, rows: Sequence[Row], titles: dict[str, str], machine: dict[str, Any], command: str) -> None:
    """Everything that was measured, with where and how."""
    content = {"command": command, "machine": machine, "titles": titles, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """A saved run: its head, its rows."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content, [Row(**row) for row in content.pop("rows")]
