"""Fields of a connector's request."""

from __future__ import annotations

import pytest

from protocols import codec
from protocols.connectors.parameters import bind, params_type, request_type
from protocols.service import Refused


def test_a_step_without_params_asks_with_no_fields() -> None:
    """Nothing is a request without fields: enough where none has to be there, else refused."""
    none, one = params_type({}), params_type({"account": "string"})

    assert bind(none, codec.convert(None, request_type(none))) == {}
    with pytest.raises(Refused, match="account"):
        bind(one, codec.convert(None, request_type(one)))
