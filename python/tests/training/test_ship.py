# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Shipping a model: the folder appears whole, with a card of its own record, or stays as it was."""

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from ee.errors import run_main  # noqa: E402
from ee.train.ship import main  # noqa: E402

from .test_measure import make  # noqa: E402

RESULTS = Path(__file__).parents[3] / "bench" / "results"
FILES = {"README.md", "cost.png", "curve.csv", "curve.png", "ee_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A run of a small model, its record (a real one about the small config), a data folder, and a folder shipped before."""
    model = make()
    model.save(tmp_path / "run" / "fitted", narrow=True)
    (tmp_path / "run" / "curve.csv").write_text("step,tokens,seconds,full,valid.full\n2000,10,1,5.0,\n4000,20,2,4.0,4.5\n")
    record = json.loads((RESULTS / "train-layerskip.json").read_text())
    record["result"]["config"] = dataclasses.asdict(model.config)
    record["result"]["run"] = {"step": 4000.0, "tokens": 20.0, "seconds": 121.0}
    (tmp_path / "result.json").write_text(json.dumps(record))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(json.dumps({"packages": [{"name": "tales", "version": "1.0", "registry": "pypi", "sha256": ""}]}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "data" / name).write_text("{}")
    (tmp_path / "out").mkdir()
    for name in FILES:
        (tmp_path / "out" / name).write_text(f"old {name}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_with_its_card(work):
    before = contents(work / "run")
    assert run_main(main, ["run", "result.json", "data", "out"]) == 0
    assert run_main(main, ["run", "result.json", "data", "new"]) == 0
    assert {p.name for p in (work / "out").iterdir()} == FILES == {p.name for p in (work / "new").iterdir()}
    for name in FILES - {"README.md"}:
        assert (work / "out" / name).read_bytes() == (work / "new" / name).read_bytes(), name
    assert contents(work / "run") == before
    for source in ("run/fitted/model.safetensors", "run/fitted/ee_config.json", "run/curve.csv", "data/tokenizer.json"):
        assert (work / source).read_bytes() == (work / "out" / Path(source).name).read_bytes()
    card = (work / "out" / "README.md").read_text()
    assert card.startswith("# out\n") and "| tales | 1.0 | pypi |" in card
    # 121 seconds are a budget of three minutes.
    assert "| recipe | `python -m ee.train layerskip DATA RUN --minutes 3` (early_exit), seed 0 |" in card
    assert "at their cost, within half a percent" in card and "chosen on the tokens measured" in card
    assert not [p for p in work.iterdir() if p.name.startswith(".")]


def spoiled(change):
    """A record whose result is changed in place by `change`."""

    def spoil(record):
        change(record["result"])
        return record

    return spoil


RECORDS = {
    "no JSON": (lambda r: "{", "result.json: not JSON"),
    "empty file": (lambda r: "", "result.json: not JSON"),
    "empty object": (lambda r: {}, "result.json: item is missing; ./evidence train-NAME"),
    "list": (lambda r: [], "result.json: must hold an object, but got []"),
    "another item": (lambda r: json.loads((RESULTS / "rows.json").read_text()), "item: must be train-NAME, but got rows"),
    "classifier": (lambda r: json.loads((RESULTS / "train-classifier.json").read_text()), "result.recipe is missing"),
    "not compared": (spoiled(lambda r: r.pop("beside")), "result.beside is missing"),
    "unknown recipe": (spoiled(lambda r: r.update(recipe="huge")), "result.recipe: must be one of dense, "),
    "recipe of an encoder": (spoiled(lambda r: r.update(recipe="classifier")), "result.recipe: must be one of dense, "),
    "unknown model beside": (spoiled(lambda r: r["beside"][1].update(model="huge")), "result.beside[1].model: must be one of dense, "),
    "interval": (spoiled(lambda r: r["beside"][0].update(interval=[1.0])), "result.beside[0].interval: must be two numbers"),
    "no points": (spoiled(lambda r: r.update(points=[])), "result.points: must have one of policy fixed or forced"),
    "point": (spoiled(lambda r: r["points"][2].pop("loss")), "result.points[2].loss is missing"),
    "loss": (spoiled(lambda r: r["points"][0].update(loss=None)), "result.points[0].loss: must be a number, but got None"),
    "endless": (spoiled(lambda r: r["run"].update(seconds=float("inf"))), "result.run.seconds: must be at least 0"),
    "another model's": (spoiled(lambda r: r["config"].update(hidden=192)), "result.config.hidden: must be that of run, 32, but got 192"),
    "config without a size": (spoiled(lambda r: r["config"].pop("vocab")), "result.config.vocab: must be that of run, 60, but got None"),
    "another run's": (spoiled(lambda r: r["run"].update(step=3000.0)), "result.run.step: must be 4000, where run ended, but got 3000"),
}


def check_refused(work, said, capsys):
    before = contents(work)
    assert run_main(main, ["run", "result.json", "data", "out"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err and len(err) < 500, err
    assert contents(work) == before
    assert run_main(main, ["run", "result.json", "data", "new"]) == 1 and contents(work) == before and not (work / "new").exists()


@pytest.mark.parametrize("change, said", RECORDS.values(), ids=RECORDS)
def test_bad_records(change, said, work, capsys):
    record = change(json.loads((work / "result.json").read_text()))
    (work / "result.json").write_text(record if isinstance(record, str) else json.dumps(record))
    check_refused(work, said, capsys)


FOLDERS = {
    "no record": ("result.json", None, "result.json: No such file"),
    "no weights": ("run/fitted/model.safetensors", None, "model.safetensors: No such file"),
    "no model": ("run/fitted/ee_config.json", "{}", "ee_config.json: no model config"),
    "no curve": ("run/curve.csv", None, "curve.csv: No such file"),
    "empty curve": ("run/curve.csv", "", "curve.csv: must hold rows of numbers"),
    "curve of words": ("run/curve.csv", "step,tokens,full\n4000,2,low\n", "curve.csv: must hold rows of numbers"),
    "half a token": ("run/curve.csv", "step,tokens,full\n4000,2.5,3\n", "curve.csv: must hold rows of numbers"),
    "curve without tokens": ("run/curve.csv", "step,full\n4000,2\n", "curve.csv: must hold rows of numbers"),
    "no manifest": ("data/manifest.json", None, "manifest.json: No such file"),
    "empty manifest": ("data/manifest.json", "{}", "manifest.json: packages is missing; python -m ee.data writes it"),
    "package": ("data/manifest.json", '{"packages": [{"name": "a"}]}', "manifest.json: packages[0].version is missing"),
    "no tokenizer": ("data/tokenizer.json", None, "tokenizer.json: No such file"),
}


@pytest.mark.parametrize("path, text, said", FOLDERS.values(), ids=FOLDERS)
def test_bad_folders(path, text, said, work, capsys):
    (work / path).unlink()
    if text is not None:
        (work / path).write_text(text)
    check_refused(work, said, capsys)


def test_a_file_in_the_place_of_the_folder(work, capsys):
    (work / "file").write_text("mine")
    assert run_main(main, ["run", "result.json", "data", "file"]) == 1
    assert "is a file, accepted: a folder" in capsys.readouterr().err and (work / "file").read_text() == "mine"
