"""The command line.

    __init__    the tree of commands, by name; nothing else is imported until one is called
    lazy        groups and commands: loading on demand, sections, examples, did-you-mean
    failures    what a person and a script are told when something fails: text and exit code
    options     options that many commands share, and values from the command line
    output      table, json and jsonl
    session     a command's connection to the daemon
    host        the daemon as a process: signals, notice, service manager
    …           one module per group of commands

Decisions
D1  click and no heavier framework; ``movant --help`` imports click and this file alone. The
    short help of a command stands in the tree below, so that a list needs no module of it.
D2  Standard output is data, standard error is talk. Tables are for people: on a terminal drawn
    by rich, elsewhere aligned text that nothing is cut from.
D3  An exit code says what a script would do next; see ``failures``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from runtime.cli.failures import EXIT_CODES, INTERRUPTED, READER_GONE, explain
from runtime.cli.lazy import LazyGroup, Leaf
from runtime.cli.output import ReaderGoneError


def _tell_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    """Answer ``--version`` as ``movant version`` does, before anything else is looked at."""
    if not wanted or ctx.resilient_parsing:
        return
    from runtime.version import VERSION  # noqa: PLC0415 - as every command: when it is asked

    click.echo(f"movant {VERSION}")
    ctx.exit()


cli = LazyGroup(
    "movant",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_tell_version,
            help="Show the version and exit.",
        )
    ],
    help="Durable workflows as actors over NATS.",
    tree={
        "Daemon": {
            "dev": Leaf("runtime.cli.serve:dev", "Run everything here, to try and to develop."),
            "serve": Leaf("runtime.cli.serve:serve", "Run the daemon."),
            "status": Leaf("runtime.cli.status:status", "Show how the daemon stands."),
            "doctor": Leaf("runtime.cli.doctor:doctor", "Check this machine and the daemon."),
            "config": Leaf("runtime.cli.settings:config", "Show and check the configuration."),
        },
        "Workflows": {
            "workflow": Leaf("runtime.cli.workflow:workflow", "Register and inspect workflows."),
            "template": Leaf("runtime.cli.template:template", "Make workflows of templates."),
            "run": Leaf("runtime.cli.run:run", "Start, watch and steer runs."),
            "pipeline": Leaf("runtime.cli.pipeline:pipeline", "Show all active motions."),
            "stats": Leaf("runtime.cli.stats:stats", "Add up what runs have come to."),
            "gate": Leaf("runtime.cli.gate:gate", "See what waits for a person, and decide."),
            "why": Leaf("runtime.cli.why:why", "Say what a run waits for, in one sentence."),
            "verify": Leaf("runtime.cli.verify:verify", "Prove that nobody changed a history."),
            "guardrail": Leaf("runtime.cli.guardrail:guardrail", "Rules that steps are held to."),
            "budget": Leaf("runtime.cli.budget:budget", "What is used of shared budgets."),
            "route": Leaf("runtime.cli.route:route", "Say who serves what steps ask for."),
            "service": Leaf("runtime.cli.service:service", "Inspect and run services."),
            "connector": Leaf("runtime.cli.connector:connector", "Services that a file declares."),
            "mcp": Leaf("runtime.cli.mcp:mcp", "Workflows as tools for AI clients."),
            "trigger": Leaf("runtime.cli.trigger:trigger", "Say what starts runs by itself."),
            "schedule": Leaf("runtime.cli.trigger:schedule", "See and steer what is due."),
            "pause": Leaf("runtime.cli.pause:pause", "Send no requests, until resumed."),
            "resume": Leaf("runtime.cli.pause:resume", "Send requests again."),
            "dead": Leaf("runtime.cli.dead:dead", "Look at dead letters, send them again."),
            "actor": Leaf("runtime.cli.actor:actor", "Inspect the supervision tree."),
        },
        "Tools": {
            "nats": Leaf("runtime.cli.nats:nats", "NATS server, its users and their logins."),
            "schema": Leaf("runtime.cli.schema:schema", "Print schemas of all messages."),
            "calendar": Leaf("runtime.cli.calendar:calendar", "When clocks of a zone change."),
            "completion": Leaf("runtime.cli.completion:completion", "Print a completion script."),
            "version": Leaf("runtime.cli.version:version", "Show the version."),
        },
    },
    examples=(
        ("movant dev", "try it: daemon, server and an example"),
        ("movant workflow register orders.py", "deploy a workflow"),
        ("movant run start orders -i amount=12 --wait", "start a run and wait for its end"),
    ),
    epilog=EXIT_CODES,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(invoke(sys.argv[1:] if arguments is None else arguments))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are told on standard error."""
    try:
        code = cli.main(args=list(arguments), prog_name="movant", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ReaderGoneError:
        sys.stdout = None  # Python must not complain about the last flush at its exit
        return READER_GONE
    except (KeyboardInterrupt, Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the last stop
        if _is_interrupt(error):
            sys.stderr.write("\n")
            return INTERRUPTED
        return explain(error)
    return code if isinstance(code, int) else 0


def _is_interrupt(error: BaseException) -> bool:
    """Tell what Ctrl-C has become: click makes an Abort of it, a nursery a group."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt | click.Abort)


__all__ = ["cli", "invoke", "main"]
