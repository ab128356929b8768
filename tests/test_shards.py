"""Packs: what goes in comes out, whatever interrupts the packing; and what is damaged or forged is found out."""

import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from eranntag import recipes
from eranntag.audio import reader
from eranntag.cli import cli
from eranntag.datasets import pack as packing, shard_writer, shards
from eranntag.errors import AudioError, DataError
from eranntag.prefetch import prefetch_map
from eranntag.recipes import esc50
from eranntag.types import Dataset, Example, Failure, ShardEntry

RATE = 44100
TABLE = "filename,fold,target,category,esc10,src_file,take"
CHECKOUT = Path(__file__).resolve().parents[1]
LABELS = ("dog, small", 'the "siren"', "雨 🌧", "wind")


def sound(seed: int, samples: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def esc50_folder(root: Path, clips: int) -> Path:
    """An ESC-50 of `clips` short clips and one that is missing."""
    for folder in ("audio", "meta"):
        (root / folder).mkdir(parents=True)
    rows = [TABLE]
    for place in range(clips):
        name = f"{place % 5 + 1}-{place}-A-{place % 3}"
        soundfile.write(root / "audio" / f"{name}.wav", sound(place), RATE)
        rows.append(f"{name}.wav,{place % 5 + 1},{place % 3},x,False,{place},A")
    rows.append("5-999-A-0.wav,5,0,dog,False,999,A")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return esc50_folder(tmp_path / "ESC-50-master", 12)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, args)])


def pack(data: Path, out: Path, *options: str) -> Result:
    """In shards of three clips or so."""
    return run("pack", "esc50", out, "--data", data, "--shard-size", "0.02", "--workers", "2", *options)


