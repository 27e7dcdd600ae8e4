"""Who restarts whom: OTP's supervision on trio nurseries.

Reading order: child, strategy, intensity, backoff (pure) -> supervisor (the loop) -> tree.

Decisions. D1: a supervisor knows a start function and an exit, nothing else; actors come in
through ``supervisors.actor``. D2: restarts back off, which OTP's do not: a peer that is down
must not use up the intensity within a second. D3: a child that an operator has terminated is
not brought back by a sibling's crash; OTP would start it again.
"""
