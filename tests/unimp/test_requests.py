"""A folder goes on with what it was begun for, and with nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tests import shop as small
from tests.unimp import learning_shop
from unimp import requests, standing, train
from unimp.errors import CheckpointError, UnimpError
from unimp.options import Options
from unimp.processes import Processes, asked_to_shard

TASKS = ("search", "preference")


def begin(folder: Path, options: Options, *, seed: int = 0, shop: object = None, **more: bool) -> None:
    of = shop or learning_shop.shop()
    requests.same_training(folder, requests.training(options, seed, TASKS, of, **more))  # type: ignore[arg-type]


def test_a_training_goes_on_for_the_same_request_only(tmp_path: Path) -> None:
    begin(tmp_path, Options())
    begin(tmp_path, Options())
    for other, named in (({"history": 7}, "history None (now 7)"), ({"gamma": 0.0}, "gamma 2.0 (now 0.0)")):
        with pytest.raises(CheckpointError) as refused:
            begin(tmp_path, Options(**other))
        assert named in str(refused.value)
        assert str(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match=r"seed 0 \(now 1\)"):
        begin(tmp_path, Options(), seed=1)
    with pytest.raises(CheckpointError, match="and 1 more"):
        begin(tmp_path, Options(history=7, gamma=0.0, lr=1.0, epochs=2))


def test_what_matters_only_when_something_is_asked_may_change(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    begin(tmp_path / "fit", Options())
    begin(tmp_path / "fit", Options(rating="likeliest", beams=4, adapt_epochs=9, neighbours=False))
    (tmp_path / "adapt").mkdir()
    begin(tmp_path / "adapt", Options(), adapting=True)
    begin(tmp_path / "adapt", Options(beams=4), adapting=True)
    with pytest.raises(CheckpointError, match="adapt_epochs"):
        begin(tmp_path / "adapt", Options(adapt_epochs=9), adapting=True)


def test_other_data_is_another_request(tmp_path: Path) -> None:
    shop = learning_shop.shop()
    begin(tmp_path, Options(), shop=shop)
    begin(tmp_path, Options(), shop=learning_shop.shop())
    rating = shop.log.rating.copy()
    rating[3] += 1
    items, log = shop.items, shop.log
    swapped = tuple(reversed(items.picture_ids))
    changed = [
        dataclasses.replace(shop, log=dataclasses.replace(log, rating=rating)),
        dataclasses.replace(shop, log=dataclasses.replace(log, learned={})),
        dataclasses.replace(shop, items=dataclasses.replace(items, picture_ids=swapped)),
        dataclasses.replace(shop, items=dataclasses.replace(items, bodies=(*items.bodies[1:], "x"))),
        dataclasses.replace(shop, selection=shop.selection[1:]),
        dataclasses.replace(shop, valid={"search": shop.selection[:1]}),
        dataclasses.replace(shop, reviews=("a review",)),
    ]
    for other in changed:
        with pytest.raises(CheckpointError, match="begun with other data; remove it"):
            begin(tmp_path, Options(), shop=other)
    assert len({requests.data_hash(one) for one in [shop, *changed]}) == len(changed) + 1
    assert np.isfinite(rating).all()


def test_parts_of_ones_own_are_made_alike_and_lent_ones_must_fit(tmp_path: Path) -> None:
    requests.same_parts(tmp_path, Options(), 0)
    requests.same_parts(tmp_path, Options(epochs=3, gamma=0.0), 0)  # nothing that parts know of
    with pytest.raises(CheckpointError, match=r"tower steps \d+ \(now \d+\)"):
        requests.same_parts(tmp_path, Options(effort=0.5), 0)
    with pytest.raises(CheckpointError, match="seed"):
        requests.same_parts(tmp_path, Options(), 1)
    with pytest.raises(CheckpointError, match=r"dropout 0.0 \(now 0.5\)"):
        requests.same_parts(tmp_path, Options(dropout=0.5), 0)
    lent = str(tmp_path)
    requests.same_parts(tmp_path, Options(effort=0.5, pretrained=lent), 1)
    with pytest.raises(CheckpointError, match=r"preset tiny \(now small\)"):
        requests.same_parts(tmp_path, Options(preset="small", pretrained=lent), 0)
    with pytest.raises(CheckpointError, match="published text_weights"):
        requests.same_parts(tmp_path, Options(text_weights="folder", pretrained=lent), 0)
    requests.same_parts(tmp_path / "older", Options(pretrained=lent), 0)  # says nothing, may be anything


def test_what_says_nothing_or_no_sense_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "fit" / "stages").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="does not say"):
        begin(tmp_path / "fit", Options())
    (tmp_path / "lone" / "tokenizer").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="do not say"):
        requests.same_parts(tmp_path / "lone", Options(), 0)
    begin(tmp_path, Options())
    (tmp_path / requests.TRAINING).write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        begin(tmp_path, Options())


class StoppedError(Exception):
    """In the place of a training that is killed."""


def test_a_killed_training_is_gone_on_with_by_the_same_command_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise StoppedError

    monkeypatch.setattr(standing, "stand", stopped)
    data, out = small.home_at(tmp_path / "home").dataset("shop"), tmp_path / "saved"
    command = ["--data", str(data), "--out", str(out)]
    with pytest.raises(StoppedError):
        train.main(command)
    assert json.loads((tmp_path / "saved.work" / "fit" / requests.TRAINING).read_text())["history"] is None
    for other in (["--set", "history=7"], ["--seed", "3"], ["--tasks", "search"]):
        assert train.main([*command, *other]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    for same in ([], ["--set", "beams=2"]):
        with pytest.raises(StoppedError):
            train.main([*command, *same])


def test_one_process_needs_no_launch(tmp_path: Path) -> None:
    team = Processes.here()
    assert (team.rank, team.count, team.main) == (0, 1, True)
    assert team.once(lambda: 3) == team.in_turn(lambda: 3) == team.agree(3) == 3
    assert team.gathered(3) == [3]
    team.see(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UnimpError, match="cannot be written"):
        team.see(tmp_path / "file" / "folder")


def test_shares_are_asked_for_by_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert not asked_to_shard()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert asked_to_shard()
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UnimpError, match="fsdp_version 2"):
        asked_to_shard()
