"""Actors on trio: addresses, inboxes, death watch, and threads that are actors."""
