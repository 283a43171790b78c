"""What the registry can be configured with."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.settings import Address, BlobSettings


class RegistrySettings(BlobSettings, env_prefix="ROUNDHOUSE_REGISTRY_"):
    """Each comes from the environment as `ROUNDHOUSE_REGISTRY_` and its name."""

    listen: Address = "127.0.0.1:7001"
    """Address of the gRPC server. Port 0 picks a free one."""

    metrics_listen: Address = "127.0.0.1:7101"
    """Address of the Prometheus endpoint. Port 0 picks a free one."""

    data_dir: Path = Path(".roundhouse/registry")
    """Folder of everything the registry keeps on this machine; made if missing."""

    max_upload_bytes: int = Field(default=2**31 - 1, ge=2**20, le=2**31 - 1)
    """Largest file that one upload may hold; Arrow parses a CSV of at most 2 GiB at once."""

    max_artifact_bytes: int = Field(default=2**36, ge=2**20, le=2**36)
    """Largest file of a model version; 64 GiB, since S3 takes 10,000 parts, here of 8 MiB."""

    s3_public_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")
    """Where clients reach the S3 by presigned URLs, such as `https://s3.example.com`. Unset: at
    s3_endpoint, as the registry does."""

    scrub_period_s: float = Field(default=7 * 24 * 3600.0, ge=0.1, le=10 * 365 * 24 * 3600.0)
    """Longest that a committed version goes without its bytes being read and verified."""

    scrub_bytes_per_s: int = Field(default=8 << 20, ge=1 << 10)
    """Fastest that this reads; a tenth of a plain disk, so that callers don't notice."""

    webhook_private_targets: bool = False
    """Whether webhooks may go to private addresses and over plain http. This machine is allowed
    without it while the registry itself listens on loopback only."""

    webhook_timeout_s: float = Field(default=10.0, gt=0.0, le=60.0)
    """Longest that one attempt to deliver may take; the receiver should answer and work later."""

    webhook_attempts: int = Field(default=15, ge=1, le=50)
    """Attempts before an event is a dead letter: with 15, after about four hours."""

    webhook_first_retry_s: float = Field(default=1.0, gt=0.0, le=3600.0)
    """Longest wait before the second attempt; each further one doubles it, up to an hour."""

    webhook_key_file: Path | None = None
    """File with the keys that webhooks' secrets are sealed with in the database: base64 of 32
    random bytes a line; the first seals, all open. Unset: `webhooks.key` in data_dir, made at the
    first start; where several registries share a database, give all of them one."""

    removal_lifetime_s: int = Field(default=10, ge=1, le=600)
    """How long a garbage collection's request to remove bytes is good for. The store refuses a
    later one, so that a request which was held up can't remove what was uploaded again since."""

    store_clock_skew_s: float = Field(default=5.0, ge=0.0, le=900.0)
    """Farthest that this machine's clock and the store's are apart; NTP keeps far below."""

    abandoned_upload_age_s: float = Field(default=24 * 3600.0, ge=0.0)
    """From when on an unfinished upload that no call holds may be collected."""

    signing_key_file: Path | None = None
    """PEM of the elliptic-curve private key that signs each committed version. Unset: unsigned."""
