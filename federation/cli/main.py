"""The console script: the commands in their groups, and what becomes of errors.

Exit codes: 0 done, 2 usage, 3 user error, 4 unavailable, 5 limit, 6 corruption, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from federation.cli import (
    cache,
    cert,
    collections,
    dataset,
    datastore,
    demo,
    get,
    history,
    ingest,
    metrics,
    positions,
    provenance,
    queries,
    query,
    registry,
    replica,
    schema,
    site,
    snapshot,
    token,
    transfer,
    watch,
)
from federation.cli.output import print_error
from federation.errors import FederationError, UnavailableError, UsageError, UserError
from federation.logs import set_up_logging
from federation.request_context import request

__all__ = ["app", "main"]

INTERRUPTED = 130
#: the reader of standard output has gone
BROKEN_PIPE = 1

# the base of typer's parameter errors is its command-line error; typer itself gives it no public name
_CommandLineError = cast("type[Exception]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="federation",
    help="Several sites' dataset registries as one: replication, queries over all sites, snapshots.",
    epilog="Example: federation demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.add_typer(site.app, name="site")
site.app.add_typer(cert.app, name="cert")
app.add_typer(token.app, name="token")
app.command("ingest", epilog=ingest.EXAMPLE)(ingest.ingest)
app.command("get", epilog=get.EXAMPLE)(get.get)
app.add_typer(cache.app, name="cache")
app.add_typer(collections.app, name="collection")
app.add_typer(dataset.app, name="dataset")
app.add_typer(datastore.app, name="datastore")
app.add_typer(registry.app, name="registry")
app.add_typer(replica.app, name="replica")
history.register(site.app, replica.app)
queries.register(site.app)
app.command("query", epilog=query.EXAMPLE)(query.query)
app.command("positions", epilog=positions.EXAMPLE)(positions.positions)
app.add_typer(snapshot.app, name="snapshot")
app.command("transfer", epilog=transfer.EXAMPLE)(transfer.transfer)
app.add_typer(schema.app, name="schema")
app.add_typer(provenance.app, name="provenance")
app.add_typer(metrics.app, name="metrics")
app.command("watch", epilog=watch.EXAMPLE)(watch.watch)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"federation {version('federation')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level",
            envvar="FEDERATION_LOG_LEVEL",
            metavar="LEVEL",
            help="What is told on standard error: debug, info, warning or error. Without it, a server tells from info "
            "on, other commands from warning on.",
        ),
    ] = "",
) -> None:
    set_up_logging(log_level)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; errors that a user can act on are printed, not raised."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    # a wheel that starts PostgreSQL looks for a directory that containers lack
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    try:
        with request():
            code = app(args=given, prog_name="federation", standalone_mode=False)
        sys.stdout.flush()
    except FederationError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except _CommandLineError as error:
        return _usage_error(error, as_json)
    except BrokenPipeError:
        # the reader has gone; the interpreter's own flush at exit must not complain about it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        known = _from_os(error)
        print_error(known, as_json=as_json)
        return known.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _usage_error(error: Exception, as_json: bool) -> int:
    message = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "federation"
    if not message:  # a group without a command has printed its help
        return UsageError.exit_code
    print_error(
        UsageError(message.replace("\n", " ").rstrip("."), hint=f"run: {command} --help"), as_json=as_json
    )
    return UsageError.exit_code


def _from_os(error: OSError) -> FederationError:
    if error.filename is None:
        return UnavailableError(
            error.strerror or str(error), hint="check the computer's resources and permissions"
        )
    return UserError(f"{error.filename}: {error.strerror}", hint="check the path and its permissions")


if __name__ == "__main__":
    sys.exit(main())
