"""What programs read: every record of every format parses, whatever the file is called and wherever the run stops."""

import csv
import io
import json
import os
from typing import Any

import numpy as np
import pytest

from eranntag.results.formats import FORMATS, printable
from eranntag.types import Prediction, Tag

LABELS = ("dog", "rain", "door, slamming")
HOSTILE = {  # name -> what a terminal shows
    "two\nlines.wav": "two\\x0alines.wav",
    "carriage\rreturn.wav": "carriage\\x0dreturn.wav",
    'say "hi", twice.wav': 'say "hi", twice.wav',
    os.fsdecode(b"caf\xe9\xff.wav"): "caf\\xe9\\xff.wav",
    "[/bold][red]x[/].wav": "[/bold][red]x[/].wav",
    "\u202egnp.wav": "\\u202egnp.wav",
    "\x1b[31mred\x9b0m.wav": "\\x1b[31mred\\x9b0m.wav",
    "café 日本 🎵.wav": "café 日本 🎵.wav",
    "\U000e0041.wav": "\\U000e0041.wav",
}


def prediction(source: str = "a.wav", scores: tuple[float, ...] = (0.25, 0.7, 0.05), seconds: float = 5.0) -> Prediction:
    return Prediction(LABELS, np.array(scores, np.float32), seconds, source, "tiny")


def document(form: str, predictions: list[Prediction], complete: bool = True, top: int | None = None) -> str:
    style = FORMATS[form](top, 0.0)
    return style.start() + "".join(map(style.record, predictions)) + style.finish(complete)


def parse(form: str, text: str) -> list[dict[str, Any]]:
    """The records, those of CSV gathered again from the rows of their tags."""
    if form == "json":
        return list(json.loads(text)["results"])
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    records: list[dict[str, Any]] = []
    for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
        if row["rank"] == "1":
            records.append({"source": row["source"], "seconds": float(row["seconds"]), "checkpoint": row["checkpoint"]})
            records[-1]["tags"] = []
        records[-1]["tags"].append({"label": row["label"], "score": float(row["score"])})
        assert int(row["rank"]) == len(records[-1]["tags"])
    return records


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_the_same(form: str) -> None:
    tags = [{"label": "rain", "score": 0.7}, {"label": "dog", "score": 0.25}]
    expected = [
        {"source": "a.wav", "seconds": 5.0, "checkpoint": "tiny", "tags": tags},
        {"source": "b.wav", "seconds": 7261.387512, "checkpoint": "tiny", "tags": tags},
    ]
    records = parse(form, document(form, [prediction(), prediction("b.wav", seconds=7261.3875121)], top=2))
    assert [{key: record[key] for key in expected[0]} for record in records] == expected


def test_the_schema_is_in_the_json_document_and_in_every_line_of_jsonl() -> None:
    assert json.loads(document("json", [prediction()])) | {"results": []} == {"schema": 1, "results": [], "complete": True}
    assert [record["schema"] for record in parse("jsonl", document("jsonl", [prediction()] * 2))] == [1, 1]


@pytest.mark.parametrize("records", range(4))
@pytest.mark.parametrize("form", FORMATS)
def test_a_document_cut_after_any_record_is_valid(form: str, records: int) -> None:
    text = document(form, [prediction(f"{index}.wav") for index in range(records)], complete=False)
    assert [record["source"] for record in parse(form, text)] == [f"{index}.wav" for index in range(records)]
    assert not text or text.endswith("\n")
    if form == "json":
        assert json.loads(text)["complete"] is False


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("form", FORMATS)
def test_a_hostile_name_survives(form: str, name: str) -> None:
    text = document(form, [prediction(name), prediction("next.wav")])
    assert [os.fsencode(record["source"]) for record in parse(form, text)] == [os.fsencode(name), b"next.wav"]
    assert form == "csv" or text.isascii()
    if form == "jsonl":
        assert text.count("\n") == 2


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items(), ids=map(ascii, HOSTILE))
def test_a_hostile_name_is_harmless_on_a_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(name).isprintable()


def test_top_is_best_first_and_equal_scores_keep_the_label_order() -> None:
    assert [tag.label for tag in prediction(scores=(0.2, 0.9, 0.5)).top()] == ["rain", "door, slamming", "dog"]
    many = tuple(map(str, range(500)))
    order = [*many[1::2], *many[::2]]
    assert [tag.label for tag in Prediction(many, np.tile([0.25, 0.5], 250), 1.0).top(None)] == order
    assert prediction(scores=(0.25, 0.5, 0.125)).top(1) == (Tag("rain", 0.5),)


def test_top_keeps_what_reaches_the_threshold() -> None:
    clip = prediction(scores=(0.25, 0.5, 0.125))
    assert [tag.label for tag in clip.top(None, 0.25)] == ["rain", "dog"]
    assert clip.top(5, 0.51) == ()
    assert len(clip.top(None)) == 3