def failure(result: Result, code: int = 1) -> str:
    """The only error, with nothing on stdout."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("shard-")]
    assert (len(lines), result.stdout, result.exit_code) == (1, "", code), result.output
    return lines[0]


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


# What goes in comes out


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_a_pack_is_the_data_set(data: Path, out: Path, codec: str) -> None:
    result = pack(data, out, "--codec", codec)
    assert (result.exit_code, "12 clips" in result.stdout, "1 are missing" in result.stdout) == (0, True, True), result.output
    files, packed = recipes.load("esc50", str(data)), recipes.load("esc50", str(out))
    assert packed.recipe == files.recipe and packed.missing == files.missing == ("5-999-A-0.wav",)
    assert len(tars(out)) > 2
    for ours, theirs in zip(packed.examples, files.examples, strict=True):
        assert dataclasses.replace(ours, path="") == dataclasses.replace(theirs, path="")
        assert isinstance(ours.path, ShardEntry) and isinstance(theirs.path, str) and ours.path.name == Path(theirs.path).name
        a, b = reader.read(ours.path), reader.read(theirs.path)
        assert a.sample_rate == RATE
        np.testing.assert_array_equal(a.waveform, b.waveform)  # 16-bit mono sound at 44.1 kHz is not changed


def test_other_sound_becomes_mono_at_44100_hz_to_half_a_bit(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, 0.5 * np.random.default_rng(0).uniform(-1, 1, (48000, 2)), 48000, "FLOAT")
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, np.array([2.0, -2.0, 0.25]), RATE, "FLOAT")
    dataset = Dataset(esc50.RECIPE, tuple(Example(str(each), (1,)) for each in (path, loud)))
    list(packing.pack(dataset, out, "flac", 10**6, 2))
    ours = [reader.read(example.path) for example in shards.read(out, esc50.RECIPE).examples]
    theirs = reader.to_mono(reader.read(path), RATE)
    assert ours[0].sample_rate == RATE and ours[0].waveform.shape == (1, len(theirs))
    assert abs(ours[0].waveform[0] - theirs).max() <= 0.5 / 32768
    np.testing.assert_array_equal(ours[1].waveform[0], np.array([32767 / 32768, -1, 0.25], np.float32))  # clipped, not wrapped


@pytest.fixture
def odd(tmp_path: Path) -> Dataset:
    """Names, labels and groups that a table, a tar file and a terminal find hard."""
    names = [
        "plain.wav", "Y-0.5_1.5.x.wav", "ein, zwei.wav", 'the "one".wav', "雨🌧.wav", "new\nline.wav", "cr\rhere.wav",
        os.fsdecode(b"latin-\xe9.wav"), "a/same.wav", "b/same.wav", "b/SAME.wav", "x" * 200 + ".wav", "-rf.wav",
    ]  # fmt: skip
    examples = []
    for place, name in enumerate(names):
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(path), sound(place, 400), RATE)
        targets = ((), (0,), (1, 2), (0, 3))[place % 4]
        split = ("train", "validation", "test")[place % 3]
        examples.append(Example(str(path), targets, None if place % 2 else place, split, f"group, {name}"))
    recipe = dataclasses.replace(esc50.RECIPE, name="csv", labels=(), folds=(), activation="softmax", metric="accuracy")
    owned = dataclasses.replace(recipe, labels=LABELS, folds=(0, 2), activation="sigmoid", metric="mAP")
    return Dataset(owned, tuple(examples), ("gone, too.wav", "gone\nfar.wav"))


def test_names_labels_and_groups_survive(odd: Dataset, out: Path) -> None:
    list(packing.pack(odd, out, "flac", 4000, 2))
    packed = shards.read(out, dataclasses.replace(odd.recipe, labels=(), folds=(), activation="softmax", metric="accuracy"))
    assert packed.recipe == odd.recipe and packed.missing == odd.missing
    common = Path(odd.examples[0].path).parent  # type: ignore[arg-type]
    for place, (ours, theirs) in enumerate(zip(packed.examples, odd.examples, strict=True)):
        assert dataclasses.replace(ours, path="") == dataclasses.replace(theirs, path="")
        assert ours.path.name == str(Path(theirs.path).relative_to(common))  # type: ignore[arg-type, union-attr]
        np.testing.assert_array_equal(reader.read(ours.path).waveform[0] * 32768, sound(place, 400))
    assert [bad for bad in shards.verify(out) if isinstance(bad, Failure)] == []


def test_the_shards_have_the_webdataset_layout(odd: Dataset, out: Path) -> None:
    list(packing.pack(odd, out, "flac", 4000, 2))
    examples = iter(zip(shards.read(out, odd.recipe).examples, odd.examples, strict=True))
    seen = []
    for path in tars(out):
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            for one, two in zip(members[::2], members[1::2], strict=True):
                key, kind = one.name.split(".", 1)
                assert (kind, two.name) == ("flac", f"{key}.json")
                assert key.isascii() and len(one.name) <= 100
                ours, theirs = next(examples)
                assert isinstance(ours.path, ShardEntry)
                assert (ours.path.archive, ours.path.offset, ours.path.size) == (str(path), one.offset_data, one.size)
                fields = json.load(tar.extractfile(two))  # type: ignore[arg-type]
                assert fields == {
                    "labels": [LABELS[target] for target in theirs.targets],
                    "fold": theirs.fold,
                    "split": theirs.split,
                    "group": theirs.group,
                    "name": ours.path.name,
                }
                seen.append(key.lower())
    assert len(seen) == len(set(seen)) == len(odd.examples) and next(examples, None) is None


def test_a_pack_can_be_packed_anew_but_not_onto_itself(data: Path, out: Path, tmp_path: Path) -> None:
    pack(data, out)
    assert "is the very pack" in failure(pack(out, out))
    assert pack(out, tmp_path / "again", "--codec", "wav").exit_code == 0
    first, second = (recipes.load("esc50", str(folder)) for folder in (out, tmp_path / "again"))
    for a, b in zip(first.examples, second.examples, strict=True):
        assert a.path.name == b.path.name  # type: ignore[union-attr]
        np.testing.assert_array_equal(reader.read(a.path).waveform, reader.read(b.path).waveform)


def test_workers_and_order_change_nothing(data: Path, out: Path, tmp_path: Path) -> None:
    pack(data, out)
    pack(data, tmp_path / "one", "--workers", "1")
    assert content(out) == content(tmp_path / "one")


# Interruptions


@pytest.fixture
def whole(data: Path, tmp_path: Path) -> dict[str, str]:
    pack(data, tmp_path / "whole")
    return content(tmp_path / "whole")


@pytest.mark.parametrize("stop_after", [0, 1, 4, 11])
def test_packing_goes_on_after_an_interruption(
    data: Path, out: Path, whole: dict[str, str], stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = packing._encode, 0

    def stopping(waveform: np.ndarray, codec: str) -> bytes:
        nonlocal calls
        calls += 1
        if calls > stop_after:
            raise KeyboardInterrupt
        return encode(waveform, codec)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_encode", stopping)
        assert pack(data, out, "--workers", "1").exit_code == 130
    assert list(out.glob(".*.part")) == [] and not (out / "pack.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in tars(out)}
    assert bool(kept) == (stop_after > 3)
    assert pack(data, out).exit_code == 0
    assert content(out) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.kill
def test_a_killed_process_leaves_what_the_next_goes_on_with(tmp_path: Path) -> None:
    data = esc50_folder(tmp_path / "ESC-50-master", 60)
    pack(data, tmp_path / "whole")
    out = tmp_path / "out"
    slow = "import time\nfrom eranntag import cli\nfrom eranntag.datasets import pack\nold = pack._encode\n"
    slow += "pack._encode = lambda *args: (time.sleep(0.02), old(*args))[1]\ncli.main()\n"
    args = ["data", "pack", "esc50", str(out), "--data", str(data), "--shard-size", "0.02", "--workers", "2"]
    for wanted in (1, 3, 7):
        process = subprocess.Popen([sys.executable, "-c", slow, *args], env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
        deadline = time.monotonic() + 60
        while len(tars(out)) < wanted:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "pack.json").exists()
        with pytest.raises(DataError, match="unfinished pack"):
            recipes.load("esc50", str(out))
    assert pack(data, out).exit_code == 0
    assert content(out) == content(tmp_path / "whole")


def test_a_finished_pack_is_left_alone(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(data, out)
    monkeypatch.setattr(packing, "_encode", None)  # nothing is encoded any more
    second = pack(data, out)
    assert (second.exit_code, second.stdout, second.stderr) == (0, first.stdout, "")


@pytest.mark.parametrize("lost", ["shard-000001.tar", "shard-000001.json", "manifest.csv", "pack.json"])
def test_what_was_lost_is_made_again(data: Path, out: Path, whole: dict[str, str], lost: str) -> None:
    pack(data, out)
    (out / lost).unlink()
    assert pack(data, out).exit_code == 0
    assert content(out) == whole


def test_a_shard_that_does_not_follow_the_one_before_is_made_again(data: Path, out: Path, whole: dict[str, str]) -> None:
    """The finished shards are in the data set's order: one that begins with another clip is of other shards before it."""
    pack(data, out)
    table = json.loads((out / "shard-000001.json").read_text())
    (out / "shard-000001.json").write_text(json.dumps({**table, "first": table["first"] + 1}))
    assert pack(data, out).exit_code == 0
    assert content(out) == whole


