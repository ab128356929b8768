"""tools/free_audio.py: cutting, copies, licenses, packages, and a whole corpus of two packages made here; no network."""

import io
import json
import random
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from eranntag.errors import DataError

TOOLS = Path(__file__).parent.parent / "tools"
sys.path.insert(0, str(TOOLS))

import cutting  # noqa: E402
import free_audio  # noqa: E402
import instruments  # noqa: E402
import manifest  # noqa: E402
import packages  # noqa: E402
import report  # noqa: E402
from cutting import Duplicates, Piece, fingerprint  # noqa: E402

debian = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
RATE_HZ = 16000
FREE = "Files: *\nCopyright: somebody\nLicense: CC-BY-SA-3.0\n"


def noise(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Noise in bursts, so that its spectrum changes in time: (samples,) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    steps = np.repeat(rng.uniform(0.05, 0.9, 40), round(seconds * RATE_HZ / 40))
    return (steps * rng.uniform(-1, 1, len(steps))).astype(np.float32)


def encoded(waveform: np.ndarray, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE_HZ, format=kind)
    return file.getvalue()


def package(folder: Path, name: str, files: dict[str, bytes], copyright_file: str = FREE) -> Path:
    """A Debian package with these files, as apt-get would leave it in `folder`."""
    tree = folder / f"{name}-tree"
    content = {f"usr/share/doc/{name}/copyright": copyright_file.encode(), **files}
    content["DEBIAN/control"] = (
        f"Package: {name}\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: m\nDescription: d\n".encode()
    )
    for path, data in content.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    deb = folder / f"{name}_2.0-3_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, deb], check=True, capture_output=True)
    shutil.rmtree(tree)
    return deb


@pytest.mark.parametrize(
    ("seconds", "most", "count"), [(0.3, 4, 1), (10, 4, 1), (13, 4, 1), (25, 4, 2), (300, 4, 4), (61, 9, 6)]
)
def test_pieces_are_spread_over_a_sound_and_do_not_overlap(seconds: float, most: int, count: int) -> None:
    onsets = cutting.piece_onsets(seconds, most)
    assert len(onsets) == count and onsets[0] >= 0
    assert all(later - earlier >= cutting.PIECE_SECONDS for earlier, later in pairwise(onsets))
    if seconds > cutting.PIECE_SECONDS:
        assert onsets[-1] + cutting.PIECE_SECONDS <= seconds
        assert onsets[0] == pytest.approx(seconds - onsets[-1] - cutting.PIECE_SECONDS, abs=0.01)  # as far from both ends


def test_a_piece_is_mono_at_most_44100_hz_and_starts_at_its_onset(tmp_path: Path) -> None:
    time = np.arange(12 * 48000) / 48000
    loud = np.where(time < 5, 0.1, 0.5) * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "x.wav", np.stack([loud, np.zeros_like(loud)], 1), 48000)
    piece = cutting.read_piece(tmp_path / "x.wav", 4.0)
    assert piece.rate_hz == 44100 and piece.waveform.ndim == 1 and piece.seconds == pytest.approx(8)
    assert np.abs(piece.waveform[4410:39690]).max() == pytest.approx(0.05, rel=0.02)  # the mean of a channel and silence
    assert np.abs(piece.waveform[48510:]).max() == pytest.approx(0.25, rel=0.02)
    assert cutting.duration(tmp_path / "x.wav") == pytest.approx(12)


def test_silence_is_measured_in_the_loudest_tenth_of_a_second() -> None:
    waveform = np.zeros(RATE_HZ, np.float32)
    assert cutting.loudest_db(Piece(waveform, RATE_HZ, 0)) == -np.inf
    waveform[1600:3200] = 0.1 * np.sin(2 * np.pi * 100 * np.arange(1600) / RATE_HZ)
    assert cutting.loudest_db(Piece(waveform, RATE_HZ, 0)) == pytest.approx(-23.01, abs=0.05)


