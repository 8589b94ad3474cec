"""`python -m benchmarks`: run the workloads, print ratios, write JSON and pictures."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks", description="graphbp beside its peers, on the same work, in one run, as ratios."
    )
    p.add_argument("--list", action="store_true", help="name the workloads and stop")
    p.add_argument("--only", nargs="+", metavar="NAME", help="run the workloads whose names begin so")
    p.add_argument("--quick", action="store_true", help="everything small: shows that it runs; its numbers mean nothing")
    p.add_argument("--rounds", type=int, default=7, help="rounds of A B C A B C ... (default 7; at least 3)")
    p.add_argument(
        "--patience", type=float, default=20.0, help="seconds after which a slow contender stops at three rounds (default 20)"
    )
    p.add_argument("--threads", type=int, default=2, help="threads for every contender alike (default 2)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    p.add_argument("--merge", action="store_true", help="with --json: keep the rows of other workloads that FILE holds already")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    p.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw time against size")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    from benchmarks.threads import cap

    capped = cap(options.threads)  # before any library that has threads is imported
    from benchmarks import machine, pictures, report
    from benchmarks.outcome import Context, MissingError, Row
    from benchmarks.workloads import all_workloads

    workloads = all_workloads()
    if options.list:
        for workload in workloads:
            print(f"{workload.name:32s} {workload.title}")
        return 0
    chosen = [w for w in workloads if not options.only or any(w.name.startswith(name) for name in options.only)]
    if not chosen:
        print(f"no workload begins with {' or '.join(options.only)}; --list names them", file=sys.stderr)
        return 2
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    described = machine.describe(options.threads, capped)
    print(machine.line(described))
    context = Context(options.quick, max(3, 3 if options.quick else options.rounds), options.patience, options.threads)
    rows: list[Row] = []
    for workload in chosen:
        print(f"{workload.name}: {workload.title}")
        try:
            rows += workload.run(context)
        except Exception as problem:  # said in the table; the others still run
            rows.append(Row(workload.name, "all", value="failed", note=f"{type(problem).__name__}: {problem}"))
    titles = {w.name: w.title for w in workloads}
    report.print_table(rows, titles)
    print("\n".join(pictures.slopes(rows)))
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    command = "python -m benchmarks " + " ".join(arguments if arguments is not None else sys.argv[1:])
    if options.json:
        kept = []
        if options.merge and options.json.exists():
            kept = [row for row in report.load(options.json)[1] if row.workload not in {r.workload for r in rows}]
        order = list(titles)
        merged = sorted(
            [*kept, *rows], key=lambda row: next((k for k, n in enumerate(order) if row.workload.startswith(n)), len(order))
        )
        report.save(options.json, merged, workloads, described, command, date)
        rows = merged
    if options.markdown:
        options.markdown.write_text(report.markdown(rows, titles), encoding="utf-8")
    if options.pictures:
        try:
            for path in pictures.draw(rows, options.pictures):
                print(f"drew {path}")
        except MissingError as gone:
            print(f"no pictures: {gone}: {gone.install}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
