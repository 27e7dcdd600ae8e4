"""What is said: messages, subjects, codec, policies, errors, ports.

Pure: msgspec and the standard library, no I/O, no clock. Everybody may import it; it imports
nobody. Read mail.py, effects.py and subjects.py first.
"""
