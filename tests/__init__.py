"""The tests. tests/support has the real server, the daemon and the services they run against."""
