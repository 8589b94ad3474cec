"""backends, info, convert, draw and parity: what there is, and what a network is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from graphbp.cli.common import (
    STANDARD,
    CheckFailed,
    debug_option,
    destination,
    error_options,
    key_values,
    load_network,
    network_options,
    runtime_options,
    say,
    tell,
)
from graphbp.cli.documents import about, json_option, one_stdout, tell_json
from graphbp.exceptions import NotSupportedError, listed, printable

__all__ = ["COMMANDS"]


@click.command()
@click.argument("network", type=click.Path(), required=False)
@click.option(
    "--option", "options", metavar="NAME=VALUE", multiple=True, callback=key_values, help="An option of NETWORK's format."
)
@runtime_options
@json_option
def backends(network: str | None, options: dict[str, Any], backend: str | None, dtype: str | None, as_json: bool) -> None:
    """List the backends, and why one cannot run here; the settings; and plugins that are broken.

    With NETWORK, also whether each one that runs takes this network.  With --backend, exit code 1 where that one is not available.

    \b
    Examples:
      graphbp backends
      graphbp backends model.json --dtype float32
    """
    import graphbp as gb
    from graphbp.config import describe_config
    from graphbp.exceptions import unknown_name
    from graphbp.files.dispatch import broken_formats
    from graphbp.plugins import plugin_failures

    found = gb.backends()
    if backend is not None and backend != "auto" and backend not in found:
        raise unknown_name("backend", backend, found)
    failures = [
        *plugin_failures("activations"),
        *plugin_failures("error_functions"),
        *broken_formats("read"),
        *broken_formats("write"),
    ]
    taken = {} if network is None else _takes(network, dtype, options)
    if as_json:
        tell_json(
            backends={name: asdict(row) for name, row in found.items()},
            settings={name: {"value": value, "source": source} for name, (value, source) in describe_config().items()},
            broken=[str(problem) for problem in failures],
            **({} if network is None else {"takes": {name: {"takes": ok, "how": how} for name, (ok, how) in taken.items()}}),
        )
    else:
        tell(repr(found))
        for name, (value, source) in describe_config().items():
            tell(f"{name} = {value} ({source})")
        for problem in failures:
            tell(f"broken: {problem}")
        for name, (ok, how) in taken.items():
            tell(f"{name} {'takes' if ok else 'refuses'} {network}: {how}")
    if backend not in (None, "auto") and not found[backend].available:
        raise CheckFailed(f"backend {backend!r} is not available")


def _takes(network: str, dtype: str | None, options: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """For each backend that runs here: whether it takes the network, and by which path, or why not."""
    import graphbp as gb

    net = load_network(network, backend="numpy", dtype=dtype, options=options).net
    found: dict[str, tuple[bool, str]] = {}
    for name in (name for name, row in gb.backends().items() if row.available):
        try:
            found[name] = True, str(net.to(backend=name, dtype=dtype).model.run.describe(1024))
        except gb.GraphbpError as problem:
            found[name] = False, str(problem)
    return found


@click.command()
@network_options
@json_option
@click.option("--samples", type=click.IntRange(1), default=1024, show_default=True, help="N, for the counts of flops and bytes.")
def info(network: str, samples: int, as_json: bool, **given: Any) -> None:
    """Print what NETWORK is, and its schedule.

    Inputs, outputs, levels, blocks, parameters, flops and bytes, and the path that the backend takes.

    \b
    Examples:
      graphbp info model.json
      graphbp info swing.out --option inputs=5 --option outputs=1 --samples 1
    """
    loaded = load_network(network, **given)
    net = loaded.net
    if as_json:
        tell_json(network=loaded.path, **about(net), samples=samples, description=net.describe(samples), metadata=loaded.metadata)
        return
    tell(f"{loaded.path}\n{net!r}")
    inputs, outputs = (listed([printable(name) for name in names[:12]], 12, len(names)) for names in (net.inputs, net.outputs))
    tell(f"inputs   {inputs}\noutputs  {outputs}")
    tell(net.describe(samples))
    for key, value in loaded.metadata.items():
        text = repr(value)
        tell(f"metadata {key}: {text if len(text) <= 90 else text[:87] + '...'}")


class _WithFormats(click.Command):
    """A command whose help ends with the formats that are installed."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from graphbp.files import formats

        rows = []
        for each in formats():
            can = [verb for verb, options in (("read", each.read_options), ("write", each.write_options)) if options is not None]
            own = ", ".join(f"{name}=" for name in (each.read_options or ()))
            rows.append(
                (f"{each.name} ({', '.join(each.suffixes)})", f"{each.description} [{', '.join(can)}{'; ' + own if own else ''}]")
            )
        with formatter.section("Formats"):
            formatter.write_dl(rows)