def test_copies_at_other_rates_levels_and_formats_are_found_and_other_sounds_are_not() -> None:
    original = noise(0)
    duplicates = Duplicates()
    for seed in range(1500):  # more than the first allocation
        duplicates.add(fingerprint(Piece(noise(seed, 0.5), RATE_HZ, 0)), 0.5)
    duplicates.add(fingerprint(Piece(original, RATE_HZ, 0)), 2.0)
    compressed, _ = soundfile.read(io.BytesIO(encoded(original, "OGG")), dtype="float32")
    copies = [(0.3 * original, RATE_HZ), (soxr.resample(original, RATE_HZ, 8000), 8000), (compressed, RATE_HZ)]
    for waveform, rate in copies:
        assert duplicates.has(fingerprint(Piece(waveform, rate, 0)), len(waveform) / rate)
    assert not duplicates.has(fingerprint(Piece(noise(5000), RATE_HZ, 0)), 2.0)
    assert not duplicates.has(fingerprint(Piece(original, RATE_HZ, 0)), 3.0)
    padded = [np.pad(noise(seed, 0.5), (0, 40000)) for seed in (7000, 7001)]  # most of both is the same silence
    duplicates.add(fingerprint(Piece(padded[0], RATE_HZ, 0)), 3.0)
    assert not duplicates.has(fingerprint(Piece(padded[1], RATE_HZ, 0)), 3.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Format: x\n\nFiles: *\nLicense: GPL-2+\n text\n\nFiles: a\nLicense: CC0-1.0\n\nLicense: GPL-2+\n", "GPL-2+; CC0-1.0"),
        ("This is under the GPL v3 or later, see /usr/share/common-licenses/GPL-3.", "GPL v3; GPL-3"),
        ("Do what you want with it.", "Do what you want with it."),
        ("", "as its source package"),
    ],
)
def test_licenses_are_read_from_a_copyright_file(text: str, names: str) -> None:
    assert packages.licenses(text) == names


def test_wav_and_ogg_are_cut_out_of_a_container() -> None:
    wav, ogg = encoded(noise(1)), encoded(noise(2), "OGG")
    container = b"index" + wav + b"between" + ogg + ogg + b"OggS end"
    assert list(packages.carved(container)) == [
        (".wav", wav),
        (".ogg", ogg),
        (".ogg", ogg),
    ]


@debian
def test_the_sounds_of_a_package_are_those_in_its_archives_too(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("sound/b.ogg", encoded(noise(2), "OGG"))
        written.writestr("readme.txt", "no sound")
    deb = package(tmp_path, "x-data", {"usr/a.wav": encoded(noise(1)), "usr/data.pk3": archive.getvalue(), "usr/not.zip": b"x"})
    found = packages.sounds(deb, "x-data", tmp_path)
    assert [(sound.name, sound.licence) for sound in found] == [
        ("usr/a.wav", "CC-BY-SA-3.0"),
        ("usr/data.pk3/sound/b.ogg", "CC-BY-SA-3.0"),
    ]
    assert soundfile.info(found[1].path).duration == pytest.approx(2)
    assert packages.version(deb) == "1:2.0-3" and packages.fetch("x-data", tmp_path) == deb
    unfree = package(tmp_path, "y-data", {}, FREE.replace("SA", "NC"))
    with pytest.raises(DataError, match=r"y-data: .*CC-BY-NC-3\.0"):
        packages.sounds(unfree, "y-data", tmp_path)


def test_the_table_holds_whole_sources_out_of_training() -> None:
    sources = manifest.table()
    assert len({source.name for source in sources}) == len(sources)
    assert {source.kind for source in sources} == free_audio.PIECES.keys()
    splits = [source.split for source in sources]
    assert splits == sorted(splits)  # test before train
    assert {source.kind for source in sources if source.split == "test"} >= {"speech", "music", "effects"}
    assert sum(source.minutes for source in sources if source.split == "test") >= 30


@debian
def test_a_corpus_is_made_once_and_keeps_its_splits_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "packages").mkdir()
    shared = encoded(noise(0, 12))
    package(tmp_path / "packages", "held-out", {"usr/a.wav": shared, "usr/b.wav": encoded(np.zeros(RATE_HZ))})
    files = {"usr/copy.wav": shared, "usr/text.ogg": b"no sound"}
    files |= {f"usr/{seed}.wav": encoded(noise(seed, 21)) for seed in range(1, 5)}
    package(tmp_path / "packages", "used", files)
    table = "name,kind,minutes,split\nused,music,1,train\nabsent,music,1,train\nheld-out,effects,1,test\n"
    (tmp_path / "table.csv").write_text(table)
    monkeypatch.setattr(manifest.table, "__defaults__", (tmp_path / "table.csv",))
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('dpkg-deb') or '').parent}")
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package absent' >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["free_audio.py", str(tmp_path), "--data", str(tmp_path)])
    assert free_audio.main() == 3
    first = capsys.readouterr()
    assert "absent: apt-get download: Unable to locate package absent" in first.err
    assert "used: 6 files, 6 pieces, 1.0 min; left out: 0 silent, 1 copies, 1 unreadable" in first.err
    rows = manifest.read(tmp_path)
    assert {(row.source, row.split) for row in rows} == {("held-out", "test"), ("used", "train")}
    assert len({row.file for row in rows[1:]}) == 4  # one piece of each file comes before the second of any
    for row in rows:
        info = soundfile.info(tmp_path / "audio" / row.path)
        assert (info.duration, info.channels, row.version) == (pytest.approx(row.seconds), 1, "1:2.0-3")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").rglob("*.flac")}
    assert len(written) == len(rows) == 7
    assert free_audio.main() == 3
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "audio").rglob("*.flac")} == written
    assert manifest.read(tmp_path) == rows and capsys.readouterr().out == first.out


