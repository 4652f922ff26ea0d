"""Attributes by column: filters against plain Python over the same items."""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.errors import Invalid
from app.serving import attributes as module
from app.serving.attributes import Attributes, Limits
from app.serving.columns import ATTRIBUTES, MOST_COLUMNS, columns_of, joined, number_of, write_columns
from app.serving.filters import Condition, canonical

Item = dict[str, Any]
VALUES: list[Any] = [
    "red", "blue", "Red", "", "5", "4.99", " 7 ", "1e1", "-3", "nan", "inf", "1_0", "true", "ünï", "x" * 300,
    0, 5, 5.0, 4.99, -3, 10, 2**60, 1e300, True, False, None,
    [], ["red", "blue"], ["red", "red"], [5, "red"], [1, 9], [None, [1], {"a": 1}], {"nested": 1}, [True, 0],
]  # fmt: skip
NAMES = ["colour", "price", "tags", "ß", ""]
PLAIN = [v for v in VALUES if isinstance(v, str | int | float)]


def items_of(chance: random.Random, count: int) -> list[Item]:
    return [{name: chance.choice(VALUES) for name in NAMES if chance.random() < 0.7} for _ in range(count)]


def condition_of(chance: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for operator in chance.sample(
        ["any", "not", "gt", "gte", "lt", "lte", "exists"], chance.choice([1, 1, 2, 3])
    ):
        if operator in ("any", "not"):
            made[operator] = chance.sample(PLAIN, chance.randint(1, 4))
        elif operator == "exists":
            made[operator] = chance.random() < 0.5
        else:
            made[operator] = chance.choice([-3, 0, 4.99, 5, 10, 1e12])
    return made


# The rules, said a second time without columns.
def values_of(item: Item, name: str) -> list[Any]:
    value = item.get(name)
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str | int | float)]


def as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in str(value) else None


def equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return value is wanted or value == str(wanted).lower()
    if isinstance(wanted, str):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        return shown == wanted
    number = as_number(value)
    return number is not None and number == float(wanted)


COMPARED: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}


def one_meets(value: Any, condition: Mapping[str, Any]) -> bool:
    number = as_number(value)
    return all(
        any(equal(value, w) for w in operand)
        if operator == "any"
        else number is not None and COMPARED[operator](number, operand)
        for operator, operand in condition.items()
        if operator not in ("not", "exists")
    )


def meets(item: Item, name: str, condition: Mapping[str, Any]) -> bool:
    values = values_of(item, name)
    if "exists" in condition and bool(values) != condition["exists"]:
        return False
    if any(equal(value, wanted) for value in values for wanted in condition.get("not", ())):
        return False
    return condition.keys() <= {"not", "exists"} or any(one_meets(value, condition) for value in values)


def opened(folder: Path, items: list[Item]) -> Attributes:
    folder.mkdir(exist_ok=True)
    write_columns(folder, len(items), columns_of(items), True)
    return Attributes(folder)


def text_of(conditions: Mapping[str, Any]) -> str:
    return canonical({name: Condition.model_validate(each) for name, each in conditions.items()})


def test_filters_mean_what_they_say(tmp_path: Path) -> None:
    chance = random.Random(0)
    chosen = 0
    for turn in range(20):
        items = items_of(chance, 80)
        found = opened(tmp_path / str(turn), items)
        for _ in range(60):
            conditions = {
                chance.choice([*NAMES, "nobody"]): condition_of(chance) for _ in range(chance.randint(1, 2))
            }
            mask = found.mask(text_of(conditions)).tolist()
            assert mask == [all(meets(i, n, c) for n, c in conditions.items()) for i in items], conditions
            chosen += 0 < sum(mask) < len(items)
    assert chosen > 400  # not by choosing all or none


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"lt": 5}, ["4.99", "-3", "list"]),
        ({"gte": 1, "lt": 5}, ["4.99"]),  # no one value of [0, 9] lies between
        (5, ["5", "5.0"]),
        ("5", ["5"]),
        (True, ["true"]),
        ({"any": [9, "x"]}, ["list", "x"]),
        ({"not": [5, "x"]}, ["4.99", "-3", "true", "list", "none"]),
        ({"exists": False}, ["none"]),
    ],
)
def test_examples(tmp_path: Path, condition: object, expected: list[str]) -> None:
    items: dict[str, Any] = {"4.99": "4.99", "-3": -3, "5": "5", "5.0": 5.0, "true": True}
    items |= {"list": [0, 9], "x": "x", "none": {"a": 1}}
    found = opened(tmp_path, [{"price": value} for value in items.values()])
    mask = found.mask(text_of({"price": condition}))
    assert [name for name, is_in in zip(items, mask, strict=True) if is_in] == expected


