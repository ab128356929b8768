"""Mixtures of events and backgrounds with strong labels, as `eranntag data mix` makes them (mixing.py); 2APAE's data are
mixtures of FSDKaggle2018 (DCASE 2018 task 2, 41 classes) and TAU Urban Acoustic Scenes 2019 (DCASE 2019 task 1).

Layout: `--data` (ERANNTAG_DATA) names the folder of one SNR, such as OUT/snr10, with

    mixtures.csv    filename,fold,snr_db,labels,...     labels separated by ;
    events.csv      filename,onset,offset,label,...     the strong labels, in seconds
    mix.json        the classes, the SNR and where all comes from
    audio/

or what holds just one such folder. One event sounds in several mixtures of its fold and in no other fold's, so a validation
part is a whole fold. The protocol is 2APAE's (Deshmukh, Raj, Singh); it leaves the epochs open, here 80 of 6000 clips, with a
constant learning rate, neither mixup nor masks, which the paper does not mention, and no averaged weights. `mAP` is what it
calls macro precision, and the published values are of that.
"""

import csv
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import find_root
from eranntag.shards import WHAT_A_BAD_FILE_RAISES, load_json
from eranntag.types import Dataset, Event, Example, Published, Recipe

LABELS = (
    "Acoustic_guitar Applause Bark Bass_drum Burping_or_eructation Bus Cello Chime Clarinet Computer_keyboard Cough Cowbell "
    "Double_bass Drawer_open_or_close Electric_piano Fart Finger_snapping Fireworks Flute Glockenspiel Gong "
    "Gunshot_or_gunfire Harmonica Hi-hat Keys_jangling Knock Laughter Meow Microwave_oven Oboe Saxophone Scissors Shatter "
    "Snare_drum Squeak Tambourine Tearing Telephone Trumpet Violin_or_fiddle Writing"
).split()

SNR_DB = (20, 10, 0)
MACRO = {  # what it calls macro precision, at SNR_DB
    "gap": (0.6127, 0.5390, 0.4093),
    "gmp": (0.5186, 0.5023, 0.4441),
    "gwrp": (0.7522, 0.7129, 0.6084),
    "atrous": (0.7586, 0.7404, 0.6341),
    "2apae": (0.7645, 0.7486, 0.6892),
}
MACRO_OF_ALPHA = {"0": (0.7648, 0.7383, 0.6807), "0.01": (0.7464, 0.7278, 0.6689)}  # 2APAE; else it is 0.001

RECIPE = Recipe(
    name="mixtures",
    title="Mixtures of events and backgrounds",
    licence="CC BY 4.0 (FSDKaggle2018), non-commercial (TAU Urban Acoustic Scenes 2019)",
    labels=tuple(LABELS),
    activation="sigmoid",
    folds=(1, 2, 3, 4),
    metric="mAP",
    crop_seconds=10.0,
    min_seconds=10,
    iterations=20_000,
    learning_rate=1e-3,
    evaluate_every=250,
    finetune_iterations=2_000,
    finetune_evaluate_every=250,
    batch=24,
    mixup="none",
    augment=(),
    part_of="mixtures",  # of one SNR and of another: the same events
    families={"apae": {"ema_decay": 0.0, "reconstruction": 0.001}},
    paper=(
        *(
            Published(model, value, "2APAE, macro precision", f"scratch, {snr_db} dB")
            for model, values in MACRO.items()
            for snr_db, value in zip(SNR_DB, values, strict=True)
        ),
        *(
            Published("2apae", value, "2APAE, macro precision", f"scratch, {snr_db} dB, alpha {alpha}")
            for alpha, values in MACRO_OF_ALPHA.items()
            for snr_db, value in zip(SNR_DB, values, strict=True)
        ),
    ),
)


def read(data: str | None = None) -> Dataset:
    """All mixtures of the table, in its order, with their events. DataError when none of them is there."""
    root = _find(data)
    recipe = _recipe(root)
    index = {label: at for at, label in enumerate(recipe.labels)}
    events: dict[str, list[Event]] = {}
    for where, row in _rows(root / "events.csv"):
        with _told(where):
            event = Event(row["label"], float(row["onset"]), float(row["offset"]))
            events.setdefault(row["filename"], []).append(event)
    examples, missing = [], []
    for where, row in _rows(root / "mixtures.csv"):
        with _told(where):
            path, fold = root / "audio" / row["filename"], int(row["fold"])
            targets = tuple(sorted(index[label] for label in row["labels"].split(";") if label))
            there = tuple(events.get(row["filename"], ()))
        if path.is_file():
            examples.append(Example(str(path), targets, fold, group=f"fold {fold}", events=there))
        else:
            missing.append(row["filename"])
    if not examples:
        raise DataError(f"mixtures: {root / 'audio'} holds none of the clips that {root / 'mixtures.csv'} names")
    folds = tuple(sorted({example.fold for example in examples if example.fold is not None}))
    return Dataset(dataclasses.replace(recipe, folds=folds), tuple(examples), tuple(missing))


def _find(data: str | None) -> Path:
    """The folder of one SNR."""
    inside = sorted(path.parent for path in Path(data).glob("snr*/mixtures.csv")) if data else []
    if len(inside) > 1:
        names = ", ".join(str(folder) for folder in inside)
        raise DataError(f"mixtures: {data} holds a data set for every SNR; --data or ERANNTAG_DATA must name one of {names}")
    return inside[0] if inside else find_root("mixtures", data, ("mixtures",), "mixtures.csv")


def _recipe(root: Path) -> Recipe:
    """With the classes of mix.json; the paper's values of its SNR if they are the paper's classes, else none."""
    record = load_json(root / "mix.json")
    with _told(str(root / "mix.json")):
        labels, snr = tuple(map(str, record["labels"])), f"{float(record['snr_db']):g} dB"
        source, licence = str(record["events"]["title"]), str(record["events"]["licence"])
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise DataError(f"mixtures: {root / 'mix.json'} must name at least two classes, each once")
    if set(labels) == set(LABELS):
        ours = (row for row in RECIPE.paper if snr in row.how.split(", "))
        paper = tuple(dataclasses.replace(row, how=row.how.replace(f", {snr}", "")) for row in ours)
        return dataclasses.replace(RECIPE, labels=labels, title=f"{RECIPE.title} at {snr}", paper=paper)
    return dataclasses.replace(RECIPE, labels=labels, licence=licence, title=f"Mixtures of {source} at {snr}", paper=())


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of a table."""
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            yield from ((f"{table} line {rows.line_num}", row) for row in rows)
    except OSError as error:
        raise DataError(f"mixtures: {table} cannot be read ({error.strerror}); `eranntag data mix` writes it") from None


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except WHAT_A_BAD_FILE_RAISES as error:
        raise DataError(f"mixtures: {where} is not what `eranntag data mix` writes: {error!r}") from None
