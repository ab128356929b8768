"""Data sets in their official layouts, made of a second of tones a clip, for tests that need no real data."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
CLASSES = {  # MID -> the frequency (Hz) that sounds in its clips
    "/m/09x0r": 440.0,  # Speech
    "/m/0bt9lr": 880.0,  # Dog
    "/t/dd00038": 1760.0,  # Rain on surface, a class whose identifier is not a Freebase one
    "/m/03kmc9": 3520.0,  # Siren
}
BEGINNINGS = ("--", "a-", "_b", "Y_", "Yo")  # what is awkward in the names of real videos
NAMES = (  # how people name clips: of the video, its start and its end, both in seconds
    "{0}.wav",
    "Y{0}.wav",
    "{0}_{1}.flac",
    "{0}_{1}000_{2}000.wav",
    "Y{0}_{1}.000.WAV",
    "{0}_{1}.0-{2}.0.wav",
)


def tones(path: Path, frequencies_hz: tuple[float, ...] = (440.0,), seconds: float = 1.0, seed: int = 0) -> Path:
    """A sum of sines in some noise, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, noise + sum(0.2 * np.sin(2 * np.pi * hz * time) for hz in frequencies_hz), RATE_HZ)
    return path


def audioset(root: Path, clips: int = 12, evaluation: int = 6, missing: int = 2, seconds: float = 1.0) -> Path:
    """AudioSet with `clips` to train on (a third of them balanced), `evaluation` to test on, and rows of `missing` more to
    train on that have no sound. Every class is in both parts, if each has four clips."""
    rows = [_segment(index) for index in range(clips + evaluation + missing)]
    balanced = clips // 3
    parts = {
        "balanced_train_segments": rows[:balanced],
        "unbalanced_train_segments": rows[balanced:clips] + rows[clips + evaluation :],
        "eval_segments": rows[clips : clips + evaluation],
    }
    for part, segments in parts.items():
        _write_table(root / f"{part}.csv", segments)
        for segment in segments:
            if (index := rows.index(segment)) < clips + evaluation:
                name = NAMES[index % len(NAMES)].format(*segment[:3])
                frequencies = tuple(CLASSES[mid] for mid in segment[3])
                tones(root / "audio" / part / f"part{index % 2:02}" / name, frequencies, seconds, seed=index)
    return root


def _segment(index: int) -> tuple[str, int, int, tuple[str, ...]]:
    """(video, start in s, end in s, MIDs) of a row; every other clip has two classes."""
    mids, start = list(CLASSES), 10 * (index % 5 + 1)
    classes = {mids[index % 4]: None} | ({mids[(index + 1) % 4]: None} if index % 2 else {})
    return f"{BEGINNINGS[index % len(BEGINNINGS)]}{index:09}", start, start + 10, tuple(classes)


def _write_table(path: Path, segments: list[tuple[str, int, int, tuple[str, ...]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    used = {mid for *_, mids in segments for mid in mids}
    lines = [
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        f"# num_ytids={len(segments)}, num_segs={len(segments)}, num_unique_labels={len(used)}, "
        f"num_positive_labels={sum(len(mids) for *_, mids in segments)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
        *(f'{video}, {start:.3f}, {end:.3f}, "{",".join(mids)}"' for video, start, end, mids in segments),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def urbansound8k(root: Path, per_fold: int = 2) -> Path:
    """UrbanSound8K with `per_fold` clips in each of its ten folds, of 0.05 to 0.2 s; clip `i` of all has class i % 10."""
    names = ("air_conditioner car_horn children_playing dog_bark drilling engine_idling gun_shot jackhammer siren "
             "street_music").split()  # fmt: skip
    rows = []
    for index in range(10 * per_fold):
        fold, target = index // per_fold + 1, index % 10
        name = f"{100_000 + index // 2}-{target}-0-{index % 2}.wav"
        rows.append((name, 100_000 + index // 2, 0.0, 0.1, 1, fold, target, names[target]))
        tones(root / "audio" / f"fold{fold}" / name, (200.0 * (target + 1),), 0.05 * (1 + index % 4), seed=index)
    (root / "metadata").mkdir()
    with open(root / "metadata" / "UrbanSound8K.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow("slice_file_name fsID start end salience fold classID class".split())
        table.writerows(rows)
    return root


def mixtures(root: Path, folds: int = 4) -> Path:
    """Two mixtures a fold, of a second: a high tone in its first half, and a low one in its second half."""
    strong, clips = ["filename,onset,offset,label,source"], ["filename,fold,snr_db,labels,background"]
    for fold in range(1, folds + 1):
        for label, frequency, onset in (("high", 2000.0, 0.0), ("low", 200.0, 0.5)):
            name = f"fold{fold}-{label}.wav"
            tones(root / "audio" / name, (frequency,), seed=fold)
            strong.append(f"{name},{onset},{onset + 0.5},{label},x.wav")
            clips.append(f"{name},{fold},10,{label},0")
    (root / "events.csv").write_text("\n".join(strong) + "\n", encoding="utf-8")
    (root / "mixtures.csv").write_text("\n".join(clips) + "\n", encoding="utf-8")
    record = {"labels": ["high", "low"], "snr_db": 10, "events": {"title": "tones", "licence": ""}}
    (root / "mix.json").write_text(json.dumps(record), encoding="utf-8")
    return root
