"""The daemon's workflows as tools of the Model Context Protocol.

    tools     what each tool takes and does, with a Client; knows nothing of MCP
    server    the MCP server over stdin and stdout; imports the library, which is an extra

Decisions
D1  The low-level server: the other one of the library puts a handler on the root logger.
D2  A tool that starts a workflow returns its id at once: runs take longer than clients wait. What
    waits for a person is told by the status, and decided by a tool of its own.
D3  An AI that decides is no person: who it says that it is stands in the history with ``mcp`` as
    the place, and gates compare it with those who may decide. ``--as`` lets it speak for nobody
    else, ``--read-only`` lets it decide nothing.
"""