def test_a_full_disk_is_one_line_and_packing_goes_on(
    data: Path, out: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = shard_writer.Tar._write, 0

    def full(tar: Any, content: bytes) -> None:
        nonlocal written
        written += len(content)
        if written > 50_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(tar, content)

    with monkeypatch.context() as patch:
        patch.setattr(shard_writer.Tar, "_write", full)
        line = failure(pack(data, out))
    assert "No space left on device" in line and "same command goes on" in line
    assert tars(out) and list(out.glob(".*.part")) == []
    assert pack(data, out).exit_code == 0
    assert content(out) == whole


def test_data_that_goes_away_is_not_taken_for_broken_clips(
    data: Path, out: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = packing._encode, 0

    def unplugged(waveform: np.ndarray, codec: str) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 5:
            (data / "audio").rename(data / "elsewhere")
        return encode(waveform, codec)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_encode", unplugged)
        assert "is missing; once" in failure(pack(data, out, "--workers", "1"))
    (data / "elsewhere").rename(data / "audio")
    assert pack(data, out).exit_code == 0
    assert content(out) == whole


# Refusals


def test_another_pack_is_not_mixed_with_this_one(data: Path, out: Path) -> None:
    pack(data, out)
    before = content(out)
    assert "other codec;" in failure(pack(data, out, "--codec", "wav"))
    assert "other shard_bytes;" in failure(pack(data, out, "--shard-size", "1"))
    (data / "audio" / "1-0-A-0.wav").unlink()
    assert "other clips, clips_sha256;" in failure(pack(data, out))
    assert content(out) == before


def test_a_folder_of_other_files_is_refused(data: Path, tmp_path: Path) -> None:
    assert "is not empty" in failure(pack(data, data))
    assert "pack.json" not in content(data / "meta")
    (tmp_path / "file").write_text("")
    assert run("pack", "esc50", tmp_path / "file", "--data", data).exit_code == 2
    assert "cannot be written" in failure(pack(data, tmp_path / "file" / "below"))


def test_a_broken_clip_is_named_and_left_out(data: Path, out: Path) -> None:
    (data / "audio" / "2-1-A-1.wav").write_bytes(b"no sound")
    for _ in range(2):  # it is still missing from the finished pack
        result = pack(data, out)
        assert result.exit_code == 3 and "11 clips" in result.stdout and "1 could not be decoded" in result.stdout
        assert [line for line in result.stderr.splitlines() if "2-1-A-1.wav: not a readable" in line]
        assert str(data) not in result.stderr
    packed = recipes.load("esc50", str(out))
    assert len(packed.examples) == 11 and packed.missing == ("5-999-A-0.wav", "2-1-A-1.wav")
    assert json.loads((out / "pack.json").read_text())["failed"][0][0] == "2-1-A-1.wav"


def test_nothing_but_broken_clips_is_no_pack(data: Path, out: Path) -> None:
    for path in (data / "audio").iterdir():
        path.write_bytes(b"")
    result = pack(data, out)
    assert result.exit_code == 1 and "none of the 12 clips can be decoded" in result.stderr.splitlines()[-1]
    assert not (out / "pack.json").exists()


# Damage and forgery


@pytest.fixture
def packed(data: Path, out: Path) -> Path:
    assert pack(data, out).exit_code == 0
    return out


def test_verify_says_that_all_is_good(packed: Path) -> None:
    result = run("verify", packed)
    assert (result.exit_code, result.stderr) == (0, "") and f"good ({len(tars(packed)) + 1} files)" in result.stdout


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("shard-000001.tar", flip, "SHA-256"),
        ("shard-000001.tar", lambda path: os.truncate(path, 1024), "SHA-256"),
        ("shard-000001.tar", Path.unlink, "no such file"),
        ("manifest.csv", flip, "SHA-256"),
        ("manifest.csv", Path.unlink, "no such file"),
    ],
)
def test_verify_finds_what_is_bad(packed: Path, name: str, damage: Callable[[Path], Any], reason: str) -> None:
    damage(packed / name)
    result = run("verify", packed)
    assert f"{packed / name}: " in failure(result) and reason in result.stderr
    if name == "manifest.csv":
        with pytest.raises(DataError, match=r"manifest\.csv"):
            recipes.load("esc50", str(packed))


