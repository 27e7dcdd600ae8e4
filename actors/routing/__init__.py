"""Routing: which service is asked, when, and what becomes of the request."""
