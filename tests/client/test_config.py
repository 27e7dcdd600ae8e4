"""The configuration: precedence, origins, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols.errors import ConfigurationError
from protocols.flow import FlowSettings
from runtime.config import DaemonConfig, flatten, load, nats_from_environment, redacted


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "movant.toml"
    path.write_text(text)
    return path


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    """One order of precedence, and every value says where it comes from."""
    path = _file(
        tmp_path, 'partitions = 2\nreplicas = 1\n[log]\nlevel = "debug"\nformat = "json"\n'
    )
    environment = {"MOVANT_LOG__LEVEL": "error", "MOVANT_PARTITIONS": "4"}

    loaded = load({"partitions": 8, "replicas": None}, environment=environment, file=path)

    config, origins = loaded
    assert (config.partitions, config.log.level, config.log.format) == (8, "error", "json")
    assert origins["partitions"] == "flag"
    assert origins["log.level"] == "MOVANT_LOG__LEVEL"
    assert origins["log.format"] == f"{path}:5"
    assert origins["drain_timeout_s"] == "default"


def test_nothing_given_is_a_complete_configuration(tmp_path: Path) -> None:
    """Name and store have defaults that depend on the machine."""
    config = load(environment={"XDG_STATE_HOME": str(tmp_path)}).config

    assert config.server.store == tmp_path / "movant"
    assert config.name
    assert config.nats.url == ""


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        (
            "[limits]\nlive_instanses_max = 3\n",
            ":2: 'limits.live_instanses_max'",
            "live_instances_max",
        ),
        ("partition = 3\n", ":1: 'partition'", "'partitions'"),
        ("\n[servr]\nport = 3\n", ":2: 'servr'", "'server'"),
        ("[server]\nport = 70000\n", ":2: server.port", "config show"),
        ("server = 5\n", ":1: server: a table is expected", "write [server]"),
        ("reask_s = inf\n", ":1: reask_s: Expected `float` <=", "config show"),
        ("a = " + "[" * 10_000, ": maximum recursion depth", "has to be TOML"),
        ("a = " + "9" * 6_000, ": Exceeds the limit", "has to be TOML"),
        ("# " + "x" * 2**20, ": more than 1048576 bytes", "the daemon's own"),
        (
            "[server]\nfile_store_bytes_max = 67108864\n",
            ":2: server.file_store",
            "give it 335544320",
        ),
        (
            "[limits]\nblobs_bytes_max = 68451041280\n",
            ":2: server.file_store_bytes_max: 68719476736 bytes are too few",
            "give it 68786585600",
        ),
        ('log.level = "loud"\n', ":1: log.level", "config show"),
        ("[flow.a]\nburst = 1\n[flow.b]\nburst = -1\n", ":4: flow.b.burst: Exp", "config show"),
        ("[flow.a]\nbrust = 1\n", ":2: 'flow.a.brust' is no setting", "'burst'"),
        ("[flow]\nburst = 1\n", ":1: flow.burst: a map is expected", "config show"),
        ("partitions = \n", "Invalid value", "TOML"),
        ("replicas = 3\n", "replicas = 3 needs a NATS cluster", "nats.url"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, text: str, told: str, hint: str
) -> None:
    """A typo in a limit must not leave the daemon without the limit."""
    with pytest.raises(ConfigurationError) as caught:
        load(environment={}, file=_file(tmp_path, text))

    assert told in caught.value.message
    assert hint in caught.value.hint


def test_a_typo_in_a_variable_is_refused() -> None:
    """What looks like a setting of ours is one."""
    with pytest.raises(ConfigurationError, match="MOVANT_NATS__ULR") as caught:
        load(environment={"MOVANT_NATS__ULR": "nats://x"})

    assert caught.value.hint == "did you mean 'nats.url'?"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    """Other programs may have variables with our prefix."""
    config = load(environment={"MOVANT_CACHE": "/x", "MOVANT_THING": "y"}).config

    assert isinstance(config, DaemonConfig)


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    """Passwords do not belong into the environment, and not on the screen."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    environment = {
        "MOVANT_NATS__URL": "nats://ann:pw@host:4222",
        "MOVANT_NATS__PASSWORD_FILE": str(secret),
    }

    config = load(environment=environment).config

    shown = flatten(config)
    assert config.nats.password == "s3cret"  # noqa: S105 - data of the test
    assert shown["nats.password"] == "***"
    assert shown["nats.url"] == "nats://ann:***@host:4222"