def test_verify_refuses_what_is_no_pack(tmp_path: Path) -> None:
    assert "pack.json: cannot be read" in failure(run("verify", tmp_path))
    assert run("verify", tmp_path / "absent").exit_code == 2


def test_a_shard_that_was_cut_is_an_audio_error(packed: Path) -> None:
    examples = recipes.load("esc50", str(packed)).examples
    os.truncate(tars(packed)[0], 2000)
    with pytest.raises(AudioError, match="cut short"):
        reader.read(examples[0].path)
    tars(packed)[0].unlink()
    with pytest.raises(AudioError, match="no such file"):
        reader.read(examples[0].path)


def forge(folder: Path, row: str) -> None:
    """Make `row` the manifest's only one, with a fitting checksum."""
    text = ",".join(shards.COLUMNS) + "\r\n" + row + "\r\n"
    (folder / "manifest.csv").write_bytes(text.encode())
    change(folder, manifest_sha256=hashlib.sha256(text.encode()).hexdigest())


def change(folder: Path, **fields: Any) -> None:
    content = json.loads((folder / "pack.json").read_text())
    (folder / "pack.json").write_text(json.dumps({**content, **fields}))


@pytest.mark.parametrize(
    "row",
    [
        "../../etc/passwd,0,10,k,0,1,train,,x",
        "/etc/passwd,0,10,k,0,1,train,,x",
        "shard-999999.tar,0,10,k,0,1,train,,x",
        "shard-000000.tar,-1,10,k,0,1,train,,x",
        "shard-000000.tar,0,-1,k,0,1,train,,x",
        "shard-000000.tar,0,0,k,0,1,train,,x",
        "shard-000000.tar,512,99999999999999,k,0,1,train,,x",
        "shard-000000.tar,512,x,k,0,1,train,,x",
        "shard-000000.tar,512,10,k,50,1,train,,x",
        "shard-000000.tar,512,10,k,-1,1,train,,x",
        "shard-000000.tar,512,10,k,0,one,train,,x",
        "shard-000000.tar,512,10,k,0",
        "",
    ],
)
def test_a_forged_manifest_is_refused(packed: Path, row: str) -> None:
    forge(packed, row)
    with pytest.raises(DataError, match=r"manifest\.csv|holds no clips"):
        recipes.load("esc50", str(packed))


