"""Content codes: alike for alike items, unique, the same again, and the same for items that come later."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge

from unimp.config import UnimpConfig
from unimp.content import fill_rows, rows_from_content
from unimp.errors import CheckpointError, UnimpError
from unimp.modeling import Unimp
from unimp.semantic_ids import SemanticIds, _k_means, _nearest
from unimp.vocabulary import Vocabulary


def clusters(seed: int, items: int = 300, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Features around eight far centres, in two groups of four, and the centre of each."""
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(2, width)) * 40
    centres = np.concatenate([group + rng.normal(size=(4, width)) * 8 for group in groups])
    own = np.random.default_rng(seed)
    which = own.integers(0, 8, items)
    return (centres[which] + own.normal(size=(items, width)) * 0.1).astype(np.float32), which


def test_codes_are_unique_and_tell_clusters_apart():
    features, which = clusters(1)
    made = SemanticIds.fit(features, levels=3, codebook=64, seed=0)
    assert made.levels == 3 and made.codes.shape == (300, 3)
    assert len(np.unique(made.codes, axis=0)) == 300
    assert made.codes.min() == 0 and made.codes.max() < 64
    coarse = SemanticIds.fit(features, levels=3, codebook=128, seed=0).codes
    for code in np.unique(coarse[:, 0]):
        assert len(np.unique(which[coarse[:, 0] == code])) == 1, "a first code stays within a cluster"