@click.command(cls=_WithFormats)
@network_options
@click.argument("output", type=click.Path(), callback=one_stdout)
@click.option("--to-format", metavar="NAME", help="Format of OUTPUT, where its suffix does not tell.")
@click.option(
    "--to-option",
    "to_options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=key_values,
    help="An option of OUTPUT's format, such as weights=npz; may be repeated.",
)
@json_option
def convert(network: str, output: str, to_format: str | None, to_options: dict[str, Any], as_json: bool, **given: Any) -> None:
    """Write NETWORK to OUTPUT in another format; - is stdout, in graphbp's own unless --to-format says another.

    \b
    Examples:
      graphbp convert swing.out swing.json --option inputs=5 --option outputs=1
      graphbp convert model.json model2.json --to-option weights=npz
    """
    loaded = load_network(network, **given)
    kept = {key: value for key, value in loaded.metadata.items() if key not in ("error", "dtype", "missing")}
    if to_format is None and (output == STANDARD or Path(output).suffix.lower() == ".json"):
        to_format = "graphbp"
    if kept:
        to_options.setdefault("metadata", kept)
    try:
        with destination(output) as path:
            loaded.net.save(path, format=to_format, **to_options)
    except NotSupportedError as problem:
        raise NotSupportedError(str(problem).replace('drop="', '--to-option drop="')) from problem  # as it is typed here
    if as_json:
        tell_json(output=output, format=to_format, network=about(loaded.net))
    where = output if output != STANDARD else "stdout"
    say(f"{loaded.path} -> {where}{f' (format {to_format})' if to_format else ''}: {loaded.net!r}")


@click.command()
@network_options
@json_option
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    callback=one_stdout,
    help="The picture: .png, .svg or .pdf; - writes SVG to stdout.",
)
@click.option("--title", metavar="TEXT", help="Above the picture; default: the file's name.")
@click.option("--names/--no-names", default=None, help="Write the nodes' names; default: where there are few.")
def draw(network: str, output: str, title: str | None, names: bool | None, as_json: bool, **given: Any) -> None:
    """Draw NETWORK as PNG, SVG or PDF.

    Inputs stand on the left, outputs on the right, the levels of the schedule between them.  A small network is drawn edge by edge
    (blue: positive, red: negative; wider: larger); a large one as its levels, with the number of units in each and of edges between
    them.

    \b
    Examples:
      graphbp draw model.json -o model.png
      graphbp draw swing.out --option inputs=5 --option outputs=1 -o swing.svg
    """
    from graphbp.cli.drawing import draw_network

    loaded = load_network(network, **given)
    with destination(output, ".svg") as path:
        what = draw_network(loaded.net, path, Path(loaded.path).name if title is None else title, names)
    if as_json:
        tell_json(output=output, picture=what, network=about(loaded.net))
    say(f"{what} -> {output if output != STANDARD else 'stdout'}")


@click.command()
@click.argument("network", type=click.Path(), required=False)
@click.option("--backend", "names", metavar="NAME", multiple=True, help="Only this backend; may be repeated.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), help="Only this precision.")
@click.option("--quantity", "quantities", metavar="NAME", multiple=True, help="Only this quantity; may be repeated.")
@click.option("--case", "cases", metavar="NAME", multiple=True, help="Only this network of the zoo; may be repeated.")
@click.option("--by", type=click.Choice(["quantity", "network"]), default="quantity", help="The lines of the table.")
@error_options
@click.option("--format", "file_format", metavar="NAME", help="Format of NETWORK, where its suffix does not tell.")
@click.option(
    "--option", "options", metavar="NAME=VALUE", multiple=True, callback=key_values, help="An option of NETWORK's format."
)
@json_option
@debug_option
def parity(
    network: str | None,
    names: tuple[str, ...],
    dtype: str | None,
    quantities: tuple[str, ...],
    cases: tuple[str, ...],
    by: Literal["quantity", "network"],
    as_json: bool,
    **given: Any,
) -> None:
    """Compare every backend with the definition.

    The largest relative difference of each quantity, over the networks of graphbp.testing's zoo or over NETWORK alone.  Exit code 1 where a backend disagrees.

    \b
    Examples:
      graphbp parity --backend numba --dtype float32
      graphbp parity --by network --quantity gradient
      graphbp parity model.json
    """
    from graphbp.testing import Case, run_parity

    chosen: tuple[str | Case, ...] | None = cases or None
    if network is not None:
        if cases:
            raise click.UsageError("give NETWORK or --case, not both")
        loaded = load_network(network, backend="numpy", **given)
        net = loaded.net
        graph = net.to_networkx()
        error = net.error_function.name if net.model.heads.plain else ""  # the nodes say theirs
        chosen = (Case(Path(loaded.path).name, lambda _: graph, error=error),)

    dtypes = ("float64", "float32") if dtype is None else (dtype,)
    table = run_parity(names or None, chosen, quantities or None, dtypes)
    if as_json:
        tell_json(ok=table.ok, cells=[asdict(cell) for cell in table.cells])
    else:
        tell(str(table) if by == "quantity" else table.table(by))
    if not table.ok:
        raise CheckFailed(f"{len(table.failures)} of {len(table.cells)} comparisons")


COMMANDS = (backends, info, draw, convert, parity)
