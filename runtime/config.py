"""The daemon's configuration: frozen Structs, read from four places in one order.

    flags  >  environment MOVANT_SECTION__KEY  >  --config FILE (TOML)  >  defaults

``load`` returns the Struct together with the origin of every value, for ``movant config show
--origin``. A key that is not known is refused with the place where it stands, never ignored: a
limit with a typo in its name is no limit. A secret may stand in a file of its own, named by
``MOVANT_NATS__PASSWORD_FILE`` and the like.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from protocols.durations import DURATION_S_MAX
from protocols.errors import ConfigurationError
from protocols.flow import FlowSettings
from protocols.guardrails.sensitive import Sort
from runtime.config_files import line_of, read, secret
from runtime.config_maps import FLOW, MAPS, check_flow, flow_key, from_variable, spread, steps
from runtime.config_rules import check

PREFIX: Final = "MOVANT_"
SECRETS: Final = frozenset({"nats.password", "nats.token"})
"""Never shown, and read from a file when the variable's name ends in ``_FILE``."""
ALIASES: Final = {"MOVANT_NATS": "nats.url"}
"""Short names of what people set most."""
LISTS: Final = {"workflows": os.pathsep, "server.client_subjects": ","}
"""Settings with several values, with what joins them in a variable."""
FOREIGN: Final = frozenset({"MOVANT_CACHE", "MOVANT_CONFIG"})
"""Variables with our prefix that are no settings of the daemon."""

T = TypeVar("T")
Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=DURATION_S_MAX)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class NatsConfig(Section, frozen=True, kw_only=True):
    """Which NATS to use and as whom. An empty ``url`` means the embedded server."""

    url: str = ""
    """Several servers of a cluster are joined by commas."""
    user: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""
    """Path of a credentials file (JWT and nkey)."""
    nkey: str = ""
    """Path of the seed of a user's nkey."""
    inbox_prefix: str = "_INBOX"
    """Where answers come, for users who may not subscribe to ``_INBOX.>``."""
    tls_ca: str = ""
    """Path of the certificates to trust; empty: those of the system."""
    tls_cert: str = ""
    tls_key: str = ""


class ServerConfig(Section, frozen=True, kw_only=True):
    """The embedded server. ``port`` 0 is a free one, kept over restarts."""

    store: Path = Path()
    """Where everything durable is; the default is ``movant`` in the XDG state directory."""
    port: Port = 0
    durability: Literal["fsync", "interval"] = "fsync"
    """``fsync``: an acknowledged message is on disk. ``interval``: it survives a crash."""
    file_store_bytes_max: Annotated[int, Meta(ge=64 * 1024**2)] = 64 * 1024**3
    """What all streams may take together; the server refuses to write beyond it."""
    free_bytes_min: Annotated[int, Meta(ge=0)] = 256 * 1024**2
    """Below this a start is refused: a server on a full disk switches its streams off."""
    client_subjects: tuple[str, ...] = ()
    """Subjects of message triggers that clients may publish; in a variable joined by commas."""


class LimitsConfig(Section, frozen=True, kw_only=True):
    """What one daemon holds at most."""

    live_instances_max: Count = 100_000
    """Instances in memory; more are passivated and read again when they are needed."""
    value_bytes_max: Annotated[int, Meta(ge=256 * 1024, le=64 * 1024**2)] = 64 * 1024**2
    """The largest input of a step that is stored; above it the step fails: ``over_limit``."""
    blobs_bytes_max: Annotated[int, Meta(ge=0)] = 0
    """Of BLOBS when it is made; 0: half of the embedded server's store, elsewhere no limit."""
    api_requests_max: Count = 10_000
    """Requests of clients under way; more are refused as overloaded."""


class RetentionConfig(Section, frozen=True, kw_only=True):
    """When MAIL is collected, and how long what has ended is kept."""

    enabled: bool = True
    messages_min: Count = 200_000
    """Messages in MAIL below which it is left alone; about 440 B of server memory each."""
    chunk: Annotated[int, Meta(ge=2)] = 32_768
    """Messages that are collected in one go, in daemon memory meanwhile."""
    busy_max: Annotated[float, Meta(gt=0, le=1)] = 0.3
    """Part of the daemon's time that collecting may take."""
    finished_s: Annotated[int, Meta(ge=0)] = 30 * 86_400
    """How long the record and history of a finished run are kept at least; 0: for ever."""
    blobs_s: Annotated[int, Meta(ge=0)] = 0
    """How long large values and artifacts of a finished run are kept; 0: as long as its record."""
    events_s: Annotated[int, Meta(ge=0)] = 7 * 86_400
    """How long events are kept at least; 0: for ever."""
    orphan_s: Seconds = 86_400.0
    """After this, messages to a run that was never started are dead letters."""


