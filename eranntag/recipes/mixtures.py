"""Mixtures of events and backgrounds with strong labels, as `eranntag data mix` makes them (mixing/); 2APAE's data are
mixtures of FSDKaggle2018 (DCASE 2018 task 2, 41 classes) and TAU Urban Acoustic Scenes 2019 (DCASE 2019 task 1).

Layout: `--data` (ERANNTAG_DATA) names the folder of one SNR, such as OUT/snr10, with

    mixtures.csv    filename,fold,snr_db,labels,...     labels separated by ;
    events.csv      filename,onset,offset,label,...     the strong labels, in seconds
    mix.json        the classes, the SNR and where all comes from
    audio/

or what holds just one such folder. One event sounds in several mixtures of its fold and in no other fold's, so a validation
part is a whole fold. The protocol is 2APAE's (Deshmukh, Raj, Singh); it leaves the epochs open, here 80 of 6000 clips, with a
learning rate that is divided by ten where micro-AP stands still for more than three evaluations (as in the authors' code,
which selects by it), neither mixup nor masks, which the paper does not mention, and no averaged weights. What it calls micro
and macro precision is `micro_AP` and `mAP`, its AUC `mAUC`.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.recipes import _csv, _paper, find_root
from eranntag.recipes._csv import translate_row_errors
from eranntag.types import Dataset, Event, Example, Published, Recipe, TrainingConfig

LABELS = (
    "Acoustic_guitar Applause Bark Bass_drum Burping_or_eructation Bus Cello Chime Clarinet Computer_keyboard Cough Cowbell "
    "Double_bass Drawer_open_or_close Electric_piano Fart Finger_snapping Fireworks Flute Glockenspiel Gong "
    "Gunshot_or_gunfire Harmonica Hi-hat Keys_jangling Knock Laughter Meow Microwave_oven Oboe Saxophone Scissors Shatter "
    "Snare_drum Squeak Tambourine Tearing Telephone Trumpet Violin_or_fiddle Writing"
).split()

WRITTEN = "what `eranntag data mix` writes"
SNR_DB = (20, 10, 0)
METRICS = ("", "mAP", "mAUC")  # micro-AP is the recipe's own
TABLE_IV = {  # METRICS at each of SNR_DB; GAP's AUC at 10 dB is misprinted, as its macro precision
    "gap": ((0.5067, 0.6127, 0.9338), (0.4291, 0.5390, None), (0.3295, 0.4093, 0.8694)),
    "gmp": ((0.5390, 0.5186, 0.8497), (0.5263, 0.5023, 0.8422), (0.4640, 0.4441, 0.8189)),
    "gwrp": ((0.7018, 0.7522, 0.9362), (0.6538, 0.7129, 0.9265), (0.5285, 0.6084, 0.8985)),
    "atrous": ((0.7391, 0.7586, 0.9279), (0.6740, 0.7404, 0.9211), (0.5714, 0.6341, 0.9014)),
    "2apae": ((0.7829, 0.7645, 0.9390), (0.7603, 0.7486, 0.9343), (0.6986, 0.6892, 0.9177)),
}
TABLE_V = {  # alpha of 2APAE; in Table IV it is 0.001
    "0": ((0.7772, 0.7648, 0.9389), (0.7430, 0.7383, 0.9299), (0.6937, 0.6807, 0.9144)),
    "0.01": ((0.7637, 0.7464, 0.9333), (0.7428, 0.7278, 0.9277), (0.6792, 0.6689, 0.9114)),
}


def _rows(snr_db: int) -> Iterator[Published]:
    """The printed values of one signal-to-noise ratio."""
    tables = [(model, "Table IV", "scratch", rows) for model, rows in TABLE_IV.items()]
    tables += [("2apae", "Table V", f"scratch, alpha {alpha}", rows) for alpha, rows in TABLE_V.items()]
    for model, table, how, rows in tables:
        for metric, value in zip(METRICS, rows[SNR_DB.index(snr_db)], strict=True):
            if value is not None:
                yield _paper.row(model, value, f"2APAE, {table}", how, metric)


RECIPE = Recipe(
    name="mixtures",
    title="Mixtures of events and backgrounds",
    licence="CC BY 4.0 (FSDKaggle2018), non-commercial (TAU Urban Acoustic Scenes 2019)",
    labels=tuple(LABELS),
    activation="sigmoid",
    folds=(1, 2, 3, 4),
    metric="micro_AP",
    training=TrainingConfig(
        crop_seconds=10.0,
        iterations=20_000,
        learning_rate=1e-3,
        evaluate_every=250,
        batch=24,
        mixup="none",
        augment=(),
    ),
    fine_tuning={"iterations": 2_000, "learning_rate": 1e-4, "evaluate_every": 250},
    min_seconds=10,
    part_of="mixtures",  # of one SNR and of another: the same events
    families={"apae": {"ema_decay": 0.0, "reconstruction": 0.001, "schedule": "plateau"}},
)
PAPER = {float(snr_db): tuple(_rows(snr_db)) for snr_db in SNR_DB}  # of one level of the noise each; `read` chooses


def read(data: str | None = None) -> Dataset:
    """All mixtures of the table, in its order, with their events. DataError when none of them is there."""
    root = _find(data)
    recipe = _recipe(root)
    index = {label: at for at, label in enumerate(recipe.labels)}
    events: dict[str, list[Event]] = {}
    for where, row in _csv.rows("mixtures", root / "events.csv", ("filename", "onset", "offset", "label")):
        with translate_row_errors(where, WRITTEN):
            event = Event(row["label"], float(row["onset"]), float(row["offset"]))
            events.setdefault(row["filename"], []).append(event)
    examples, missing = [], []
    for where, row in _csv.rows("mixtures", root / "mixtures.csv", ("filename", "fold", "labels")):
        with translate_row_errors(where, WRITTEN):
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
    record = bounded.read_json_object(root / "mix.json")
    with translate_row_errors(f"mixtures: {root / 'mix.json'}", WRITTEN):
        labels, snr_db = tuple(map(str, record["labels"])), float(record["snr_db"])
        source, licence = str(record["events"]["title"]), str(record["events"]["licence"])
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise DataError(f"mixtures: {root / 'mix.json'} must name at least two classes, each once")
    if set(labels) == set(LABELS):
        return dataclasses.replace(RECIPE, labels=labels, title=f"{RECIPE.title} at {snr_db:g} dB", paper=PAPER.get(snr_db, ()))
    return dataclasses.replace(RECIPE, labels=labels, licence=licence, title=f"Mixtures of {source} at {snr_db:g} dB")