def test_only_free_clips_of_four_folds_are_taken_of_esc50(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    lines = []
    for fold, licence in [(1, "CC0"), (2, "CC-BY"), (3, "CC-BY-NC"), (4, "CC-Sampling+"), (5, "CC0")]:
        (tmp_path / "audio" / f"{fold}-100-A-7.wav").touch()
        lines.append(f"- [{fold}-100-A.ogg]: clip derived from x [1].wav (http://...) by somebody [{licence}]")
    with pytest.raises(DataError, match="no LICENSE"):
        free_audio.esc50(tmp_path)
    (tmp_path / "LICENSE").write_text("\n".join(lines) + "\n")
    assert [(sound.name, sound.licence) for sound in free_audio.esc50(tmp_path)] == [
        ("1-100-A-7.wav", "CC0"),
        ("2-100-A-7.wav", "CC-BY"),
    ]


def test_the_music_is_a_standard_midi_file() -> None:
    notes = instruments._melody(random.Random(0), 3)
    content = instruments.midi({3: 41}, notes, 120)
    assert content[:14] == b"MThd\0\0\0\6\0\0\0\1\1\xe0" and content[14:18] == b"MTrk"
    assert len(content) == 22 + int.from_bytes(content[18:22], "big") and content.endswith(b"\xff\x2f\x00")
    assert b"\xff\x51\x03" + (500_000).to_bytes(3, "big") in content and b"\xc3\x29" in content
    assert content.count(b"\x93") >= len(notes) >= 12
    assert [instruments._variable(number) for number in (0, 127, 128, 8192)] == [b"\0", b"\x7f", b"\x81\0", b"\xc0\0"]


def test_labels_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [["Speech", "Dog"], ["Speech"], []]
    lines = [json.dumps({"source": "x", "tags": [{"label": label, "score": 0.5} for label in labels]}) for labels in found]
    (tmp_path / "tags.jsonl").write_text("\n".join(lines))
    report.print_labels(tmp_path / "tags.jsonl", 1)
    printed = capsys.readouterr().out
    assert "2 labels in 3 pieces" in printed and printed.endswith("\nSpeech 2\n")


def test_the_manifest_is_read_back(tmp_path: Path) -> None:
    row = manifest.Row("a/b.flac", "a", "1.0", 'usr/"b", c.ogg', 1.5, 10.0, "GPL-2+; CC0", "music", "train")
    manifest.write(tmp_path, [row])
    assert manifest.read(tmp_path) == [row]
    header = (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == list(row.__dataclass_fields__)
