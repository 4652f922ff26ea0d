"""The items of a release on disk: which row an id has, and what is answered of the item in a row.

    ids.marisa          a trie of the ids: id <-> number
    items.safetensors   number <-> row, the JSON of all items end to end, the digest of each item's content

Both are memory-mapped and never written again, so processes share their pages and opening costs less than a
millisecond, whatever the catalogue's size.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import marisa_trie
import numpy as np
from numpy.typing import NDArray

from app.core.errors import Invalid
from app.model.snapshot import DIGEST_BYTES
from app.serving.arrays import map_arrays, write_arrays
from app.store.catalog import ItemRow

IDS, ITEMS = "ids.marisa", "items.safetensors"
_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as it is written: `json` is what is answered of it, `digest` names what is encoded of it."""

    item_id: str
    json: bytes
    digest: bytes
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, item: ItemRow, digest: bytes) -> "Entry":
        """The entry of an item of the database."""
        # The text last: an attribute of that name must not hide it.
        shown = {"item_id": item.item_id, "metadata": {**item.attributes, "text": item.text}}
        text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        return cls(item.item_id, text.encode(), digest, item.attributes)


class Catalog:
    """N items by row; opened by `Catalog(folder)`. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        arrays: _Arrays = map_arrays(folder / ITEMS)
        self._ids = marisa_trie.Trie()
        try:
            self._ids.mmap(str(folder / IDS))
        except (OSError, RuntimeError) as error:
            raise Invalid(
                f"The release's file {IDS} is damaged. Remove its folder: it is built again."
            ) from error
        self._row_of, self._number_of = arrays["row_of"], arrays["number_of"]
        self.all_json = memoryview(arrays["json"].data)  # of all items, end to end
        self._ends = arrays["ends"]
        self.digests: NDArray[np.uint8] = arrays["digests"]  # (N, 16)
        self.size = len(self.digests)
        if len(self._ids) != self.size:
            raise Invalid(
                "The release's ids and items differ in number. Remove its folder: it is built again."
            )

    def rows(self, item_ids: Iterable[str]) -> list[int | None]:
        """Item ids -> rows; None where the catalogue lacks the item."""
        numbers = [self._ids.get(item_id) for item_id in item_ids]
        return [None if number is None else int(self._row_of[number]) for number in numbers]

    def item_id(self, row: int) -> str:
        """The id of the item in a row."""
        return cast(str, self._ids.restore_key(int(self._number_of[row])))

    def json(self, row: int) -> bytes:
        """`{"item_id": ..., "metadata": {...}}` of the item in a row."""
        return self.all_json[self._ends[row] : self._ends[row + 1]].tobytes()

    def metadata(self, row: int) -> dict[str, Any]:
        """What is known of the item in a row, its `text` among it."""
        return cast(dict[str, Any], json.loads(self.json(row))["metadata"])

    def json_of(self, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
        """The JSON of many rows as pieces to put end to end, and the length of each."""
        data, starts, ends = np.asarray(self.all_json), self._ends[:-1], self._ends[1:]
        # Rows that follow each other are one piece: a change leaves long runs.
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
        return [data[starts[run[0]] : ends[run[-1]]] for run in runs], (ends - starts)[rows]


def write_catalog(
    folder: Path, added: Sequence[Entry], before: Catalog | None, kept: NDArray[np.int64]
) -> None:
    """Write the rows `kept` of another catalogue, in that order, then those that are added."""
    ids = [entry.item_id for entry in added]
    digests = np.frombuffer(b"".join(entry.digest for entry in added), np.uint8).reshape(-1, DIGEST_BYTES)
    pieces = [np.frombuffer(b"".join(entry.json for entry in added), np.uint8)]
    lengths = np.fromiter((len(entry.json) for entry in added), np.int64, len(added))
    if before is not None:
        ids = [*map(before.item_id, kept.tolist()), *ids]
        digests = np.concatenate([before.digests[kept], digests])
        old_pieces, old_lengths = before.json_of(kept)
        pieces, lengths = [*old_pieces, *pieces], np.concatenate([old_lengths, lengths])
    trie = marisa_trie.Trie(ids)
    (folder / IDS).write_bytes(trie.tobytes())  # its own `save` hides why it fails
    number_of = np.fromiter(map(trie.get, ids), np.int32, len(ids))
    row_of = np.empty_like(number_of)
    row_of[number_of] = np.arange(len(ids), dtype=np.int32)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays: _Arrays = {"digests": digests, "json": np.concatenate(pieces), "ends": ends}
    write_arrays(folder / ITEMS, arrays | {"row_of": row_of, "number_of": number_of})
