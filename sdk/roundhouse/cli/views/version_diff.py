"""What sets two versions apart: one document for programs, tables of it for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from roundhouse.cli.names import short
from roundhouse.cli.output import OUT, print_table

Document: TypeAlias = Mapping[str, Any]  # JSON has no narrower type

_SAME = "same"
_CHANGED = "changed"
_ONLY = {(True, False): "only in a", (False, True): "only in b"}


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What is known of one version, as the contract's JSON.

    Attributes:
        signature: `signature.json`; empty before the commit.
        training: `training.json`; empty if the bundle has none.
        evaluations: Newest first.
        gate: The newest gate result; empty if there is none.
    """

    version: Document
    signature: Document
    training: Document
    snapshots: Sequence[Document]
    evaluations: Sequence[Document]
    gate: Document


def difference(a: VersionFacts, b: VersionFacts) -> dict[str, Any]:
    """What is the same, what differs, and by how much.

    Metrics and slices are compared where both have an evaluation on the same part of the same
    kind; `comparable` says whether it was made on the very same rows.
    """
    return {
        "a": a.version["name"],
        "b": b.version["name"],
        "digests": {"a": a.version.get("digest", ""), "b": b.version.get("digest", "")},
        "files": _compared(
            *({each["path"]: _file(each) for each in side.version["files"]} for side in (a, b))
        ),
        "signature": {
            side: _compared(
                *(
                    {t["name"]: _tensor(t) for t in facts.signature.get(side, [])}
                    for facts in (a, b)
                )
            )
            for side in ("inputs", "outputs")
        },
        "snapshots": {"a": list(a.snapshots), "b": list(b.snapshots)},
        "parameters": [
            entry
            for entry in _compared(dict(_flat(a.training)), dict(_flat(b.training)))
            if entry["is"] != _SAME
        ],
        "labels": _compared(a.version.get("labels", {}), b.version.get("labels", {})),
        "metrics": list(_metrics(a.evaluations, b.evaluations)),
        "gate": _compared(_verdicts(a.gate), _verdicts(b.gate)),
    }


def print_difference(found: Document) -> None:
    """The difference as tables; what is the same in both is left out of the shorter ones."""
    a, b = short(found["a"]), short(found["b"])
    same_bytes = found["digests"]["a"] == found["digests"]["b"] != ""
    OUT.print(f"{a} against {b}: {'the same bytes' if same_bytes else 'other bytes'}", markup=False)
    _print_compared("Files", found["files"], a, b)
    for side in ("inputs", "outputs"):
        changed = [entry for entry in found["signature"][side] if entry["is"] != _SAME]
        _print_compared(f"Signature, {side}", changed, a, b, none="the same in both")
    print_table(
        ("version", "trained on", "rows", "from", "to", "digest"),
        [
            (
                name,
                short(each["name"]),
                each.get("rows", ""),
                str(each.get("start_time", ""))[:10],
                str(each.get("end_time", ""))[:10],
                str(each.get("digest", ""))[:19],
            )
            for name, side in ((a, "a"), (b, "b"))
            for each in found["snapshots"][side]
        ],
        title="Data",
    )
    _print_compared("Training", found["parameters"], a, b, none="the same, or not on record")
    _print_compared("Labels", found["labels"], a, b, none="none")
    print_table(
        ("part", "metric", a, b, "difference", "same rows"),
        [
            (
                entry["split"],
                entry["metric"],
                _number(entry["a"]),
                _number(entry["b"]),
                _number(entry["difference"], signed=True),
                "yes" if entry["comparable"] else "no",
            )
            for entry in found["metrics"]
        ],
        title="Scores",
    )
    _print_compared("Gate, newest verdicts", found["gate"], a, b, none="neither was judged")


def _print_compared(
    title: str, entries: Sequence[Document], a: str, b: str, *, none: str = "none"
) -> None:
    if not entries:
        OUT.print(f"{title}: {none}.", markup=False)
        return
    rows = [
        (each["name"], each["is"], _text(each.get("a")), _text(each.get("b"))) for each in entries
    ]
    print_table(("what", "is", a, b), rows, title=title)


def _compared(a: Document, b: Document) -> list[dict[str, Any]]:
    """An entry for each name in either, in order."""
    entries = []
    for name in sorted({*a, *b}):
        sides = {key: side[name] for key, side in (("a", a), ("b", b)) if name in side}
        verdict = _ONLY.get((name in a, name in b))
        if verdict is None:
            verdict = _SAME if a[name] == b[name] else _CHANGED
        entries.append({"name": name, "is": verdict, **sides})
    return entries


def _metrics(a: Sequence[Document], b: Sequence[Document]) -> Iterator[dict[str, Any]]:
    newest_a, newest_b = _by_split(a), _by_split(b)
    for split in sorted({*newest_a, *newest_b}):
        one, two = newest_a.get(split, {}), newest_b.get(split, {})
        scores_a, scores_b = one.get("metrics", {}), two.get("metrics", {})
        comparable = bool(one and two) and _rows(one) == _rows(two)
        for metric in sorted({*scores_a, *scores_b}):
            x, y = scores_a.get(metric), scores_b.get(metric)
            yield {
                "split": split,
                "metric": metric,
                "a": x,
                "b": y,
                "difference": None if x is None or y is None else y - x,
                "comparable": comparable,
            }


def _by_split(evaluations: Sequence[Document]) -> dict[str, Document]:
    newest: dict[str, Document] = {}
    for each in evaluations:  # newest first
        newest.setdefault(each["split"], each)
    return newest


def _rows(evaluation: Document) -> tuple[Any, ...]:
    return tuple(evaluation.get(key) for key in ("snapshot", "split_digest", "rows"))


def _verdicts(gate: Document) -> dict[str, str]:
    return {
        f"{each['rule']['metric']} {_bar(each['rule'])}": (
            f"{'passed' if each['passed'] else 'failed'}: {each['explanation']}"
        )
        for each in gate.get("verdicts", [])
    }


def _bar(rule: Document) -> str:
    sign = ">=" if rule["comparison"].endswith("AT_LEAST") else "<="
    if "baseline_margin" in rule:
        return f"{sign} baseline {rule['baseline_margin']:+g}"
    return f"{sign} {rule['value']:g}" if "value" in rule else sign


def _file(file: Document) -> dict[str, Any]:
    return {"digest": file["digest"], "size_bytes": int(file["size_bytes"])}


def _tensor(tensor: Document) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key != "name"}


def _flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Leaves of a document by their dotted paths."""
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _flat(inner, f"{path}.{key}" if path else str(key))
        case list():
            for index, inner in enumerate(value):
                yield from _flat(inner, f"{path}[{index}]")
        case _:
            yield path, value


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case {"digest": str(digest), "size_bytes": int(size)}:
            return f"{digest[:19]} {size:,} bytes"
        case {"datatype": datatype, "shape": shape}:
            return f"{datatype} {shape}"
        case _:
            return str(value)


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.4f}" if signed else f"{value:.4f}"
