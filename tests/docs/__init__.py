"""The documentation, held against the code: what a page shows has to be true and has to run."""
