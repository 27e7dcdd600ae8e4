"""Connectors: services that are built from settings.

secrets    where a secret is found, at the last moment, and how it is kept out of what is said
frame      opens a connector of any kind, with its limits
hosting    a connector as a supervised child, in the daemon or in a process of its own
KIND       one module for each kind: ``opened(name, settings, secrets)``; imported when used
"""
