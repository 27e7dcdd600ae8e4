"""The forge: requirements become a Spring Boot or Express project, with people at the gates.

    requirements ──> specification ──> [gate] ──> code ──> review ──> [gate] ──> build and tests

Each phase is done by a service in a process of its own, on a folder that they share. README.md
tells how to run it.
"""
