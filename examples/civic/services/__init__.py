"""The rules of the seven city offices: pure functions, one module per office.

Every module has ``OPERATIONS``: name of an operation -> type of its request and its rule.
The rules know neither movant nor NATS nor SQLite.
"""
