from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rank_bm25 import BM25Okapi

from tests.shop import ITEM_IDS, home_at
from unimp_baselines.bm25 import BM25, Index, documents, tokens
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock


def test_tokens() -> None:
    assert tokens("Men's Läufer-Schuh, N° 5_b") == ["mens", "läufer", "schuh", "n", "5", "b"]
    assert tokens(" .,- ") == []


@pytest.mark.parametrize("parameters", [(1.5, 0.75, 0.25), (0.9, 0.0, 0.0), (2.0, 1.0, 0.5), (0.01, 0.5, 0.1)])
def test_scores_are_those_of_rank_bm25(parameters: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(3)
    # Zipf's words, so that some stand in more than half of the documents and get the floor of a negative idf.
    words = [f"w{k}" for k in range(60)]
    weights = 1 / np.arange(1, 61)
    texts = [" ".join(rng.choice(words, rng.integers(0, 12), p=weights / weights.sum())) for _ in range(300)]
    queries = ["w0", "w1 w1 w50", "w7 unknown", "unknown", "", " ".join(words)]
    k1, b, epsilon = parameters
    theirs = BM25Okapi([tokens(text) for text in texts], k1=k1, b=b, epsilon=epsilon)
    assert min(theirs.idf.values()) <= epsilon * theirs.average_idf  # the floor is in play
    ours = Index.of(texts, k1, b, epsilon).scores(queries)
    with np.errstate(invalid="ignore"):  # with b = 1 rank_bm25 divides 0 by 0 for a document without words
        wanted = np.nan_to_num([theirs.get_scores(tokens(query)) for query in queries])
    np.testing.assert_allclose(ours, wanted, rtol=1e-12, atol=1e-12)


def test_equal_documents_score_exactly_equal() -> None:
    scores = Index.of(["red shoe", "blue shoe", "red shoe", "hat", "cap", "tie"], 1.5, 0.75, 0.25).scores(["red shoe"])
    assert scores[0, 0] == scores[0, 2]
    assert scores[0, 0] > scores[0, 1]


def test_a_catalogue_without_words() -> None:
    assert Index.of(["", "-"], 1.5, 0.75, 0.25).scores(["shoe", ""]).tolist() == [[0, 0], [0, 0]]


def test_documents_leave_out_what_is_missing() -> None:
    items = pl.DataFrame(
        {"title": ["A", None, None], "brand": ["B", None, "C"], "categories": [["X", "Y"], None, ["Z"]]},
        schema_overrides={"categories": pl.List(pl.String)},
    )
    assert documents(items) == ["A B X Y", "", "C Z"]


def _asked(tmp_path: Path, task: str, runner: BM25, n: int = 30) -> tuple[dict[str, np.ndarray], Dataset]:
    data = Dataset.open(home_at(tmp_path / "home"), "shop")
    examples = data.examples(task, "test").collect().head(n)
    blocks = list(runner.predict(task, examples, data.catalogue(), Context(0, tmp_path)))
    assert all(isinstance(block, ScoreBlock) for block in blocks)
    rows = {i: row for block in blocks for i, row in zip(block.example_ids, block.scores, strict=True)}
    assert sorted(rows) == sorted(examples["example_id"].to_list())
    assert sum(len(block.example_ids) for block in blocks) == examples.height
    return rows, data


def test_search_finds_the_queried_category(tmp_path: Path) -> None:
    rows, data = _asked(tmp_path, "search", BM25())
    queries = dict(data.examples("search", "test").select("example_id", "query").collect().iter_rows())
    catalogue = data.catalogue()
    cars = catalogue.items["categories"].list.contains("Cars").to_numpy()
    asked_for_cars = [i for i, query in queries.items() if "cars" in query]
    assert asked_for_cars
    for example in asked_for_cars:
        assert rows[example][cars].min() > rows[example][~cars].max()


def test_each_distinct_query_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Index.scores

    def counted(self: Index, queries: list[str]) -> np.ndarray:
        asked.extend(queries)
        return real(self, queries)

    monkeypatch.setattr(Index, "scores", counted)
    monkeypatch.setattr("unimp_baselines.common._CELLS", 20)  # one example a block
    rows, data = _asked(tmp_path, "search", BM25())
    queries = data.examples("search", "test").collect()["query"]
    assert len(asked) == len(set(asked)) == queries.n_unique() < len(rows)


def test_recommendation_asks_with_the_last_titles(tmp_path: Path) -> None:
    rows, data = _asked(tmp_path, "recommendation", BM25(history=1))
    histories = dict(data.examples("recommendation", "test").select("example_id", "history").collect().iter_rows())
    index = data.catalogue().index
    for example, scores in rows.items():
        last = histories[example][-1]["item_id"]
        assert last in ITEM_IDS
        assert scores[index[last]] == scores.max()  # nothing is more like a title than itself; seen items go later


@pytest.mark.parametrize("wrong", [{"k1": 0.0}, {"b": 1.5}, {"epsilon": -0.1}, {"history": 0}, {"expansion": -1.0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BM25(**wrong)  # type: ignore[arg-type]


def test_without_expansion_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = _asked(tmp_path, "search", BM25())
    monkeypatch.setattr(BM25, "_expanded", lambda *_: pytest.fail("a search was expanded"))
    data = Dataset.open(home_at(tmp_path / "again"), "shop")
    examples = data.examples("search", "test").collect().head(30)
    index = Index.of(documents(data.catalogue().items), 1.5, 0.75, 0.25)
    wanted = dict(
        zip(examples["example_id"], index.scores(examples["query"].to_list()).astype(np.float32), strict=True)
    )
    assert plain.keys() == wanted.keys()
    assert all(np.array_equal(plain[example], wanted[example]) for example in plain)
    runner = BM25(expansion=0.0)
    for block in runner.predict("search", examples, data.catalogue(), Context(0, tmp_path)):
        for example, row in zip(block.example_ids, block.scores, strict=True):
            assert np.array_equal(row, plain[example])


def test_expansion_adds_the_mean_of_the_last_titles(tmp_path: Path) -> None:
    rows, data = _asked(tmp_path, "search", BM25(expansion=0.5, history=2))
    catalogue = data.catalogue()
    index = Index.of(documents(catalogue.items), 1.5, 0.75, 0.25)
    titles = dict(catalogue.items.select("item_id", "title").iter_rows())
    examples = data.examples("search", "test").filter(pl.col("example_id").is_in(list(rows))).collect()
    for example in examples.iter_rows(named=True):
        last = [titles[entry["item_id"]] for entry in example["history"]][-2:]
        wanted = index.scores([example["query"]])[0] + 0.5 * index.scores(last).mean(0)
        np.testing.assert_allclose(rows[example["example_id"]], wanted, rtol=1e-5)


def test_only_a_search_is_expanded(tmp_path: Path) -> None:
    plain, _ = _asked(tmp_path / "a", "recommendation", BM25())
    other, _ = _asked(tmp_path / "b", "recommendation", BM25(expansion=3.0))
    assert all(np.array_equal(plain[example], other[example]) for example in plain)
