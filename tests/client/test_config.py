"""The configuration: precedence, origins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.errors import ConfigurationError
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
        ('log.level = "loud"\n', ":1: log.level", "config show"),
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


def test_a_client_reads_only_what_is_about_nats() -> None:
    """A wrong setting of the daemon is not the client's business."""
    environment = {"MOVANT_NATS__USER": "ann", "MOVANT_PARTITIONS": "none", "MOVANT_NATS": "u"}

    found = nats_from_environment("nats://given", environment)

    assert (found.url, found.user) == ("nats://given", "ann")
    assert nats_from_environment("", environment).url == "u"
