"""Files that people write: read with every mistake at its place."""