def test_a_variable_with_one_underscore_for_the_dot_is_refused() -> None:
    """Nobody would see that it counts for nothing; what is no setting is some other program's."""
    with pytest.raises(ConfigurationError, match="'http_address' is no setting"):
        load(environment={"MOVANT_HTTP_ADDRESS": ":8700"})
    assert load(environment={"MOVANT_WEBHOOK_TOKEN": "x"}).config == load(environment={}).config


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host:1", "nats://host:1"),
        ("nats://token@host", "nats://***@host"),
        ("tls://a:b@host:1", "tls://a:***@host:1"),
        ("", ""),
    ],
)
def test_an_url_is_shown_without_its_secret(url: str, shown: str) -> None:
    """A user name may be seen; a token that stands alone may not."""
    assert redacted(url) == shown


def test_services_and_workflows_come_from_file_and_environment(tmp_path: Path) -> None:
    """Maps are merged by key; a list of paths is one variable."""
    path = _file(tmp_path, '[services]\nkyc = "legacy.kyc"\n')
    environment = {"MOVANT_SERVICES__AML": "legacy.aml", "MOVANT_WORKFLOWS": "a.py:b.py"}

    config = load(environment=environment, file=path).config

    assert config.services == {"kyc": "legacy.kyc", "aml": "legacy.aml"}
    assert config.workflows == (Path("a.py"), Path("b.py"))


def test_how_a_service_is_asked_comes_from_file_and_environment(tmp_path: Path) -> None:
    """Setting by setting: a variable changes one, and every value says where it comes from."""
    path = _file(
        tmp_path, '[flow.billing]\nrate_per_s = 5\nburst = 2\n[flow."*"]\nbreaker_open_s = 3\n'
    )
    environment = {
        "MOVANT_FLOW__BILLING__RATE_PER_S": "50",
        "MOVANT_FLOW__CARD_EU__CONCURRENCY_MAX": "4",
        "MOVANT_FLOW": '{"billing": {"rate_per_s": 7, "burst": 9}, "card-eu": {"burst": 3}}',
    }

    config, origins = load(environment=environment, file=path)

    assert config.flow == {
        "billing": FlowSettings(rate_per_s=50.0, burst=9),
        "*": FlowSettings(breaker_open_s=3.0),
        "card_eu": FlowSettings(concurrency_max=4),
        "card-eu": FlowSettings(burst=3),
    }
    assert origins["flow.billing.rate_per_s"] == "MOVANT_FLOW__BILLING__RATE_PER_S"
    assert origins["flow.billing.burst"] == "MOVANT_FLOW"
    assert origins["flow.*.breaker_open_s"] == f"{path}:5"
    assert origins["flow.billing.breaker_of"] == "default"
    assert flatten(config)["flow.billing.burst"] == 9


@pytest.mark.parametrize(
    ("variable", "value", "told", "hint"),
    [
        ("BILLING__RATE_PER_SEC", "5", "'flow.billing.rate_per_sec' is", "'rate_per_s'"),
        ("BILLING__RATE_PER_S", "fast", "flow.billing.rate_per_s: Expected `float`", "show"),
        ("BILLING__BREAKER_OF", "65", "flow.billing.breaker_of: Expected `int` <= 64", "show"),
        ("RATE_PER_S", "5", "names no service", "MOVANT_FLOW__SERVICE__SETTING"),
        ("BILL ING__BURST", "5", "'bill ing' is no name of a service", "'*' stands for all"),
    ],
)
def test_a_wrong_variable_about_a_service_is_told(
    variable: str, value: str, told: str, hint: str
) -> None:
    """Which variable, which setting, what is expected."""
    with pytest.raises(ConfigurationError) as caught:
        load(environment={f"MOVANT_FLOW__{variable}": value})

    assert caught.value.message.startswith(f"MOVANT_FLOW__{variable}")
    assert told in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("billing", "this is no JSON"),
        ("[]", "MOVANT_FLOW: flow: a map is expected"),
        ('{"billing": 5}', "MOVANT_FLOW: flow.billing: a map is expected"),
        ('{"billing": {"brust": 5}}', "MOVANT_FLOW: 'flow.billing.brust' is no setting"),
    ],
)
def test_a_map_in_a_variable_is_checked(text: str, told: str) -> None:
    """As the same words in a file."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        load(environment={"MOVANT_FLOW": text})


def test_a_client_reads_only_what_is_about_nats() -> None:
    """A wrong setting of the daemon is not the client's business."""
    environment = {"MOVANT_NATS__USER": "ann", "MOVANT_PARTITIONS": "none", "MOVANT_NATS": "u"}

    found = nats_from_environment("nats://given", environment)

    assert (found.url, found.user) == ("nats://given", "ann")
    assert nats_from_environment("", environment).url == "u"
