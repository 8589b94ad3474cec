"""`python -m benchmarks`: run the workloads, print ratios, write JSON and pictures."""

from __future__ import annotations

import argparse
import os
import sys
from fnmatch import fnmatch
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmarks", description="graphbp beside its peers, on the same work, in one run, as ratios."
    )
    p.add_argument("--list", action="store_true", help="name the workloads and stop")
    p.add_argument("--only", nargs="+", metavar="NAME", help="run the workloads of these names; * stands for any letters")
    p.add_argument("--quick", action="store_true", help="everything small: shows that it runs; its numbers mean nothing")
    p.add_argument("--rounds", type=int, default=7, help="rounds of A B C A B C ... (default 7; at least 3)")
    p.add_argument(
        "--patience", type=float, default=20.0, help="seconds after which a slow contender stops at three rounds (default 20)"
    )
    p.add_argument("--threads", type=int, default=2, help="threads for every contender alike (default 2)")
    p.add_argument(
        "--inputs", type=int, default=60_000, help="inputs of the Graph Challenge (default 60,000; the rate hardly changes)"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    p.add_argument("--merge", action="store_true", help="with --json: keep the rows of other workloads that FILE holds already")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    p.add_argument(
        "--document", type=Path, metavar="FILE", help="write machine, targets and tables between the marks of a document"
    )
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
    chosen = [w for w in workloads if not options.only or any(fnmatch(w.name, pattern) for pattern in options.only)]
    if not chosen:
        print(
            f"no workload is called {' or '.join(options.only)}; --list names them, and * stands for any letters", file=sys.stderr
        )
        return 2
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    described = machine.describe(options.threads, capped)
    print(machine.line(described))
    context = Context(
        options.quick, 3 if options.quick else max(3, options.rounds), options.patience, options.threads, options.inputs
    )
    titles = {w.name: w.title for w in workloads}
    command = "python -m benchmarks " + " ".join(arguments if arguments is not None else sys.argv[1:])
    kept = report.load(options.json)[1] if options.merge and options.json and options.json.exists() else []
    rows: list[Row] = []
    for workload in chosen:
        print(f"{workload.name}: {workload.title}", flush=True)
        fresh = report.run(workload, context)
        report.print_table(fresh, titles)
        rows += fresh
        kept = report.merge(kept, fresh, list(titles))
        if options.json:  # after each workload, so that an interrupted run leaves what it has
            report.save(options.json, kept, titles, described, command)
    print("\n".join(pictures.slopes(kept)))
    if options.markdown:
        options.markdown.write_text(report.markdown(kept, titles), encoding="utf-8")
    if options.document:
        report.refresh(options.document, report.document({"machine": described, "titles": titles}, kept))
    if options.pictures:
        try:
            for path in pictures.draw(kept, options.pictures):
                print(f"drew {path}")
        except MissingError as gone:
            print(f"no pictures: {gone}: {gone.install}")
    missed = [row for row in rows if row.met is False]
    print(f"targets reached: {sum(row.met is True for row in rows)}, missed: {len(missed)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
