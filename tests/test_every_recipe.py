"""Every recipe from its own layout to a checkpoint that tags a clip; AudioSet by way of shards."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import miniature
import pytest
import runs

from eranntag import recipes, registry
from eranntag.checkpoints import header


def esc50(root: Path) -> Path:
    return runs.esc50(root)


def ravdess(root: Path) -> Path:
    """Two emotions of an actor of each fold."""
    for actor in (1, 7, 13, 19):
        for emotion in (3, 5):
            name = f"03-01-{emotion:02}-01-01-01-{actor:02}.wav"
            miniature.tones(root / f"Actor_{actor:02}" / name, (100.0 * emotion,), seed=actor)
    return root


def own_csv(root: Path) -> Path:
    rows = [(f"{label}{index}.wav", label) for label in ("high", "low") for index in range(4)]
    for name, label in rows:
        miniature.tones(root / name, (2000.0 if label == "high" else 200.0,))
    with open(root / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "label"), *rows])
    return root / "labels.csv"


def own_folder(root: Path) -> Path:
    for label in ("high", "low"):
        for index in range(4):
            miniature.tones(root / label / f"{index}.wav", (2000.0 if label == "high" else 200.0,))
    return root


MINIATURES: dict[str, Callable[[Path], Path]] = {
    "audioset": miniature.audioset,
    "audioset_balanced": miniature.audioset,
    "csv": own_csv,
    "esc50": esc50,
    "folder": own_folder,
    "mixtures": miniature.mixtures,
    "ravdess": ravdess,
    "urbansound8k": miniature.urbansound8k,
}


def test_every_recipe_has_a_miniature() -> None:
    assert MINIATURES.keys() == set(registry.names("eranntag.recipes"))


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.slow
def test_a_recipe_trains_for_20_iterations(name: str, tmp_path: Path) -> None:
    data, out = MINIATURES[name](tmp_path / "data"), tmp_path / "run"
    recipe = recipes.load(name, str(data)).recipe
    fold = ("--fold", recipe.folds[0]) if recipe.folds else ()
    small = ("--features", "melmag") if recipe.min_seconds > 1 else ()  # several seconds of full images take long
    options = ("--model", "erann-2-1", *small, "--iterations", 20, "--batch", 2, *fold, *runs.TINY)
    result = runs.command("train", name, "--data", data, "--out", out, *options)
    assert (result.exit_code, result.stdout) == (0, f"{out / 'last.safetensors'}\n"), result.stderr
    rows = runs.history(out)
    assert [row["iteration"] for row in rows if "loss" in row] == list(range(1, 21))
    evaluated = [row[recipe.metric] for row in rows if recipe.metric in row]
    assert all(0 <= value <= 1 for value in evaluated) and (evaluated or name in ("csv", "folder"))
    spec = header.read_checkpoint(out / "last.safetensors")
    assert (spec.labels, spec.activation) == (recipe.labels, recipe.activation)
    assert spec.frontend["min_seconds"] == recipe.min_seconds
    clip = next(path for path in sorted(data.parent.rglob("*.wav")))
    said = runs.command("predict", "-c", out / "last.safetensors", clip, "--format", "jsonl", "--device", "cpu")
    assert json.loads(said.stdout)["tags"][0]["label"] in recipe.labels


@pytest.mark.slow
def test_audioset_from_its_tables_through_shards_to_a_tagged_clip(tmp_path: Path) -> None:
    """The official tables with missing clips -> pack -> verify -> train -> fine-tune on -> evaluate -> predict."""
    root, pack, out = miniature.audioset(tmp_path / "AudioSet", missing=2), tmp_path / "pack", tmp_path / "run"
    packed = runs.command("data", "pack", "audioset", pack, "--data", root, "--shard-size", 0.2)
    assert packed.exit_code == 0 and "18 clips" in packed.stdout and "2 are missing" in packed.stdout, packed.output
    assert runs.command("data", "verify", pack).exit_code == 0
    options = ("--model", "erann-2-1", "--iterations", 4, "--batch", 2, "--evaluate-every", 2, *runs.TINY)
    trained = {}
    for name, data in (("shards", pack), ("files", root)):
        result = runs.command("train", "audioset", "--data", data, "--out", out / name, *options)
        assert result.exit_code == 0 and "audioset: 18 clips, 2 missing: " in result.stderr
        trained[name] = runs.history(out / name)
    # soxr of the same file is the same; 16 bits in a shard are the 16 bits that training keeps
    assert trained["shards"] == trained["files"]
    checkpoint = out / "shards" / "last.safetensors"
    measured = runs.command("evaluate", "audioset", "--data", pack, "-c", checkpoint, "--json", "--device", "cpu")
    values = json.loads(measured.stdout)
    assert (values["clips"], values["missing"], values["classes"], values["classes_in_mAP"]) == (6, 2, 527, 4)
    assert values["mAP"] == pytest.approx(trained["shards"][-1]["mAP"], abs=0.2)
    clip = next((root / "audio").rglob("*.wav"))
    said = runs.command("predict", "-c", checkpoint, clip, "--format", "jsonl", "--device", "cpu", "--top", 3)
    assert len(json.loads(said.stdout)["tags"]) == 3
