"""``movant completion bash|zsh|fish``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runtime.cli.failures import OK
from runtime.cli.options import command
from runtime.cli.output import write_text


@command(
    "completion",
    examples=(
        ("movant completion bash > ~/.local/share/bash-completion/completions/movant", "bash"),
        ("movant completion zsh > ~/.zfunc/_movant", "zsh, with ~/.zfunc in fpath"),
        ("movant completion fish > ~/.config/fish/completions/movant.fish", "fish"),
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for SHELL."""
    from runtime.cli import cli  # noqa: PLC0415 - the tree that is completed, which imports this

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells of the choice"
    script = kind(cli, {}, "movant", "_MOVANT_COMPLETE")
    write_text(script.source_template % script.source_vars())
    return OK
