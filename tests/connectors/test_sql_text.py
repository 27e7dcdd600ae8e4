"""SQL text with named parameters: what is a parameter, and what only looks like one."""

from __future__ import annotations

import pytest

from protocols.connectors.sql_text import parse
from protocols.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("select * from t where a = :a and b = :b or a2 = :a", ("a", "b")),
        ("select ':a', \"b:b\", `c:c`, 'it''s :d' from t", ()),
        ("select 1 -- :a\n, 2 /* :b ' */, :c", ("c",)),
        ("select x::text, :a::jsonb, arr[1:2]", ("a",)),
        ("select $$ :a ; $$, $x$ :b $$ $x$, e'it\\'s :c', :d", ("d",)),
        ("select :a;\n -- done\n", ("a",)),
    ],
)
def test_a_parameter_stands_outside_of_literals(text: str, names: tuple[str, ...]) -> None:
    """Nothing in literals, comments, casts and slices is one; the text stays as it was."""
    parsed = parse(text)

    assert parsed.names == names
    assert parsed.named() == text


def test_both_databases_get_what_they_bind() -> None:
    """SQLite takes the names as they are, psycopg its own form, with percent signs doubled."""
    parsed = parse("select '50%' where a like :a")

    assert parsed.named() == "select '50%' where a like :a"
    assert parsed.pyformat() == "select '50%%' where a like %(a)s"


@pytest.mark.parametrize(
    "text", ["", " -- nothing\n", "select 1; drop table t", "select ?", "select $1", "select 'a"]
)
def test_what_is_no_single_statement_is_refused(text: str) -> None:
    """Nothing, several, parameters without a name, and literals that do not end."""
    with pytest.raises(ConfigurationError):
        parse(text)
