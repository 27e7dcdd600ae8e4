"""Logs: structlog's set-up, and the catalogue of every event that is logged.

JSON lines go to standard output, for a log collector; the human form goes to standard error,
for a terminal. An event is a dotted name plus facts; the name is stable, so that alerts may be
built on it.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from io import StringIO
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
import structlog.tracebacks

from protocols.guardrails.sensitive import Redactor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "human"]

EVENTS: Final[dict[str, str]] = {
    "absence.changed": "Somebody stands in for a person at gates, or does not any more.",
    "absence.unreadable": "What is stored of an absence cannot be read; it gives nobody a say.",
    "activation.waiting": "A stored mailbox cannot be read now; it is asked again.",
    "actor.failed": "An actor raised; its supervisor decides what happens.",
    "actor.on_failure_failed": "An actor's own failure hook raised as well.",
    "actor.unexpected_message": "An actor got a message of a kind that it does not know.",
    "actor.watcher_failed": "A death watch raised; the others were told.",
    "api.failed": "A request of a client met a defect; the client was told.",
    "archive.unreadable": "The record of a finished instance cannot be read.",
    "assignment.waiting": "Who owns what cannot be read now; it is looked at again.",
    "blob.mended": "Wrong bytes stood under the digest of a large value, and were replaced.",
    "blob.missing": "A value that a message refers to is missing or altered; its run is blocked.",
    "blob.waiting": "A large value cannot be stored or fetched now; it is tried again.",
    "blobs.swept": "Large values of a run of which nothing is left were removed.",
    "blobs.waiting": "Values that nobody needs cannot be looked for now; it is tried again.",
    "bridge.bad_frames": "The server sent what is no NATS frame; it was skipped.",
    "bridge.closed": "The connection was closed on purpose.",
    "bridge.connected": "Connected, for the first time or again.",
    "bridge.deaf": "Probes stay unanswered on an open connection; it is replaced.",
    "bridge.done_failed": "Who waited for a reply raised when it came.",
    "bridge.failed": "The connection's thread ended with an error; the bridge restarts.",
    "bridge.lost": "The connection is lost; it is sought again.",
    "bridge.refused": "The server refuses this user a subject, or its connection.",
    "bridge.sink_failed": "A subscriber raised; the others got their messages.",
    "bridge.state_failed": "Who watches the connection raised.",
    "bridge.stuck": "The connection's thread did not end in time.",
    "bridge.unreachable": "No server answers; it is tried again.",
    "bridge.watchdog_limited": "This login may not probe; a dead connection is seen late.",
    "budget.not_released": "What a run does not need of a budget stays reserved for its window.",
    "bundle.unreadable": "Histories in ARCHIVE cannot be opened; their runs show less.",
    "checkpoint.changed": "Another owner wrote a checkpoint; it is written over.",
    "checkpoint.not_ours": "A newer owner has written the checkpoint of a partition.",
    "checkpoint.refused": "A checkpoint was not stored; a takeover would read more.",
    "checkpoint.waiting": "Checkpoints cannot be stored now; it is tried again.",
    "child.exists": "A child's id is taken by an instance of somebody else.",
    "child.failed": "A supervised child ended with an error.",
    "child.restarting": "A supervised child is started again after a pause.",
    "child.started": "A supervised child reported its start.",
    "child.stop_failed": "A child raised when it was asked to stop.",
    "child.stopped": "A supervised child ended as it should.",
    "child.waiting": "A child cannot be started now; it is tried again.",
    "cluster.started": "Three NATS servers serve as one cluster, for trying.",
    "collector.failed": "A defect stopped a pass over MAIL; it is tried again in a minute.",
    "collector.passed": "What was needed was copied forward, and MAIL was purged.",
    "collector.waiting": "A pass over MAIL stopped; the next one goes on.",
    "connector.answered": "A connector was asked, and has answered.",
    "connector.broke": "An operation of a connector raised what it should have answered.",
    "connector.health": "The system behind a connector went away, or came back.",
    "connector.open": "A connector takes requests.",
    "connector.progress": "An MCP server tells how far a tool is.",
    "connector.session_lost": "A session with an MCP server ended; it is opened again.",
    "connector.waiting": "A connector cannot be opened, or failed; it is tried again.",
    "continued.refused": "The beginning of a generation was not recorded; folds begin earlier.",
    "daemon.draining": "Nothing new is taken; what is under way is stored.",
    "daemon.ready": "Instances are hosted and the API answers.",
    "daemon.signal": "The process was told to stop.",
    "daemon.stopped": "Everything is stored; the process ends.",
    "definition.refused": "A definition cannot run here; its instances are blocked.",
    "definition.waiting": "A definition cannot be read now; it is asked again.",
    "drain.waiting": "The server does not answer; the drain goes on when it does.",
    "effect.refused": "The server refused an effect for good.",
    "event.lost": "An event could not be published.",
    "ferry.carried": "The import of timers stood still; their firings were brought by hand.",
    "ferry.refused": "A firing could not be brought by hand; the import brings it later.",
    "ferry.waiting": "The import of timers cannot be looked at now.",
    "forgetting.waiting": "ARCHIVE or EVENTS cannot be purged now; it is tried again.",
    "guardrails.registered": "What is registered from now on shares other guardrails.",
    "hold.changed": "A person paused or resumed something, or forced a breaker.",
    "holds.unreadable": "What is stored of a pause cannot be read; it counts for nothing.",
    "holds.waiting": "What is paused cannot be read now; what is known counts.",
    "http.listening": "Health and webhooks are served over HTTP.",
    "late.blob": "A result could not be handed on to a parent that asked late.",
    "late.refused": "What came of a late message could not be told.",
    "lease.not_renewed": "The lease could not be renewed; another daemon may take over.",
    "lease.taken_meanwhile": "A partition has another owner already.",
    "lease.unreadable": "A record of another daemon cannot be read; it keeps what it owns.",
    "letter.dead": "A message went to dead letters, with its reason.",
    "letter.header_ignored": "A header is one of ours but for its case, so it counts for nothing.",
    "letter.late": "A message came for a run that ended long ago.",
    "letter.lost": "A dead letter could not be stored.",
    "letter.refused": "The server refused a dead letter.",
    "llm.used": "A language model was used; tokens and cost count for budgets.",
    "mail.missing": "Messages that were not read are gone, and nobody else owns their partition.",
    "owner.caught_up": "Recovery is done up to this position.",
    "pack.unreadable": "A pack in MAIL cannot be opened; nothing of it is folded.",
    "partition.given": "Partitions were handed over to other daemons.",
    "partition.lost": "Another daemon has taken partitions over.",
    "partition.not_claimed": "A partition could not be claimed; it is tried again.",
    "partition.not_released": "A claim could not be released; others wait for the lease.",
    "partition.taken": "This daemon owns these partitions now.",
    "pin.refused": "No definition could be pinned to a raw start.",
    "pin.waiting": "A raw start waits for its workflow to be registered.",
    "prefetch.failed": "Mailboxes could not be read together; each is read by itself.",
    "reader.gap": "The reader's consumer has a gap; it is made anew.",
    "reader.silent": "The reader's consumer went silent; it is made anew.",
    "reader.status": "The server told the reader something other than messages.",
    "reader.waiting": "The stream cannot be read now; it is asked again.",
    "redaction.raw": "Somebody was shown a run with what is sensitive in it.",
    "route.captured": "A stream captures a service's subject and answers in its place.",
    "route.presence": "A service came or went.",
    "server.credentials_repaired": "Others could read a password; they cannot any more.",
    "server.killed": "The NATS server did not end in time and was killed.",
    "server.leftover_ended": "A server of a former daemon was ended.",
    "server.started": "The embedded NATS server serves.",
    "server.store_adopted": "The streams of a store without users got their account.",
    "server.unhealthy": "The NATS server does not answer its health check.",
    "service.answer_lost": "A hosted service's answer could not be stored; it is asked again.",
    "service.answer_refused": "A hosted service's answer was refused by the server.",
    "service.draining": "A hosted service takes no more requests and finishes those it has.",
    "service.handler_failed": "A service's handler raised what is no Refused or Failed.",
    "service.ready": "A hosted service takes requests.",
    "service.stopped": "A hosted service has finished its requests.",
    "stats.unread": "A run that is counted cannot be read; it is left out of the sums.",
    "step.parked": "Nobody serves a step; it waits for a service.",
    "strays.waiting": "Strays cannot be read now, or their position stored; it is tried again.",
    "stream.created": "A stream was made.",
    "stream.forgotten": "What ended long ago was removed from the beginning of a stream.",
    "stream.waiting": "JetStream does not serve yet; it is asked again.",
    "supervisor.escalated": "Restarts did not help; the supervisor above decides.",
    "template.registered": "A template is stored.",
    "trigger.consumer_removed": "A durable consumer was removed that no trigger wants any more.",
    "trigger.failed": "A defect stopped a trigger; others go on.",
    "trigger.lost": "Messages of a subject without a stream came too fast for a trigger.",
    "trigger.not_armed": "The timer of a schedule was not stored; it is armed again.",
    "trigger.told": "A trigger was late, was skipped, or refused something.",
    "trigger.unreadable": "Triggers that are stored cannot be read; they do nothing.",
    "trigger.waiting": "A trigger cannot listen or start runs now; it is tried again.",
    "triggers.waiting": "Triggers cannot be read or fired now; it is tried again.",
    "turn.refused": "It was not stored whether a run may begin; it is said again.",
    "turns.waiting": "Whose turn it is cannot be read now; it is looked at again.",
    "webhook.no_secret": "The secret of a webhook is not where its trigger says.",
    "workflow.blocked": "A run's mailbox cannot be folded with its code; movant run show tells.",
    "workflow.crashed": "The daemon failed while it folded an instance.",
    "workflow.registered": "A definition is stored and latest.",
    "workflow.rolled_back": "New runs start with an earlier definition again.",
    "workflow.routed": "New runs of some workflows use another routing table.",
    "workflow.unknown": "A start names a workflow that is not registered.",
    "writer.refused": "The server refused a message for good.",
    "writer.unanswered": "The server did not acknowledge in time; the same bytes go again.",
}
"""Every event that movant's code logs, and what it means. A test holds it to the code."""


