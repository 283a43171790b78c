"""Pickles, whatever their protocol and whatever they are called."""

from __future__ import annotations

import io
import pickletools
from typing import BinaryIO, Final

_IMPORTING: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_CALLING: Final = frozenset({"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_NO_PICKLE: Final = (ValueError, OverflowError, MemoryError, IndexError, KeyError)
_MOST_OPCODES: Final = 200_000
"""Nothing but a pickle reads as so many opcodes in a row."""

_LARGEST_WHOLE_BYTES: Final = 1 << 20


def is_pickle(file: BinaryIO) -> bool:
    """Whether unpickling the file would import and call something, or would succeed.

    Runs nothing: the opcodes are read by `pickletools`. What stands behind the call doesn't
    matter, since an unpickler makes it before it sees the rest.

    Args:
        file: Read from its beginning.
    """
    return _would_call(file) or _would_succeed(file)


def _would_call(file: BinaryIO) -> bool:
    file.seek(0)
    imports = False
    stack = _Stack()
    try:
        for count, (opcode, _, _) in enumerate(pickletools.genops(file)):
            stack.take(opcode)
            imports = imports or opcode.name in _IMPORTING
            if (imports and opcode.name in _CALLING) or count > _MOST_OPCODES:
                return True
    except _NO_PICKLE:
        return False  # the unpickler gives up here, too
    return False


class _Stack:
    """What an unpickler's stack holds, as far as to tell when it would run dry."""

    def __init__(self) -> None:
        self._items: list[object] = []

    def take(self, opcode: pickletools.OpcodeInfo) -> None:
        """Do what the opcode does.

        Raises:
            IndexError: The stack lacks what it needs.
        """
        mark = pickletools.markobject
        needed = list(opcode.stack_before)
        if mark in needed:
            while self._items.pop() is not mark:
                pass
            needed = needed[: needed.index(mark)]
        for _ in needed:
            self._items.pop()
        self._items.extend(opcode.stack_after)


def _would_succeed(file: BinaryIO) -> bool:
    file.seek(0)
    data = file.read(_LARGEST_WHOLE_BYTES + 1)
    if len(data) > _LARGEST_WHOLE_BYTES:
        return False
    try:
        end = max(place or 0 for _, _, place in pickletools.genops(data)) + 1
        if data[end:].strip():
            return False
        pickletools.dis(data, out=io.StringIO())
    except _NO_PICKLE:
        return False
    return True