def test_numbers() -> None:
    for text, number in (("1", 1), (" 4.99 ", 4.99), ("+.5", 0.5), ("1.", 1), ("-1E-2", -0.01)):
        assert number_of(text) == number
    for text in ("", "nan", "inf", "1_0", "0x1", "1,5", "١", "9" * 400, "--1", "true", "1e"):
        assert math.isnan(number_of(text))


def same(one: Attributes, other: Attributes) -> bool:
    """Whether all items have the same values."""

    def shown(found: Attributes) -> dict[str, list[list[int]]]:
        return {
            name: [sorted(column.keys[column.of_row(row)].tolist()) for row in range(found.size)]
            for name, column in found.columns.items()
        }

    return shown(one) == shown(other)


def test_changes_give_what_a_whole_build_gives(tmp_path: Path) -> None:
    chance = random.Random(1)
    items = items_of(chance, 50)
    before = opened(tmp_path / "0", items)
    for turn in range(1, 25):
        kept = np.array([row for row in range(len(items)) if chance.random() < 0.8], np.int64)
        added = items_of(chance, chance.randint(0, 8))
        folder = tmp_path / str(turn)
        folder.mkdir()
        columns = joined(before.columns, kept, before.size, columns_of(added, len(kept)))
        items = [items[row] for row in kept] + added
        write_columns(folder, len(items), columns, before.complete)
        before = Attributes(folder)
        assert same(before, opened(tmp_path / f"whole{turn}", items))
        for column in before.columns.values():  # nothing is carried along that nobody has
            assert len({*column.codes.tolist()}) == len(column.keys) == len({*column.keys.tolist()})
            assert len(column.numbers) == len(column.keys)
    empty = joined(before.columns, np.empty(0, np.int64), before.size, {})
    assert empty == {}


def test_of_too_many_names_the_most_frequent_are_known(tmp_path: Path) -> None:
    rare = [{f"rare{n}": 1, "common": n} for n in range(MOST_COLUMNS)]
    found = opened(tmp_path, rare)
    assert len(found.columns) == MOST_COLUMNS
    assert "common" in found.columns
    assert not found.complete
    found.check(["common"])
    missing = next(f"rare{n}" for n in range(MOST_COLUMNS) if f"rare{n}" not in found.columns)
    with pytest.raises(Invalid, match=missing):
        found.check([missing])
    later = tmp_path / "later"
    later.mkdir()
    write_columns(later, 1, joined(found.columns, np.array([0]), found.size, {}), found.complete)
    with pytest.raises(Invalid):  # it is not known either what was left out before
        Attributes(later).check([missing])


def test_a_name_that_no_item_has_is_no_error(tmp_path: Path) -> None:
    found = opened(tmp_path, [{"a": 1}, {"text": "hidden"}])
    found.check(["nobody"])
    assert not found.mask(text_of({"nobody": 1})).any()
    assert found.mask(text_of({"nobody": {"not": 1}})).all()
    assert not found.mask(text_of({"text": {"exists": True}})).any()
    assert opened(tmp_path / "none", []).mask(text_of({"a": 1})).shape == (0,)


def test_masks_are_kept_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MASK_BYTES", 250)
    found = opened(tmp_path, [{"a": n} for n in range(100)])
    first = found.mask(text_of({"a": 1}))
    assert found.mask(text_of({"a": 1})) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = True
    for n in range(2, 5):
        found.mask(text_of({"a": n}))
    assert found.mask(text_of({"a": 1})) is not first
    larger = opened(tmp_path / "larger", [{"a": n} for n in range(300)])
    assert larger.mask(text_of({"a": 1})).sum() == larger.mask(text_of({"a": 1})).sum() == 1


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    opened(tmp_path, [{"a": 1}])
    path = tmp_path / ATTRIBUTES
    whole = path.read_bytes()
    for damaged in (b"", whole[:-4], whole[:40]):
        path.write_bytes(damaged)
        with pytest.raises(Invalid, match="Remove its folder"):
            Attributes(tmp_path)


def test_limits(tmp_path: Path) -> None:
    chance = random.Random(2)
    items = [
        {"b": chance.choice("xyz"), "t": chance.sample("pqr", 2)} | ({} if n % 9 else {"b": None})
        for n in range(60)
    ]
    found = opened(tmp_path, items)
    limits = Limits(found, (("b", 3), ("t", 4), ("nobody", 1)))
    taken = [row for row in range(60) if limits.take(row)]
    for name, most in (("b", 3), ("t", 4)):
        counts = Counter(value for row in taken for value in values_of(items[row], name))
        assert max(counts.values()) == most
    allowed = np.ones(60, np.bool_)
    limits.leave_out(allowed)
    assert not [row for row in range(60) if limits.take(row)]  # there was no room for any other
    assert not allowed[[row for row in range(60) if row not in taken]].any()
