"""Objectives as OpenSLO v1 documents (github.com/openslo/openslo)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from roundhouse.cli.failures import UsageFault
from roundhouse.monitor.v1.slo_pb2 import Slo

Document: TypeAlias = dict[str, Any]  # what YAML holds has no narrower type

_VERSION: Final = "openslo/v1"
_SOURCE: Final = "Roundhouse"
_SLIS: Final = ("availability", "latency", "quality", "jobs")
_RUNBOOK: Final = "roundhouse/runbook"
_OWNER: Final = "roundhouse/owner"
_MIN_BAD: Final = "roundhouse/min-bad-events"
_POLICY: Final = "roundhouse/budget-policy"
_ACTIONS: Final = {"freeze-training": "FREEZE_TRAINING", "stop-rollouts": "STOP_ROLLOUTS"}
_RULE: Final = re.compile(r"([a-z-]+) below ([0-9.]+) until above ([0-9.]+)")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_KNOWN: Final = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "annotations"},
    "metadata.annotations": {_RUNBOOK, _OWNER, _MIN_BAD, _POLICY},
    "spec": {
        "description",
        "service",
        "indicator",
        "timeWindow",
        "budgetingMethod",
        "objectives",
    },
    "spec.indicator": {"metadata", "spec"},
    "spec.indicator.spec": {"ratioMetric"},
    "spec.indicator.spec.ratioMetric": {"rawType", "raw"},
    "spec.indicator.spec.ratioMetric.raw": {"metricSource"},
    "spec.indicator.spec.ratioMetric.raw.metricSource": {"type", "spec"},
}


def read_openslo(path: Path) -> list[tuple[str, str, Slo]]:
    """Monitor's id, objective's id and objective of each document in a file.

    Raises:
        UsageFault: It is no OpenSLO, or says what the monitor can't keep to.
    """
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text()) if each is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageFault(f"{path} is no YAML: {error}") from error
    try:
        return [_read(document) for document in documents]
    except UsageFault as fault:
        raise UsageFault(f"{path}: {fault}") from fault


def as_openslo(slo: Slo) -> str:
    """The document that `read_openslo` reads as this objective."""
    _, _, _, monitor, _, slo_id = slo.name.split("/")
    sli = slo.WhichOneof("sli") or ""
    fields = MessageToDict(getattr(slo, sli), preserving_proto_field_name=True)
    annotations = {_MIN_BAD: str(slo.min_bad_events)}
    if slo.owner:
        annotations[_OWNER] = slo.owner
    if slo.runbook:
        annotations[_RUNBOOK] = slo.runbook
    if slo.budget_policy:
        annotations[_POLICY] = "\n".join(map(_as_rule, slo.budget_policy))
    document = {
        "apiVersion": _VERSION,
        "kind": "SLO",
        "metadata": {"name": slo_id, "annotations": annotations},
        "spec": {
            "description": slo.description,
            "service": monitor,
            "indicator": {
                "metadata": {"name": f"{slo_id}-{sli}"},
                "spec": {
                    "ratioMetric": {
                        "rawType": "success",
                        "raw": {"metricSource": {"type": _SOURCE, "spec": {sli: fields}}},
                    }
                },
            },
            "timeWindow": [{"duration": _duration(slo.window.seconds), "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"target": slo.target}],
        },
    }
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text


def _read(document: Document) -> tuple[str, str, Slo]:
    for place, known in _KNOWN.items():
        found = _at(document, place)
        if not isinstance(found, dict):
            raise UsageFault(f"{place or 'the document'} must hold fields")
        unknown = sorted(map(str, found.keys() - known))
        if unknown:
            raise UsageFault(f"{place or 'the document'} has {', '.join(unknown)}: not kept here")
    _check(document, "apiVersion", _VERSION)
    _check(document, "kind", "SLO")
    _check(document, "spec.budgetingMethod", "Occurrences")
    ratio = "spec.indicator.spec.ratioMetric"
    _check(document, f"{ratio}.rawType", "success")
    _check(document, f"{ratio}.raw.metricSource.type", _SOURCE)
    annotations = _at(document, "metadata.annotations")
    sli = _at(document, f"{ratio}.raw.metricSource.spec")
    if not isinstance(sli, dict) or len(sli) != 1 or not sli.keys() <= set(_SLIS):
        raise UsageFault(f"{ratio}.raw.metricSource.spec must hold one of {', '.join(_SLIS)}")
    window = _only(document, "spec.timeWindow", {"duration", "isRolling"})
    if window.get("isRolling") is not True:
        raise UsageFault("spec.timeWindow must be rolling: isRolling: true")
    fields = {
        **sli,
        "target": _only(document, "spec.objectives", {"target"}).get("target"),
        "window": f"{_seconds(str(window.get('duration')))}s",
        "min_bad_events": annotations.get(_MIN_BAD, "0"),
        "description": _at(document, "spec").get("description", ""),
        "owner": annotations.get(_OWNER, ""),
        "runbook": annotations.get(_RUNBOOK, ""),
        "budget_policy": _rules(str(annotations.get(_POLICY, ""))),
    }
    try:
        slo = ParseDict(fields, Slo())
    except ParseError as error:
        raise UsageFault(str(error)) from error
    return str(_at(document, "spec.service")), str(_at(document, "metadata.name")), slo


def _as_rule(rule: Slo.BudgetRule) -> str:
    names = {f"BUDGET_ACTION_{action}": name for name, action in _ACTIONS.items()}
    name = names[Slo.BudgetAction.Name(rule.action)]
    return f"{name} below {rule.below!r} until above {rule.until_above!r}"


def _rules(text: str) -> list[Document]:
    return [_rule(line) for line in text.splitlines() if line.strip()]


def _rule(line: str) -> Document:
    parsed = _RULE.fullmatch(line.strip())
    if parsed is None or parsed[1] not in _ACTIONS:
        raise UsageFault(
            f"metadata.annotations.{_POLICY} has {line.strip()!r}; write each rule such as "
            f"'freeze-training below 0.1 until above 0.25', with {' or '.join(_ACTIONS)}"
        )
    return {
        "action": f"BUDGET_ACTION_{_ACTIONS[parsed[1]]}",
        "below": parsed[2],
        "until_above": parsed[3],
    }


def _at(document: Any, place: str) -> Any:
    """What stands at a place; an empty document where nothing does."""
    for key in place.split(".") if place else ():
        document = document.get(key, {}) if isinstance(document, dict) else {}
    return document


def _check(document: Document, place: str, wanted: str) -> None:
    if _at(document, place) != wanted:
        raise UsageFault(f"{place} must be {wanted}")


def _only(document: Document, place: str, known: set[str]) -> Document:
    found = _at(document, place)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise UsageFault(f"{place} must have one entry")
    if unknown := sorted(map(str, found[0].keys() - known)):
        raise UsageFault(f"{place} has {', '.join(unknown)}: not kept here")
    return found[0]


def _seconds(duration: str) -> int:
    parsed = re.fullmatch(r"([0-9]{1,6})([mhdw])", duration)
    if parsed is None:
        raise UsageFault(f"spec.timeWindow.duration is {duration}; write it such as 30d")
    return int(parsed[1]) * _UNITS[parsed[2]]


def _duration(seconds: int) -> str:
    unit = next(unit for unit in "dhm" if seconds % _UNITS[unit] == 0 or unit == "m")
    return f"{seconds // _UNITS[unit]}{unit}"
