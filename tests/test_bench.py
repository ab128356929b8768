"""The bench: what it reports, not how fast anything is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import eranntag
from eranntag import models, registry
from eranntag.benchmark import cold_start, frontends, paper, peers, report_page, run as bench, subjects, timing, training
from eranntag.benchmark.plan import Plan
from eranntag.checkpoints import loading
from eranntag.checkpoints.digest import file_sha256
from eranntag.cli import cli
from eranntag.cli.display import benchmark as tables
from eranntag.errors import EranntagError, UsageError

CHECKOUT = Path(__file__).resolve().parents[1]
QUICK = ("-c", "erann-2-1", "--seconds", "1", "--clips", "2", "--budget", "0.05")
PLAN = Plan(batches=(1,), seconds=1, clips=2, budget=0.05, cold_runs=0)


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, args)])


def silent(line: str) -> None: ...


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERANNTAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The JSON of a whole run, and the page that it wrote."""
    written = tmp_path_factory.mktemp("docs") / "page.md"
    written.write_text("# Ours\n\n<!-- eranntag bench -->\nformer\n<!-- end -->\n\nand more\n")
    result = run(*QUICK, "--batch", 1, "--batch", 2, "--engine", "eager", "--cold-runs", 1, "--json", "--write", written)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), written.read_text()


@pytest.mark.slow
def test_a_run_holds_every_measurement(whole: tuple[dict[str, Any], str]) -> None:
    report, _ = whole
    (row,) = report["results"]
    assert (row["name"], row["architecture"], row["random"]) == ("erann-2-1", "erann-2-1", True)
    assert (row["engine"], row["dtype"], row["device"], row["parallel"]) == ("eager", "float32", "cpu", 1)
    assert row["parameters"] == sum(p.numel() for p in subjects.random_network("erann-2-1").parameters())
    assert [(each["asked"], each["batch"], each["gpu_bytes"]) for each in row["throughputs"]] == [(1, 1, None), (2, 2, None)]
    rates = [*(each["clips_per_second"] for each in row["throughputs"]), row["files_per_second"], row["cold"]["seconds"]]
    for each in (*rates, row["eager"]["clips_per_second"], row["eager"]["files_per_second"]):
        assert 0 < each["lowest"] <= each["median"] <= each["highest"] and each["runs"] >= 1
    assert 0 < row["latency"]["p50_ms"] <= row["latency"]["p90_ms"] <= row["latency"]["p99_ms"]
    assert list(row["shares"]) == ["decode", "resample", "mel", "network"]
    assert sum(row["shares"].values()) == pytest.approx(1) and min(row["shares"].values()) >= 0
    assert row["cold"]["first_seconds"] > 0 and list(row["cold"]["memory_bytes"]) == ["1", "2"]
    if os.name == "posix":
        assert all(20e6 < held < 20e9 for held in row["cold"]["memory_bytes"].values())
    assert report["machine"]["versions"].startswith(f"eranntag {eranntag.__version__}, torch {torch.__version__.split('+')[0]}")


@pytest.mark.slow
def test_the_ratios_are_those_of_the_numbers(whole: tuple[dict[str, Any], str]) -> None:
    row = whole[0]["results"][0]
    files = row["files_per_second"]["median"]
    fastest = max(each["clips_per_second"]["median"] for each in row["throughputs"])
    assert row["files_to_network"] == pytest.approx(files / fastest)
    assert row["files_to_plain"] == pytest.approx(files / row["eager"]["files_per_second"]["median"])


