"""The rim: the only place that touches the outside world, and the composition root.

bridge/    nats-py on its own thread      server/    the embedded nats-server
daemon     wires the supervision tree     api/       what clients ask, verb by verb
client/    the library                    cli/       the command line
connectors/, triggers/, mcp_server/       the world asks, and is asked
"""
