"""Ray and Spark give what one machine gives; what kills a decoder there is one row, and nothing is reported to anybody."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError, UsageError
from eranntag.inference import detector
from eranntag.inference.pipeline import predict
from eranntag.integrations import ray, ray_session, worker
from eranntag.integrations.worker import Load, Worker, shared_worker
from eranntag.results import schema as rows
from eranntag.types import Failure, Prediction

Writer = Callable[..., Path]


@pytest.fixture
def sounds(wav: Writer, tmp_path: Path) -> list[str]:
    """Twelve names: noise of two lengths, one that is not UTF-8, and a text, nothing at all and what is "deadly"."""
    rng = np.random.default_rng(0)
    names = [str(wav(f"{i}.wav", rng.normal(0, 0.02 * (i + 1), 44100 * (1 + i % 2)))) for i in range(8)]
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.wav")
    os.rename(names[7], odd)
    (tmp_path / "text.wav").write_text("no sound")
    broken = [str(tmp_path / name) for name in ("text.wav", "absent.wav", "deadly.wav")]
    return [*names[:3], *broken, odd, *names[3:7], str(tmp_path)]


@pytest.fixture
def checkpoint(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def without_the_deadly(names: list[str]) -> list[str]:
    return [name for name in names if "deadly" not in name]


def alone(checkpoint: str, names: list[str]) -> list[Any]:
    """What this process says of them."""
    return list(predict(Load(checkpoint, "cpu", engine="eager")(), names))


def check_rows(rows: list[dict[str, Any]], results: list[Any], top: int, threshold: float) -> None:
    """They say what the `results` do, which come in the same order."""
    for row, result in zip(rows, results, strict=True):
        assert row["schema"] == 1 and os.fsdecode(row["source_bytes"]) == result.source and row["source"].isprintable()
        if isinstance(result, Failure):
            assert row["error"] == result.reason and row["tags"] is row["checkpoint"] is None
        else:
            tags = [(tag.label, round(tag.score, 6)) for tag in result.top(top, threshold)]
            assert [(tag["label"], tag["score"]) for tag in row["tags"]] == tags
            assert row["error"] is None and row["checkpoint"] == result.checkpoint
            assert row["seconds"] == round(result.seconds, 6)


@pytest.mark.ray
def test_ray_gives_what_one_machine_gives(sounds: list[str], checkpoint: str, tmp_path: Path) -> None:
    plan = {"names": [os.fsencode(name).hex() for name in sounds], "checkpoint": checkpoint}
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, here / "clustered.py", tmp_path], env=environment, capture_output=True, text=True, timeout=240
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    assert run.stderr == "", run.stderr  # neither Ray's logs nor its progress
    found = pickle.loads((tmp_path / "results.pickle").read_bytes())
    assert found["sigterm"] and found["over"]
    expected = alone(checkpoint, without_the_deadly(sounds))

    results = found["results"]
    assert [result.source for result in results] == sounds
    (deadly,) = (result for result in results if "deadly" in result.source)
    assert isinstance(deadly, Failure) and "died (Segmentation fault)" in deadly.reason
    same(without(results, deadly), expected)


def without(results: list[Any], one: Any) -> list[Any]:
    return [result for result in results if result is not one]


def same(results: list[Any], expected: list[Any]) -> None:
    """Equal but for the order of float32 sums: the clips lie in other batches there, computed by another number of threads."""
    for ours, theirs in zip(results, expected, strict=True):
        if isinstance(theirs, Prediction):
            np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-5)
            assert ours.source == theirs.source
            assert (ours.labels, ours.seconds, ours.checkpoint) == (theirs.labels, theirs.seconds, theirs.checkpoint)
        else:
            assert ours == theirs


def test_what_cannot_be_loaded_there_is_the_error_here() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    actor = ray._ResultActor(pickle.dumps(Load("absent.safetensors")), 1, None, "path")
    (result,) = actor(pyarrow.table({"path": ["a.wav", "b.wav"]}))["result"]
    with pytest.raises(EranntagError, match=r"^absent.safetensors: no such checkpoint file"):
        ray._unpickle_result(result.as_py())


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://[::1]:{}", "127.0.0.1:{}99999"])
def test_where_no_ray_is_nobody_waits_for_it(address: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = address.format(closed.getsockname()[1])  # bound, and so not another's; but nobody listens
        library = SimpleNamespace(is_initialized=lambda: False)
        with (
            pytest.raises(EranntagError, match=r"^Ray: no cluster answers at .*ray start --head"),
            ray_session.connected(library, nobody),
        ):
            pass


def test_ray_missing_or_too_small_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^Ray: - exists for this process alone"):
        ray._collect_names(["a.wav", "-"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"^Ray is not installed: pip install 'eranntag\[ray\]'$"):
        next(ray.predict(Load(), ["a.wav"]))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("nodes", "asked", "cores", "gpus", "actors"),
    [
        ([(2, 0)], {}, 2, 0, 1),
        ([(2, 0)], {"cores": 1}, 1, 0, 2),
        ([(0, 0), (64, 0), (6, 0)], {}, 4, 0, 17),  # a head without processors; what is left over of 6 is left alone
        ([(64, 0), (32, 8)], {}, 4, 1, 8),  # GPUs, where there are any
        ([(64, 0), (32, 8)], {"gpus": 0}, 4, 0, 24),
        ([(64, 0), (32, 8)], {"cores": 8}, 8, 1, 4),
        ([(1, 4)], {}, 1, 1, 1),
    ],
)
def test_actors_fill_the_cluster(
    nodes: list[tuple[int, int]], asked: dict[str, int], cores: int, gpus: int, actors: int
) -> None:
    actors_ = ray._Actors(cluster_of(nodes), asked.get("cores"), asked.get("gpus"))
    assert (actors_.cores, actors_.gpus, actors_.count) == (cores, gpus, actors)


def cluster_of(nodes: list[tuple[int, int]]) -> Any:
    there = [{"Alive": True, "Resources": {"CPU": float(cpu), "GPU": float(gpu)}} for cpu, gpu in nodes]
    return SimpleNamespace(nodes=lambda: [*there, {"Alive": False, "Resources": {"CPU": 512.0, "GPU": 64.0}}])


def test_what_no_machine_has_is_refused_and_not_waited_for() -> None:
    with pytest.raises(UsageError, match=r"no machine of the Ray cluster has 8 CPUs and 0 GPUs for an actor, but 2 CPUs and 0"):
        ray._Actors(cluster_of([(2, 0), (2, 0)]), 8, None)
    with pytest.raises(UsageError, match=r"has 1 CPUs and 1 GPUs for an actor, but 2 CPUs and 0 GPUs"):
        ray._Actors(cluster_of([(2, 0)]), None, 1)


class Stub:
    """A Tagger, or Detector, without a process of its own or any network."""

    def __init__(self, tagger: Any) -> None:
        self.tagger = tagger
        self.made = 0

    def __call__(self, make: Any, cores: int, batch: int | None) -> Callable[[Any], list[Any]]:
        self.made += 1
        return lambda names: list(predict(self.tagger, map(os.fsdecode, names), batch))


@pytest.fixture
def stub(tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    stub = Stub(tiny_tagger)
    monkeypatch.setattr(ray, "Worker", stub)
    monkeypatch.setattr(worker, "Worker", stub)
    shared_worker.cache_clear()
    yield stub
    shared_worker.cache_clear()


def test_ray_gives_a_row_for_each_path(
    sounds: list[str], tiny_tagger: Eager, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its actor in this process; how Ray calls one is seen above."""
    pyarrow = pytest.importorskip("pyarrow")

    def mapped(paths: Any, actor: Any, arguments: dict[str, Any], actors: Any, files: int) -> Any:
        assert (actors.cores, actors.count) == (2, 1) and isinstance(arguments["make"], Load)
        return actor(**{**arguments, "make": pickle.dumps(arguments["make"])})(paths)

    monkeypatch.setattr(ray_session, "import_ray", lambda: cluster_of([(2, 0)]))
    monkeypatch.setattr(ray, "_map_batches", mapped)
    names = without_the_deadly(sounds)
    paths: Any = pyarrow.table({"wav": [os.fsencode(name) for name in names]})
    table: Any = ray.tagged(paths, Load("tiny"), column="wav", top=2, threshold=0.1)
    assert table.schema.equals(rows.arrow_schema("tags", error=True))
    check_rows(table.to_pylist(), list(predict(tiny_tagger, names)), 2, 0.1)


