"""The catalogue of messages: every kind that crosses a subject, with an example of each.

``protocols.schema`` makes JSON Schemas and an AsyncAPI document from it. Metadata is in
headers, the payload is the value itself: an input, the data of a signal, a result.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from protocols import events, mail
from protocols import headers as h
from protocols.api import absences as api_absences
from protocols.api import blobs as api_blobs
from protocols.api import forks as api_forks
from protocols.api import gates as api_gates
from protocols.api import guardrails as api_guardrails
from protocols.api import holds as api_holds
from protocols.api import pipeline as api_pipeline
from protocols.api import runs as api
from protocols.api import stats as api_stats
from protocols.api import triggers as api_triggers
from protocols.api import updates as api_updates
from protocols.catalogue_examples import EXAMPLES
from protocols.gates.words import GateWord

ID: Final = "[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*"
TOKEN: Final = r"[^\s.*>]+"  # noqa: S105 - a subject token, no secret
_INTEGER: Final = "^[0-9]+$"
_DECIMAL: Final = r"^[0-9]+(\.[0-9]+)?$"

PARAMETERS: Final[dict[str, tuple[str, str]]] = {
    "id": (ID, "Id of the instance."),
    "workflow": (NAME, "Name of the workflow; dots are allowed (in events they become dashes)."),
    "name": (NAME, "Name of the signal."),
    "step": (TOKEN, "Token of the step; take it from the reply subject of the request."),
    "attempt": ("[0-9]+", "Number of the attempt."),
    "token": (TOKEN, "Token of this attempt; take it from the reply subject of the request."),
    "service": (TOKEN, "Name of the service."),
    "operation": (NAME, "Operation of the service."),
    "kind": (NAME, "Kind of the event."),
    "timer": (TOKEN, "Name of the timer."),
    "partition": ("[0-9]+", "Partition of the instance."),
}
"""Subject parameters: pattern and description."""

HEADERS: Final[dict[str, tuple[str, str]]] = {
    h.CONTENT_TYPE: ("^application/", f"{h.JSON} (when absent) or {h.MSGPACK}."),
    h.MESSAGE_ID: (".", "Chosen once by the sender and kept on retries; repeats are dropped."),
    h.ASKS: ("^1$", "Its sender waits to be told what becomes of it; it goes with an id."),
    h.SCHEMA: (_INTEGER, "Schema version of the sender; absent means 1."),
    h.DEFINITION: ("^[0-9a-f]+$", "Hash of the definition to run; absent: the owner pins one."),
    h.PARENT: (r"^[^|]+\|.+", "Instance and path of the step that waits for this child."),
    h.PARENT_TOKEN: (".", "Proof that the parent's owner wrote this start."),
    h.PRIORITY: ("^-?[0-9]$", "Who goes first where requests wait: -9 a batch, 9 an emergency."),
    h.KEY: (".", "Idempotency key: the same for every attempt of a step. Do the work once."),
    h.UNDOES: (".", "On the request for an undo: the key of the step that it undoes."),
    h.ATTEMPT: (_INTEGER, "Number of the attempt; the first one is 1."),
    h.TIMEOUT: (_DECIMAL, "Seconds that the caller will wait for this attempt."),
    h.PATH: ("^/", "Full path of the step, where its token is a hash."),
    h.TRACEPARENT: ("^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", "W3C trace context."),
    h.SERVICE_ERROR: (".", "What went wrong, on one line. Its presence makes a reply an error."),
    h.SERVICE_ERROR_CODE: (
        "^[0-9]{1,4}$",
        "4xx: refused, not retried (but 408, 425 and 429); everything else: failed, retried.",
    ),
    h.OUTCOME: ("^(refused|failed|unknown)$", "Overrules the code. refused, failed: no effect."),
    h.ERROR_KIND: (".", "Kind of the error; workflows and policies choose by it."),
    h.RETRYABLE: ("^false$", "On an error: asking once more cannot help."),
    h.KERNEL: (_DECIMAL, "The semantics that a start is folded with; absent: 1."),
    h.ARTIFACTS: (
        ".",
        "Artifacts that a success declares, as JSON.",
    ),
    h.RETRY_AFTER: (_DECIMAL, "Ask again after this many seconds."),
    events.CE_SPEC_VERSION: ("^1\\.0$", "Version of CloudEvents."),
    events.CE_ID: (".", "Identity of the event; the same when it is published again."),
    events.CE_TYPE: (
        f"^{re.escape(events.TYPE_PREFIX)}.+{re.escape(events.TYPE_VERSION)}$",
        "What has happened, such as movant.workflow.completed.v1.",
    ),
    events.CE_SOURCE: (f"^{events.SOURCE_PREFIX}", "Where it has happened."),
    events.CE_SUBJECT: (f"^{ID}$", "Id of the instance."),
    events.CE_TIME: ("T.+Z$", "When it has happened, RFC 3339, UTC."),
    events.CE_CONTENT_TYPE: ("^application/", "Kind of the payload, as Content-Type."),
    events.CE_TRACEPARENT: ("-", "W3C trace context."),
}
"""Headers: pattern and description. Values are always text."""

_EXAMPLES: Final = {
    **EXAMPLES,
    **api_absences.EXAMPLES,
    **api_blobs.EXAMPLES,
    **api_forks.EXAMPLES,
    **api_gates.EXAMPLES,
    **api_guardrails.EXAMPLES,
    **api_holds.EXAMPLES,
    **api_pipeline.EXAMPLES,
    **api_stats.EXAMPLES,
    **api_triggers.EXAMPLES,
    **api_updates.EXAMPLES,
}
_TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message: its address, its headers, and what its payload is.

    ``payload`` is a type, or None for any JSON value. ``by`` says who publishes it.
    """

    title: str
    summary: str
    by: str
    subject: str
    payload: Any = None
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    example_subject: str
    example_headers: dict[str, str] = {}
    example: Any = None