def test_two_centres_find_the_two_groups():
    features, which = clusters(1)
    x = torch.as_tensor(features)
    table = _k_means(x, 2, np.random.default_rng(0), 25)
    assert {tuple(sorted(set((which[_nearest(x, table).numpy() == c] // 4).tolist()))) for c in (0, 1)} == {(0,), (1,)}


def test_k_means_is_as_good_as_another():
    x = np.random.default_rng(3).normal(size=(500, 4)).astype(np.float32)
    table = _k_means(torch.as_tensor(x), 12, np.random.default_rng(0), 50)
    ours = ((x - table[_nearest(torch.as_tensor(x), table)].numpy()) ** 2).sum()
    theirs = KMeans(12, n_init=1, random_state=0).fit(x).inertia_
    assert ours < 1.1 * theirs


def test_each_level_codes_what_is_left():
    x = np.random.default_rng(4).normal(size=(400, 6)).astype(np.float32)
    made = SemanticIds.fit(x, levels=4, codebook=16, seed=0)
    left = (torch.as_tensor(x) - made.centre) / made.scale
    sizes = [float(left.square().mean())]
    for level, table in enumerate(made.codebooks):
        left = left - table[torch.as_tensor(made.codes[:, level])]
        sizes.append(float(left.square().mean()))
    assert sizes[0] == pytest.approx(1, abs=1e-3)
    assert all(after < 0.8 * before for before, after in itertools.pairwise(sizes))


def test_equal_seeds_give_equal_codes_and_others_do_not():
    features = np.random.default_rng(4).normal(size=(200, 6)).astype(np.float32)
    one, same, other = (SemanticIds.fit(features, levels=3, codebook=16, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.codes, same.codes)
    assert (one.codes != other.codes).any()


def test_a_new_domain_is_named_with_the_same_codebooks():
    features, which = clusters(1)
    more, where = clusters(2, items=40)
    made = SemanticIds.fit(features, levels=3, codebook=128, seed=0)
    grown = made.grown(more)
    np.testing.assert_array_equal(grown.codes[:300], made.codes)
    assert len(np.unique(grown.codes, axis=0)) == 340
    for item in range(40):
        alike = set(made.codes[which == where[item], 0].tolist())
        assert int(grown.codes[300 + item, 0]) in alike


def test_items_all_alike_still_get_names_of_their_own_until_none_is_left():
    same = np.zeros((6, 3), dtype=np.float32)
    made = SemanticIds.fit(same, levels=2, codebook=6)
    assert made.codes.tolist() == [[0, k] for k in range(6)]
    with pytest.raises(UnimpError, match="raise codebook or levels"):
        made.grown(same[:1])


def test_a_full_name_moves_to_the_nearest_code_with_room():
    features = np.array([[0.0], [0.0], [1.0], [9.0]], dtype=np.float32)
    made = SemanticIds.fit(features, levels=2, codebook=3, seed=0)
    zero, one, nine = (int(made.codes[k, 0]) for k in (0, 2, 3))
    assert sorted((zero, one, nine)) == [0, 1, 2]
    grown = made.grown(np.zeros((4, 1), dtype=np.float32))
    assert grown.codes[4:].tolist() == [[zero, 2], [one, 1], [one, 2], [nine, 1]]


def test_saved_and_loaded_is_the_same(tmp_path):
    features, _ = clusters(1)
    made = SemanticIds.fit(features, levels=3, codebook=64)
    made.save(tmp_path / "ids.safetensors")
    read = SemanticIds.load(tmp_path / "ids.safetensors")
    np.testing.assert_array_equal(read.codes, made.codes)
    np.testing.assert_array_equal(read.grown(features[:5]).codes, made.grown(features[:5]).codes)
    data = (tmp_path / "ids.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    for name in ("cut", "missing"):
        with pytest.raises(CheckpointError, match=f"{name}.safetensors.*make them again"):
            SemanticIds.load(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("lost", ["centre", "codes", "codebook.1"])
def test_what_lacks_a_part_is_refused(tmp_path, lost):
    file = tmp_path / "ids.safetensors"
    SemanticIds.fit(clusters(1)[0], levels=3, codebook=64).save(file)
    with safe_open(file, framework="pt") as opened:
        names = set(opened.keys()) - {lost}
        told, kept = opened.metadata(), {name: opened.get_tensor(name) for name in names}
    save_file(kept, file, told)
    with pytest.raises(CheckpointError, match=f"lack '{lost}'"):
        SemanticIds.load(file)


def test_wrong_features_are_refused():
    features = np.zeros((4, 3), dtype=np.float32)
    features[2, 1] = np.nan
    with pytest.raises(UnimpError, match="item 2 are no finite numbers"):
        SemanticIds.fit(features)
    with pytest.raises(UnimpError, match="take 2 or more"):
        SemanticIds.fit(features, levels=1)
    with pytest.raises(UnimpError, match="5 wide, the codebooks 3"):
        SemanticIds.fit(np.eye(3, dtype=np.float32), levels=2, codebook=4).grown(np.ones((1, 5), dtype=np.float32))


@pytest.mark.parametrize(("items", "width"), [(200, 6), (20, 50)])
def test_rows_are_those_of_ridge_regression(items, width):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(items, width)).astype(np.float32) * rng.uniform(0.1, 9, width) + 3
    features[:, 2] = 7.0  # tells nothing
    known = rng.random(items) < 0.7
    rows = rng.normal(size=(int(known.sum()), 5)).astype(np.float32)
    found = rows_from_content(features, rows, known, ridge=0.3)
    np.testing.assert_array_equal(found[known], rows)
    scaled = (features - features[known].mean(0)) / np.maximum(features[known].std(0), 1e-3)
    theirs = Ridge(alpha=0.3 * known.sum()).fit(scaled[known], rows).predict(scaled[~known])
    np.testing.assert_allclose(found[~known], theirs, atol=1e-4)


def test_content_that_tells_all_finds_the_rows_again():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 6)).astype(np.float32)
    rows = (features @ rng.normal(size=(6, 4)) + 2).astype(np.float32)
    known = np.arange(300) < 200
    np.testing.assert_allclose(rows_from_content(features, rows[known], known, 1e-6), rows, atol=1e-3)


def test_rows_that_cannot_be_told_are_refused():
    features, rows = np.ones((4, 2), dtype=np.float32), np.ones((3, 2), dtype=np.float32)
    with pytest.raises(UnimpError, match="do not fit together"):
        rows_from_content(features, rows, np.array([True, True, False, False]))
    with pytest.raises(UnimpError, match="give two items"):
        rows_from_content(features, rows, np.array([True, True, True, False]), ridge=0)
    rows[0] = np.inf
    with pytest.raises(UnimpError, match="not finite"):
        rows_from_content(features, rows, np.array([True, True, True, False]))


def test_only_rows_of_items_never_trained_are_filled():
    config = UnimpConfig(text_ids=50, items=8, candidates=2, latents=1, resampler_layers=1, head_width=8)
    model, vocabulary = Unimp(config), Vocabulary.of(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    known = np.arange(8) != 5
    features = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    tables = [model.embed.new.weight, model.head.new.weight]
    fill_rows(tables, vocabulary, features, known)
    first = vocabulary.item_ids.start - 50
    for name, value in model.state_dict().items():
        changed = (value != before[name]).nonzero()
        if name not in ("embed.new.weight", "head.new.weight"):
            assert not len(changed), name
            continue
        assert set(changed[:, 0].tolist()) == {first + 5}
        items = before[name][first:].numpy()
        np.testing.assert_allclose(value[first + 5], rows_from_content(features, items[known], known)[5], atol=1e-6)


def test_rows_of_items_of_several_ids_are_not_filled():
    config = UnimpConfig(text_ids=50, items=8, candidates=2, item_levels=2, codebook=4)
    codes = np.arange(16).reshape(8, 2) % 4
    with pytest.raises(UnimpError, match="share their rows"):
        fill_rows([], Vocabulary.of(config, codes), np.ones((8, 3), dtype=np.float32), np.arange(8) != 5)