SHARD = {"bytes": 10**9, "sha256": "0"}


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 2},
        {"shards": {"../../etc/passwd": SHARD}},
        {"shards": {"/etc/passwd": SHARD}},
        {"shards": {"shard-000000.tar\n": SHARD}},
        {"shards": []},
        {"shards": {"shard-000000.tar": 3}},
        {"labels": None},
        {"missing": 3},
        {"failed": ["x"]},
        {"recipe": "ravdess"},
        {"recipe": None},
    ],
)
def test_a_forged_pack_is_refused(packed: Path, fields: dict[str, Any]) -> None:
    change(packed, **fields)
    with pytest.raises(DataError, match=r"pack\.json|is a pack of"):
        recipes.load("esc50", str(packed))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00", '"pack"'])
def test_garbage_is_no_pack(packed: Path, text: str) -> None:
    (packed / "pack.json").write_text(text)
    with pytest.raises(DataError, match=r"pack\.json"):
        recipes.load("esc50", str(packed))
    assert "pack.json" in failure(run("verify", packed))


# Where a pack is found


def test_a_pack_is_found_as_the_folder_or_in_it(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "packs" / "esc50")
    for where in (tmp_path / "packs", tmp_path / "packs" / "esc50"):
        assert isinstance(recipes.load("esc50", str(where)).examples[0].path, ShardEntry)
    assert shards.find(None, "esc50") is shards.find("", "esc50") is shards.find(str(data), "esc50") is None
    assert isinstance(recipes.load("esc50", str(data)).examples[0].path, str)


def test_the_pack_of_another_recipe_is_refused_by_name(packed: Path) -> None:
    with pytest.raises(DataError, match="is a pack of 'esc50', not of 'ravdess'"):
        recipes.load("ravdess", str(packed))


# Speed


def test_speed_is_measured_on_files_and_packs(data: Path, packed: Path) -> None:
    (data / "audio" / "2-1-A-1.wav").write_bytes(b"no sound")
    for where in (data, packed):
        result = run("speed", "esc50", "--data", where, "--seconds", "0.1", "--workers", "2")
        assert result.exit_code == 0 and "clips/s with 2 workers" in result.stdout and "460 crops/s" in result.stdout
        assert "from memory" in result.stderr
        assert ("could not be decoded" in result.stderr) == (where == data)


def test_speed_without_a_readable_clip_is_an_error(data: Path) -> None:
    for path in (data / "audio").iterdir():
        path.write_bytes(b"")
    assert "can be decoded" in failure(run("speed", "esc50", "--data", data, "--seconds", "0.1"))


# Many clips


def test_decoding_is_only_a_little_ahead() -> None:
    started: list[int] = []

    def square(number: int) -> int:
        started.append(number)
        return number**2

    def numbers() -> Iterator[int]:
        yield from range(1000)

    results = prefetch_map(square, numbers(), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    results.close()
    assert len(started) <= 5 + 2 * 3