def catalogue() -> dict[str, Message]:
    """Return every kind of message, by name."""
    return {**_mailbox(), **_service(), **_event(), **_api()}


def _mailbox() -> dict[str, Message]:
    return {
        "start": Message(
            title="Start",
            summary="Start an instance. The first start of an id counts. Payload: the input.",
            by="anybody",
            subject="movant.to.{id}.start.{workflow}",
            optional=(
                h.CONTENT_TYPE,
                h.MESSAGE_ID,
                h.SCHEMA,
                h.DEFINITION,
                h.PARENT,
                h.PARENT_TOKEN,
                h.PRIORITY,
                h.TRACEPARENT,
            ),
            example_subject="movant.to.order-17.start.fulfilment",
            example_headers={h.MESSAGE_ID: "5f0c", h.TRACEPARENT: _TRACE},
            example={"sku": "B-12", "amount": 2},
        ),
        "signal": Message(
            title="Signal",
            summary="Tell an instance something; it may come before the start. Payload: the data.",
            by="anybody",
            subject="movant.to.{id}.signal.{name}",
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID, h.ASKS, h.SCHEMA, h.TRACEPARENT),
            example_subject="movant.to.order-17.signal.address-changed",
            example_headers={h.MESSAGE_ID: "5f0d"},
            example={"city": "Bern"},
        ),
        "timer": Message(
            title="Timer",
            summary="A timer has fired, as the mailbox stores it.",
            by="movant",
            subject="movant.mail.{partition}.{id}.timer.{timer}",
            example_subject="movant.mail.7.order-17.timer.sleep",
        ),
        "owner.pinned": _owner("pinned", mail.Pinned, epoch=3, definition="9f2c"),
        "owner.timeout": _owner(
            "timeout", mail.AttemptTimedOut, epoch=3, step="charge", attempt=1
        ),
        "owner.refused": _owner(
            "refused",
            mail.AttemptRefused,
            epoch=3,
            step="charge",
            attempt=1,
            failure={"kind": "no_responders", "message": "nobody serves payments"},
        ),
        "owner.routed": _owner(
            "routed", mail.Routed, epoch=3, step="charge", attempt=1, service="card-eu"
        ),
        "owner.turn": _owner(
            "turn", mail.Turn, epoch=3, word={"said": "queued", "limit": 50, "place": 1204}
        ),
        "owner.child": _owner(
            "child", mail.ChildEnded, step="ship", child="order-17-ship", status="completed"
        ),
        "control.cancel": Message(
            title="Cancel",
            summary="Ask an instance to cancel. Payload: the reason, a text.",
            by="movant",
            subject="movant.to.{id}.control.cancel",
            payload=str,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.cancel",
            example_headers={h.MESSAGE_ID: "5f0e"},
            example="the customer changed his mind",
        ),
        "control.undo": Message(
            title="Undo",
            summary="Ask an instance to stop and to undo what it did. Payload: the reason.",
            by="movant",
            subject="movant.to.{id}.control.undo",
            payload=str,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.undo",
            example_headers={h.MESSAGE_ID: "5f10"},
            example="wrong address",
        ),
        "control.review": Message(
            title="Review",
            summary="Say whether a step was done. Payload: step, attempt, done, result.",
            by="movant",
            subject="movant.to.{id}.control.review",
            payload=mail.Word,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.review",
            example_headers={h.MESSAGE_ID: "5f11"},
            example={"step": "/charge", "attempt": 1, "done": True, "result": "ch-77"},
        ),
        "control.gate": Message(
            title="Gate",
            summary="Decide at a gate. Payload: its path, the decision, values, role.",
            by="movant",
            subject="movant.to.{id}.control.gate",
            payload=GateWord,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.gate",
            example_headers={h.MESSAGE_ID: "5f12"},
            example={"gate": "/gate.payout", "do": "approve", "role": "finance"},
        ),
        "control.migrate": Message(
            title="Migrate",
            summary="Fold this generation with another definition. Payload: its hash, a text.",
            by="movant",
            subject="movant.to.{id}.control.migrate",
            payload=str,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.migrate",
            example_headers={h.MESSAGE_ID: "5f0f"},
            example="9f2c",
        ),
        "control.repair": Message(
            title="Repair",
            summary="Say of a message whose value was missing: supplied, or discarded.",
            by="movant",
            subject="movant.to.{id}.control.repair",
            payload=mail.Repair,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.repair",
            example_headers={h.MESSAGE_ID: "5f14"},
            example={"message": 12, "how": "discarded"},
        ),
        "control.fork": Message(
            title="Fork",
            summary="What the run begins with that the start of the same id starts.",
            by="movant",
            subject="movant.to.{id}.control.fork",
            payload=mail.Taken,
            required=(h.MESSAGE_ID,),
            optional=(h.CONTENT_TYPE,),
            example_subject="movant.to.order-17b.control.fork",
            example_headers={h.MESSAGE_ID: "5f14"},
            example={
                "origin": {"run": "order-17", "step": "ship", "through": 40},
                "start": "77ab",
                "standing": {"steps": {}, "barred": {}, "skips": {}},
            },
        ),
        "control.switch": Message(
            title="Switch",
            summary="Go on with another definition from here. Payload: its hash, changed names.",
            by="movant",
            subject="movant.to.{id}.control.switch",
            payload=mail.SwitchOrder,
            optional=(h.CONTENT_TYPE, h.MESSAGE_ID),
            example_subject="movant.to.order-17.control.switch",
            example_headers={h.MESSAGE_ID: "5f13"},
            example={"definition": "9f2c", "moves": {"ship": "send"}},
        ),
    }


