"""`python -m tests.campaign`: run a campaign, or show one case of it again."""

from __future__ import annotations

import argparse
import sys

from .compare import QUANTITIES, examine
from .draw import draw
from .run import Campaign, summary
from .shrink import program, shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--networks", type=int, default=None, help="stop after so many (default: 1000, or none with --minutes)")
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--backends", default="numpy,numba")
    parser.add_argument(
        "--quantities", default=None, help=f"all, or some of {', '.join(QUANTITIES)} (default: of each network a few, drawn)"
    )
    parser.add_argument("--shrink-each", type=int, default=1, help="cases of each signature to make small")
    parser.add_argument("--shrink-most", type=int, default=40, help="cases to make small in all")
    parser.add_argument("--case", default=None, metavar="SEED,NUMBER", help="show what is wrong with one case, made small")
    given = parser.parse_args()
    backends = tuple(given.backends.split(","))
    only = tuple(given.quantities.split(",")) if given.quantities else None
    only = tuple(QUANTITIES) if only == ("all",) else only
    if unknown := set(only or ()) - set(QUANTITIES):
        parser.error(f"unknown quantities {sorted(unknown)}; there are {', '.join(QUANTITIES)}")
    if given.case:
        return show([int(part) for part in given.case.split(",")], backends, only)
    networks = given.networks or (10**9 if given.minutes else 1000)
    seconds = given.minutes * 60 if given.minutes else float("inf")
    campaign = Campaign(given.seed, networks, seconds, given.processes, backends, only, given.first)
    campaign.shrink_each, campaign.shrink_most = given.shrink_each, given.shrink_most
    total = campaign.run(lambda line: print(line, flush=True))
    print(summary(total))
    return 1 if total.found else 0


def show(seed, backends, only) -> int:
    """Every finding of one case, and a small program for each."""
    case = draw(seed)
    found = examine(case, backends, only)
    for finding in found:
        print(f"### {finding.backend} {finding.quantity} {finding.kind}: {finding.detail}")
        print(program(*shrink(case, finding)), end="\n\n")
    print(f"{len(found)} quantities wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
