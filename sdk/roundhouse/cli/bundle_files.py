"""Files of a version's bundle, read for showing them."""

from __future__ import annotations

import json
from typing import Any

from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.session import Session
from roundhouse.client import Client
from roundhouse.registry.v1.model_service_pb2 import DownloadArtifactRequest, GetVersionRequest


def json_file(client: Client, version: str, path: str) -> dict[str, Any]:  # the content of a file
    """The object in a JSON file of a version.

    Raises:
        CallFailed: There is no such version or file.
    """
    parts = client.models.DownloadArtifact(DownloadArtifactRequest(version=version, path=path))
    content: dict[str, Any] = json.loads(b"".join(part.chunk for part in parts))
    return content


def asked_for(session: Session, version: str, part: str) -> tuple[str, dict[str, Any]]:
    """A version's short name, and what its `evaluation.json` has where the spec asked for `part`.

    Args:
        session: Of the command.
        version: MODEL/NUMBER, MODEL@ALIAS or resource name.
        part: Key of the file and field of the spec.

    Raises:
        BadOutcome: The spec did not ask for it.
    """
    with session.client() as client:
        name = names.version(session.project, version)
        found = client.models.GetVersion(GetVersionRequest(name=name)).name
        content = json_file(client, found, "evaluation.json").get(part)
    if content is None:
        raise BadOutcome(f"The job that made {names.short(found)} did not ask for {part}.")
    return names.short(found), content
