"""The recipes: what they find in official layouts in miniature, in real data where it is, and how they refuse the rest."""

import csv as table
import dataclasses
from collections import Counter
from pathlib import Path

import miniature
import pytest

from eranntag import recipes, registry
from eranntag.audio import reader
from eranntag.errors import DataError
from eranntag.recipes import _audioset, _layout, audioset, csv, folder, ravdess, urbansound8k
from eranntag.types import Dataset, Example


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def labels(dataset: Dataset, example: Example) -> set[str]:
    return {dataset.recipe.labels[target] for target in example.targets}


def found(dataset: Dataset) -> list[str]:
    return [Path(str(example.path)).name for example in dataset.examples]


# The papers' protocols, beyond what the contract test checks


@pytest.mark.parametrize(
    ("name", "classes", "folds", "seconds", "iterations", "every", "finetune", "finetune_every"),
    [
        ("audioset", 527, 0, 8.0, 500_000, 5_000, 50_000, 5_000),
        ("esc50", 50, 5, 4.0, 20_000, 200, 2_000, 50),
        ("ravdess", 8, 4, 3.0, 20_000, 200, 2_000, 50),
        ("urbansound8k", 10, 10, 4.0, 20_000, 200, 5_000, 50),
    ],
)
def test_protocols_of_the_paper(
    name: str, classes: int, folds: int, seconds: float, iterations: int, every: int, finetune: int, finetune_every: int
) -> None:
    recipe = registry.get("eranntag.recipes", name).RECIPE
    assert (len(recipe.labels), recipe.folds) == (classes, tuple(range(1, folds + 1)))
    config = recipe.training
    assert (config.crop_seconds, config.iterations, config.evaluate_every) == (seconds, iterations, every)
    assert (recipe.fine_tuning["iterations"], recipe.fine_tuning["evaluate_every"]) == (finetune, finetune_every)
    assert (config.batch, config.ema_decay, config.mixup, config.mixup_alpha) == (32, 0.999, "modified", 1.0)
    large = name == "audioset"
    assert (config.schedule, config.learning_rate) == (("one-cycle", 1e-3) if large else ("constant", 2e-4))
    assert recipe.fine_tuning["learning_rate"] == 1e-4
    assert config.sampler == ("balanced" if large else "shuffle")
    assert ("pitch-shift" in config.augment) == (name == "ravdess") and "spec-augment" in config.augment
    assert recipe.min_seconds == (4 if name == "urbansound8k" else 1)


# Which files lie below a folder


def test_sounds_are_found_through_links_but_once_and_never_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "root/b/x.wav", "root/b/._x.wav", "root/.git/y.wav", "root/a.FLAC", "root/a.txt", "disk/z.m4a")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "b" / "up").symlink_to(tmp_path / "root")
    assert [Path(path).name for path in _layout.sounds(tmp_path / "root")] == ["a.FLAC", "x.wav", "z.m4a"]
    assert _layout.by_stem(tmp_path / "root").keys() == {"a", "x", "z"}
    assert not list(_layout.sounds(tmp_path / "nowhere"))


# AudioSet


def test_audioset_in_miniature(tmp_path: Path) -> None:
    dataset = recipes.load("audioset", str(miniature.audioset(tmp_path, clips=12, evaluation=6, missing=2)))
    assert Counter(example.split for example in dataset.examples) == {"train": 12, "test": 6}
    assert len(dataset.missing) == 2 and all(len(video) == 11 for video in dataset.missing)
    assert dataset.recipe is audioset.RECIPE
    for example in dataset.examples:
        assert f"/{'eval' if example.split == 'test' else 'balanced'}" in str(example.path).replace("unbalanced", "balanced")
        assert example.group in str(example.path) and example.fold is None
        index = int(example.group[2:])
        frequencies = list(miniature.CLASSES)
        expected = {audioset.CLASSES[frequencies[index % 4]]} | (
            {audioset.CLASSES[frequencies[(index + 1) % 4]]} if index % 2 else set()
        )
        assert labels(dataset, example) == expected
        assert reader.read(example.path).seconds == 1.0
    assert {example.group[:2] for example in dataset.examples} == set(miniature.BEGINNINGS)
    assert len({example.path for example in dataset.examples}) == 18


