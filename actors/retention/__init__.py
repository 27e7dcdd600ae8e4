"""Retention: what is packed, archived, purged and forgotten, and when."""
