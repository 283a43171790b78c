"""S3 requests that anyone may send until they expire (AWS Signature Version 4 in the query).

The minio SDK signs no header but the host, and it is the headers that bind a request to its bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from services.common.blobs.port import SignedRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests to one bucket.

    Attributes:
        base_url: Where those who get the requests reach the S3, such as `https://s3.example.com`.
        bucket: That has the objects.
        access_key: Name of the account.
        secret_key: Its secret.
        region: What requests are signed for.
    """

    base_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str

    def signed(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str],
        *,
        now: datetime,
        lifetime: timedelta,
    ) -> SignedRequest:
        """The request, valid from `now` on; it must be sent with exactly these headers.

        Args:
            method: `GET` or `PUT`.
            name: Of the object.
            headers: By lower-case name.
            now: UTC.
            lifetime: Whole seconds.
        """
        day = f"{now:%Y%m%d}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        base = urlsplit(self.base_url)
        covered = {"host": base.netloc, **headers}
        names = ";".join(sorted(covered))
        path = quote(f"/{self.bucket}/{name}", safe="/-_.~")
        query = _query(
            {
                "X-Amz-Algorithm": _ALGORITHM,
                "X-Amz-Credential": f"{self.access_key}/{scope}",
                "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
                "X-Amz-Expires": str(int(lifetime.total_seconds())),
                "X-Amz-SignedHeaders": names,
            }
        )
        lines = [f"{header}:{covered[header]}" for header in sorted(covered)]
        request = "\n".join([method, path, query, *lines, "", names, "UNSIGNED-PAYLOAD"])
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join([_ALGORITHM, f"{now:%Y%m%dT%H%M%SZ}", scope, digest])
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        url = f"{base.scheme}://{base.netloc}{path}?{query}&X-Amz-Signature={key.hex()}"
        return SignedRequest(method, url, dict(headers))


def _query(values: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(values.items())
    )
