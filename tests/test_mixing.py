"""Mixtures: the oracle's samples, levels measured back, the protocol's plan, interruption, and the recipe that reads them."""

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
import runs
import soundfile

from eranntag import recipes
from eranntag.audio import noise, reader
from eranntag.datasets.mixing import mix, plan
from eranntag.datasets.mixing.plan import Protocol, Sources
from eranntag.errors import DataError
from eranntag.recipes import mixtures
from eranntag.recipes._custom import OWN
from eranntag.training import paper_comparison
from eranntag.training.config import from_recipe
from eranntag.types import Dataset, Event, Example

RATE = 32_000


def sine(hz: float, level: float, samples: int) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE)


def lcg(seed: int, samples: int, level: float) -> np.ndarray:
    states = []
    for _ in range(samples):
        seed = (1664525 * seed + 1013904223) % 2**32
        states.append(seed)
    return level * (2 * np.array(states) / 2**32 - 1)


# The sound


@pytest.mark.parametrize("number", range(3))
def test_the_oracles_samples(oracle: Callable[[str], Any], number: int) -> None:
    numbers = oracle("mixing")
    case = numbers["cases"][number]
    background = sine(200, 0.2, 32000) + lcg(5, 32000, 0.05)
    event = np.concatenate([sine(1000, 0.3, 8000), np.zeros(4000)])
    assert mix.rms(background) == pytest.approx(numbers["background_rms"], rel=1e-9)
    assert mix.rms(event) == pytest.approx(numbers["event_rms_whole_file"], rel=1e-9)
    onset, most = (round(case[name] * RATE) for name in ("onset_s", "kept_s"))
    mixture = mix.mix([event], background, [onset], most, case["snr_db"]).mean(0)
    assert {at: mixture[int(at)] for at in case["mix_at"]} == pytest.approx(case["mix_at"], abs=1e-9)
    assert mix.rms(mixture) == pytest.approx(case["mix_rms"], rel=1e-9)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 20.0])
def test_the_level_measured_back(snr_db: float) -> None:
    """Of an event that is as loud throughout; it stays in its place, and neither channel leaves [-1, 1]."""
    rng = np.random.default_rng(0)
    event, background = rng.normal(0, 0.01, 3 * RATE), rng.normal(0, 0.3, 10 * RATE)
    track, scene = mix.mix([event] * 2, background, [RATE, 6 * RATE], 2 * RATE, snr_db)
    for start in (RATE, 6 * RATE):
        measured = 20 * np.log10(mix.rms(track[start : start + 2 * RATE]) / mix.rms(scene))
        assert measured == pytest.approx(snr_db, abs=0.1)  # the whole event's level is not quite that of its part
    silent = np.r_[track[:RATE], track[3 * RATE : 6 * RATE], track[8 * RATE :]]
    assert not silent.any() and np.abs([track, scene]).max() == 1
    np.testing.assert_allclose(scene / scene[0], background / background[0])


def test_silence_has_no_level() -> None:
    with pytest.raises(ValueError, match="silence"):
        mix.mix([np.zeros(10)], np.ones(10), [0], 10, 0)


@pytest.mark.parametrize(("number", "slope_db"), [(0, 0.0), (1, -3.01), (2, -6.02)])
def test_the_colours_of_noise(number: int, slope_db: float) -> None:
    """White keeps its power density from octave to octave, pink loses 3 dB and brown 6."""
    found = noise.background(number, 0, 1 << 18, RATE)
    power = np.abs(np.fft.rfft(found)) ** 2
    octaves = [power[(1 << k) : (2 << k)].mean() for k in range(10, 16)]
    np.testing.assert_allclose(np.diff(10 * np.log10(octaves)), slope_db, atol=0.8)
    assert mix.rms(found) == pytest.approx(1)
    assert not np.array_equal(found, noise.background(number + 4, 0, 1 << 18, RATE))
    np.testing.assert_array_equal(found, noise.background(number, 0, 1 << 18, RATE))


def test_hum_has_lines_at_the_mains() -> None:
    power = np.abs(np.fft.rfft(noise.background(3, 0, RATE, RATE))) ** 2  # bins of 1 Hz
    mains = max((50, 60), key=lambda hz: power[hz])
    assert power[mains * np.arange(1, 21)].sum() > 0.95 * power.sum()
    assert power[mains] / power[2 * mains] == pytest.approx(4, rel=0.1)


# The plan