class HttpConfig(Section, frozen=True, kw_only=True):
    """Health and webhooks over HTTP.

    ``address`` is ``host:port``: without a host loopback, port 0 a free one; empty: no HTTP.
    """

    address: str = ""


class LogConfig(Section, frozen=True, kw_only=True):
    """What is logged, and how. ``auto`` is ``human`` on a terminal and ``json`` elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "human"] = "auto"


class RedactionConfig(Section, frozen=True, kw_only=True):
    """What is masked where people read: sorts of data (empty: all), and names of fields."""

    find: tuple[Sort, ...] = ()
    keys: tuple[str, ...] = ()
    raw: bool = True
    """Whether who asks for it is shown what is sensitive; each time is logged."""


class DaemonConfig(Section, frozen=True, kw_only=True):
    """Everything that can be chosen about a daemon."""

    name: str = ""
    """How it appears to people; the default is the host name."""
    profile: str = ""
    """The profile of runs whose start names none, where their workflow has one of that name."""
    nats: NatsConfig = NatsConfig()
    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
    redaction: RedactionConfig = RedactionConfig()
    partitions: Annotated[int, Meta(ge=1, le=512)] = 64
    """Fixed when the streams are created; ownership moves between daemons in these units."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    reask_s: Seconds = 30.0
    """An answer that has not come after this time is asked for again, with the same key."""
    locality: str = ""
    """Where this daemon is: a ranked route prefers services of the same locality."""
    drain_timeout_s: Seconds = 30.0
    """How long a shutdown waits for what is under way; whatever is not done is done later."""
    services: dict[str, str] = {}
    """Foreign services: name to the subject prefix where their operations are asked."""
    flow: dict[str, FlowSettings] = {}
    """How services may be asked, by their names; ``*`` is for all that have no section."""
    workflows: tuple[Path, ...] = ()
    """Files and directories that are registered at the start."""
    connectors: str = ""
    """A file of connectors that this daemon hosts; empty: none."""


class Loaded(NamedTuple):
    """A configuration, and for each key (``nats.url``) where its value comes from."""

    config: DaemonConfig
    origins: dict[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Loaded:
    """Read the configuration. ``flags`` maps dotted keys to values; None means not given.

    Raises ConfigurationError that names file and line, variable or flag.
    """
    found = os.environ if environment is None else environment
    origins: dict[str, str] = {}
    values: dict[str, Any] = {}
    if file is None and found.get("MOVANT_CONFIG"):
        file = Path(found["MOVANT_CONFIG"])
    if file is not None:
        _overlay(values, origins, _from_file(file))
    _overlay(values, origins, _from_environment(found))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    _overlay(values, origins, {key: (value, "flag") for key, value in given.items()})
    config = _convert(values, origins)
    server = config.server
    if server.store == Path():
        server = msgspec.structs.replace(server, store=default_store(found))
    config = msgspec.structs.replace(
        config,
        name=config.name or _host_name(),
        server=msgspec.structs.replace(server, store=server.store.expanduser().absolute()),
    )
    check(config, origins)
    return Loaded(config, {key: origins.get(key, "default") for key in flatten(config)})


def nats_from_environment(
    url: str = "", environment: Mapping[str, str] | None = None
) -> NatsConfig:
    """Return how a client connects: ``url`` if given, and MOVANT_NATS__… for the rest.

    Settings of the daemon alone are not looked at: a client must not fail because of them.
    """
    found = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    ours = {
        key: text
        for key, text in found.items()
        if key in ALIASES or key.startswith(f"{PREFIX}NATS__")
    }
    _overlay(values, origins, _from_environment(ours))
    _overlay(values, origins, {"nats.url": (url, "flag")} if url else {})
    return _convert(values, origins).nats


def default_store(environment: Mapping[str, str] | None = None) -> Path:
    """Return ``movant`` in the XDG state directory; it may not exist yet."""
    found = os.environ if environment is None else environment
    xdg = found.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    base = Path(xdg) if xdg.startswith("/") else Path("~/.local/state").expanduser()
    return base / "movant"


def flatten(config: DaemonConfig) -> dict[str, Any]:
    """Return every value by its dotted key, secrets replaced by ``***``."""
    shown: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(config).items():
        if isinstance(value, Section):
            for key, inner in msgspec.structs.asdict(value).items():
                shown[f"{name}.{key}"] = _plain(inner)
        elif name == FLOW and value:
            for service, settings in value.items():
                inner = msgspec.structs.asdict(settings)
                shown |= {f"{FLOW}.{service}.{key}": each for key, each in inner.items()}
        else:
            shown[name] = _plain(value)
    shown["nats.url"] = redacted(shown["nats.url"])
    return {key: "***" if key in SECRETS and value else value for key, value in shown.items()}


def redacted(url: str) -> str:
    """Return a URL, or several joined by commas, without the passwords or tokens in it."""
    if "," in url:
        return ",".join(map(redacted, url.split(",")))
    scheme, separator, rest = url.rpartition("://")
    login, at, host = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user if colon else '***'}{':***' if colon else ''}@{host}"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return msgspec.to_builtins(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _overlay(
    values: dict[str, Any], origins: dict[str, str], new: Mapping[str, tuple[Any, str]]
) -> None:
    """Put values over those of a weaker origin, key by key."""
    for key, (value, origin) in new.items():
        *outer, name = steps(key)
        found = values
        for each in outer:
            found = found.setdefault(each, {})
        found[name] = value
        origins[key if outer[:1] != ["services"] else "services"] = origin


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    text, document = read(path)
    found: dict[str, tuple[Any, str]] = {}
    for name, value in document.items():
        if isinstance(value, dict) and name in _SECTIONS:
            for key, inner in value.items():
                line = line_of(text, name, key)
                _known(f"{name}.{key}", f"{path}:{line}")
                found[f"{name}.{key}"] = (inner, f"{path}:{line}")
        elif name in _SECTIONS:
            raise ConfigurationError(
                f"{path}:{line_of(text, '', name)}: {name}: a table is expected",
                hint=f"write [{name}], and its settings below it",
            )
        elif name in MAPS:
            found |= spread(name, value, partial(_place, path, text, name))
        else:
            line = line_of(text, "", name)
            _known(name, f"{path}:{line}")
            found[name] = (value, f"{path}:{line}")
    return found


