"""Machines as data: states, who works in each, and what is wrong with them."""