def dataset(groups: int = 40, classes: int = 4, folds: int = 0) -> Dataset:
    """Two clips of each recording; with folds of their own if `folds`."""
    recipe = dataclasses.replace(OWN, labels=tuple(f"class {index}" for index in range(classes)))
    clips = tuple(
        Example(f"/x/{group}-{take}.wav", (group % classes,), group % folds + 1 if folds else None, group=str(group))
        for group in range(groups)
        for take in range(2)
    )
    return Dataset(recipe, clips)


def decided(events: Dataset, protocol: Protocol, backgrounds: tuple[str, ...] | None = None) -> tuple[plan.Mixture, ...]:
    found = {"seconds": {str(each.path): 2.0 for each in events.examples}, "left_out": {}}
    return plan._decided(Sources(events, backgrounds), protocol, found).mixtures


def test_the_published_plan() -> None:
    """Four folds of 2000; every event of a fold equally often, up to one; each background once; no event twice in a clip."""
    backgrounds = tuple(f"/b/{number}.wav" for number in range(9000))
    mixtures = decided(dataset(groups=401), Protocol(), backgrounds)
    assert Counter(each.fold for each in mixtures) == dict.fromkeys((1, 2, 3, 4), 2000)
    assert len({each.background for each in mixtures}) == 8000 and len({each.name for each in mixtures}) == 8000
    homes: dict[str, int] = {}
    for fold in range(1, 5):
        uses = Counter(str(event.path) for each in mixtures if each.fold == fold for event in each.events)
        assert sum(uses.values()) == 6000 and max(uses.values()) - min(uses.values()) <= 1
        for path in uses:
            assert homes.setdefault(path.rpartition("-")[0], fold) == fold
    assert len(homes) == 401
    assert all(len({str(event.path) for event in each.events}) == 3 for each in mixtures)


def test_the_seed_decides_folds_and_mixtures() -> None:
    one, same, other = (decided(dataset(), Protocol(clips_per_fold=5, seed=seed)) for seed in (1, 1, 2))
    assert one == same and one != other


def test_folds_of_their_own_are_kept_and_the_fifth_is_left() -> None:
    mixtures = decided(dataset(folds=5), Protocol(clips_per_fold=10))
    assert all(event.fold == each.fold for each in mixtures for event in each.events)
    assert {each.fold for each in mixtures} == {1, 2, 3, 4}


def test_a_recording_in_two_folds_counts_in_its_first() -> None:
    events = dataset(groups=20, folds=4)
    stray = dataclasses.replace(events.examples[0], path="/x/stray.wav", fold=2)
    folds = plan._folds((*events.examples, stray), Protocol())
    assert stray not in folds[2] and events.examples[0] in folds[1] and events.examples[1] in folds[1]


@pytest.mark.parametrize(
    ("groups", "backgrounds", "complaint"),
    [
        (4, None, r"fold 1 has too few events: 2 of the 8 .* lower --folds"),
        (40, 7, r"7 backgrounds for 8 mixtures, .* --clips-per-fold 1, or `synthetic`"),
    ],
)
def test_too_little_to_mix(groups: int, backgrounds: int | None, complaint: str) -> None:
    files = None if backgrounds is None else tuple(f"/b/{number}.wav" for number in range(backgrounds))
    with pytest.raises(DataError, match=complaint):
        decided(dataset(groups), Protocol(clips_per_fold=2), files)


# The command

