"""The streams that movant needs, with the settings that are safety rules.

MAIL takes messages from strangers, so nothing that a header can say may have power there: no
schedules, no TTL, no rollup, no counters. It refuses when it is full instead of forgetting,
and because it has a source its duplicate window may be 0: a stranger's message id swallows
nobody's reply. Timers live in TIMERS, to which only daemons publish; MAIL imports their
firings. (reference: hazards F1, F2; nats-server 2.15.1.)

A stream that exists with other settings is refused, never overwritten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import structlog
import trio

from actors.store.neighbours import streams_on
from protocols.blobs import CHUNK_BYTES
from protocols.errors import ConfigurationError, UnavailableError, UnknownOutcomeError
from protocols.guardrails.budgets import WINDOW_S_MAX
from protocols.ports import Outgoing, Transport

ANSWER_S: Final = 3.0
PATIENCE_S: Final = 45.0
"""An election takes 4 to 9 s; several may follow each other when a whole cluster starts."""
AGAIN_S: Final = 0.2
ERR_NO_STREAM: Final = 10059
ERR_NOT_NOW: Final = frozenset({10008, 10009, 10058, 10074, 10164})
"""No leader of JetStream, no answer of a peer; or another daemon creates it at this moment."""
MAIL_MESSAGE_BYTES_MAX: Final = 1024 * 1024
BLOB_MESSAGE_BYTES_MAX: Final = CHUNK_BYTES + 4_096
"""A chunk and its headers."""
DUPLICATES_NS_MIN: Final = 100_000_000
"""Only a stream with sources may do without the check."""
DEAD_BYTES_MAX: Final = 256 * 1024 * 1024
BUCKETS: Final = (
    "movant_checkpoints",
    "movant_leases",
    "movant_keys",
    "movant_definitions",
    "movant_holds",
    "movant_budgets",
    "movant_triggers",
    "movant_turns",
)
_AGE_NS_MAX: Final = {"movant_budgets": 2 * int(WINDOW_S_MAX) * 1_000_000_000}
"""How long a key stays that nobody writes any more: an account, until its window is long over."""

log = structlog.get_logger()

Configuration = dict[str, Any]
Result = TypeVar("Result")

_BASE: Final[Configuration] = {
    "retention": "limits",
    "storage": "file",
    "max_age": 0,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msgs_per_subject": -1,
    "allow_direct": True,
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
    "allow_msg_schedules": False,
    "allow_msg_counter": False,
    "compression": "none",
    "deny_purge": False,
}


def wanted(*, partitions: int, replicas: int, blobs_bytes_max: int = -1) -> list[Configuration]:
    """Return the configurations of all streams, in the order in which they are created.

    ``blobs_bytes_max`` is for a BLOBS that is made; of one that exists it is its operator's.
    """
    return [
        {
            **_BASE,
            "name": "TIMERS",
            "subjects": ["movant.timer.>", "movant.fired.>"],
            "discard": "old",
            "deny_delete": False,
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            "allow_atomic": True,
            "allow_rollup_hdrs": True,  # the server sets it together with schedules
            "num_replicas": replicas,
        },
        {
            **_BASE,
            "name": "MAIL",
            "subjects": ["movant.to.>", "movant.mail.*._owner"],
            "discard": "new",
            "deny_delete": True,
            "allow_atomic": True,
            "duplicate_window": 0,
            "max_msg_size": MAIL_MESSAGE_BYTES_MAX,
            "num_replicas": replicas,
            "subject_transform": {
                "src": "movant.to.*.>",
                "dest": f"movant.mail.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.>",
            },
            "sources": [
                {
                    "name": "TIMERS",
                    "subject_transforms": [
                        {
                            "src": "movant.fired.*.*.>",
                            "dest": "movant.mail.{{wildcard(1)}}.{{wildcard(2)}}.timer.>",
                        }
                    ],
                }
            ],
        },
        {
            **_BASE,
            "name": "EVENTS",
            "subjects": ["movant.event.>"],
            "discard": "old",
            "max_bytes": -1,
            "allow_atomic": True,
            "deny_delete": False,
            "num_replicas": replicas,
        },
        {
            **_BASE,
            "name": "ARCHIVE",
            "subjects": ["movant.done.>"],
            "discard": "new",
            "deny_delete": True,
            "allow_atomic": True,
            "num_replicas": replicas,
        },
        {
            **_BASE,
            "name": "BLOBS",
            "subjects": ["movant.put.>"],
            "discard": "new",
            # Whoever may put may not replace: one message for each chunk, for ever.
            "max_msgs_per_subject": 1,
            "discard_new_per_subject": True,
            "deny_delete": True,
            # The shortest there is: ids of strangers swallow chunks of others (hazard F2).
            "duplicate_window": DUPLICATES_NS_MIN,
            "max_bytes": blobs_bytes_max,
            "max_msg_size": BLOB_MESSAGE_BYTES_MAX,
            "num_replicas": replicas,
            "subject_transform": {
                "src": "movant.put.*.>",
                "dest": f"movant.blob.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.>",
            },
        },
        {
            **_BASE,
            "name": "DEAD",
            "subjects": ["movant.dead.>"],
            "discard": "old",
            "max_bytes": DEAD_BYTES_MAX,
            "allow_atomic": True,
            "deny_delete": False,
            "num_replicas": replicas,
        },
        *(
            {
                **_BASE,
                "max_age": _AGE_NS_MAX.get(bucket, 0),
                "name": f"KV_{bucket}",
                "subjects": [f"$KV.{bucket}.>"],
                "discard": "new",
                "max_msgs_per_subject": 1,
                "allow_rollup_hdrs": True,  # what a KV bucket is (ADR-8)
                "allow_atomic": True,
                "deny_delete": True,
                "num_replicas": replicas,
            }
            for bucket in BUCKETS
        ),
    ]


async def ensure(transport: Transport, configurations: list[Configuration]) -> None:
    """Create the streams that are missing, check those that exist, wait until each has a leader.

    Raises ConfigurationError for a difference, with both values, and UnavailableError when
    JetStream does not serve within ``PATIENCE_S``.
    """
    for configuration in configurations:
        await patiently(partial(_ensure, transport, configuration))
    for configuration in configurations:
        await patiently(partial(_led, transport, configuration["name"]))


async def patiently(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Return what ``ask`` returns; ask again while nobody serves, for ``PATIENCE_S``.

    A cluster that starts or has lost a server elects leaders for some seconds, and whoever asks
    meanwhile gets no answer. Only for what may be done twice.
    """
    deadline = trio.current_time() + PATIENCE_S
    told = False
    while True:
        try:
            return await ask()
        except (UnavailableError, UnknownOutcomeError) as error:
            if trio.current_time() > deadline:
                raise UnavailableError(
                    f"JetStream does not serve: {error.message}",
                    hint="a cluster needs a majority of its servers: `nats server report"
                    " jetstream`, then start again",
                ) from error
            if not told:
                log.warning("stream.waiting", reason=error.message)
            told = True
        await trio.sleep(AGAIN_S)


