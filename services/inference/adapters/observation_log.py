"""A write-ahead log of observations on the local disk."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from services.inference.adapters.metrics import ObservationMetrics
from services.inference.adapters.observation_frames import (
    layout_frame,
    read_segment,
    rows_frame,
)
from services.inference.core.ports import Observation

log = structlog.get_logger()

_LayoutKey: TypeAlias = tuple[str, str, str, str]
"""Endpoint, variant and policy by name, and why there was a fallback."""

_ALARM_SHARE: Final = 0.2
"""Of the allowance; with less room than that a person is told, before anything is dropped."""


_REJECTED: Final = ".rejected"
_REJECTED_SHARE: Final = 0.1
"""Of the allowance, and beyond it: for a person who looks why the monitor refused them."""


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment that no longer changes.

    Attributes:
        id: Unique over all replicas and time.
        rows: Rows that the monitor has to acknowledge.
    """

    id: str
    path: Path
    rows: int
    size_bytes: int


class SegmentLog:
    """Writes each observation before its answer leaves, so a kill of the process loses none.

    A write ends in the page cache: it survives SIGKILL, not the loss of the
    machine. The log is the queue: memory holds nothing that the disk does not.
    When the monitor stays away until the allowance is used up, the oldest
    observations are kept; later requests are served all the same, and their
    rows counted as dropped and reported as an error. That the room runs short,
    in the allowance or on the disk, is reported as an error before.

    Args:
        folder: Owned by this object alone. What an earlier process left there is sealed.
        limit_bytes: Allowance on disk.
        segment_bytes: A segment is sealed at this size,
        segment_s: or at this age in seconds.
        metrics: Counters.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        metrics: ObservationMetrics,
        segment_bytes: int = 1 << 20,
        segment_s: float = 0.5,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._metrics = metrics
        self._is_dropping = False
        self._is_filling = False
        self._open: _OpenSegment | None = None
        left = [path for path in sorted(folder.iterdir()) if path.suffix in {".open", ".sealed"}]
        self._sealed = [self._recovered(path) for path in left]
        self._bytes = sum(segment.size_bytes for segment in self._sealed)
        metrics.limit_bytes.set(limit_bytes)
        metrics.pending_bytes.set(self._bytes)
        self._look_at_room()

    def append(self, observation: Observation) -> None:
        """See `ObservationLog`."""
        count = observation.rows.count
        self._metrics.observed.inc(count)
        try:
            segment = self._open or self._opened()
            frames, layout = segment.frames(observation)
            if self._bytes + len(frames) > self._limit_bytes:
                self._drop(count, "the disk allowance is used up")
                return
            segment.write(frames, count)
        except OSError as error:
            self._drop(count, str(error))
            return
        segment.layouts.setdefault(*layout)
        self._is_dropping = False
        self._bytes += len(frames)
        if not self._is_filling and self._is_short(self._limit_bytes - self._bytes):
            self._look_at_room()
        self._metrics.logged.inc(count)
        self._metrics.pending.inc(count)
        if segment.size_bytes >= self._segment_bytes:
            self.seal()

    def seal(self) -> None:
        """Close the open segment, if there is one, so that it can be sent."""
        segment, self._open = self._open, None
        if segment is None:
            return
        sealed = segment.sealed()
        if sealed.rows:
            self._sealed.append(sealed)
        else:
            sealed.path.unlink()

    def seal_if_due(self) -> None:
        """Close the open segment if it is old enough."""
        if self._open is not None and time.monotonic() >= self._open.opened_at + self._segment_s:
            self.seal()

    @property
    def sealed(self) -> tuple[SealedSegment, ...]:
        """What waits to be sent, oldest first."""
        return tuple(self._sealed)

    def acknowledge(self, segment: SealedSegment) -> None:
        """Delete what the monitor has made durable."""
        self._forget(segment)
        segment.path.unlink(missing_ok=True)
        self._metrics.acknowledged.inc(segment.rows)

    def reject(self, segment: SealedSegment) -> None:
        """Set aside what the monitor refuses for good, so that it holds nothing up.

        Of what is set aside the newest is kept, in a share of the allowance of its own.
        """
        self._forget(segment)
        segment.path.rename(segment.path.with_suffix(_REJECTED))
        self._metrics.rejected.inc(segment.rows)
        left_bytes = int(_REJECTED_SHARE * self._limit_bytes)
        for path in sorted(self._folder.glob(f"*{_REJECTED}"), reverse=True):
            left_bytes -= path.stat().st_size
            if left_bytes < 0:
                log.warning("observations.rejected_deleted", segment=path.stem)
                path.unlink()

    def _forget(self, segment: SealedSegment) -> None:
        self._sealed.remove(segment)
        self._bytes -= segment.size_bytes
        self._metrics.pending.dec(segment.rows)
        self._metrics.pending_bytes.set(self._bytes)

    def _opened(self) -> _OpenSegment:
        self._look_at_room()
        self._open = _OpenSegment(self._folder)
        self._metrics.pending_bytes.set(self._bytes)
        return self._open

    def _is_short(self, room_bytes: int) -> bool:
        return room_bytes < _ALARM_SHARE * self._limit_bytes

    def _look_at_room(self) -> None:
        """Tell once when the room runs short; take it back when there is enough again."""
        room_bytes = min(self._limit_bytes - self._bytes, shutil.disk_usage(self._folder).free)
        is_filling = self._is_short(room_bytes)
        if is_filling and not self._is_filling:
            log.error("observations.filling", room_bytes=room_bytes, limit_bytes=self._limit_bytes)
        self._is_filling = is_filling
        self._metrics.filling.set(is_filling)

    def _drop(self, rows: int, why: str) -> None:
        self._metrics.dropped.inc(rows)
        if not self._is_dropping:
            self._is_dropping = True
            log.error("observations.dropping", why=why, limit_bytes=self._limit_bytes)

    def _recovered(self, path: Path) -> SealedSegment:
        content = path.read_bytes()
        segment = read_segment(content)
        if segment.torn_bytes:
            log.warning("observations.torn", segment=path.stem, size_bytes=segment.torn_bytes)
        target = path.with_suffix(".sealed")
        path.rename(target)
        self._metrics.recovered.inc(segment.rows)
        self._metrics.pending.inc(segment.rows)
        return SealedSegment(path.stem, target, segment.rows, len(content))


class _OpenSegment:
    """The file that is being written."""

    def __init__(self, folder: Path) -> None:
        self.id = f"{time.time_ns() // 1000:016x}-{uuid.uuid4().hex[:16]}"
        self.opened_at = time.monotonic()
        self.layouts: dict[_LayoutKey, int] = {}
        self.size_bytes = 0
        self._rows = 0
        self._path = folder / f"{self.id}.open"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def frames(self, observation: Observation) -> tuple[bytes, tuple[_LayoutKey, int]]:
        """What `observation` adds to the file, and the layout, by its key, that it then has."""
        key = (
            observation.endpoint,
            observation.variant,
            observation.policy,
            observation.fallback,
        )
        number = self.layouts.get(key)
        if number is not None:
            return rows_frame(number, observation), (key, number)
        number = len(self.layouts)
        frames = layout_frame(number, observation) + rows_frame(number, observation)
        return frames, (key, number)

    def write(self, frames: bytes, rows: int) -> None:
        """Append whole frames; what a full disk cuts short is taken back.

        Raises:
            OSError: Nothing of it is in the file.
        """
        written = os.write(self._file, frames)
        if written != len(frames):
            os.ftruncate(self._file, self.size_bytes)
            raise OSError(f"only {written} of {len(frames)} bytes could be written")
        self.size_bytes += written
        self._rows += rows

    def sealed(self) -> SealedSegment:
        os.close(self._file)
        target = self._path.with_suffix(".sealed")
        self._path.rename(target)
        return SealedSegment(self.id, target, self._rows, self.size_bytes)