def test_the_recipe_for_spark_gives_a_row_for_each_path(
    sounds: list[str], tiny_tagger: Eager, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of docs/scale.md, with a stand-in for Spark: a frame that keeps the function and the schema."""
    pyarrow = pytest.importorskip("pyarrow")
    spark = SimpleNamespace(functions=[])
    for name in ("builder", "read", "write"):
        setattr(spark, name, spark)
    for name in ("appName", "config", "getOrCreate", "text", "withColumnRenamed", "repartition", "parquet"):
        setattr(spark, name, lambda *_: spark)
    spark.mapInArrow = lambda *arguments: spark.functions.append(arguments) or spark
    monkeypatch.setitem(sys.modules, "pyspark", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pyspark.sql", SimpleNamespace(SparkSession=spark))
    section = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8").partition("## Spark")[2]
    exec(section.partition("```python\n")[2].partition("```")[0], {})
    ((function, columns),) = spark.functions
    names = without_the_deadly(sounds)
    binary = pyarrow.array([os.fsencode(name) for name in names], pyarrow.binary())
    batches = [pyarrow.record_batch({"path": part}) for part in (binary[:5], binary[:0], binary[5:])]
    tables = [*function(iter(batches[:2])), *function(iter(batches[2:]))]
    assert [table.num_rows for table in tables] == [5, 0, 6]
    assert stub.made == 1  # one worker for both tasks
    declared = [column.split()[0] for column in re.split(r", (?![^<]*>)", columns)]
    assert declared == rows.arrow_schema("tags", error=True).names
    assert all(table.schema.equals(rows.arrow_schema("tags", error=True)) for table in tables)
    check_rows([row for table in tables for row in table.to_pylist()], list(predict(tiny_tagger, names)), 5, 0.0)


def test_ray_gives_events_too(sounds: list[str], tiny_tagger: Eager, stub: Stub) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    how = detector.postprocessing(detector.thresholds(tiny_tagger.checkpoint))
    stub.tagger = detector.Detector(tiny_tagger, how)
    make = pickle.dumps(Load("tiny"))
    actor = ray._RowActor(make=make, cores=1, batch=None, column="path", top=None, threshold=0.0, events=True)
    table = actor(pyarrow.table({"path": sounds[:4]}))
    assert table.schema.equals(rows.arrow_schema("events", error=True))
    *found, broken = table.to_pylist()
    assert broken["error"] and broken["events"] is None
    for row, name in zip(found, sounds, strict=False):
        assert row["events"] == stub.tagger.detect(name).to_dict()["events"] and row["frame_seconds"] > 0


def test_a_hearing_hears_batch_after_batch_with_one_listener(sounds: list[str], checkpoint: str) -> None:
    names, make = without_the_deadly(sounds), partial(Load, checkpoint, "cpu", engine="eager")
    hearing = Worker(make(), cores=1)
    results = [*hearing(names[:1]), *hearing([os.fsencode(name) for name in names[1:6]]), *hearing([]), *hearing(names[6:])]
    same(results, alone(checkpoint, names))
    assert make() == make() and hash(make()) == hash(make())