OPTIONS = ("--clips-per-fold", 2, "--folds", 2, "--workers", 1)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six sounds of 0.5 to 3 s."""
    root = tmp_path_factory.mktemp("events")
    for label, frequency in (("high", 3000.0), ("low", 200.0), ("mid", 900.0)):
        for number in range(6):
            miniature.tones(root / label / f"{label}{number}.wav", (frequency,), 0.5 * (number + 1), seed=number)
    return root


@pytest.fixture(scope="module")
def mixed(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixed") / "out"
    result = runs.command("data", "mix", events, "synthetic", out, "--snr", "20,0", "--stems", *OPTIONS)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}: 4 mixtures of 12 of 18 events at 20, 0 dB\n"
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_origin(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the command, which names the folder."""
    return {name: text for name, text in files.items() if not name.endswith("mix.json")}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_hold_what_the_tables_say(mixed: Path, events: Path) -> None:
    """The sound of every event is where the table has it, of its length, at its level, and nothing sounds elsewhere."""
    assert {path.name for path in mixed.iterdir()} == {".lock", "mixing.json", "snr20", "snr0"}
    clips, strong = (rows(mixed / "snr20" / name) for name in ("mixtures.csv", "events.csv"))
    assert [row["fold"] for row in clips] == list("1122") and {row["snr_db"] for row in clips} == {"20"}
    for clip in clips:
        theirs = [row for row in strong if row["filename"] == clip["filename"]]
        assert clip["labels"].split(";") == sorted({row["label"] for row in theirs})
        assert [row["onset"] for row in theirs] == ["0.5", "3.0", "5.5"]
        stems, rate = soundfile.read(mixed / "snr20" / "stems" / clip["filename"])
        mixture, _ = soundfile.read(mixed / "snr20" / "audio" / clip["filename"])
        assert (rate, stems.shape, mixture.shape) == (RATE, (10 * RATE, 2), (10 * RATE,))
        np.testing.assert_allclose(mixture, stems.mean(1), atol=1.1 / 32768)
        there = np.zeros(10 * RATE, bool)
        for row in theirs:
            begin, end = (round(float(row[name]) * RATE) for name in ("onset", "offset"))
            seconds = soundfile.info(events / row["label"] / row["source"]).duration
            assert end - begin == round(min(seconds, 2.0) * RATE)
            there[begin:end] = True
            measured = 20 * np.log10(mix.rms(stems[begin:end, 0]) / mix.rms(stems[:, 1]))
            assert measured == pytest.approx(20, abs=0.2)
        assert not stems[~there, 0].any()


def test_both_levels_have_the_same_events(mixed: Path) -> None:
    assert (mixed / "snr20" / "events.csv").read_bytes() == (mixed / "snr0" / "events.csv").read_bytes()
    origin = json.loads((mixed / "snr0" / "mix.json").read_text())
    assert origin["labels"] == ["high", "low", "mid"] and origin["snr_db"] == 0 and "--seed 0" in origin["command"]
    assert origin["events"]["files"] == 12


def test_the_same_seed_gives_the_same_bytes_and_an_interrupted_mixing_goes_on(
    mixed: Path, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, original, calls = tmp_path / "out", soundfile.write, []

    def dies(file: io.BytesIO, *args: Any, **options: Any) -> None:
        calls.append(file)
        if len(calls) == 7:
            raise KeyboardInterrupt
        original(file, *args, **options)

    arguments = ("data", "mix", events, "synthetic", out, "--snr", "20,0", "--stems", *OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", dies)
        assert runs.command(*arguments).exit_code != 0
    (out / "snr20" / "audio" / ".fold1-0001.flac.0123456789abcdef.part").write_bytes(b"what a killed process leaves")
    made = [path for path in out.rglob("*.flac")]
    assert len(made) == 6 and not list(out.rglob("mixtures.csv"))
    before = {path: path.stat().st_mtime_ns for path in made}
    with pytest.raises(DataError, match="--data"):
        recipes.load("mixtures", str(out))
    assert runs.command(*arguments).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in made}
    assert without_origin(content(out)) == without_origin(content(mixed))


def test_another_seed_has_no_place_in_the_same_folder(mixed: Path, events: Path) -> None:
    result = runs.command("data", "mix", events, "synthetic", mixed, "--snr", "20,0", "--seed", 1, *OPTIONS)
    assert runs.error(result) == f"{mixed}: holds mixtures with other seed; choose another folder, or delete it"


def test_bad_files_are_told_and_left_out(events: Path, tmp_path: Path) -> None:
    """A table with folds and verification, and backgrounds of which one is shorter than a mixture."""
    lines = ["fname,label,fold,manually_verified"]
    lines += [
        f"{label}/{label}{number}.wav,{label},{number % 2 + 1},{int(number < 4)}"
        for label in ("high", "low")
        for number in range(6)
    ]
    (tmp_path / "high").symlink_to(events / "high")
    (tmp_path / "low").symlink_to(events / "low")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    table = tmp_path / "events.csv"
    table.write_text("\n".join([*lines, "broken.wav,low,1,1", "silent.wav,high,2,1"]) + "\n")
    scenes = [miniature.tones(tmp_path / "scenes" / f"{number}.wav", (60.0,), 1.0 + number) for number in range(4)]
    (tmp_path / "scenes" / "bad.wav").write_bytes(b"")
    out = tmp_path / "out"
    result = runs.command("data", "mix", table, tmp_path / "scenes", out, "--snr", 0, *OPTIONS)
    assert result.exit_code == 3 and result.stdout.startswith(f"{out}: 4 mixtures of 8 of 10 events at 0 dB, ")
    told = [line for line in result.stderr.splitlines() if line.startswith("eranntag: ")]
    assert sum("broken.wav" in line for line in told) == 1 and sum("silent.wav: is silent" in line for line in told) == 1
    assert {row["background"] for row in rows(out / "snr0" / "mixtures.csv")} == {scene.name for scene in scenes}
    assert not {"high4.wav", "low5.wav"} & {row["source"] for row in rows(out / "snr0" / "events.csv")}
    assert runs.command("data", "mix", table, tmp_path / "scenes", out, "--snr", 0, *OPTIONS).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("EVENTS", "nowhere"), "nowhere: no such folder or table of backgrounds; `synthetic` needs neither"),
        (("EMPTY", "synthetic"), "must hold at least two folders with sounds"),
        (("EMPTY", "synthetic", "--preset", "dcase2018"), "is not FSDKaggle2018"),
        (("EVENTS", "synthetic", "--folds", 19), "fold 1 has too few events"),
        (("EVENTS", "EMPTY"), "holds no backgrounds"),
    ],
)
def test_errors_are_one_clear_line(events: Path, tmp_path: Path, arguments: tuple[Any, ...], complaint: str) -> None:
    places = {"EVENTS": events, "EMPTY": tmp_path}
    result = runs.command("data", "mix", *(places.get(word, word) for word in arguments[:2]), tmp_path / "o", *arguments[2:])
    assert complaint in runs.error(result)


