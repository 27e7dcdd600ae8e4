"""``movant nats env|context|credentials``: how programs of others log in.

No password is written to the terminal unless it is asked for: what is printed names files.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from runtime.cli.failures import OK, say
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_rows, write_text

if TYPE_CHECKING:
    from runtime.client.discovery import Server

USERS: Final = ("client", "service", "monitor", "admin", "daemon")
HIDDEN: Final = "***"

_user = click.option(
    "--user",
    type=click.Choice(USERS),
    default="client",
    help="As whom; movant nats credentials tells what each may do. Default: client.",
)


@command(
    "env",
    examples=(
        ('eval "$(movant nats env --user service)"', "for a service in any language"),
        ("movant nats env", "look: it names files, no secrets"),
    ),
)
@_user
@target
def env(to: Target, user: str) -> int:
    """Print what a shell has to export for a program that uses the daemon's NATS server.

    NATS_URL, NATS_USER and NATS_PASSWORD are what the nats CLI and many programs read;
    MOVANT_NATS and its companions are for programs of movant's in another environment.
    """
    server = _server(to)
    file = server.password_file(user)
    if to.form != "table":
        write_json({"url": server.url, "user": user, "password_file": str(file)})
        return OK
    path = shlex.quote(str(file))
    write_text(
        f"export NATS_URL={server.url}\n"
        f"export NATS_USER={user}\n"
        f'export NATS_PASSWORD="$(cat {path})"\n'
        f"export MOVANT_NATS={server.url}\n"
        f"export MOVANT_NATS__USER={user}\n"
        f"export MOVANT_NATS__PASSWORD_FILE={path}"
    )
    return OK


@command(
    "context",
    examples=(
        ("movant nats context --save", "then: nats --context movant-client …"),
        ("movant nats context --user monitor --save", "look at streams, change nothing"),
    ),
)
@_user
@click.option("--save", is_flag=True, help="Write it where the nats CLI looks, for you alone.")
@click.option("--file", type=click.Path(path_type=Path), help="Write it to this file instead.")
@click.option("--show-secret", is_flag=True, help="Print the password too.")
@target
def context(to: Target, user: str, file: Path | None, *, save: bool, show_secret: bool) -> int:
    """Print, or write, a context of the nats CLI for one of the users."""
    server = _server(to)
    name = f"movant-{user}"
    made = {
        "description": f"movant on {server.url}, as {user}",
        "url": server.url,
        "user": user,
        "password": server.password(user) if show_secret or save or file else HIDDEN,
    }
    if save and file is None:
        home = os.environ.get("XDG_CONFIG_HOME", "")
        # The XDG specification: a relative path there is to be ignored.
        base = Path(home) if home.startswith("/") else Path("~/.config").expanduser()
        file = base / "nats" / "context" / f"{name}.json"
    if file is None:
        write_json(made)
        return OK
    _write_private(file, made)
    say(f"written to {file}" + (f"; use it with: nats --context {name} …" if save else ""))
    return OK


@command(
    "credentials",
    examples=(
        ("movant nats credentials", "users, what they are for, and where their passwords are"),
        ("movant nats credentials --user service --show-secret", "one URL with its password"),
    ),
)
@click.option("--user", type=click.Choice(USERS), default=None, help="Only this user.")
@click.option("--show-secret", is_flag=True, help="Print URLs with passwords.")
@target
def credentials(to: Target, user: str | None, *, show_secret: bool) -> int:
    """List the users of the daemon's NATS server and the files with their passwords.

    Give a file, or a copy of it, to whoever is to be that user. To change a password, delete
    its file and start the daemon again.
    """
    from runtime.server.accounts import users  # noqa: PLC0415 - not for --help

    server = _server(to)
    rows = [
        {
            "user": each.name,
            "account": each.account,
            "for": each.purpose,
            "file": str(server.password_file(each.name)),
            "url": server.login_url(each.name) if show_secret else server.url,
        }
        for each in users()
        if user in {None, each.name}
    ]
    columns = ("user", "account", "for", "url" if show_secret else "file")
    cells = [tuple(row[name] for name in columns) for row in rows]
    write_rows(to.form, rows, tuple(name.upper() for name in columns), cells)
    return OK


def _server(to: Target) -> Server:
    from runtime.client.discovery import own_server  # noqa: PLC0415 - not for --help

    find: Callable[..., Server] = own_server
    return find(to.url or "", to.store)


def _write_private(path: Path, value: Any) -> None:
    """Write JSON that only we may read, whole or not at all."""
    import msgspec  # noqa: PLC0415 - not for --help

    from protocols.errors import ConfigurationError  # noqa: PLC0415

    draft = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", hint="choose another file: --file"
        ) from error