def _owner(kind: str, payload: type[mail.Mail], **example: Any) -> Message:
    summary = (payload.__doc__ or "").partition("\n")[0]
    return Message(
        title=payload.__name__,
        summary=summary,
        by="movant",
        subject=f"movant.to.{{id}}.owner.{kind}",
        payload=payload,
        example_subject=f"movant.to.order-17.owner.{kind}",
        example=example,
    )


def _service() -> dict[str, Message]:
    reply = "movant.to.{id}.reply.{step}.{attempt}.{token}"
    example = "movant.to.order-17.reply.charge.1.k1-0b5e7c21"
    return {
        "service.request": Message(
            title="Request",
            summary="Ask a service to perform an operation. Payload: the input. "
            "The reply subject is the mailbox of the instance.",
            by="movant",
            subject="movant.svc.{service}.{operation}",
            required=(h.KEY, h.ATTEMPT, h.TIMEOUT),
            optional=(h.CONTENT_TYPE, h.TRACEPARENT, h.PATH, h.UNDOES),
            example_subject="movant.svc.payments.charge",
            example_headers={
                h.KEY: "order-17/charge",
                h.ATTEMPT: "1",
                h.TIMEOUT: "60",
                h.TRACEPARENT: _TRACE,
            },
            example={"amount": 990, "currency": "CHF"},
        ),
        "service.request.reply": Message(
            title="Reply",
            summary="The operation was performed. Payload: the result.",
            by="a service",
            subject=reply,
            optional=(h.CONTENT_TYPE, h.TRACEPARENT),
            example_subject=example,
            example={"receipt": "R-4711"},
        ),
        "service.request.error": Message(
            title="Error",
            summary="The operation was not performed, or nobody knows. Payload: details.",
            by="a service",
            subject=reply,
            required=(h.SERVICE_ERROR, h.SERVICE_ERROR_CODE),
            optional=(h.CONTENT_TYPE, h.OUTCOME, h.ERROR_KIND, h.RETRY_AFTER, h.TRACEPARENT),
            example_subject=example,
            example_headers={
                h.SERVICE_ERROR: "card expired",
                h.SERVICE_ERROR_CODE: "422",
                h.OUTCOME: "refused",
                h.ERROR_KIND: "card_expired",
            },
            example={"expired": "2020-01"},
        ),
    }


