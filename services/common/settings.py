"""What every service can be configured with, and the one way to read it.

A service subclasses `CommonSettings` with its defaults and adds its own fields:

    class RegistrySettings(CommonSettings, env_prefix="ROUNDHOUSE_REGISTRY_"):
        listen: Address = "127.0.0.1:7001"
        metrics_listen: Address = "127.0.0.1:7101"
        data_dir: Path = Path(".roundhouse/registry")
"""

from __future__ import annotations

import difflib
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")]
"""`host:port`; an IPv6 host stands in brackets."""

Addresses = Annotated[
    str,
    StringConstraints(
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s,]+):\d{1,5}(,(\[[0-9a-fA-F:]+\]|[^:\s,]+):\d{1,5})*$"
    ),
]
"""One `Address` or several, separated by commas."""


def is_loopback(address: Address) -> bool:
    """Whether a server that listens on `address` is reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class InvalidSettings(SystemExit):
    """The settings can't be used; uncaught, it ends the process with its sentences and 1."""


class CommonSettings(BaseSettings):
    """Settings that all services share; each comes from the environment as PREFIX + NAME."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    listen: Address
    """Address of the gRPC server. Port 0 picks a free one."""

    metrics_listen: Address
    """Address of the Prometheus endpoint. Port 0 picks a free one."""

    data_dir: Path
    """Folder of everything the service keeps on this machine; made if missing."""

    database_url: str = Field(
        default_factory=lambda fields: (
            f"sqlite:///{Path(fields.get('data_dir', '')).absolute()}/metadata.db"
        ),
        repr=False,
    )
    """`sqlite:///PATH` or `postgresql+psycopg://...`. A SQLite file in data_dir by default."""

    otlp_endpoint: str | None = None
    """URL of an OTLP collector for traces, such as `http://127.0.0.1:4317`. Unset: none."""

    trace_file: Path | None = None
    """File that gets each span as a line of JSON; several processes may share it. Unset: none."""

    trace_sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of traces started here that are recorded; a caller's decision is kept."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""

    drain_timeout_s: float = Field(default=10.0, ge=0.0, le=600.0)
    """Seconds that calls in flight may go on after SIGTERM; container engines kill after 10-30."""

    @model_validator(mode="after")
    def _check_tracing(self) -> Self:
        recorded = self.otlp_endpoint is not None or self.trace_file is not None
        if "trace_sample_ratio" in self.model_fields_set and not recorded:
            raise ValueError(
                "trace_sample_ratio set, but neither otlp_endpoint nor trace_file takes the traces"
            )
        return self


class BlobSettings(CommonSettings):
    """Settings of the services that keep bytes."""

    blob_url: str = Field(
        default_factory=lambda fields: f"file://{Path(fields.get('data_dir', '')).absolute()}/blobs"
    )
    """`file://FOLDER` or `s3://BUCKET/PREFIX`. A folder in data_dir by default."""

    s3_endpoint: str | None = None
    """`host:port` of the S3 server; required with an s3:// blob_url, refused without one."""

    s3_access_key: str | None = None
    """Access key of the S3 server; required with an s3:// blob_url."""

    s3_secret_key: SecretStr | None = None
    """Secret key of the S3 server; required with an s3:// blob_url."""

    s3_region: str | None = None
    """Region of the bucket; unset where the server has none."""

    s3_secure: bool = True
    """Whether to speak TLS to the S3 server."""

    @model_validator(mode="after")
    def _check_blob_store(self) -> Self:
        scheme = urlsplit(self.blob_url).scheme
        s3_fields = {name for name in type(self).model_fields if name.startswith("s3_")}
        if scheme == "s3":
            required = ("s3_endpoint", "s3_access_key", "s3_secret_key")
            missing = [name for name in required if getattr(self, name) is None]
            if missing:
                raise ValueError(f"an s3:// blob_url needs {', '.join(missing)}")
        elif scheme != "file":
            raise ValueError("blob_url must start with file:// or s3://")
        elif self.model_fields_set & s3_fields:
            unused = ", ".join(sorted(self.model_fields_set & s3_fields))
            raise ValueError(f"{unused} set, but blob_url is not an s3:// one")
        return self


SettingsT = TypeVar("SettingsT", bound=CommonSettings)


def load_settings(kind: type[SettingsT], **given: str) -> SettingsT:
    """The settings that the environment gives; called once, in `__main__`.

    Args:
        kind: The service's class.
        **given: Settings from the command line, which go before the environment's.

    Raises:
        InvalidSettings: One sentence for each unknown, wrong or contradictory setting.
    """
    prefix = kind.model_config["env_prefix"]
    faults = _unknown(kind, prefix)
    try:
        settings = kind(**given)  # type: ignore[arg-type]  # pydantic converts them
    except ValidationError as error:
        faults += [_sentence(prefix, fault["loc"], fault["msg"]) for fault in error.errors()]
    except SettingsError as error:  # a value that should be JSON and is not
        faults.append(f"The settings {prefix}* can't be read: {error}.")
    else:
        if not faults:
            return settings
    raise InvalidSettings("\n".join(faults))


def _unknown(kind: type[CommonSettings], prefix: str) -> list[str]:
    known = [name.upper() for name in kind.model_fields]
    faults = []
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(prefix)
        if variable.upper().startswith(prefix) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {prefix}{near[0]}?" if near else ""
            faults.append(f"The environment variable {variable} is no setting.{hint}")
    return faults


def _sentence(prefix: str, location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not location:
        return f"The settings {prefix}* contradict each other: {text}."
    return f"{prefix}{str(location[0]).upper()} can't be used: {text}."