async def _ensure(transport: Transport, configuration: Configuration) -> None:
    name = configuration["name"]
    found = await _api(transport, f"STREAM.INFO.{name}", {})
    if "config" in found:
        have = found["config"]
        if problems := differences(configuration, have):
            raise ConfigurationError(
                f"stream {name} differs from what movant needs: {'; '.join(problems)}",
                hint="it is never changed behind your back: rename or remove it, or give this"
                " daemon a NATS account of its own (docs/operations.md, 'streams')",
            )
        return
    if (error := found.get("error") or {}).get("err_code") != ERR_NO_STREAM:
        raise UnavailableError(f"stream {name}: {error.get('description')}")
    created = await _api(transport, f"STREAM.CREATE.{name}", configuration)
    if error := created.get("error"):
        if error.get("err_code") in ERR_NOT_NOW:
            raise UnavailableError(f"stream {name}: {error.get('description')}")
        others = await _overlapping(transport, configuration)
        if others:
            raise ConfigurationError(
                f"stream {name} cannot be created: its subjects are captured by stream"
                f" {', '.join(others)}",
                hint="change the subjects of that stream, or give movant a NATS account of its own"
                " (docs/operations.md, 'Accounts')",
            )
        raise ConfigurationError(
            f"stream {name} cannot be created: {error.get('description')}"
            f" ({error.get('err_code')})",
            hint="JetStream has to be enabled, with room for its store; another stream may"
            " capture these subjects: `nats stream ls`; replicas need as many servers",
        )
    if problems := differences(configuration, created.get("config", {})):
        raise ConfigurationError(
            f"the server dropped settings of stream {name}: {'; '.join(problems)}",
            hint="movant needs nats-server 2.14 or newer; remove the stream, then update it",
        )
    log.info("stream.created", stream=name)


async def _led(transport: Transport, name: str) -> None:
    """Return when a stream has a leader; a server alone always leads."""
    found = await _api(transport, f"STREAM.INFO.{name}", {})
    if "config" not in found or not (found.get("cluster") or {"leader": "it"}).get("leader"):
        raise UnavailableError(f"stream {name} has no leader")


async def _overlapping(transport: Transport, configuration: Configuration) -> list[str]:
    """Return the streams of others that capture subjects of one of ours."""
    found: dict[str, None] = {}
    for subject in configuration["subjects"]:
        found.update(dict.fromkeys(await streams_on(transport, subject)))
    return [name for name in found if name != configuration["name"]]


def differences(want: Mapping[str, Any], have: Mapping[str, Any]) -> list[str]:
    """Return what differs, as text; settings that we do not name are free."""
    problems = []
    for key, value in want.items():
        actual = have.get(key, _zero(value))
        if key == "max_bytes" and want["name"] == "BLOBS":
            continue
        if key == "max_msg_size" and value == MAIL_MESSAGE_BYTES_MAX and actual == -1:
            continue
        if not _same(value, actual):
            problems.append(f"{key} is {_show(actual)}, not {_show(value)}")
    return problems


def _same(want: Any, have: Any) -> bool:
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        return all(_same(value, have.get(key, _zero(value))) for key, value in want.items())
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(map(_same, want, have))
    return bool(want == have)


def _zero(value: Any) -> Any:
    """Return what the server leaves out: false, 0, none."""
    return type(value)() if isinstance(value, bool | int) else None


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _api(transport: Transport, verb: str, request: Any) -> dict[str, Any]:
    answer = await transport.request(
        Outgoing(f"$JS.API.{verb}", msgspec.json.encode(request) if request else b""),
        timeout_s=ANSWER_S,
    )
    value = msgspec.json.decode(answer.payload)
    if not isinstance(value, dict):
        raise UnavailableError(f"JetStream answers {verb} with something else")
    return value
