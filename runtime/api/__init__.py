"""The API of the daemon: the micro service ``movant`` and its verbs."""