def _place(path: Path, text: str, name: str, service: str, setting: str) -> str:
    section = f"{name}.{service}" if setting or name == FLOW else name
    return f"{path}:{line_of(text, section.rstrip('.'), setting or service)}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for variable, key in ALIASES.items():
        if environment.get(variable):
            found[key] = (environment[variable], variable)
    for variable, text in sorted(environment.items()):  # a map before its single settings
        if not variable.startswith(PREFIX) or variable in FOREIGN or variable in ALIASES:
            continue
        key = variable.removeprefix(PREFIX).lower().replace("__", ".", 1)
        if key.removesuffix("_file") in SECRETS and key.endswith("_file"):
            found[key.removesuffix("_file")] = (secret(Path(text), variable), variable)
            continue
        if "." not in key and key not in {each.replace(".", "_") for each in _KEYS}:
            continue  # some other program's variable, and no setting with one underscore of two
        if key in MAPS:
            found |= from_variable(key, text, variable)
            continue
        if key.startswith(f"{FLOW}."):
            key = flow_key(key.removeprefix(f"{FLOW}."), variable)
        _known(key, variable)
        value: Any = text
        if key in LISTS:
            value = [part for part in text.split(LISTS[key]) if part]
        found[key] = (value, variable)
    return found


def _known(key: str, where: str) -> None:
    if key.startswith(f"{FLOW}."):
        check_flow(key, where)
    if key in _KEYS or key.startswith(("services.", f"{FLOW}.")):
        return
    close = difflib.get_close_matches(key, _KEYS if "." in key else _KEYS | _SECTIONS, 1)
    raise ConfigurationError(
        f"{where}: {key!r} is no setting",
        hint=f"did you mean {close[0]!r}?" if close else "movant config show lists all settings",
    )


def _convert(values: Mapping[str, Any], origins: Mapping[str, str]) -> DaemonConfig:
    flows = {
        service: _converted(settings, FlowSettings, origins, f"{FLOW}.{service}.")
        for service, settings in values.get(FLOW, {}).items()
    }
    return _converted({**values, FLOW: flows}, DaemonConfig, origins)


def _converted(
    values: Mapping[str, Any], kind: type[T], origins: Mapping[str, str], prefix: str = ""
) -> T:
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = prefix + where.rstrip("`").removeprefix(".").partition("[")[0]
        place = origins.get(key, "")
        raise ConfigurationError(
            f"{place + ': ' if place else ''}{key or 'the configuration'}: {message}",
            hint="movant config show lists all settings with their values",
        ) from error


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")


def _host_name() -> str:
    return socket.gethostname().partition(".")[0] or "movant"


def _keys() -> tuple[frozenset[str], frozenset[str]]:
    sections: set[str] = set()
    keys: set[str] = set()
    for field in msgspec.structs.fields(DaemonConfig):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            sections.add(field.name)
            keys |= {f"{field.name}.{inner.name}" for inner in msgspec.structs.fields(field.type)}
        else:
            keys.add(field.name)
    return frozenset(sections), frozenset(keys)


_SECTIONS, _KEYS = _keys()
