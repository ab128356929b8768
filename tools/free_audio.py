"""Make a corpus of free sound from Debian packages, ESC-50's free clips and free synthesizers, for distillation.

    python tools/free_audio.py FOLDER --data ESC-50-master
    eranntag predict -c mn04-audioset FOLDER/audio --threshold 0.3 --format jsonl -o tags.jsonl
    python tools/free_audio.py FOLDER --labels tags.jsonl

The sources, with their split and the most minutes of each, are the rows of free_audio.csv. FOLDER gets packages/ (what was
downloaded; may be removed), audio/SOURCE/*.flac, done/SOURCE.json (finished sources, which are not made again) and
manifest.csv. Sources of the test split are cut first, so that no copy of their sounds is in the train split.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple
from pathlib import Path

import manifest
import numpy as np
import packages
import report
import signals
import soundfile
import speech
from cutting import SHORTEST_SECONDS, SILENCE_DB, Duplicates, Piece, duration, fingerprint, loudest_db, piece_onsets, read_piece
from instruments import instruments
from manifest import Row, Source
from packages import Sound
from programs import run

from eranntag.errors import AudioError, DataError, EranntagError
from eranntag.files.atomic import write_text
from eranntag.prefetch import prefetch_map

SYNTHESIZERS = {  # Debian packages that synthesize sound
    "espeak-ng": speech.espeak,
    "flite": speech.flite,
    "festival": speech.festival,
    "fluid-soundfont-gm": instruments,
    "signals": signals.signals,
}
PIECES = {"speech": 6, "music": 4, "effects": 6, "mixed": 4, "signals": 1}  # at most, of a long file of each kind
ESC50_FOLDS = ("1", "2", "3", "4")  # fold 5 is for measuring
ESC50_LICENSES = ("CC0", "CC-BY")
THREADS = 2


def esc50(folder: Path) -> list[Sound]:
    """The clips of ESC50_FOLDS whose own license, by the data set's list, is one of ESC50_LICENSES."""
    lists = sorted(folder.glob("LICENSE*"))
    if not lists:
        raise DataError(f"{folder}: no LICENSE file with the clips' licenses; --data names the folder of ESC-50")
    licenses = dict(re.findall(r"^- \[(\S+)\.\w+\]: .*\[([^\]]+)\]$", lists[0].read_text(encoding="utf-8"), re.MULTILINE))
    clips = []
    for path in sorted((folder / "audio").iterdir()):
        licence = licenses.get(path.stem.rpartition("-")[0])
        if path.name[0] in ESC50_FOLDS and licence in ESC50_LICENSES:
            clips.append(Sound(path, path.name, licence))
    return clips


def sounds(source: Source, folder: Path, data: Path, scratch: Path) -> tuple[str, list[Sound]]:
    """The source's version and its files; synthesized and unpacked files are written to `scratch`."""
    if source.name == "esc50":
        return "", esc50(data)
    if source.name not in SYNTHESIZERS:
        deb = packages.fetch(source.name, folder / "packages")
        return packages.version(deb), packages.sounds(deb, source.name, scratch)
    SYNTHESIZERS[source.name](scratch)
    version, licence = "", "CC0"
    if source.name != "signals":
        version = run(["dpkg-query", "-W", "-f", "${Version}", source.name])
        licence = packages.licenses(Path(f"/usr/share/doc/{source.name}/copyright").read_text(encoding="utf-8"))
    return version, [Sound(path, path.name, licence) for path in sorted(scratch.iterdir())]


def order(name: str) -> bytes:
    """A sort key that shuffles files deterministically."""
    return hashlib.sha1(name.encode()).digest()


def planned(files: list[Sound], most: int) -> tuple[list[tuple[Sound, float]], int]:
    """Every piece to cut, as (file, onset), and the number of unreadable files. One piece of each file comes first, then a
    second one, and so on, so that a source with a limit of minutes keeps its variety."""
    plan, unreadable = [], 0
    for sound in files:
        try:
            onsets = piece_onsets(duration(sound.path), most)
        except AudioError:
            unreadable += 1
        else:
            plan += [(turn, order(sound.name), sound, onset) for turn, onset in enumerate(onsets)]
    return [(sound, onset) for _, _, sound, onset in sorted(plan, key=lambda item: item[:2])], unreadable


