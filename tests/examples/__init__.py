"""The examples are tested like the product: they are the first code that people copy."""