def test_audioset_labels_are_the_official_ones(data_root: Path) -> None:
    with open(data_root / "audioset" / "class_labels_indices.csv", newline="", encoding="utf-8") as file:
        rows = list(table.DictReader(file))
    assert [(row["mid"], row["display_name"]) for row in rows] == list(audioset.CLASSES.items())
    assert audioset.RECIPE.labels[:2] == ("Speech", "Male speech, man speaking")
    _audioset.check_classes(data_root / "audioset" / "class_labels_indices.csv")


@pytest.mark.parametrize("name", ["{0}", "Y{0}", "{0}_30", "{0}_30.0", "{0}_30.000", "{0}_30000", "{0}_30_40", "Y{0}_30",
                                  "{0}_30000_40000", "Y{0}_30000_40000", "{0}_30.0-40.0", "{0}_30.000_40.000"])  # fmt: skip
@pytest.mark.parametrize("video", ["--PJHxphWEs", "Y_-b_30_40_", "_30_40_30_4", "Yabcdefghij"])
def test_audioset_clips_are_found_under_the_names_that_people_give_them(tmp_path: Path, video: str, name: str) -> None:
    (tmp_path / "eval_segments.csv").write_text(f'{video}, 30.000, 40.000, "/m/09x0r"\n')
    touch(tmp_path, f"wherever/{name.format(video)}.flac", "wherever/Zabcdefghij_30.flac")
    dataset = audioset.read(str(tmp_path))
    assert found(dataset) == [f"{name.format(video)}.flac"] and dataset.missing == ()


def test_fractions_of_seconds_in_names() -> None:
    names = set(_audioset.file_names("x", 0.5, 12345.25))
    assert {"x_0.5", "x_500", "x_0.5_12345.25", "x_500_12345250", "Yx_0.500"} <= names


def test_audioset_tables_with_all_their_quirks(tmp_path: Path) -> None:
    (tmp_path / "audioset" / "metadata").mkdir(parents=True)
    tables = tmp_path / "audioset" / "metadata"
    (tables / "balanced_train_segments.csv").write_text(
        "\ufeff# Segments csv created Sun Mar  5 10:54:31 2017\r\n"
        "# num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882\r\n"
        "# YTID, start_seconds, end_seconds, positive_labels\r\n"
        '--PJHxphWEs, 30.000, 40.000, "/m/0bt9lr,/m/09x0r,/m/0bt9lr"\r\n'
        '_a-bcdefghi,0.000,8.250,/t/dd00038\r\n'
        "\r\n"
        'gone_gone_1, 0.000, 10.000, "/m/09x0r"\r\n',
        encoding="utf-8", newline="",
    )  # fmt: skip
    (tables / "unbalanced_train_segments.csv").write_text(
        'YTID, start_seconds, end_seconds, positive_labels\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r"\n'
        'evaluated_1, 0.000, 10.000, "/m/09x0r"\n'
    )
    (tables / "eval_segments.csv").write_text('evaluated_1, 0.000, 10.000, "/m/09x0r"\n')
    touch(tmp_path / "audioset", "audios/--PJHxphWEs.wav", "audios/Y_a-bcdefghi.m4a", "audios/evaluated_1.ogg")
    dataset = audioset.read(str(tmp_path))
    assert [(example.group, example.split, labels(dataset, example)) for example in dataset.examples] == [
        ("evaluated_1", "test", {"Speech"}),
        ("--PJHxphWEs", "train", {"Speech", "Dog"}),
        ("_a-bcdefghi", "train", {"Rain on surface"}),
    ]
    assert dataset.examples[1].targets == (0, 74)
    assert dataset.missing == ("gone_gone_1",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('b, 0.0, 10.0, "/m/09x0r,/m/nonsense"', r"segments.csv line 3: '/m/nonsense' is none of the 527 classes"),
        ("b, 0.0, 10.0, /m/09x0r, /m/0bt9lr", r"segments.csv line 3 is not AudioSet's: too many values"),
        ('b, zero, 10.0, "/m/09x0r"', r"segments.csv line 3 is not AudioSet's: could not convert string to float: 'zero'"),
    ],
)
def test_audioset_rows_that_make_no_sense(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "eval_segments.csv").write_text(f'# YTID\na, 0.0, 10.0, "/m/09x0r"\n{row}\n')
    with pytest.raises(DataError, match=f"^audioset: .*{message}"):
        audioset.read(str(tmp_path))


