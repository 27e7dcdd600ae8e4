"""What is said: messages, subjects, codec, policies, errors, ports.

    mail, effects, subjects      the words between instances and the world: read them first
    graphs/, machines/           what people write as data, and what is wrong with it
    gates/, guardrails/, connectors/, triggers, routes    what stands in it, or beside it
    api/                         what clients ask the daemon

Pure: msgspec and the standard library, no I/O, no clock. Everybody may import it; it imports
nobody.
"""