@pytest.mark.parametrize("levels", ["a", "1,1", "nan", "0,,1"])
def test_impossible_levels(events: Path, tmp_path: Path, levels: str) -> None:
    result = runs.command("data", "mix", events, "synthetic", tmp_path / "o", "--snr", levels)
    assert result.exit_code == 2 and not (tmp_path / "o").exists()


# Sources


def test_fsdkaggle2018s_verified_training_clips(tmp_path: Path) -> None:
    rows = ["fname,label,manually_verified,freesound_id,license"]
    for name, label, verified in (
        ("a.wav", "Bark", 1),
        ("b.wav", "Hi-hat", 0),
        ("c.wav", "Hi-hat", 1),
        ("gone.wav", "Bark", 1),
    ):
        rows.append(f"{name},{label},{verified},1,Attribution")
        if name != "gone.wav":
            miniature.tones(tmp_path / "FSDKaggle2018.audio_train" / name)
    (tmp_path / "FSDKaggle2018.meta").mkdir()
    (tmp_path / "FSDKaggle2018.meta" / "train_post_competition.csv").write_text("\n".join(rows) + "\n")
    found = recipes.mixture_events(str(tmp_path), "dcase2018")
    assert [(Path(str(each.path)).name, each.targets) for each in found.examples] == [("a.wav", (0,)), ("c.wav", (1,))]
    assert (found.recipe.labels, found.missing) == (("Bark", "Hi-hat"), ("gone.wav",))


def test_esc50_keeps_its_folds_and_recordings(tmp_path: Path) -> None:
    found = recipes.mixture_events(str(runs.esc50(tmp_path / "esc50")), "esc50")
    assert {each.fold for each in found.examples} == {1, 2, 3, 4, 5} and all(each.group for each in found.examples)


def test_the_padding_of_a_collection_is_no_event(wav: Callable[..., Path]) -> None:
    path = wav("x.wav", np.r_[np.zeros(1000), 0.5 * np.ones(RATE), np.zeros(4 * RATE)], RATE)
    whole, trimmed = (mix.read_source(str(path), Protocol(trim_padding=trim)) for trim in (False, True))
    assert (len(whole), len(trimmed)) == (5 * RATE + 1000, RATE + 1000)


def test_esc10_is_the_part_of_esc50_that_it_names(tmp_path: Path) -> None:
    """Dog, crackling fire and clock tick; no pig, and of what is missing only what would belong to it."""
    names = ("1-1-A-0.wav", "1-2-A-2.wav", "2-3-A-12.wav", "3-4-B-38.wav", "3-5-A-2.wav", "4-6-A-41.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    rows = (f"{name},{name[0]},{name[:-4].rpartition('-')[2]},x" for name in names)
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(("filename,fold,target,category", *rows)))
    for name in names[:4]:
        soundfile.write(tmp_path / "audio" / name, np.ones(100), RATE)
    found = recipes.mixture_events(str(tmp_path), "esc10")
    assert [(found.recipe.labels[each.targets[0]], each.fold) for each in found.examples] == [
        ("dog", 1),
        ("crackling_fire", 2),
        ("clock_tick", 3),
    ]
    assert len(found.recipe.labels) == 10 and found.missing == ("4-6-A-41.wav",)
    assert recipes.mixture_events(str(tmp_path), "esc50").missing == ("3-5-A-2.wav", "4-6-A-41.wav")


