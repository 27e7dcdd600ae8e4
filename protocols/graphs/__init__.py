"""Graphs as data: steps, what they need, and what is wrong with them."""
