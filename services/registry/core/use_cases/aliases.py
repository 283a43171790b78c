"""Aliases moved, all of a call's or none."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import FieldViolation, InvalidRequest
from services.registry.core.aliases import Alias, AliasMove, MoveOrder
from services.registry.core.lineage import Edge, Relation
from services.registry.core.names import ALIAS, checked, id_of, parent_of
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.approvals import valid_approval
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.use_cases.lookup import the_model, the_version


def move_aliases(
    tx: RegistryTx, orders: Sequence[MoveOrder], *, actor: str, reason: str
) -> list[Alias]:
    """The aliases after the moves, in the orders' order.

    Raises:
        InvalidRequest, InvalidName: The orders are of several models or name an alias twice.
        ModelNotFound, VersionNotFound: The model or a version doesn't exist.
        AliasMoved: An alias doesn't point where its order expects.
        VersionNotReady: A version may not be used.
        ApprovalRequired: An alias is protected and its version has no valid approval.
        ServiceError: An order names an approval that doesn't count.
    """
    _check_orders(orders)
    return [_move(tx, order, actor=actor, reason=reason) for order in orders]


def _check_orders(orders: Sequence[MoveOrder]) -> None:
    for index, order in enumerate(orders):
        checked(ALIAS, order.alias, f"moves[{index}].alias")
    model = parent_of(orders[0].alias)
    faults = []
    seen: set[str] = set()
    for index, order in enumerate(orders):
        if parent_of(order.alias) != model:
            faults.append(FieldViolation(f"moves[{index}].alias", f"is not of {model}"))
        if parent_of(order.to_version) != model:
            faults.append(FieldViolation(f"moves[{index}].to_version", f"is not of {model}"))
        if order.alias in seen:
            faults.append(FieldViolation(f"moves[{index}].alias", "is moved twice"))
        seen.add(order.alias)
    if faults:
        raise InvalidRequest(faults)


def _move(tx: RegistryTx, order: MoveOrder, *, actor: str, reason: str) -> Alias:
    model = the_model(tx, parent_of(order.alias))
    alias = tx.aliases.get(order.alias)
    order.check_expected("" if alias is None else alias.version)
    version = the_version(tx, order.to_version, "to_version")
    version.need_ready()
    approval = ""
    if id_of(order.alias) in model.policy.protected_aliases:
        approval = valid_approval(tx, order, version).meta.name
    if alias is None:
        moved = Alias(new_meta(tx, order.alias), order.to_version)
        tx.aliases.add(moved)
    else:
        moved = alias.moved_to(order.to_version, tx.now)
        tx.aliases.replace(moved)
    tx.record_move(
        AliasMove(
            alias=order.alias,
            from_version=order.expected_version,
            to_version=order.to_version,
            actor=actor,
            reason=reason,
            time=tx.now,
            approval=approval,
        )
    )
    for cause in filter(None, (order.to_version, approval)):
        tx.link(Edge(cause, order.alias, Relation.ALIASED, tx.now))
    tx.tell(
        "alias.moved",
        order.alias,
        {
            "from_version": order.expected_version,
            "to_version": order.to_version,
            "digest": version.digest,
            "actor": actor,
        },
    )
    return moved
