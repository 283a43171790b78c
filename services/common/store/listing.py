"""Lists: AIP-160 filters, AIP-132 orders and AIP-158 pages over SQL columns.

A filter is comparisons (`=`, `!=`, `<`, `<=`, `>`, `>=`, and `:` for "contains" or
"is set") joined by AND, OR, NOT and parentheses: `state = READY AND labels.team:*`.
As the AIP has it, OR binds closer than AND.
Pages are keyset pages: they stay right while rows are added, and page 1,000 costs
as much as page 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Row,
    Select,
    and_,
    false,
    literal,
    not_,
    or_,
    true,
    tuple_,
)

from services.common.errors import InvalidArgument
from services.common.store.labels import LabelIndex
from services.common.store.types import UtcDateTime

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000


class InvalidFilter(InvalidArgument):
    """The filter can't be parsed, or names what can't be filtered by."""

    reason = "INVALID_FILTER"

    def __init__(self, text: str, position: int, problem: str) -> None:
        super().__init__(
            f"Filter {text!r}, character {position}: {problem}",
            filter=text,
            position=str(position),
        )


class InvalidOrder(InvalidArgument):
    """The order names what can't be ordered by."""

    reason = "INVALID_ORDER"

    def __init__(self, text: str, known: Sequence[str]) -> None:
        super().__init__(
            f"Order {text!r} must be fields out of {', '.join(known)}, "
            "each with ' desc' or nothing behind it, joined by commas.",
            order_by=text,
        )


class InvalidPageToken(InvalidArgument):
    """The token was not made for this query."""

    reason = "INVALID_PAGE_TOKEN"

    def __init__(self) -> None:
        super().__init__(
            "The page token is damaged or belongs to another query; "
            "repeat the first page's arguments with it, or leave it out to start over."
        )


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a caller asks of a list.

    Attributes:
        page_size: Most rows wanted; 0 means 50, and more than 1,000 means 1,000.
        page_token: Where the page before ended; empty starts.
        filter: AIP-160 text; empty means all.
        order_by: Fields with optional ` desc`; empty means the list's default.
    """

    page_size: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows and the token of the next; the token is empty on the last."""

    rows: Sequence[Row[Any]]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind of row is listed.

    Attributes:
        fields: What may be filtered by, by name. A JSON column stands for a map and
            is filtered as `name.key`.
        key: Unique, never null; breaks ties.
        default_order: Used when the caller names none.
        orderable: The fields that may be ordered by, none of which may be null.
        label_index: What filters for one label start from; without it they read the labels of one
            row after another until the page is full.
    """

    fields: Mapping[str, Column[Any]]
    key: Column[Any]
    default_order: str
    orderable: tuple[str, ...]
    label_index: LabelIndex | None = None

    def page(
        self, connection: Connection, rows: Select[Any], query: ListQuery, *, scope: str
    ) -> Page:
        """The page of `rows` that `query` asks for.

        Args:
            connection: The transaction.
            rows: Selects all rows of the list, unordered.
            query: What the caller asks for.
            scope: What else decides the list, such as the parent; binds the token. With a
                `label_index` it is the parent.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
        order = self._order(query.order_by or self.default_order)
        bound = hashlib.sha256(
            json.dumps([scope, query.filter, query.order_by]).encode()
        ).hexdigest()[:16]
        starts: list[tuple[ColumnElement[Any], bool]] = [*order]
        if query.filter:
            tree = _parsed(query.filter)
            rows = rows.where(_condition(tree, query.filter, self.fields))
            label = _needed_label(tree)
            if self.label_index is not None and label is not None:
                rows = self.label_index.narrowed(rows, scope, label)
                starts = [(self.label_index.copy_of(column), down) for column, down in order]
        if query.page_token:
            rows = rows.where(_after(starts, _open_token(query.page_token, bound, order)))
        size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        ordered = rows.order_by(*(c.desc() if down else c.asc() for c, down in starts))
        found = connection.execute(ordered.limit(size + 1)).all()
        if len(found) <= size:
            return Page(found, "")
        last = found[size - 1]._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
        return Page(found[:size], _seal_token(bound, [last[column] for column, _ in order]))

    def _order(self, text: str) -> list[tuple[Column[Any], bool]]:
        order: list[tuple[Column[Any], bool]] = []
        for part in text.split(","):
            name, *direction = part.split() or [""]
            if name not in self.orderable or direction not in ([], ["asc"], ["desc"]):
                raise InvalidOrder(text, self.orderable)
            order.append((self.fields[name], direction == ["desc"]))
        if all(column is not self.key for column, _ in order):
            order.append((self.key, order[-1][1]))
        return order


def _after(order: list[tuple[ColumnElement[Any], bool]], values: list[Any]) -> ColumnElement[bool]:
    """What makes databases start at the right place of an index, where there is one."""
    columns = [column for column, _ in order]
    if len({down for _, down in order}) == 1:
        row, last = tuple_(*columns), tuple_(*map(literal, values, (c.type for c in columns)))
        return row < last if order[0][1] else row > last
    first, down = order[0]
    start = first <= values[0] if down else first >= values[0]
    return and_(start, _after_in_any_direction(order, values))


def _after_in_any_direction(
    order: list[tuple[ColumnElement[Any], bool]], values: list[Any]
) -> ColumnElement[bool]:
    alternatives = []
    for depth, (column, down) in enumerate(order):
        equal = [c == v for (c, _), v in zip(order[:depth], values[:depth], strict=True)]
        beyond = column < values[depth] if down else column > values[depth]
        alternatives.append(and_(*equal, beyond))
    return or_(*alternatives)