@pytest.mark.slow
def test_the_page_gets_the_tables_and_keeps_the_rest(whole: tuple[dict[str, Any], str]) -> None:
    report, text = whole
    assert text.startswith("# Ours\n\n<!-- eranntag bench -->\n`eranntag bench --checkpoint erann-2-1 --batch 1 --batch 2 ")
    assert text.endswith("\n<!-- end -->\n\nand more\n") and "former" not in text
    for value in report["machine"].values():
        assert value in text
    rows = [line for line in text.splitlines() if line.startswith("| erann-2-1 *, float32 |")]
    assert len(rows) == 3
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    "before", ["", "# Title\n", "# Title\n\nno newline at the end", "a\n<!-- eranntag bench -->\n<!-- end -->"]
)
def test_writing_a_page_twice_changes_nothing(tmp_path: Path, before: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(before)
    report_page.write(path, "one\n")
    report_page.write(path, "two\n")
    once = path.read_text()
    report_page.write(path, "two")
    assert path.read_text() == once and "one" not in once
    assert "<!-- eranntag bench -->\ntwo\n<!-- end -->" in once and once.startswith(before.partition("<!--")[0].rstrip())


def test_a_page_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "half.md").write_text("<!-- eranntag bench -->\n")
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe")
    for name, line in {
        "missing/page.md": "a folder that exists",
        "train": "a Markdown page",
        "folder.md": "a file in a folder",
        "half.md": "no <!-- end",
        "bytes.md": "UTF-8",
    }.items():
        result = run(*QUICK, "--write", tmp_path / name)
        assert result.exit_code == 2 and line in result.stderr and result.stderr.count("\n") == 1


def test_without_a_file_the_page_is_docs_benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*QUICK, "--write")
    assert result.exit_code == 2 and "docs/benchmarks.md" in result.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-c", "eran-1-6-audioset"), "did you mean 'erann-1-6-audioset'"),
        (("-c", "erann-1-6-audioset"), "not published"),
        (("--engine", "opnvino"), "did you mean 'openvino'"),
        (("--dtype", "float61"), "did you mean 'float16'"),
        (("--device", "tpu"), "none of auto"),
        (("--batch", "0"), "--batch"),
        (("--threads", "100000"), "processors"),
        (("train", "--model", "eran-1-6"), "no architecture"),
        (("--budget", "1", "train"), "come after it"),
        (("trian",), "trian"),
        (("train", "--model", "erann-2-1", "--seconds", "1.5"), "whole seconds"),
    ],
)
def test_nonsense_is_one_line(words: tuple[str, ...], line: str) -> None:
    result = run(*words)
    assert result.exit_code in (1, 2) and line in result.stderr and result.stdout == ""
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_openvino_is_measured_side_by_side() -> None:
    pytest.importorskip("openvino")
    report = bench.run(["erann-2-1"], Plan(**{**vars(PLAN), "engine": "openvino", "dtype": "float32"}), log=silent)
    (result,) = report.results
    assert (result.engine, result.device) == ("openvino", "cpu") and result.cold is None
    assert result.shares["mel"] > 0 and len(result.throughputs) == 1
    assert result.throughputs[0].clips_per_second.median > 0 and result.files_per_second.median > 0


def test_random_weights_are_the_same_each_time_and_tame(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        found.append(subjects.find("erann-2-1", folder))
    assert found[0].random and file_sha256(found[0].path) == file_sha256(found[1].path)
    tagger = loading.load(found[0].path, device="cpu", engine="eager", dtype="float32")
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 44100), np.float32)
    scores = tagger.scores(noise)
    assert scores.shape == (1, 527) and 1e-5 < scores.min() < scores.max() < 0.5


def test_a_checkpoint_is_found_before_an_architecture(tmp_path: Path) -> None:
    embedded = subjects.find(None, tmp_path)
    assert embedded.architecture == "erann-2-2" and not embedded.random and embedded.path.is_file()
    assert subjects.find(str(embedded.path), tmp_path).architecture == "erann-2-2"
    with pytest.raises(UsageError, match="no checkpoint is called 'nothing'"):
        subjects.find("nothing", tmp_path)


