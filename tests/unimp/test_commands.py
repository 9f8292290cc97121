"""`python -m unimp.train` and `unimp.predict` on a built folder, and the toolkit scoring what came out."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch

from tests import shop as small
from unimp import predict, train
from unimp.errors import UnimpError
from unimp.options import Options
from unimp_bench.submissions import score


def test_options_are_read_by_their_kinds() -> None:
    read = train.options_of(
        ["gamma=0", "exclusive=false", "overview=true", "history=7", "vision=off", "pretrained=none", "item_rows=free"]
    )
    assert read == Options(gamma=0.0, exclusive=False, overview=True, history=7, vision="off", item_rows="free")


@pytest.mark.parametrize(
    "pair",
    [
        "gama=1",
        "vision=maybe",
        "exclusive=2",
        "history=x",
        "effort=-1",
        "epochs=0",
        "lr=-1",
        "effort=inf",
        "lr=nan",
        "gamma=nan",
        "gamma=inf",
    ],
)
def test_wrong_options_are_refused_in_one_line(pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "o"), "--set", pair]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_no_dataset_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 1
    assert "no finished dataset" in capsys.readouterr().err


def test_a_folder_for_answers_must_be_there_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UnimpError, match="make it before"):
        predict.predict(tmp_path, tmp_path, "search", tmp_path / "none" / "out.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.home_at(tmp_path / "home").dataset("shop")


def refused(command: Callable[[list[str]], int], words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    assert command(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_what_cannot_be_asked_is_refused_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(task: str = "recommendation", out: Path = tmp_path / "out.parquet", *more: str) -> str:
        words = ["--model", str(tmp_path), "--data", str(data), "--task", task, "--out", str(out), *more]
        return refused(predict.main, words, capsys)

    (data / "visible/tasks/search/test.examples.parquet").unlink()
    assert "no task search" in said("search")
    assert f"is a folder; name a file for the answers, {tmp_path / 'recommendation.parquet'}" in said(out=tmp_path)
    assert "seed=-1; wanted 0 or more" in said("recommendation", tmp_path / "out.parquet", "--seed", "-1")
    asked = data / "visible/tasks/recommendation/test.examples.parquet"
    pq.write_table(pq.read_table(asked).slice(0, 0), asked)
    assert "asks nothing of task recommendation" in said()
    (data / "manifest.json").unlink()
    assert "no finished dataset" in said()


def test_a_training_begins_nowhere_where_it_cannot_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "seed=-1; wanted 0 or more" in refused(
        train.main, ["--data", str(data), "--out", str(tmp_path / "o"), "--seed", "-1"], capsys
    )
    monkeypatch.chdir(data)  # `.` has a name, too
    assert f"{data.resolve()} holds something else" in refused(train.main, ["--data", ".", "--out", "."], capsys)


@pytest.mark.parametrize("file", ["items.parquet", "interactions.parquet", "tasks/preference/train.examples.parquet"])
def test_a_dataset_that_is_not_whole_is_refused(
    data: Path, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, broken = ["--data", str(data), "--out", str(tmp_path / "o")], data / "visible" / file
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])
    assert f"{broken} cannot be read" in refused(train.main, words, capsys)
    broken.write_bytes(whole)
    table = pq.read_table(broken)
    pq.write_table(table.drop_columns(["item_id" if "item_id" in table.column_names else "position"]), broken)
    assert f"{data} is not whole: it lacks" in refused(train.main, words, capsys)
    if "/" not in file:
        broken.unlink()
        assert f"{broken} cannot be read" in refused(train.main, words, capsys)


@pytest.mark.parametrize("file", ["items.parquet", "tasks/preference/test.examples.parquet"])
def test_questions_about_what_is_not_there_are_refused(
    data: Path, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(tmp_path), "--data", str(data), "--task", "preference", "--out", str(tmp_path / "p")]
    broken = data / "visible" / file
    table = pq.read_table(broken)
    lacking = table.slice(0, 3) if file == "items.parquet" else table.drop_columns(["history"])
    pq.write_table(lacking, broken)
    assert f"{data} is not whole: it lacks" in refused(predict.main, words, capsys)
    broken.write_bytes(broken.read_bytes()[:-100])
    assert f"{broken} cannot be read" in refused(predict.main, words, capsys)


def test_what_stands_in_the_way_is_said_before_the_work(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(UnimpError, match="holds something else; give another --out"):
        train.train(data, tmp_path / "out", Options(), 0)
    with pytest.raises(UnimpError, match="no task 'serach'; known: recommendation"):
        train.train(data, tmp_path / "new", Options(), 0, "search,serach")
    lent = Options(pretrained=str(tmp_path / "prats"))
    with pytest.raises(UnimpError, match="prats holds no parts; make them"):
        train.train(data, tmp_path / "new", lent, 0)
    assert not (tmp_path / "prats").exists()


@pytest.mark.slow
def test_trained_and_asked_without_the_toolkit_then_scored_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    home = small.home_at(tmp_path / "home")
    data, out = home.dataset("shop"), tmp_path / "saved"
    assert train.main(["--data", str(data), "--out", str(out), "--set", "effort=0.02", "--set", "epochs=50"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"saved in {out}; losses of every stage: tensorboard --logdir {out}"
    assert sum("validation RMSE of ratings" in line for line in said) == 2  # of both systems
    assert (out / train.ADAPTED).is_dir() and any(out.glob("tensorboard/multi_task/events*"))
    assert not out.with_name("saved.work").exists()
    assert train.main(["--data", str(data), "--out", str(out)]) == 1  # nothing is trained over
    for task in ("recommendation", "preference", "explanation", "selection", "image_generation"):
        file = tmp_path / f"{task}.parquet"
        assert predict.main(["--model", str(out), "--data", str(data), "--task", task, "--out", str(file)]) == 0
        assert pq.read_table(file).num_rows > 0
        assert (score(home, "shop", task, file) / "manifest.json").is_file()
