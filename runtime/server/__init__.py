"""The house: movant's own nats-server, from finding the binary to stopping the process.

    binary          find a nats-server that is new enough, or install one into movant's cache
    debian          how the binary comes from Debian's archive without changing the system
    configuration   the generated configuration, as a pure function of the settings
    accounts        who may say what: accounts, users and their permissions, pure
    credentials     the passwords of these users, in files
    store           one daemon and one server per store directory: lock, leftovers, free space
    leash           ties the server's life to the daemon's (Linux)
    health          asks a server whether it serves clients and JetStream, over a plain socket
    embedded        EmbeddedServer, the supervised child
    cluster         Cluster: three of them as one NATS cluster on this machine, for trying

Decisions
D1  The daemon holds an flock on the store; the kernel drops it with the daemon, also after
    SIGKILL. A lock file with a pid inside would need guessing after a crash.
D2  On Linux the server gets SIGTERM when the daemon's main thread dies, so that a killed daemon
    leaves no server. Elsewhere, or if that fails, the next daemon ends the leftover: by the pid
    that the server itself recorded, after its command line has proved that it is ours. It is
    ended and not adopted: its configuration may be another one, and a start takes 0.1 s.
D3  The port of the first start is kept: within one daemon's life always, over daemons when it
    is still free. Clients and foreign services reconnect instead of being told.
D4  Accounts, not permissions alone: within one account an acknowledgement or an answer goes to
    any reply subject that its sender names, with the rights of the server or of a service
    (``accounts`` tells what that allowed). Price: a message between accounts costs the server
    a look at its imports, about a tenth of its CPU time in benchmarks.w8.
"""