def test_time_is_taken_after_a_warm_up() -> None:
    calls: list[int] = []
    assert len(timing.time_repeatedly(lambda: calls.append(1), 0.001)) >= timing.REPEATS
    assert len(calls) >= timing.WARM_UPS + timing.REPEATS
    calls.clear()
    assert len(timing.time_repeatedly(lambda: calls.append(1), 0)) == 1  # a single run takes longer than the budget
    assert len(calls) == timing.WARM_UPS + 1
    assert timing.rate([0.5, 0.25, 1.0], 2) == timing.Spread(4.0, 2.0, 8.0, 3)
    values = [3.0, 1.0, 2.0, 10.0]
    assert [timing.percentile(values, each) for each in (0, 50, 90, 100)] == pytest.approx(
        list(np.percentile(values, [0, 50, 90, 100]))
    )


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate")])
def test_what_does_not_fit_is_halved_and_told(error: Exception) -> None:
    told: list[str] = []

    def work(batch: int) -> str:
        if batch > 8:
            raise error
        return f"{batch} clips"

    assert timing.largest_fitting_batch(32, work, told.append) == (8, "8 clips")
    assert told == [f"out of memory with a batch of {batch}; {batch // 2} is measured instead" for batch in (32, 16)]


def test_a_single_clip_that_does_not_fit_and_other_errors_end_it() -> None:
    def fails(error: Exception) -> Callable[[int], None]:
        def work(batch: int) -> None:
            raise error

        return work

    with pytest.raises(EranntagError, match="with a single clip"):
        timing.largest_fitting_batch(2, fails(MemoryError()), silent)
    with pytest.raises(RuntimeError, match="shapes"):
        timing.largest_fitting_batch(2, fails(RuntimeError("shapes differ")), silent)


@pytest.mark.slow
def test_a_command_says_that_it_halved_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    real = training._trainer

    def trainer(protocol: Any, *args: Any) -> Any:
        if protocol.batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(protocol, *args)

    monkeypatch.setattr(training, "_trainer", trainer)
    words = ("train", "--model", "erann-2-1", "--batch", "4", "--seconds", "1", "--budget", "0.01", "--device", "cpu")
    result = run(*words)
    assert result.exit_code == 0 and "out of memory with a batch of 4; 2 is measured" in result.stderr
    assert "2 examples of 1 s, each mixed of 2 clips [B=2: out of memory]" in result.stdout
    measured = json.loads(run(*words, "--batch", 2, "--json").stdout)
    assert (measured["asked"], measured["batch"], measured["clips_per_example"], measured["compiled"]) == (2, 2, 2, False)
    assert measured["seconds_per_iteration"]["median"] > 0 and measured["gpu_bytes"] is None


def test_peers_that_are_absent_are_named_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    found, missing = peers.measure(PLAN, "cpu", silent)
    assert found == () and [line.split(":")[0] for line in missing] == ["AST", "CNN14"]
    assert "pip install transformers" in missing[0] and "pip install panns-inference torchlibrosa" in missing[1]


def test_peers_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(torch.nn.Linear):
        def forward(self, given: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"logits": super().forward(given)}

    def broken(seconds: float) -> Any:
        raise ImportError("no module named 'flash'")

    ours = {"Theirs": ((), "the model", lambda seconds: (Theirs(4, 2), torch.zeros(1, 4))), "Broken": ((), "", broken)}
    monkeypatch.setattr(peers, "PEERS", ours)
    monkeypatch.setitem(paper.V100, "erann-2-1", paper.Speeds(111, 0, None))
    report = bench.run(
        ["erann-2-1"], Plan(**{**vars(PLAN), "engine": "torch", "dtype": "float32"}), with_peers=True, log=silent
    )
    (peer,), (result,) = report.peers, report.results
    assert peer.parameters == 10 and report.peers_missing == ("Broken: fails: no module named 'flash'",)
    ratios = report.to_dict()["peers"][0]["ratios"]["erann-2-1, float32"]
    theirs = peer.clips_per_second.median
    assert ratios["eager"] == pytest.approx(result.eager.clips_per_second.median / theirs)
    assert ratios["engine"] == pytest.approx(1000 / result.latency.p50_ms / theirs)
    text = tables.to_markdown(report)
    assert "| 111 | out of memory |  |" in text
    assert "| Theirs (the model) | 10 |" in text and "Not measured: Broken: fails" in text