def _seal_token(bound: str, values: list[Any]) -> str:
    plain = [v.isoformat() if isinstance(v, datetime) else v for v in values]
    return base64.urlsafe_b64encode(json.dumps([bound, plain]).encode()).decode()


def _open_token(token: str, bound: str, order: list[tuple[Column[Any], bool]]) -> list[Any]:
    try:
        mark, values = json.loads(base64.urlsafe_b64decode(token.encode()))
        if mark != bound or len(values) != len(order):
            raise InvalidPageToken
        return [
            datetime.fromisoformat(value) if isinstance(column.type, UtcDateTime) else value
            for value, (column, _) in zip(values, order, strict=True)
        ]
    except (ValueError, TypeError, binascii.Error):
        raise InvalidPageToken from None


_GRAMMAR: Final = r"""
    ?start: expression
    ?expression: alternatives ("AND" alternatives)*   -> all_of
    ?alternatives: term ("OR" term)*                  -> any_of
    ?term: ("NOT" | "-") factor              -> negation
         | factor
    ?factor: "(" expression ")" | comparison
    comparison: FIELD OPERATOR value
    value: STRING | WORD | FIELD
    OPERATOR: "<=" | ">=" | "!=" | "=" | "<" | ">" | ":"
    FIELD: /(?!(?:AND|OR|NOT)\b)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_-]+)*/
    STRING: /"(\\.|[^"\\])*"/ | /'(\\.|[^'\\])*'/
    WORD: /[^\s()"'<>=!:,-][^\s()"'<>=!,]*/ | /-[0-9][^\s()"'<>=!,]*/
    %ignore /\s+/
"""


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="earley", lexer="dynamic", propagate_positions=True)


def condition_of(text: str, fields: Mapping[str, Column[Any]]) -> ColumnElement[bool]:
    """The SQL condition that an AIP-160 filter means.

    Raises:
        InvalidFilter: It can't be parsed, names an unknown field, or compares
            a field with what it can't be compared with.
    """
    return _condition(_parsed(text), text, fields)


def _parsed(text: str) -> Tree[Token]:
    try:
        return _parser().parse(text)
    except UnexpectedInput as error:
        problem = "a comparison such as state = READY, joined by AND, OR or NOT, is expected here"
        position = error.column if error.column > 0 else len(text) + 1
        raise InvalidFilter(text, position, problem) from None


def _needed_label(tree: Tree[Token]) -> tuple[str, str] | None:
    """Key and value of a label without which no row passes the filter, if there is one."""
    match tree.data, _trees(tree):
        case ("all_of", parts) | ("any_of", [_] as parts):
            return next(filter(None, map(_needed_label, parts)), None)
        case "comparison", _:
            field, operator, holder = tree.children
            assert isinstance(holder, Tree)
            literal = holder.children[0]
            assert isinstance(literal, Token)
            name, _, key = str(field).partition(".")
            return (key, _unquoted(literal)) if name == "labels" and operator == "=" else None
        case _:
            return None


def _condition(
    tree: Tree[Token], text: str, fields: Mapping[str, Column[Any]]
) -> ColumnElement[bool]:
    match tree.data:
        case "any_of":
            return or_(false(), *(_condition(child, text, fields) for child in _trees(tree)))
        case "all_of":
            return and_(true(), *(_condition(child, text, fields) for child in _trees(tree)))
        case "negation":
            return not_(_condition(_trees(tree)[0], text, fields))
        case _:
            return _comparison(tree, text, fields)


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


_OPERATIONS: Final[Mapping[str, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}


def _comparison(
    tree: Tree[Token], text: str, fields: Mapping[str, Column[Any]]
) -> ColumnElement[bool]:
    field, operator, holder = tree.children
    assert isinstance(field, Token)
    assert isinstance(holder, Tree)
    literal = holder.children[0]
    assert isinstance(literal, Token)
    position = (field.start_pos or 0) + 1
    value = _unquoted(literal)
    name, _, key = str(field).partition(".")
    column = fields.get(name)
    if column is None or bool(key) != isinstance(column.type, JSON):
        known = [f"{n}.KEY" if isinstance(c.type, JSON) else n for n, c in fields.items()]
        problem = f"{str(field)!r} is none of the fields {', '.join(known)}"
        raise InvalidFilter(text, position, problem)
    operand: ColumnElement[Any] = column[key].as_string() if key else column
    if operator == ":":
        if value == "*":
            return operand.is_not(None)
        return operand.contains(value, autoescape=True)
    return _OPERATIONS[str(operator)](operand, _typed(value, column, text, position))


def _unquoted(literal: Token) -> str:
    if literal.type == "STRING":
        return str(literal[1:-1]).replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")
    return str(literal)


def _typed(value: str, column: Column[Any], text: str, position: int) -> object:
    try:
        match column.type:
            case UtcDateTime():
                return datetime.fromisoformat(value).astimezone(UTC)
            case Boolean():
                return {"true": True, "false": False}[value.lower()]
            case Integer():
                return int(value)
            case Float():
                return float(value)
            case _:
                return value
    except (ValueError, KeyError):
        kind = "an RFC 3339 time" if isinstance(column.type, UtcDateTime) else "a fitting value"
        raise InvalidFilter(text, position, f"{value!r} is not {kind} for this field") from None
