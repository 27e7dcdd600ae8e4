"""Groups that import a command when it is called, and help that shows how it is used."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import click

Examples = Sequence[tuple[str, str]]
"""Command lines, each with what it does."""
_SIMILAR: Final = 0.6
_PLACES_MAX: Final = 3


class Leaf(NamedTuple):
    """Where a command is (``module:attribute``), and its one line of help."""

    where: str
    help: str


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, then the epilog as it stands."""
        del ctx
        _write_examples(self.examples, formatter)
        _write_epilog(self.epilog, formatter)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them one by one."""

    def __init__(
        self,
        *args: Any,
        tree: Mapping[str, Mapping[str, Leaf]],
        examples: Examples = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.tree = tree
        self.examples = tuple(examples)
        self.leaves = {name: leaf for leaves in tree.values() for name, leaf in leaves.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in their order."""
        del ctx
        return list(self.leaves)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        leaf = self.leaves.get(cmd_name)
        if leaf is None:
            return None
        module, _, attribute = leaf.where.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if name not in self.leaves and not name.startswith("-"):
            meant = self._elsewhere(name, ctx) or [
                repr(each) for each in difflib.get_close_matches(name, self.leaves, 1, _SIMILAR)
            ]
            hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def _elsewhere(self, name: str, ctx: click.Context) -> list[str]:
        """Return where the whole tree has commands of this name, the first few."""
        top = ctx.find_root().command
        found = [f"'movant {name}'"] if isinstance(top, LazyGroup) and name in top.leaves else []
        if self is top:
            groups = ((each, self.get_command(ctx, each)) for each in self.leaves)
            found += [
                f"'movant {each} {name}'"
                for each, group in groups
                if isinstance(group, LazyGroup) and name in group.leaves
            ]
        return found[:_PLACES_MAX]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, without importing any."""
        del ctx
        width = max(map(len, self.leaves))
        for section, leaves in self.tree.items():
            with formatter.section(section):
                formatter.write_dl(
                    [(name.ljust(width), leaf.help) for name, leaf in leaves.items()]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, then the epilog as it stands."""
        del ctx
        _write_examples(self.examples, formatter)
        _write_epilog(self.epilog, formatter)


def _write_examples(examples: Examples, formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for line, meaning in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
            formatter.write(f"{'':>{formatter.current_indent}}    {meaning}\n")


def _write_epilog(epilog: str | None, formatter: click.HelpFormatter) -> None:
    if epilog:
        formatter.write_paragraph()
        formatter.write(epilog + "\n")