def test_audioset_without_any_clip_or_with_other_classes(tmp_path: Path) -> None:
    (tmp_path / "eval_segments.csv").write_text('a, 0.0, 10.0, "/m/09x0r"\n')
    with pytest.raises(DataError, match=r"^audioset: no sound file below .* is among the 1 clips of its tables"):
        audioset.read(str(tmp_path))
    (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/0bt9lr,Dog\n")
    with pytest.raises(DataError, match=r"^audioset: .*class_labels_indices.csv does not list the 527 official classes"):
        audioset.read(str(tmp_path))


# UrbanSound8K


@pytest.mark.parametrize("place", ["", "UrbanSound8K", "urbansound8k"])
def test_urbansound8k_in_miniature(tmp_path: Path, place: str) -> None:
    root = miniature.urbansound8k(tmp_path / place, per_fold=2)
    (root / "audio" / "fold1" / "100000-0-0-0.wav").rename(root / "audio" / "fold1" / "100000-0-0-0.flac")
    (root / "audio" / "fold10" / "100009-9-0-1.wav").unlink()
    dataset = recipes.load("urbansound8k", str(tmp_path))
    assert Counter(example.fold for example in dataset.examples) == {fold: 2 - (fold == 10) for fold in range(1, 11)}
    assert dataset.missing == ("100009-9-0-1.wav",)
    for example in dataset.examples:
        assert Path(str(example.path)).parent.name == f"fold{example.fold}"
        recording, target, _, _ = Path(str(example.path)).stem.split("-")
        assert (example.targets, example.group) == ((int(target),), recording)


@pytest.mark.parametrize("row", ["a-1-0-0.wav,1,0,1,1,11,0,air_conditioner", "a-1-0-0.wav,1,0,1,1,0,0,air_conditioner",
                                 "a-1-0-0.wav,1,0,1,1,1,0,dog", "a-1-0-0.wav,1"])  # fmt: skip
def test_urbansound8k_rows_that_make_no_sense(tmp_path: Path, row: str) -> None:
    miniature.urbansound8k(tmp_path, per_fold=1)
    with open(tmp_path / "metadata" / "UrbanSound8K.csv", "a") as file:
        file.write(row)
    with pytest.raises(DataError, match=r"^urbansound8k: .*UrbanSound8K.csv line 12 is not UrbanSound8K's"):
        urbansound8k.read(str(tmp_path))


def test_urbansound8k_without_any_clip(tmp_path: Path) -> None:
    for path in _layout.sounds(miniature.urbansound8k(tmp_path, per_fold=1) / "audio"):
        Path(path).unlink()
    with pytest.raises(DataError, match=r"^urbansound8k: .*audio holds none of the clips that .*UrbanSound8K.csv names"):
        urbansound8k.read(str(tmp_path))


# RAVDESS


@pytest.mark.parametrize("place", ["", "ravdess", "RAVDESS/Audio_Speech_Actors_01-24"])
def test_ravdess_by_its_names(tmp_path: Path, place: str) -> None:
    touch(tmp_path / place, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_07/03-01-08-02-02-02-07.wav",
          "Actor_24/03-01-03-01-01-01-24.flac", "Actor_01/03-02-03-01-01-01-01.wav", "Actor_01/01-01-03-01-01-01-01.mp4",
          "copy/Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/._03-01-03-01-01-01-01.wav", "Actor_01/notes.txt")  # fmt: skip
    dataset = recipes.load("ravdess", str(tmp_path))
    assert [(example.targets, example.fold, example.group) for example in dataset.examples] == [
        ((0,), 1, "01"), ((7,), 2, "07"), ((2,), 4, "24"),
    ]  # fmt: skip
    assert "Actor_01" in str(dataset.examples[0].path) and "copy" not in str(dataset.examples[0].path)
    assert len(dataset.missing) == 1437 and "03-01-01-01-01-02-01" in dataset.missing


def test_ravdess_songs_alone_are_no_speech(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_01/03-02-03-01-01-01-01.wav")
    with pytest.raises(DataError, match=r"^ravdess: no speech such as .*03-01-01-01-01-01-01.wav below .*--data"):
        ravdess.read(str(tmp_path))


def test_ravdess_itself(data_root: Path) -> None:
    dataset = recipes.load("ravdess", str(data_root))
    assert len(dataset.examples) == 1440 and not dataset.missing
    assert Counter(example.fold for example in dataset.examples) == {1: 360, 2: 360, 3: 360, 4: 360}
    assert Counter(example.targets for example in dataset.examples) == {(0,): 96} | {(label,): 192 for label in range(1, 8)}
    with open(data_root / "ravdess" / "manifest.csv", newline="", encoding="utf-8") as file:
        listed = {row["clip_id"]: ({row["label"]}, int(row["fold"]), int(row["actor"])) for row in table.DictReader(file)}
    read = {Path(str(e.path)).stem: (labels(dataset, e), e.fold, int(e.group)) for e in dataset.examples}
    assert read == listed
    assert recipes.load("ravdess", str(data_root / "ravdess" / "audio")).examples == dataset.examples


def test_esc50_itself(data_root: Path) -> None:
    dataset = recipes.load("esc50", str(data_root))
    assert len(dataset.examples) == 2000 and not dataset.missing
    assert Counter(example.fold for example in dataset.examples) == dict.fromkeys(range(1, 6), 400)
    with open(data_root / "esc50" / "meta" / "esc50.csv", newline="", encoding="utf-8") as file:
        listed = {Path(row["filename"]).stem: ({row["category"]}, row["src_file"]) for row in table.DictReader(file)}
    assert {Path(str(e.path)).stem: (labels(dataset, e), e.group) for e in dataset.examples} == listed


# Own data in a table


def write(root: Path, text: str, *files: str, name: str = "labels.csv") -> str:
    (root / name).write_bytes(text.encode())
    touch(root, *files)
    return str(root / name)


def test_csv_with_folds_and_groups(tmp_path: Path) -> None:
    write(tmp_path, "filename,label,fold,source,rating\na.wav,rain,2,x,5\nsub/b.flac,dog,1,y,\nc.wav,dog,2,x,4\n",
          "a.wav", "sub/b.flac")  # fmt: skip
    dataset = recipes.load("csv", str(tmp_path))
    recipe = dataset.recipe
    assert (recipe.labels, recipe.folds, recipe.activation, recipe.metric) == (("dog", "rain"), (1, 2), "softmax", "accuracy")
    assert recipe == dataclasses.replace(csv.RECIPE, title="Own data: labels.csv", labels=("dog", "rain"), folds=(1, 2))
    assert dataset.examples == (
        Example(str(tmp_path / "a.wav"), (1,), 2, group="x"),
        Example(str(tmp_path / "sub" / "b.flac"), (0,), 1, group="y"),
    )
    assert dataset.missing == ("c.wav",)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_csv_of_any_spreadsheet(tmp_path: Path, separator: str, newline: str) -> None:
    lines = ["", "Label;FILE;Split;;", ' "dog, small";a.wav;Train;;', ";;;;", "rain;b.wav;eval;;", "rain;c.wav;VAL;;", ""]
    text = newline.join(lines).replace('" ', '"').replace(' "', '"').replace(";", separator)
    path = write(tmp_path, "\ufeff" + text, "a.wav", "b.wav", "c.wav", name="my table.txt")
    dataset = csv.read(path)
    assert dataset.recipe.labels == ("dog, small", "rain") and dataset.recipe.folds == ()
    assert [(example.targets, example.split) for example in dataset.examples] == [
        ((0,), "train"), ((1,), "test"), ((1,), "validation"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("b;a", "a", ""), [{"a", "b"}, {"a"}, set()]),
        (("b | a", "a|", "c"), [{"a", "b"}, {"a"}, {"c"}]),
        (('"b, a"', "a", "a"), [{"a", "b"}, {"a"}, {"a"}]),
        (('"Bark, yip";Dog', '"Bark, yip"', ""), [{"Bark, yip", "Dog"}, {"Bark, yip"}, set()]),
    ],
)
def test_csv_with_several_labels_a_clip(tmp_path: Path, cells: tuple[str, ...], expected: list[set[str]]) -> None:
    cells = tuple(f'"{cell.replace(chr(34), "")}"' for cell in cells)
    rows = "".join(f"{name}.wav,{cell}\n" for name, cell in zip("xyz", cells, strict=True))
    dataset = csv.read(write(tmp_path, "audio,labels\n" + rows, "x.wav", "y.wav", "z.wav"))
    assert [labels(dataset, example) for example in dataset.examples] == expected
    assert (dataset.recipe.activation, dataset.recipe.metric) == ("sigmoid", "mAP")
    assert dataset.recipe.training.sampler == ("balanced" if all(expected) else "shuffle")  # else silence would never be drawn


def test_csv_rows_of_one_file_are_one_clip(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\na.wav,dog\nb.wav,cat\n./a.wav,dog\n", "a.wav", "b.wav")
    dataset = csv.read(path)
    assert dataset.recipe.activation == "softmax" and [example.targets for example in dataset.examples] == [(1,), (0,)]
    write(tmp_path, "path,label\na.wav,dog\nb.wav,cat\na.wav,cat\n")
    dataset = csv.read(path)
    assert dataset.recipe.activation == "sigmoid" and [example.targets for example in dataset.examples] == [(0, 1), (0,)]
    write(tmp_path, "path,label,fold\na.wav,dog,1\nb.wav,cat,1\na.wav,cat,2\n")
    with pytest.raises(DataError, match=r"line 4: a.wav was in another fold, split or group before"):
        csv.read(path)


def test_csv_finds_files_beside_it_in_audio_and_by_full_paths(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    elsewhere = tmp_path / "elsewhere.wav"
    touch(tmp_path, "elsewhere.wav")
    rows = f"64760,a\nb.wav,b\nc.wav,a\n{elsewhere},b\nsub/d.wav,a\nd.v2,a\nsub/gone.wav,b\n"
    path = write(root, "fname,label\n" + rows, "audio/64760.wav", "audio/b.wav", "c.flac", "sub/d.wav", "d.v2.ogg", "gone.mp3")
    dataset = csv.read(path)
    assert found(dataset) == ["64760.wav", "b.wav", "c.flac", "elsewhere.wav", "d.wav", "d.v2.ogg"]
    assert dataset.missing == ("sub/gone.wav",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv needs a column filename and a column label or labels; its first line has nothing"),
        ("name,label\na,b\n", r"needs a column filename .* its first line has name, label"),
        ("filename,class\na,b\n", r"needs a column .*label or labels; its first line has filename, class"),
        ("filename,label,labels\n", r"has both a column label and a column labels; leave one out"),
        ("filename,label,fold,split\n", r"has both a column fold and a column split; leave one out"),
        ("filename,label\n", r"must name at least 2 classes \(found: none\)"),
        ("filename,label\na.wav,dog\n", r"must name at least 2 classes \(found: only 'dog'\)"),
        ("filename,labels\na.wav,\n", r"must name at least 1 class \(found: none\)"),
        ("filename,label\n\na.wav,dog\n,cat\n", r"line 4 names no file"),
        ("filename,label\na.wav,\n", r"line 2 has no label; several or none need a column labels"),
        ("filename,label\na.wav,dog, small\n", r"line 2 has 3 cells, but the first line 2; quote"),
        ("filename,label,fold\na.wav,dog,1\nb.wav,cat,first\n", r"line 3: the fold 'first' is no whole number"),
        ("filename,label,fold\na.wav,dog,1\nb.wav,cat,\n", r"line 3: the fold '' is no whole number"),
        ("filename,label,split\na.wav,dog,trian\n", r"line 2: the split 'trian' is none of train, .*validation, .*test"),
        (
            "filename,label\nx.wav,dog\ny.wav,cat\n",
            r"none of the files that .*labels.csv names is there, such as x.wav; .*--data",
        ),
    ],
)
def test_csv_refuses_tables_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^csv: .*{message}"):
        csv.read(write(tmp_path, text, "a.wav", "b.wav"))


def test_csv_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("filename,label\na.wav,Tür\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"^csv: .*labels.csv: cannot be read as text in UTF-8 \(.*0xfc"):
        csv.read(str(tmp_path))


# Own data in folders


def test_folder_of_classes(tmp_path: Path) -> None:
    touch(
        tmp_path, "rain/x.wav", "rain/deep/er/y.flac", "dog/x.wav", "dog/notes.txt", ".cache/z.wav", "docs/readme.md", "z.wav"
    )
    dataset = recipes.load("folder", str(tmp_path))
    assert dataset.recipe.labels == ("dog", "rain") and dataset.recipe.title == f"Own data: {tmp_path.name}"
    assert sorted((example.targets, example.split, str(example.path)) for example in dataset.examples) == [
        ((0,), "train", str(tmp_path / "dog" / "x.wav")),
        ((1,), "train", str(tmp_path / "rain" / "deep" / "er" / "y.flac")),
        ((1,), "train", str(tmp_path / "rain" / "x.wav")),
    ]


def test_folder_of_parts(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/a.wav", "train/rain/b.wav", "Val/dog/c.wav", "test/siren/d.wav", "notes/readme.txt")
    dataset = folder.read(str(tmp_path))
    assert dataset.recipe.labels == ("dog", "rain", "siren")
    assert {(*labels(dataset, example), example.split) for example in dataset.examples} == {
        ("dog", "train"), ("rain", "train"), ("dog", "validation"), ("siren", "test"),
    }  # fmt: skip


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.wav", "bus/b.wav")
    assert folder.read(str(tmp_path)).recipe.labels == ("bus", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a.wav",), r"at least two folders with sounds, one for each class \(found: none\)"),
        (("audio/a.wav", "docs/x.txt"), r"at least two folders with sounds, .* \(found: only 'audio'\).*--data"),
        (("train/a.wav", "test/b.wav"), r"at least two folders with sounds, .* \(found: none\)"),
        (("train/dog/a.wav", "test/dog/b.wav", "noise/c.wav"), r"parts of a data set \(test, train\) beside classes \(noise\)"),
    ],
)
def test_folder_refuses_what_holds_no_classes(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=f"^folder: .*{message}"):
        folder.read(str(tmp_path))


def test_a_clip_in_two_rows_with_different_labels_is_told_of(tmp_path: Path) -> None:
    """With 200 clips it may be one slip, and it changes what kind of model is trained."""
    for name in ("a.wav", "b.wav"):
        miniature.tones(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text("filename,label\na.wav,dog\nb.wav,rain\na.wav,rain\n")
    dataset = recipes.load("csv", str(table))
    assert dataset.recipe.activation == "sigmoid" and "a.wav" in dataset.notes[0] and "different labels" in dataset.notes[0]
    table.write_text("filename,label\na.wav,dog\nb.wav,rain\na.wav,dog\n")
    assert recipes.load("csv", str(table)).notes == ()
