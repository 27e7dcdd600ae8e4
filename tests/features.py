"""What movant can do, each with the tests that show it, and what it cannot.

The tables of the page on features are made from here. A test is named by its path below ``tests``,
without ``.py``, and may name a function behind ``::``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Shown = Mapping[str, str]
"""What it can do, and the tests that show it, with spaces between them."""

AUTHORING: Final[Shown] = {
    "workflows as plain async Python": "kernel/test_structure daemon/test_runs",
    "workflows as YAML; the same one in Python publishes the same events": (
        "graphs/test_equivalence graphs/test_files"
    ),
    "a definition is deployed to running daemons without a restart": (
        "daemon/test_versions hazards/test_f3"
    ),
    "cycles, unknown steps, keys, guardrails and bad expressions are refused at load, with line, "
    "column and advice": "graphs/test_files graphs/test_guardrails definitions/test_validation",
    "steps run side by side as soon as what they need is there": "graphs/test_run",
    "conditions and references in a small language of their own": (
        "protocols/test_conditions graphs/test_references"
    ),
    "a step for each item of a list, so many at a time; one failure does not lose the others": (
        "graphs/test_run::test_one_failed_item_does_not_lose_the_others"
    ),
    "children with ids of their own; a cancel reaches them, or leaves them": (
        "kernel/test_mailbox_rules::test_a_cancel_reaches_the_child_unless_it_is_abandoned"
        " kernel/test_undo_of_children"
    ),
    "templates with parameters: listed, filled in, registered": (
        "definitions/test_templates cli/test_versions"
    ),
    "the input is checked before a run exists, and each wrong field is told": (
        "graphs/test_run::test_an_input_that_does_not_fit_is_refused_with_its_fields"
    ),
    "steps that are critical, and steps whose failure is a warning": (
        "graphs/test_run::test_a_step_that_is_not_critical_fails_with_a_warning"
    ),
    "profiles exchange services, modes, times and allowlists": (
        "graphs/test_profiles graphs/test_guardrails"
    ),
    "a plan before anything runs: order, effects before each gate, what cannot be undone": (
        "graphs/test_plan"
    ),
    "other notations of graphs are read as they stand": "graphs/test_notations",
}

DURABILITY: Final[Shown] = {
    "kill -9 between two steps: what is done is not done again": "daemon/test_kills",
    "kill -9 during a step: every attempt has the same key": "hazards/test_f4 hazards/test_f6",
    "a start or a message that is sent twice counts once, for the life of the run": (
        "hazards/test_s7 kernel/test_mailbox_rules::test_a_second_start_is_dropped"
    ),
    "an id that is taken returns the run that is there, or is refused": "client/test_client",
    "new code does not touch running runs": "hazards/test_f3 motions/test_golden",
    "a run goes over to another version, with preview and record": (
        "graphs/test_moving motions/test_moving daemon/test_migrate"
    ),
    "a run begins at a step of one that has ended, with what that did before": (
        "graphs/test_forks motions/test_forks kernel/test_forks daemon/test_forks"
    ),
    "code that does not fit a history blocks that run alone, with the reason": (
        "kernel/test_mailbox_rules daemon/test_migrate"
    ),
    "workflows that never end, in generations": "daemon/test_generations kernel/test_continue_as",
    "values up to 64 MiB by reference; larger ones fail their step": "daemon/test_payloads",
    "a value that is lost is put back or given up, one that is forged is replaced": (
        "daemon/test_repairs kernel/test_repairs store/test_blobs"
    ),
    "artifacts are kept with a run, listed, read, and removed with it": (
        "daemon/test_payloads store/test_blobs"
    ),
    "a daemon that was frozen cannot write for runs of another one": (
        "hazards/test_f5 daemon/test_several"
    ),
    "what is old is packed, archived and purged; all goes on as before": (
        "daemon/test_retention hazards/test_f8 models/test_packs"
    ),
    "a dead daemon's runs are taken over at once; partitions move": (
        "daemon/test_several daemon/test_moving"
    ),
    "SIGTERM drains": "cli/test_end_to_end daemon/test_kills",
    "a cluster of NATS servers may lose one": "cluster/test_kills cluster/test_streams",
}

CONCURRENCY: Final[Shown] = {
    "one message at a time for each run; of two completions one counts, the other is stale": (
        "motions/test_motion examples/test_governance_flow"
    ),
    "thousands of motions in one daemon": "daemon/test_many_motions daemon/test_memory",
    "a limit on active runs, by key, over all daemons; others wait in order, or are refused": (
        "kernel/test_turns actors/test_turns daemon/test_turns"
    ),
    "priorities: an emergency overtakes a batch": "actors/test_parking daemon/test_flow",
    "rate and concurrency of a service, shared by all runs of a daemon": (
        "actors/test_flow daemon/test_flow"
    ),
    "a full mailbox refuses and drops nothing; a flood harms its own run alone": (
        "actors/test_base hazards/test_s11 kernel/test_limits"
    ),
    "code that blocks or computes for ever does not stop the others": (
        "actors/test_threads daemon/test_fold_guard"
    ),
    "death watch, and asks that end when the asked one dies": "actors/test_base",
}

SUPERVISION: Final[Shown] = {
    "one_for_one, one_for_all, rest_for_one; intensity, backoff, escalation": (
        "supervisors/test_supervisor supervisors/test_policies daemon/test_tree"
    ),
    "a dead service never climbs the tree": "hazards/test_s1 daemon/test_tree",
    "a breaker for each service, visible, forced by hand": (
        "actors/test_breaker daemon/test_flow cli/test_flow_commands"
    ),
    "while a service is away steps wait without using attempts up": (
        "daemon/test_parked daemon/test_flow"
    ),
    "retry policies with jitter, lists of delays, kinds that are not retried": (
        "protocols/test_policy kernel/test_steps"
    ),
    "Retry-After is honoured, and the time that is left is told": (
        "actors/test_flow connectors/test_http"
    ),
    "a directive for each error kind; an unknown kind halts": (
        "motions/test_directives protocols/test_error_kinds"
    ),
    "pause and resume of a run, a workflow, a service, everything": "daemon/test_pauses",
    "four kinds of fallbacks, in their order, after the retries": (
        "graphs/test_fallbacks graphs/test_notations"
    ),
    "dead letters with reasons, sent again by command": "daemon/test_dead hazards/test_s12",
    "components that cannot start are tried again and stop nothing": (
        "connectors/test_hosting::test_a_connector_that_cannot_be_opened_waits_and_stops_nothing"
    ),
}

COMPENSATION: Final[Shown] = {
    "what was done is undone in reverse order: on failure, cancel and timeout": (
        "kernel/test_compensation kernel/test_compensation_properties models/test_undoing"
    ),
    "the undo is on record before the step; unknown, late and surplus effects count": (
        "models/test_undoing hazards/test_s2 daemon/test_compensation"
    ),
    "an undo that fails is an incident, and the others still run": "kernel/test_compensation",
    "kill -9 while undoing: nothing is undone twice": (
        "daemon/test_compensation daemon/test_undone_motions"
    ),
    "the point of no return": (
        "graphs/test_run::test_behind_the_point_of_no_return_nothing_is_undone"
    ),
    "scopes, children and states are undone as well": (
        "kernel/test_undo_of_children motions/test_compensate"
    ),
    "a preview of an undo, and an undo by hand": "daemon/test_compensation",
}

ROUTING: Final[Shown] = {
    "state machines as data; states that are skipped or forced are refused and witnessed": (
        "motions/test_motion motions/test_properties examples/test_governance_flow"
    ),
    "routing tables are checked, pinned, and changed while runs go on": (
        "daemon/test_routes protocols/test_routes"
    ),
    "ranked candidates; each choice is an event with scores and reason": (
        "actors/test_ranking daemon/test_routes"
    ),
    "a language model is chosen by task, success, latency, cost and place": "connectors/test_llm",
}

PEOPLE: Final[Shown] = {
    "a gate waits for weeks, costs nothing, and repeats nothing": (
        "daemon/test_gates kernel/test_gates"
    ),
    "approve, modify, reject, retry, skip, cancel, each with its effect": (
        "graphs/test_gates graphs/test_people"
    ),
    "values that are modified are typed and checked; the difference is on record": (
        "kernel/test_gates::test_a_modification_is_checked_and_its_difference_recorded"
    ),
    "expiry, reminders, levels of escalation, delegation": "kernel/test_gate_people",
    "delegation for a range of dates: somebody stands in at all gates": "daemon/test_absences",
    "quorum, distinct approvers, one rejection, four eyes, roles, exclusions": (
        "kernel/test_gates kernel/test_gate_people"
    ),
    "the first decision stands, and the second caller is told": (
        "kernel/test_gates::test_the_first_decision_stands daemon/test_gates"
    ),
    "one inbox for command line, API and plain NATS": "cli/test_gates actors/test_gate_index",
    "modes interactive, auto and batch; many decided together": (
        "graphs/test_people cli/test_gates"
    ),
}

TIME: Final[Shown] = {
    "durable timers, kept by the NATS server; in tests days pass in milliseconds": (
        "hazards/test_s9 kernel/test_structure motions/test_motion"
    ),
    "heartbeats of long work: silence is a timeout, the next attempt learns what was said last": (
        "daemon/test_heartbeats"
    ),
    "timeouts of a call, a step, a state, a whole run, a gate": (
        "graphs/test_run motions/test_motion daemon/test_guards"
    ),
    "working days, office hours and holidays in sleeps, expiry, reminders, escalations": (
        "protocols/test_calendars graphs/test_working_time"
    ),
    "cron with time zone; both nights in which clocks change": "triggers/test_schedule",
    "overlap, catch-up, backfill, pause, trigger now": "triggers/test_daemon",
    "a clock that jumps loses nothing and does nothing twice": (
        "triggers/test_schedule hazards/test_m"
    ),
    "webhooks that are signed, proven and answered once; messages on any subject": (
        "triggers/test_daemon triggers/test_pure"
    ),
    "starts by hand that need a permission": "triggers/test_daemon cli/test_triggers",
}

MESSAGES: Final[Shown] = {
    "a signal before the start is kept; order is that of publishing": (
        "kernel/test_mailbox_rules hazards/test_s8"
    ),
    "a signal is accepted or rejected and answered, also for who asks later": (
        "kernel/test_updates daemon/test_updates"
    ),
    "signal or start": (
        "triggers/test_daemon::test_messages_start_and_signal_runs_and_hostile_ones_are_kept"
    ),
    "looking at a run changes nothing, also after its end": "hazards/test_m",
    "any language takes part with plain NATS messages": (
        "docs/test_examples examples/test_plain daemon/test_payloads"
    ),
    "JSON Schemas and an AsyncAPI document, made from the types": "protocols/test_schema",
    "each lifecycle event is a CloudEvent on a subject of its own": "protocols/test_events",
    "NATS is away, killed or frozen: nothing hangs and nothing is guessed": (
        "bridge/test_faults store/test_stream_writer"
    ),
}

SERVICES: Final[Shown] = {
    "HTTP interfaces": "connectors/test_http",
    "tokens of OAuth 2.0, one fetch for all who wait": "connectors/test_oauth",
    "language models, with tokens and cost": "connectors/test_llm",
    "SQLite and PostgreSQL, once for each step": "connectors/test_sql connectors/test_sql_text",
    "mail": "connectors/test_mail",
    "programs": "connectors/test_subprocess",
    "tools of MCP servers, with schema, allowlist and timeout": "connectors/test_mcp",
    "a browser, with pictures and downloads as artifacts": "connectors/test_browser",
    "a killed connector does nothing twice": (
        "connectors/test_hosting::test_a_killed_connector_does_nothing_twice"
    ),
    "secrets are references; no result, log or event shows one": (
        "connectors/test_file connectors/test_http"
    ),
    "trace ids go out with every call and stand in every event": (
        "connectors/test_hosting protocols/test_events"
    ),
}

RULES: Final[Shown] = {
    "rules before and after each step; block, ask a person, warn, inform": (
        "graphs/test_guardrails"
    ),
    "the same rules for state machines and for workflows in Python; the same events": (
        "motions/test_guardrails kernel/test_held graphs/test_equivalence"
    ),
    "rules that all definitions share, part of each definition's hash": (
        "daemon/test_guardrails definitions/test_shared_rules"
    ),
    "what cannot be evaluated blocks": (
        "graphs/test_guardrails"
        "::test_a_function_answers_as_a_step_and_whatever_is_no_clear_yes_blocks"
    ),
    "results are checked; one that does not fit is a kind of its own": (
        "graphs/test_guardrails"
        "::test_a_result_that_is_not_valid_is_asked_for_again_under_another_key"
    ),
    "budgets of money, tokens, calls and time, reserved before a call": (
        "graphs/test_budgets daemon/test_guardrails"
    ),
    "sensitive data is masked where people look": (
        "daemon/test_redaction protocols/test_sensitive"
    ),
}

SEEING: Final[Shown] = {
    "every transition has a statement; verification names what was changed": (
        "kernel/test_witness daemon/test_witness actors/test_verification"
    ),
    "no statement, no transition": "motions/test_witness",
    "who did what by hand, from where and why": "cli/test_witness",
    "the pipeline of all motions": "actors/test_pipeline daemon/test_pipeline",
    "why a run does not move, in one sentence": "client/test_why",
    "the timeline of a run, with inputs, answers and decisions": "cli/test_commands",
    "progress of a run in percent, of a graph with an estimate": (
        "graphs/test_progress motions/test_motion"
    ),
    "alerts before a time is over; runs that take longer than runs like them": (
        "kernel/test_alarms daemon/test_late"
    ),
    "totals, success rates, bottlenecks and failure patterns": (
        "actors/test_run_statistics daemon/test_stats"
    ),
    "a server of MCP's: start, look, decide, templates": "mcp_server/test_server",
    "one command cancels, signals, undoes or migrates all runs that a query names": (
        "daemon/test_batch client/test_run_batch cli/test_run_batch cli/test_versions"
    ),
    "a run is exported to one file and folded again elsewhere": "cli/test_end_to_end",
}

AREAS: Final[Mapping[str, Shown]] = {
    "authoring": AUTHORING,
    "durability": DURABILITY,
    "concurrency": CONCURRENCY,
    "supervising": SUPERVISION,
    "undoing": COMPENSATION,
    "routing": ROUTING,
    "people": PEOPLE,
    "time": TIME,
    "messages": MESSAGES,
    "services": SERVICES,
    "rules": RULES,
    "seeing": SEEING,
}
"""By the name of their table."""

MISSING: Final[Mapping[str, str]] = {
    "Python workflows without rules of determinism": (
        "they take time and randomness from `ctx`; graphs and motions have no such rule"
    ),
    "starts beyond a limit that cancel the run before": (
        "they wait for their turn, or are refused"
    ),
    "fairness among tenants": "priorities, and a limit of active runs by key",
    "a rate limit over several daemons": "each daemon counts for itself",
    "work in a process pool": "a service in a process of its own",
    "gates in a web page": "command line, API, MCP and plain NATS",
    "what a step has so far, while it is under way": "how many of its items are done",
    "working time as a timeout of calls, steps, states and runs": "sleeps and gates count it",
    "budgets of state machines and of workflows in Python": "those of graphs; guardrails",
    "a step of a graph that answers an update with a result": (
        "its sender is told that a step has it; motions and Python workflows answer"
    ),
    "steps on mobile devices": "-",
    "search by attributes of one's own": (
        "by status, workflow, definition, time, how ids begin; ids may be chosen"
    ),
    "metrics of Prometheus, traces of OpenTelemetry": (
        "counters of `movant status`, events, logs with trace ids"
    ),
    "a dashboard": "`movant pipeline`, `movant run watch`, `movant actor tree --watch`",
}
"""What it cannot do, and what there is instead."""
