"""Triggers in the daemon: what starts runs without anybody at a keyboard.

    book         which triggers there are, and what is stored of each
    firing       from what has come to a run: condition, id, input, start or signal, event
    schedules    due times, by the server's clock
    messages     subjects of NATS
    webhooks     requests over HTTP, with proof of who sends them
    sweeping     what goes with a trigger: its state, its durable consumer

Everything here may happen twice, or at two daemons at once: the id of a run is made of the
trigger and of what has come, so there is one run.
"""
