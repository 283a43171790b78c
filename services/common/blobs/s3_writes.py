"""Writes to S3 under a precondition.

The minio SDK sends no `If-Match` and no `If-None-Match`, not even when told to (minio-py
makes user metadata of them), so these requests are presigned by the SDK and sent here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NewType
from xml.etree import ElementTree

from minio import Minio
from minio.error import S3Error
from urllib3 import BaseHTTPResponse, PoolManager

from services.common.blobs.errors import BlobStoreUnavailable

Precondition = NewType("Precondition", Mapping[str, str])

ALWAYS = Precondition({})
IF_ABSENT = Precondition({"If-None-Match": "*"})

_SIGNATURE_LIFETIME = timedelta(minutes=15)


def if_unchanged(etag: str | None) -> Precondition:
    """That the object still has this etag, as the store gave it; for None, that it is absent."""
    return IF_ABSENT if etag is None else Precondition({"If-Match": etag})


class PreconditionError(Exception):
    """The object is not as the write requires."""


class RefusedError(Exception):
    """S3 refused a request for a reason that waiting doesn't mend, such as missing rights.

    Args:
        message: What it refused.
        code: S3's own.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NoSuchUploadError(Exception):
    """The multipart upload was completed or dropped."""


class S3Writes:
    """Puts and multipart uploads to one bucket. Every method blocks.

    Nothing is retried: a conditional write that is sent twice may fail its own precondition.

    Raises, from each method:
        PreconditionError: The object is not as required; nothing has changed.
        BlobStoreUnavailable: S3 is overloaded, or another conditional write is under way.
        RefusedError: Anything else but success.
        urllib3.exceptions.HTTPError: S3 can't be reached.
    """

    def __init__(self, client: Minio, pool: PoolManager, bucket: str) -> None:
        self._client = client
        self._pool = pool
        self._bucket = bucket
        self._parts_need_md5 = False

    def put(self, name: str, data: bytes, precondition: Precondition) -> str:
        """Store the object and give its etag, quotes included."""
        return _etag(self._send("PUT", name, {}, data, precondition=precondition))

    def begin(self, name: str) -> str:
        """Open a multipart upload and give its id."""
        response = self._send("POST", name, {"uploads": ""})
        upload_id = _parse(response).findtext("{*}UploadId")
        if not upload_id:
            raise RefusedError(f"S3 opened no multipart upload for {name}")
        return upload_id

    def put_part(self, name: str, upload_id: str, number: int, data: Sequence[bytes]) -> str:
        """Store part `number`, from 1, and give its etag.

        Without an MD5, which takes longer than all else that is done to a part, and tells
        nothing that the digest of the whole doesn't; but a bucket with object lock wants one.

        Raises:
            NoSuchUploadError: The upload was completed or dropped.
        """
        query = {"uploadId": upload_id, "partNumber": str(number)}
        if not self._parts_need_md5:
            try:
                return _etag(self._send("PUT", name, query, *data, with_md5=False))
            except RefusedError as refusal:
                if refusal.code != "InvalidRequest":
                    raise
                self._parts_need_md5 = True
        return _etag(self._send("PUT", name, query, *data))

    def complete(
        self, name: str, upload_id: str, etags: Sequence[str], precondition: Precondition
    ) -> None:
        """Make one object of the parts whose etags are given in their order.

        Raises:
            NoSuchUploadError: The upload was completed or dropped.
        """
        root = ElementTree.Element(
            "CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/"
        )
        for number, etag in enumerate(etags, start=1):
            part = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(part, "PartNumber").text = str(number)
            ElementTree.SubElement(part, "ETag").text = etag
        body = ElementTree.tostring(root)
        response = self._send(
            "POST", name, {"uploadId": upload_id}, body, precondition=precondition
        )
        # S3 answers 200 before it joins the parts, and reports a failure in the body.
        code = _error_code(response)
        if code == "PreconditionFailed":
            raise PreconditionError
        if code is not None:
            raise BlobStoreUnavailable(f"it failed to join the parts of {name} ({code})")

    def exists(self, name: str) -> bool:
        """Whether the object is there."""
        try:
            self._client.stat_object(self._bucket, name)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return False
            raise
        return True

    def abort(self, name: str, upload_id: str) -> None:
        """Drop the upload and its parts. Idempotent."""
        with suppress(NoSuchUploadError):
            self._send("DELETE", name, {"uploadId": upload_id})

    def delete_within(self, name: str, begun: datetime, lifetime: timedelta) -> None:
        """Remove the object, if there is one, by a request that is refused when it is late."""
        url = self._client.get_presigned_url(
            "DELETE", self._bucket, name, expires=lifetime, request_date=begun
        )
        response = self._pool.request("DELETE", url, retries=False)
        if response.status != HTTPStatus.NOT_FOUND:
            _raise_for_status(response, name, conditional=False)

    def _send(
        self,
        method: str,
        name: str,
        query: Mapping[str, str],
        *body: bytes,
        precondition: Precondition = ALWAYS,
        with_md5: bool = True,
    ) -> BaseHTTPResponse:
        url = self._client.get_presigned_url(
            method,
            self._bucket,
            name,
            expires=_SIGNATURE_LIFETIME,
            extra_query_params=dict(query),
        )
        headers = {**precondition, "Content-Length": str(sum(map(len, body)))}
        if with_md5:
            headers["Content-MD5"] = _md5(body)
        response = self._pool.request(method, url, body=body, headers=headers, retries=False)
        _raise_for_status(response, name, conditional=bool(precondition))
        return response


def _md5(body: Sequence[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in body:
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()


def _raise_for_status(response: BaseHTTPResponse, name: str, *, conditional: bool) -> None:
    status = response.status
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    code = _error_code(response)
    if code == "NoSuchUpload":
        raise NoSuchUploadError
    # AWS answers 404 to If-Match on an absent object.
    if status == HTTPStatus.PRECONDITION_FAILED or (conditional and code == "NoSuchKey"):
        raise PreconditionError
    detail = f"it answered {status} ({code}) to a write of {name}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
    ):
        raise BlobStoreUnavailable(detail)
    raise RefusedError(f"The object store refuses: {detail}.", code or "")


def _parse(response: BaseHTTPResponse) -> ElementTree.Element:
    return ElementTree.fromstring(response.data)  # noqa: S314 - from the operator's own store


def _error_code(response: BaseHTTPResponse) -> str | None:
    """The code of an S3 error document; None where the body is something else."""
    try:
        root = _parse(response)
    except ElementTree.ParseError:
        return None
    return root.findtext("{*}Code") if root.tag.rpartition("}")[2] == "Error" else None


def _etag(response: BaseHTTPResponse) -> str:
    return str(response.headers["ETag"])
