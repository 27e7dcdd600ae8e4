"""``movant run``: the group; its commands stand in run_start, run_read and run_record."""

from __future__ import annotations

from runtime.cli.lazy import LazyGroup, Leaf

run = LazyGroup(
    "run",
    help="Start, watch and steer runs. RUN is an id, or the beginning of one.",
    tree={
        "Begin and steer": {
            "start": Leaf("runtime.cli.run_start:start", "Start a run."),
            "signal": Leaf("runtime.cli.run_start:signal", "Send a signal, to one run or many."),
            "update": Leaf("runtime.cli.run_update:update", "Send a signal that is answered."),
            "answer": Leaf("runtime.cli.run_update:answer", "Tell what became of an update."),
            "cancel": Leaf("runtime.cli.run_start:cancel", "Ask a run, or many, to cancel."),
            "decide": Leaf("runtime.cli.run_decide:decide", "Decide where a motion waits for it."),
            "undo": Leaf("runtime.cli.run_undo:undo", "Undo what a run did, or many."),
            "review": Leaf("runtime.cli.run_undo:review", "Say whether a step was done."),
            "supply": Leaf("runtime.cli.run_repair:supply", "Put back a missing value."),
            "discard": Leaf("runtime.cli.run_repair:discard", "Give up a missing value."),
            "fork": Leaf("runtime.cli.fork:fork", "Start at a step of a run that has ended."),
            "migrate": Leaf("runtime.cli.migrate:migrate", "Go on with another definition."),
            "wait": Leaf("runtime.cli.run_start:wait", "Wait until a run has ended."),
        },
        "Look": {
            "ls": Leaf("runtime.cli.run_read:ls", "List runs, newest first."),
            "show": Leaf("runtime.cli.run_read:show", "Show a run."),
            "history": Leaf("runtime.cli.run_read:history", "Show a run's mailbox."),
            "watch": Leaf("runtime.cli.run_watch:watch", "Follow a run until it ends."),
            "artifacts": Leaf("runtime.cli.run_artifacts:artifacts", "List a run's files."),
            "artifact": Leaf("runtime.cli.run_artifacts:artifact", "Read a file of a run."),
        },
        "Record": {
            "export": Leaf("runtime.cli.run_record:export", "Write a run's mailbox to a file."),
            "replay": Leaf("runtime.cli.run_record:replay", "Fold an exported mailbox here."),
        },
    },
    examples=(
        ("movant run start orders -f order.json --wait", "start a run and wait for its end"),
        ("movant run ls --status failed", "what has failed"),
        ("movant run history 01k7", "what has happened to the run whose id begins so"),
    ),
)
