"""Gates as data: what may be decided, by whom, and what is said there."""
