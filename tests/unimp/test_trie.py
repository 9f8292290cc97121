"""The prefix tree against a dictionary of prefixes."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from unimp.errors import UnimpError
from unimp.trie import Trie, TrieProcessor

NAMES = np.array([[5, 8, 11], [5, 7, 11], [6, 7, 10], [5, 8, 10]])


def following(names: np.ndarray, prefix: tuple[int, ...]) -> list[int]:
    n = len(prefix)
    return sorted({int(name[n]) for name in names if n < len(name) and tuple(name[:n]) == prefix})


def test_a_small_tree_by_hand():
    trie = Trie.of(NAMES)
    assert trie.ids.tolist() == [-1, 5, 6, 7, 8, 7, 11, 10, 11, 10]
    assert trie.first.tolist()[:6] == [1, 3, 5, 6, 7, 9]
    assert trie.count.tolist() == [2, 2, 1, 1, 2, 1, 0, 0, 0, 0]
    assert trie.item.tolist() == [-1] * 6 + [1, 3, 0, 2]
    assert trie.levels == 3 and trie.widest == 2


def test_children_and_items_are_those_of_a_dictionary():
    rng = np.random.default_rng(0)
    names = np.unique(rng.integers(0, 9, (400, 4)), axis=0)
    names = names[rng.permutation(len(names))]
    trie = Trie.of(names)
    for length in range(5):
        for prefix in {tuple(name[:length].tolist()) for name in names} | {tuple([9] * length), tuple([-1] * length)}:
            node = trie.walk(torch.tensor([prefix], dtype=torch.long).view(1, length))
            ids, kids = trie.children(node)
            assert ids[0][ids[0] >= 0].tolist() == following(names, prefix)
            assert ((ids >= 0) == (kids >= 0)).all()
            known = any(tuple(name[:length]) == prefix for name in names)
            assert (int(node) >= 0) == known
    assert trie.item[trie.walk(torch.as_tensor(names))].tolist() == list(range(len(names)))


def test_many_prefixes_at_once_some_of_them_wrong():
    trie = Trie.of(NAMES)
    nodes = trie.walk(torch.tensor([[5, 8], [5, 9], [6, 7], [4, 7]]))
    assert nodes.tolist() == [4, -1, 5, -1]
    ids, kids = trie.children(nodes)
    assert ids.tolist() == [[10, 11], [-1, -1], [10, -1], [-1, -1]]
    assert kids.tolist() == [[7, 8], [-1, -1], [9, -1], [-1, -1]]


def test_one_id_a_name_is_a_tree_of_one_level():
    trie = Trie.of(np.array([[9], [7], [8]]))
    assert trie.children(torch.tensor([0]))[0].tolist() == [[7, 8, 9]]
    assert trie.item[trie.walk(torch.tensor([[9], [8]]))].tolist() == [0, 2]


def test_the_processor_allows_names_and_then_the_end():
    processor = TrieProcessor(Trie.of(NAMES), prompt=2, end=0)
    written = torch.tensor([[3, 3, 5], [3, 3, 6], [3, 3, 9]])
    kept = processor(written, torch.zeros((3, 12))).isfinite()
    assert [row.nonzero().flatten().tolist() for row in kept] == [[7, 8], [7], [0]]
    whole = torch.tensor([[3, 3, 5, 8, 11], [3, 3, 6, 7, 10]])
    kept = processor(whole, torch.zeros((2, 12))).isfinite()
    assert [row.nonzero().flatten().tolist() for row in kept] == [[0], [0]]


def test_two_items_of_one_name_are_named():
    with pytest.raises(UnimpError, match="items 0 and 4 have the same semantic id"):
        Trie.of(np.concatenate([NAMES, NAMES[:1]]))
    with pytest.raises(UnimpError, match="no items"):
        Trie.of(NAMES[:0])


def test_a_large_catalogue_takes_seconds_and_little_memory():
    rng = np.random.default_rng(0)
    names = np.unique(rng.integers(0, 256, (120_000, 4)), axis=0) + np.arange(4) * 256
    begin = time.process_time()
    trie = Trie.of(names)
    assert time.process_time() - begin < 5
    assert sum(t.nbytes for t in (trie.ids, trie.first, trie.count, trie.item)) < 20e6
    assert (trie.item[trie.walk(torch.as_tensor(names))].numpy() == np.arange(len(names))).all()