def _event() -> dict[str, Message]:
    example = events.Event(
        id="order-17/completed",
        kind=events.COMPLETED,
        workflow="fulfilment",
        instance="order-17",
        at=1_700_000_000_000_000_000,
        data={"receipt": "R-4711"},
    )
    found, _ = events.to_wire(example)
    return {
        "event": Message(
            title="Event",
            summary="Something has happened to an instance: a CloudEvent in binary mode. "
            f"Kinds of movant: {', '.join(events.LIFECYCLE)}.",
            by="movant",
            subject="movant.event.{workflow}.{id}.{kind}",
            required=(
                events.CE_SPEC_VERSION,
                events.CE_ID,
                events.CE_TYPE,
                events.CE_SOURCE,
                events.CE_SUBJECT,
                events.CE_TIME,
            ),
            optional=(h.CONTENT_TYPE, events.CE_CONTENT_TYPE, events.CE_TRACEPARENT),
            example_subject="movant.event.fulfilment.order-17.completed",
            example_headers=found,
            example=example.data,
        )
    }


def _api() -> dict[str, Message]:
    found: dict[str, Message] = {}
    for verb, (summary, request, result) in api.VERBS.items():
        subject = f"movant.api.{verb}"
        shown, answer = _EXAMPLES[verb]
        found[f"api.{verb}"] = Message(
            title=request.__name__,
            summary=f"{summary}.",
            by="a client",
            subject=subject,
            payload=request,
            optional=(h.CONTENT_TYPE, h.TRACEPARENT),
            example_subject=subject,
            example=shown,
        )
        found[f"api.{verb}.reply"] = Message(
            title=result.__name__,
            summary=(result.__doc__ or "").partition("\n")[0],
            by="movant",
            subject="{inbox}",
            payload=result,
            example_subject="_INBOX.1",
            example=answer,
        )
    found["api.error"] = Message(
        title="ErrorReply",
        summary="Why a request to the API was not done.",
        by="movant",
        subject="{inbox}",
        payload=api.ErrorReply,
        required=(h.SERVICE_ERROR, h.SERVICE_ERROR_CODE),
        example_subject="_INBOX.1",
        example_headers={h.SERVICE_ERROR: "no run", h.SERVICE_ERROR_CODE: "404"},
        example={"code": "refused.not_found", "message": "no run", "hint": "movant run ls"},
    )
    return found