def test_panns_inference_is_imported_without_its_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "panns_inference"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this would download')\n")
    (package / "models.py").write_text("from .parts import Cnn14\n")
    (package / "parts.py").write_text("class Cnn14: ...\n")
    for name in [name for name in sys.modules if name.startswith("panns_inference")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert peers._panns().Cnn14.__name__ == "Cnn14" and "panns_inference" not in sys.modules
    for name in ("panns_inference.models", "panns_inference.parts"):
        sys.modules.pop(name)


def test_the_papers_rows_are_architectures() -> None:
    for name in paper.V100.keys() - {"AST"}:
        assert models.resolve(name)
    assert paper.V100["erann-1-6"] == paper.Speeds(71, 108, 218)


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_text("none")
    with pytest.raises(EranntagError, match=r"^a fresh `eranntag predict` failed with exit code 1: .*no\.safetensors"):
        cold_start.measure(tmp_path / "no.safetensors", ["clip.wav"], Plan(cold_runs=1), tmp_path, silent)


@pytest.mark.slow
def test_threads_limit_the_process() -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    words = [*QUICK, "--batch", "1", "--engine", "eager", "--cold-runs", "0", "--threads", "1", "--json"]
    command = [sys.executable, "-m", "eranntag", "bench", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    if not hasattr(os, "sched_setaffinity"):
        assert done.returncode == 2 and "--threads" in done.stderr
        return
    report = json.loads(done.stdout)
    assert f" 1 of {os.cpu_count()} processors, 1 threads of torch" in report["machine"]["CPU"]
    assert report["command"].endswith("--threads 1 --budget 0.05 --cold-runs 0 --json")


# The front-ends alone


@pytest.fixture(scope="module")
def quick_frontends() -> list[dict[str, Any]]:
    result = run("features", "--json", "--batch", 2, "--seconds", 1.5, "--budget", 0.01, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    names = registry.names("eranntag.features")
    assert [line for line in result.stderr.splitlines() if line.startswith("eranntag: ")] == [f"eranntag: {n}" for n in names]
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    assert tuple(row["name"] for row in rows) == names
    return rows


def test_every_front_end_is_measured_on_the_image_that_it_makes(quick_frontends: list[dict[str, Any]]) -> None:
    for row in quick_frontends:
        module = registry.get("eranntag.features", row["name"])
        config = module.Config()
        frames = config.frames(config.padded_samples(round(1.5 * config.sample_rate_hz)))
        assert (row["rows"], row["frames"]) == (config.rows, frames)
        assert (row["asked"], row["batch"], row["seconds"], row["device"]) == (2, 2, 1.5, "cpu")
        assert row["learned"] == any(True for _ in module.Frontend(config).parameters())
        spread = row["milliseconds"]
        assert 0 < spread["lowest"] <= spread["median"] <= spread["highest"] and spread["runs"] >= 1


def test_front_ends_are_timed_a_clip(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of 2, 4 and 8 s for 4 clips are 500 to 2000 ms a clip, and the fastest is the lowest."""
    monkeypatch.setattr(frontends, "time_repeatedly", lambda work, budget: [2.0, 8.0, 4.0] if not work() else [])
    monkeypatch.setattr(registry, "names", lambda package: ("logmel", "wavegram"))
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 0)
    measured = frontends.measure(4, 1, "cpu", 1.0, silent)
    for each in measured:
        assert each.milliseconds == timing.Spread(1000.0, 500.0, 2000.0, 3)
    tables.print_frontends(measured)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "milliseconds a clip of 1 s, median (lowest-highest), on cpu"
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")] == [
        "front-end",
        "---",
        "logmel",
        "wavegram, learned",
    ]
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


@pytest.mark.parametrize("words", [("--batch", 0), ("--seconds", 0), ("--device", "abacus"), ("--budget", 0)])
def test_front_ends_with_nonsense_are_one_line(words: tuple[object, ...]) -> None:
    result = run("features", *words)
    assert result.exit_code == 2 and "Traceback" not in result.stderr and str(words[1]) in result.stderr