def configure(level: Level = "info", form: Format = "auto") -> None:
    """Set structlog up for this process. ``auto`` is human where standard error is a terminal."""
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    redactor = Redactor()

    def mask(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
        for key, value in event.items():
            if key not in _OURS and type(value) not in _PLAIN:
                event[key] = redactor.value(value, key)
        return event

    wrapper = structlog.make_filtering_bound_logger(getattr(logging, level.upper()))
    if human:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.TimeStamper("%H:%M:%S.%f", utc=False),
                _short_time,
                mask,
                structlog.dev.ConsoleRenderer(
                    colors=_colors(),
                    pad_event_to=24,
                    sort_keys=False,
                    # The default shows local variables, and takes a second of the loop's time.
                    exception_formatter=partial(_traceback, redactor),
                ),
            ],
            wrapper_class=wrapper,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
        return
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.TimeStamper("iso", utc=True),
            # Without local variables: they may hold what a workflow must keep to itself.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            mask,
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=wrapper,
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


_OURS: Final = frozenset({"event", "level", "timestamp", "exc_info", "hash", "definition"})
"""Facts that are never anybody's data."""
_PLAIN: Final = frozenset({bool, float, type(None)})


def _traceback(redactor: Redactor, to: TextIO, error: Any) -> None:
    """Write a traceback with what is sensitive in its message masked."""
    text = StringIO()
    structlog.dev.plain_traceback(text, error)
    to.write(redactor.text(text.getvalue()))


def _encode(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def _short_time(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Cut the microseconds to milliseconds: people read them."""
    event["timestamp"] = event["timestamp"][:-3]
    return event


def _colors() -> bool:
    """Tell whether standard error wants colours: https://no-color.org, and FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()
