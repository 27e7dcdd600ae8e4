"""An example of each request to the API and of its answer, by verb."""

from __future__ import annotations

from typing import Any, Final

_RUN: Final = {"id": "order-17", "workflow": "fulfilment", "definition": "9f2c"}
_AT: Final = 1_700_000_000_000_000_000
_SERVICE_ROW: Final = {"name": "payments", "state": "up", "operations": ["charge"]}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "run.start": (
        {"workflow": "fulfilment", "input": {"sku": "B-12"}, "id": "order-17"},
        {"id": "order-17", "created": True, "status": "running", "definition": "9f2c"},
    ),
    "run.start_many": (
        {"workflow": "fulfilment", "items": [{"id": "order-18", "input": 1}, {"input": 2}]},
        {
            "ids": ["order-18"],
            "results": [
                {"id": "order-18", "created": True},
                {"id": "x", "error": {"code": "refused.size", "message": "too large"}},
            ],
        },
    ),
    "run.verify": (
        {"id": "order-17"},
        {"id": "order-17", "status": "completed", "messages": 9, "covered": 9, "statements": 2},
    ),
    "run.review": (
        {"id": "order-17", "step": "/charge", "done": True, "result": "ch-77"},
        {"id": "order-17", "seq": 9},
    ),
    "run.undo": (
        {"id": "order-17", "reason": "wrong address", "by": {"who": "ann"}},
        {
            "id": "order-17",
            "status": "running",
            "plan": [
                {
                    "path": "/charge",
                    "service": "payments",
                    "operation": "refund",
                    "key": "order-17/1/charge",
                    "outcome": "ok",
                    "input": {"key": "order-17/1/charge", "input": 12, "result": "ch-1"},
                }
            ],
            "seq": 16,
        },
    ),
    "run.migrate": (
        {"id": "order-17", "definition": "9f2c", "moves": {"ship": "send"}},
        {
            "id": "order-17",
            "seq": 15,
            "definition": "9f2c",
            "status": "running",
            "how": "switch",
            "steps": [{"step": "send", "was": "ship", "status": "running", "what": "open"}],
        },
    ),
    "run.signal_many": (
        {"name": "paid", "items": [{"id": "order-17", "data": 5, "message_id": "m-1"}]},
        {"results": [{"id": "order-17", "seq": 14}]},
    ),
    "run.show": (
        {"id": "order-17"},
        {
            **_RUN,
            "status": "running",
            "started_at": _AT,
            "input": {"sku": "B-12"},
            "waiting": [{"path": "/charge", "kind": "step", "since": _AT, "attempt": 1}],
            "counters": {"messages": 2},
        },
    ),
    "run.ls": (
        {"status": "running", "limit": 10},
        {"runs": [{**_RUN, "status": "running", "started_at": _AT}], "total": 1},
    ),
    "run.history": (
        {"id": "order-17", "after": 0},
        {"entries": [{"seq": 12, "at": _AT, "kind": "start", "body": {"sku": "B-12"}}], "next": 0},
    ),
    "run.signal": (
        {"id": "order-17", "name": "paid", "data": True, "message_id": "5f0d"},
        {"id": "order-17", "seq": 13},
    ),
    "run.cancel": ({"id": "order-17", "reason": "no"}, {"id": "order-17", "seq": 14}),
    "run.wait": (
        {"id": "order-17", "timeout_s": 30},
        {
            "id": "order-17",
            "status": "failed",
            "failure": {"kind": "refused", "message": "card expired", "retryable": False},
        },
    ),
    "run.resolve": ({"prefix": "ord"}, {"id": "order-17"}),
    "workflow.ls": ({}, {"workflows": [{"name": "fulfilment", "definition": "9f2c"}]}),
    "workflow.show": (
        {"name": "fulfilment"},
        {"name": "fulfilment", "definition": "9f2c", "input_schema": {"type": "object"}},
    ),
    "workflow.register": (
        {"data": "UEsDBA==", "hash": "9f2c"},
        {"hash": "9f2c", "workflows": ["fulfilment"], "created": True},
    ),
    "workflow.versions": (
        {"name": "fulfilment"},
        {
            "name": "fulfilment",
            "versions": [
                {
                    "definition": "9f2c",
                    "at": _AT,
                    "source": "orders.yaml",
                    "by": {"who": "ann", "where": "desk-3"},
                    "current": True,
                    "active": 12,
                }
            ],
        },
    ),
    "workflow.rollback": (
        {"name": "fulfilment", "by": {"who": "ann", "why": "wrong prices"}},
        {"name": "fulfilment", "definition": "77ab", "replaced": "9f2c"},
    ),
    "template.register": (
        {"text": "template: build\n..."},
        {"name": "build", "hash": "51c0", "parameters": ["language"]},
    ),
    "template.ls": ({}, {"templates": [{"name": "build", "hash": "51c0"}]}),
    "template.show": (
        {"name": "build"},
        {"name": "build", "hash": "51c0", "text": "template: build\n..."},
    ),
    "template.instantiate": (
        {"template": "build", "parameters": {"language": "java"}, "register": True},
        {
            "workflow": "build-java",
            "definition": "9f2c",
            "text": "name: build-java\n...",
            "registered": True,
        },
    ),
    "service.ls": ({}, {"services": [_SERVICE_ROW]}),
    "service.show": ({"name": "payments"}, _SERVICE_ROW),
    "status": (
        {},
        {
            "version": "0.1.0",
            "daemon": "d1",
            "state": "ready",
            "durability": "fsync",
            "uptime_s": 4.2,
        },
    ),
    "actor.tree": (
        {},
        {
            "root": {
                "name": "daemon d1",
                "kind": "supervisor",
                "state": "running",
                "strategy": "rest_for_one",
            },
            "services": [{"service": "payments", "daemon": "d1", "answers": 12, "p50_s": 0.004}],
            "server_time": _AT,
        },
    ),
    "run.messages": (
        {"id": "order-17"},
        {
            "messages": [
                {
                    "seq": 4,
                    "at": 1_790_000_000_000_000_000,
                    "subject": "movant.mail.7.order-17.signal.go",
                    "payload": "MQ==",
                    "size": 1,
                }
            ],
            "markers": [{"seq": 1, "epoch": 3}],
        },
    ),
    "workflow.fetch": ({"hash": "3f2a"}, {"hash": "3f2a", "data": "UEsFBg=="}),
    "check": (
        {},
        {"findings": [{"check": "captured", "verdict": "ok", "found": "no stream does"}]},
    ),
    "dead.ls": (
        {"reason": "stray"},
        {
            "letters": [
                {
                    "seq": 2,
                    "at": 1_790_000_000_000_000_000,
                    "reason": "stray",
                    "subject": "movant.to.x",
                    "source_seq": 91,
                    "detail": "the subject names no mailbox",
                    "size": 1,
                }
            ],
            "reasons": {"stray": 1},
        },
    ),
    "dead.show": (
        {"seq": 2},
        {"seq": 2, "at": 1_790_000_000_000_000_000, "reason": "stray", "payload": "MQ=="},
    ),
    "dead.replay": (
        {"seq": 2},
        {"letters": [{"seq": 2, "subject": "movant.to.order-17.signal.go"}]},
    ),
    "dead.purge": ({"reason": "stray"}, {"purged": 1}),
}
