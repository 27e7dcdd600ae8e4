"""A service for a process of its own: ``movant service run tests.support.hosted:service``."""

from tests.support.shop import Shop

service = Shop().service
