"""Who acts: the kernel, the owner of instances, readers and writers, services.

    kernel/            the fold: a coroutine over its mailbox, pure
    owner, workflow    host instances, and act for them
    activation, passivation, partitions, checkpoint    into memory, out of it, and recovery
    requests, router, outbox, decisions                what folds ask for, on its way
    stream_reader, stream_writer, direct_reader, kv    JetStream, by the Transport port
    base, dispatcher, registry, system, threads        actors on trio, by pykka's hooks

Nothing here knows nats-py: the world is reached through ``protocols.ports``.
"""
