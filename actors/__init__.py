"""Who acts: the kernel, the owner of instances, readers and writers, services.

    kernel/         the fold: a coroutine over its mailbox, pure
    graphs/, motions/    the interpreters of graphs and of machines, on the kernel
    definitions/, files/    what runs: packed and loaded; what people write, with every mistake
    owning/         hosts instances and acts for them: into memory, out of it, and recovery
    routing/        which service is asked, when, and what becomes of the request
    services/       services that movant hosts
    store/          JetStream, by the Transport port
    retention/      packs, archive, purge
    views/          what is known of all instances without asking each
    core/           actors on trio, by pykka's hooks

Nothing here knows nats-py: the world is reached through ``protocols.ports``.
"""
