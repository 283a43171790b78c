from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.descriptors import ROOT, SERVICES, reasons

# Given by the boundary where an unexpected failure is hidden, not by a class.
WITHOUT_A_CLASS = {"INTERNAL"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / "services" / folder).rglob("*.py"))


def error_classes(folder: str) -> Iterator[tuple[str, str]]:
    """(class, reason) of every class below `services/<folder>` that sets a reason."""
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for statement in node.body:
                    match statement:
                        case ast.Assign(
                            targets=[ast.Name(id="reason")], value=ast.Constant(value=str(reason))
                        ):
                            yield node.name, reason


def names_used(folder: str) -> set[str]:
    """Every name that code below `services/<folder>` reads, definitions left out."""
    used = set()
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                    used.add(name)
    return used


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_that_a_service_gives_is_in_its_contract(service):
    contract = reasons(service) | reasons("common")
    assert {reason for _, reason in error_classes(service)} <= contract


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_of_a_contract_is_given_by_one_class(service):
    given = Counter(reason for _, reason in error_classes(service))
    assert {reason: given[reason] for reason in reasons(service)} == dict.fromkeys(
        reasons(service), 1
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_error_of_a_service_is_raised_somewhere_in_it(service):
    used = names_used(service)
    assert {name for name, _ in error_classes(service)} - used == set()


def test_the_common_reasons_are_those_that_common_gives():
    anywhere = {reason for folder in ("common", *SERVICES) for _, reason in error_classes(folder)}
    assert {reason for _, reason in error_classes("common")} <= reasons("common")
    assert reasons("common") - anywhere == WITHOUT_A_CLASS
