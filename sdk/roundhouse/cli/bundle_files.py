"""Files of a version's bundle, read for showing them."""

from __future__ import annotations

import json
from typing import Any

from roundhouse.client import Client
from roundhouse.registry.v1.model_service_pb2 import DownloadArtifactRequest


def json_file(client: Client, version: str, path: str) -> dict[str, Any]:  # the content of a file
    """The object in a JSON file of a version.

    Raises:
        CallFailed: There is no such version or file.
    """
    parts = client.models.DownloadArtifact(DownloadArtifactRequest(version=version, path=path))
    content: dict[str, Any] = json.loads(b"".join(part.chunk for part in parts))
    return content
