"""The kernel: rules by example, and properties against a model that is no coroutine."""