def test_scenes_in_a_table_of_tabs(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("filename\tscene_label\naudio/airport-1.wav\tairport\naudio/bus-2.wav\tbus\n")
    expected = (str(tmp_path / "audio" / "airport-1.wav"), str(tmp_path / "audio" / "bus-2.wav"))
    assert recipes.mixture_backgrounds(str(tmp_path / "meta.csv")) == expected
    assert recipes.mixture_backgrounds("synthetic") is None


# The recipe


def test_the_recipe_reads_what_was_mixed(mixed: Path) -> None:
    dataset = recipes.load("mixtures", str(mixed / "snr20"))
    recipe = dataset.recipe
    assert (recipe.labels, recipe.folds, recipe.activation, recipe.paper) == (
        ("high", "low", "mid"),
        (1, 2),
        "sigmoid",
        (),
    )
    assert recipe.title == f"Mixtures of Own data: {recipe.title.split(': ')[1]}" and "20 dB" in recipe.title
    assert len(dataset.examples) == 4 and not dataset.missing
    for example in dataset.examples:
        assert example.events and len(example.events) == 3 and example.group == f"fold {example.fold}"
        assert {event.label for event in example.events} == {recipe.labels[target] for target in example.targets}
        assert len(reader.to_mono(reader.read(str(example.path)), RATE)) == 10 * RATE


def test_one_level_must_be_chosen(mixed: Path) -> None:
    with pytest.raises(DataError, match=r"a data set for every SNR; --data .* one of .*snr0, .*snr20"):
        recipes.load("mixtures", str(mixed))


def test_the_papers_classes_bring_the_papers_values_of_that_level(tmp_path: Path) -> None:
    root = miniature.mixtures(tmp_path / "m")
    assert recipes.load("mixtures", str(root)).recipe.paper == ()
    record = {
        "labels": list(mixtures.RECIPE.labels),
        "snr_db": 10,
        "events": {"title": "FSDKaggle2018", "licence": "CC BY 4.0"},
    }
    (root / "mix.json").write_text(json.dumps(record))
    for name in ("mixtures.csv", "events.csv"):
        text = (root / name).read_text().replace(",high,", ",Bark,").replace(",low,", ",Chime,")
        (root / name).write_text(text)
    found = recipes.load("mixtures", str(root)).recipe
    values = {row.model: row.value for row in found.paper if row.how == "scratch" and row.metric == ""}
    assert values == {"gap": 0.4291, "gmp": 0.5263, "gwrp": 0.6538, "atrous": 0.6740, "2apae": 0.7603}
    gap = {row.metric: row.value for row in found.paper if row.model == "gap"}
    assert gap == {"": 0.4291, "mAP": 0.5390}  # its AUC is a misprint
    assert len(found.paper) == 20


def test_events_are_at_their_times(tmp_path: Path) -> None:
    examples = recipes.load("mixtures", str(miniature.mixtures(tmp_path / "m"))).examples
    assert examples[1].events == (Event("low", 0.5, 1.0),)


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("mixtures.csv", ",1,10,high", ",x,10,high", r"mixtures.csv line 2 is not what .*'x'"),
        ("mixtures.csv", "high,0", "higher,0", r"mixtures.csv line 2 is not what .*'higher'"),
        ("events.csv", "0.0,0.5,high", "a,0.5,high", r"events.csv line 2 is not what"),
        ("mix.json", '"snr_db"', '"x"', r"mix.json is not what"),
        ("mix.json", '["high", "low"]', '["high"]', r"at least two classes"),
    ],
)
def test_damaged_tables_are_told(tmp_path: Path, name: str, old: str, new: str, complaint: str) -> None:
    root = miniature.mixtures(tmp_path / "m")
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=complaint):
        recipes.load("mixtures", str(root))


@pytest.mark.parametrize(
    ("model", "alpha", "value"),
    [("2apae", None, 0.7603), ("2apae", 0.0, 0.7430), ("2apae", 0.01, 0.7428), ("gwrp", None, 0.6538)],
)
def test_a_run_stands_beside_the_row_of_its_level_and_alpha(model: str, alpha: float | None, value: float) -> None:
    recipe = dataclasses.replace(mixtures.RECIPE, paper=mixtures.PAPER[10])
    row, odd = paper_comparison.published(recipe, from_recipe(recipe, model, reconstruction=alpha)) or (None, "")
    assert row is not None and row.value == value and not odd
