import re
from collections import Counter
from pathlib import Path

import pytest

from app.core.errors import Invalid
from training.dataset import Corpus
from training.experiments.data import LENGTH, cut, modality_of, read
from training.experiments.scales import Limit


def histories(corpus: Corpus) -> set[tuple[str, ...]]:
    return {tuple(corpus.item_ids[i] for i in window) for window in corpus.windows}


def test_the_folder_tells_texts_from_images(channels: Path) -> None:
    assert modality_of("films", channels) == modality_of("films", channels / "text") == "text"
    assert modality_of("covers", channels) == "image"
    assert isinstance(next(iter(read("covers", channels).items.values())), bytes)


def test_what_is_in_no_folder_is_looked_for_at_the_retailer(channels: Path) -> None:
    assert len(read("pastry", channels).items) == len(read("pastry", None).items) == 2149
    with pytest.raises(Invalid, match=re.escape("nothing.items.tsv.gz")):
        read("nothing", channels)


def test_a_name_in_two_folders_is_refused(channels: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "films.items.tsv.gz").touch()
    with pytest.raises(Invalid, match="2 folders"):
        read("films", tmp_path)


def test_samples_are_nested_and_rank_the_same_items(channels: Path) -> None:
    films = read("films", channels)
    whole, cut_to_5 = cut(films, Limit(), 1.0, 1), cut(films, Limit(5), 1.0, 1)
    two, one = cut(films, Limit(5), 0.4, 1), cut(films, Limit(5), 0.2, 1)
    assert [len(c.windows) for c in (whole, cut_to_5, two, one)] == [64, 5, 2, 1]
    assert histories(one) < histories(two) < histories(cut_to_5) < histories(whole)
    assert one.item_ids == two.item_ids == cut_to_5.item_ids
    touched = set().union(*histories(cut_to_5))
    assert set(cut_to_5.item_ids) == touched < set(whole.item_ids)
    again = cut(read("films", channels), Limit(5), 1.0, 1)
    assert histories(again) == histories(cut_to_5)


def test_too_few_users_are_refused_with_the_numbers(channels: Path) -> None:
    with pytest.raises(Invalid, match=r"2 user\(s\).* 10 are needed"):
        cut(read("films", channels), Limit(20), 0.1, 10)


def test_lengths_are_those_of_the_paper(channels: Path) -> None:
    assert cut(read("films", channels), Limit(), 1.0, 1).length == LENGTH["text"] == 20
    assert cut(read("covers", channels), Limit(), 1.0, 1).length == LENGTH["image"] == 10


def test_only_the_most_popular_items_are_kept() -> None:
    pastry = read("pastry", None)
    counts = Counter(item for sequence in pastry.sequences.values() for item in sequence)
    few = cut(pastry, Limit(items=100), 1.0, 1)
    least = min(counts[item] for item in few.item_ids)
    assert few.n_items == 100
    assert sum(n > least for n in counts.values()) < 100
    assert all(len(set(window)) == len(window) >= 5 for window in few.windows)
