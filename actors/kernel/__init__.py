"""The kernel: workflow code as a deterministic fold over a mailbox. Pure: no I/O, no clock.

Reading order:

    instance    what each mail does: the rules of the fold      (view: what others read)
    beginning   when the code begins, with what, and the next generation    (generation)
    repairing   what becomes of values that are missing
    execution   how the code runs, ends, and blocks
    context     what authors of workflows see                   (branches: gather, race, scope)
    step        one unit of work at a service, with its retries
    undoing     what can be undone, in which order      (compensation: the steps that undo it;
                                                         again: the same work once more)
    operations  sleep, timeout, signal, child
    ledger      what is open and what was decided
    tasks       the scheduler: tasks and cancel scopes          (nursery: tasks that end together)
    witness     what is stated of each transition, in a chain of hashes
    outcome     how an instance ends, or why it is blocked      (blocked)
    digest      one hash for everything that a fold determines

Decisions

K1  An operation gets its path when it is awaited, from the task that awaits it: an operation
    handed to ``gather`` belongs to its branch, and no path depends on the order of messages.
K2  Cancellation is by level, as in trio: in a cancelled scope every wait raises. Thrown once
    only, a bare ``except`` would turn a cancel into nothing.
K3  The fold that blocks returns one effect, the event. What the code asked for in that fold is
    dropped, because repaired code decides anew.
K4  A timer that fires early is armed again: its firing is used up, and nobody else would look.
K5  A second attempt after an unknown outcome (timeout, broken reply) needs a service that is
    idempotent; for others the step fails.
K6  Statistics are not part of the digest: a repeat changes a counter, and nothing else.
K7  A dropped instance unwinds its coroutines; ``ctx`` is dead then, so that ``finally`` blocks
    of workflow code have no effect.
K8  A generation takes along what its Snapshot holds, and nothing else: a fold that begins there
    and one that began with the start are the same from then on.
K9  A fold may pass several generations; only the one that it comes to rest in is recorded.
K10 What a generation asked for before it continued stays, even when the next one blocks in the
    same fold: it has ended as it should.
K11 Work that is asked for again carries the key of the step that it repeats: whoever has done it
    meanwhile answers what he answered then, and does it no second time.
K12 A listener for any signal gets what no listener by name waits for. It is no wait that is
    shown: it only says that somebody judges whatever comes.
K13 A step that is cancelled in an instance with undos is closed at once, and its attempt counts
    as undecided until its reply or its deadline: a race ends when it is won, and no undo begins
    before everything in its scope is decided. The deadline is counted from the cancel, because
    only the host knows when the attempt was sent.
K14 What nobody wants (cancelled, or another service gave the value) is undone at the end of its
    scope, so that the order is kept; a success that comes late is undone when it comes.
K15 A statement rides on the event of its transition and is hashed when that is published: a step
    adds one leaf to a list. What a blocking fold stated is taken back with its events.
K16 Work with an undo that is asked for again (K11) joins the record of its first step: one key,
    one effect, one undo, at the place of the latest ask. A key whose undo was asked for is spent,
    because its service refuses it from then on: then the work has a key and an undo of its own.
"""
