from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.settings import (
    Address,
    BlobSettings,
    InvalidSettings,
    is_loopback,
    load_settings,
)

PREFIX = "ROUNDHOUSE_PROBE_"


class ProbeSettings(BlobSettings, env_prefix=PREFIX):
    listen: Address = "127.0.0.1:7001"
    metrics_listen: Address = "127.0.0.1:7101"
    data_dir: Path = Path(".roundhouse/probe")
    registry_address: Address = "127.0.0.1:7001"
    """Address of the registry."""


def load(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    return load_settings(ProbeSettings)


def refusal(monkeypatch, **variables):
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, **variables)
    return str(caught.value)


def test_everything_lies_in_the_data_folder_by_default(monkeypatch, tmp_path):
    settings = load(monkeypatch, DATA_DIR=str(tmp_path))
    assert settings.database_url == f"sqlite:///{tmp_path}/metadata.db"
    assert settings.blob_url == f"file://{tmp_path}/blobs"
    assert settings.listen == "127.0.0.1:7001"


def test_a_relative_data_folder_gives_urls_that_survive_a_change_of_directory(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    settings = load(monkeypatch, DATA_DIR="here")
    assert settings.database_url == f"sqlite:///{tmp_path}/here/metadata.db"


def test_the_environment_overrides(monkeypatch):
    settings = load(
        monkeypatch, LISTEN="[::1]:0", DRAIN_TIMEOUT_S="2.5", REGISTRY_ADDRESS="registry:7001"
    )
    assert (settings.listen, settings.drain_timeout_s) == ("[::1]:0", 2.5)
    assert settings.registry_address == "registry:7001"


def test_an_unknown_variable_is_named_with_the_nearest_setting(monkeypatch):
    sentence = refusal(monkeypatch, DATABSE_URL="x")
    assert f"{PREFIX}DATABSE_URL" in sentence
    assert f"{PREFIX}DATABASE_URL?" in sentence


def test_a_variable_of_another_service_is_none_of_ours(monkeypatch):
    monkeypatch.setenv("ROUNDHOUSE_OTHER_THING", "x")
    load(monkeypatch)


def test_all_faults_are_named_at_once(monkeypatch):
    sentences = refusal(
        monkeypatch, LISTEN="nowhere", LOG_LEVEL="loud", DRAIN_TIMEOUT_S="-1", COLOUR="red"
    ).splitlines()
    for name in ("LISTEN", "LOG_LEVEL", "DRAIN_TIMEOUT_S", "COLOUR"):
        assert sum(f"{PREFIX}{name} " in sentence for sentence in sentences) == 1


def test_an_s3_store_needs_its_keys(monkeypatch):
    sentence = refusal(monkeypatch, BLOB_URL="s3://bucket/prefix", S3_ENDPOINT="127.0.0.1:9000")
    assert "s3_access_key, s3_secret_key" in sentence


def test_s3_settings_without_an_s3_store_are_refused_rather_than_ignored(monkeypatch):
    assert "s3_endpoint" in refusal(monkeypatch, S3_ENDPOINT="127.0.0.1:9000")


def test_a_sample_ratio_that_nothing_reads_is_refused(monkeypatch):
    assert "trace_sample_ratio" in refusal(monkeypatch, TRACE_SAMPLE_RATIO="0.5")


def test_secrets_do_not_show(monkeypatch):
    settings = load(
        monkeypatch,
        BLOB_URL="s3://bucket",
        S3_ENDPOINT="127.0.0.1:9000",
        S3_ACCESS_KEY="key",
        S3_SECRET_KEY="hush-hush",
        DATABASE_URL="postgresql+psycopg://me:hush-hush@db/x",
    )
    assert "hush-hush" not in repr(settings)
    assert settings.s3_secret_key.get_secret_value() == "hush-hush"


def test_settings_do_not_change(monkeypatch):
    settings = load(monkeypatch)
    with pytest.raises(ValidationError):
        settings.listen = "127.0.0.1:1"


def test_every_setting_explains_itself():
    for name, field in BlobSettings.model_fields.items():
        assert field.description, name


def test_an_uncaught_refusal_ends_the_process_with_its_sentence(monkeypatch):
    with pytest.raises(SystemExit) as caught:
        load(monkeypatch, COLOUR="red")
    assert caught.value.code == f"The environment variable {PREFIX}COLOUR is no setting."


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("inference:1", False),
    ],
)
def test_a_server_on_loopback_is_known_by_its_address(listen, expected):
    assert is_loopback(listen) is expected