def pieces(plan: list[tuple[Sound, float]]) -> Iterator[tuple[Sound, Piece, float, np.ndarray]]:
    """The pieces of a plan, with their level in dB and their fingerprint; damaged or very short pieces are left out."""

    def analyzed(item: tuple[Sound, float]) -> tuple[Sound, Piece, float, np.ndarray] | None:
        try:
            piece = read_piece(item[0].path, item[1])
        except AudioError:
            return None
        return (item[0], piece, loudest_db(piece), fingerprint(piece)) if piece.seconds >= SHORTEST_SECONDS else None

    return filter(None, prefetch_map(analyzed, plan, THREADS))


def make(source: Source, folder: Path, data: Path, duplicates: Duplicates) -> dict[str, list]:
    """Cut one source into audio/, print a line, and return the content of done/SOURCE.json."""
    left, rows, prints, dropped = 60 * source.minutes, [], [], Counter()
    audio_folder = folder / "audio" / source.name
    shutil.rmtree(audio_folder, ignore_errors=True)  # of an interrupted run
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as scratch:
        version, files = sounds(source, folder, data, Path(scratch))
        plan, unreadable = planned(files, PIECES[source.kind])
        audio_folder.mkdir(parents=True)
        for sound, piece, level, bits in pieces(plan):
            if level < SILENCE_DB and source.kind != "signals":
                dropped["silent"] += 1
            elif duplicates.has(bits, piece.seconds):
                dropped["copies"] += 1
            elif piece.seconds > left:
                break
            else:
                left -= piece.seconds
                duplicates.add(bits, piece.seconds)
                path = f"{source.name}/{file_name(sound.name, piece.onset)}"
                soundfile.write(folder / "audio" / path, piece.waveform, piece.rate_hz, subtype="PCM_16")
                cut = (sound.name, piece.onset, round(piece.seconds, 3), sound.licence)
                rows.append(Row(path, source.name, version, *cut, source.kind, source.split))
                prints.append(np.packbits(bits).tobytes().hex())
    done = {"settings": settings(source), "rows": [astuple(row) for row in rows], "fingerprints": prints}
    write_text(folder / "done" / f"{source.name}.json", json.dumps(done))
    what = f"{len(files)} files, {len(rows)} pieces, {source.minutes - left / 60:.1f} min"
    left_out = f"{dropped['silent']} silent, {dropped['copies']} copies, {unreadable} unreadable"
    report.progress(f"{source.name}: {what}; left out: {left_out}")
    return done


def file_name(name: str, onset: float) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(name).stem)[:60]
    return f"{stem}-{order(name).hex()[:8]}-{onset:06.1f}.flac"


def settings(source: Source) -> dict[str, str | float]:
    """The settings of a source: if they change, the source is cut again."""
    return asdict(source) | {"pieces": PIECES[source.kind]}


def finished(source: Source, folder: Path) -> dict[str, list] | None:
    """What `make` wrote about a source, or None if its settings have changed since."""
    path = folder / "done" / f"{source.name}.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return done if done and done["settings"] == settings(source) else None


def make_corpus(folder: Path, data: Path) -> int:
    """Make all sources of the table and manifest.csv, and return the number of sources that failed."""
    (folder / "done").mkdir(parents=True, exist_ok=True)
    duplicates, failures, rows = Duplicates(), 0, []
    for source in manifest.table():
        done = finished(source, folder)
        if done:
            for bits, row in zip(done["fingerprints"], done["rows"], strict=True):
                duplicates.add(np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8)).astype(bool), Row(*row).seconds)
        else:
            try:
                done = make(source, folder, data, duplicates)
            except (DataError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
                report.progress(str(error))
                failures += 1
                continue
        rows += [Row(*row) for row in done["rows"]]
        manifest.write(folder, rows)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a corpus of free sound, or print what is in one.")
    parser.add_argument("folder", type=Path, help="where the corpus is, or will be")
    parser.add_argument("--data", type=Path, default=Path("ESC-50-master"), help="folder of ESC-50 (default: %(default)s)")
    parser.add_argument("--labels", type=Path, help="print tables of a finished corpus and of these tags, in Markdown")
    parser.add_argument("--most", type=int, default=100, help="with --labels: how many labels (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        failures = 0 if arguments.labels else make_corpus(arguments.folder, arguments.data)
        report.print_sources(manifest.read(arguments.folder))
        if arguments.labels:
            report.print_labels(arguments.labels, arguments.most)
    except (EranntagError, OSError) as error:
        report.progress(str(error))
        return 1
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
