"""Exported networks: what is in the file, that it computes the same, and that nothing is written otherwise."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import eranntag
from eranntag.checkpoints import export, export_formats, weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.cli import cli
from eranntag.engines import openvino_runtime, verify
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic
from eranntag.types import Checkpoint

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
EMBEDDED = "erann-2-2-esc50"
BUILT_IN = ("silence", "noise", "tone", "clicks", "chirp")


def needs(form: str) -> Any:
    missing = [package for package in export.FORMATS[form].packages if not find_spec(package)]
    return pytest.param(form, marks=pytest.mark.skipif(bool(missing), reason=f"{missing} not installed"))


BOTH = [needs(form) for form in export.FORMATS]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and nothing of the user's."""
    monkeypatch.delenv("ERANNTAG_REGISTRY", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny checkpoint's file, which is compared on shorter sounds."""
    monkeypatch.setattr(verify, "SECONDS", 1)
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def reference(model: str) -> Eager:
    return Eager(weights.load(model))


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`faked(run)`: the formats write empty files without a library, and their runtime is `run(network, image)`."""

    def fake(run: Callable[[Any, np.ndarray], Any]) -> None:
        loaded = SimpleNamespace(network=None)

        def write(network: Any, about: dict[str, str], path: Path, half: bool) -> None:
            loaded.network = network
            for suffix in (".onnx",) if path.suffix == ".onnx" else (".bin", ".xml"):
                path.with_suffix(suffix).write_text("new")

        for name, format in list(export.FORMATS.items()):
            load = lambda path: lambda image: run(loaded.network, image)  # noqa: E731
            monkeypatch.setitem(export.FORMATS, name, dataclasses.replace(format, packages=(), write=write, load=load))

    return fake


@torch.inference_mode()
def right(network: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits = network.model(torch.from_numpy(image)).clip_logits
    return logits.numpy(), logits.sigmoid().numpy()


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, args)])


def opened(path: Path) -> tuple[Callable[[np.ndarray], Any], dict[str, str]]:
    """As another program would: image -> logits, scores, embedding; and the metadata."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [port.name for port in session.get_inputs()] == ["image"]
        return lambda image: session.run(
            list(export_formats.OUTPUTS), {"image": image}
        ), session.get_modelmeta().custom_metadata_map
    model = openvino_runtime.core().read_model(path)
    compiled = openvino_runtime.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    keys = [key for key in model.get_rt_info() if key.startswith("eranntag")]
    about = {key: model.get_rt_info([key]).astype(str) for key in keys}
    return lambda image: [compiled({"image": image})[name] for name in export_formats.OUTPUTS], about


# What is written


@pytest.mark.parametrize("form", BOTH)
def test_an_exported_network_computes_the_same_for_any_batch_and_duration(form: str, model: str, reference: Eager) -> None:
    done = export.export(model, form)
    assert done.path == Path("tiny" + export.FORMATS[form].suffixes[-1]) and done.sounds == BUILT_IN
    assert done.difference < 1e-4 and done.worst in BUILT_IN
    assert {path.name for path in Path().iterdir()} == {"tiny" + suffix for suffix in export.FORMATS[form].suffixes}
    assert done.size == sum(path.stat().st_size for path in Path().iterdir())
    compute, _ = opened(done.path)
    for batch, frames in ((1, 128), (3, 192), (2, 1280)):
        image = np.random.default_rng(0).normal(-40, 10, (batch, 1, 128, frames)).astype(np.float32)
        *scores, embedding = compute(image)
        with torch.inference_mode():
            vectors = reference.network.model(torch.from_numpy(image)).embedding.numpy()
        for ours, theirs in zip((*scores, embedding), (*right(reference.network, image), vectors), strict=True):
            assert ours.dtype == np.float32 and ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.slow
def test_the_metadata_is_in_the_file(form: str, model: str, reference: Eager) -> None:
    _, about = opened(export.export(model, form).path)
    assert about.keys() == {"eranntag-1", "eranntag-image", "eranntag-version", "eranntag-source-sha256"}
    assert about["eranntag-version"] == eranntag.__version__
    assert about["eranntag-source-sha256"] == file_sha256(Path(model))
    fields = json.loads(about["eranntag-1"])
    lists = {name: tuple(fields[name]) for name in ("labels", "thresholds")}
    assert Checkpoint(**{**fields, **lists}) == reference.checkpoint
    image = json.loads(about["eranntag-image"])
    expected = {"family": "logmel", "rows": 128, "frame_multiple": 64, **dataclasses.asdict(reference.frontend)}
    assert image.items() >= expected.items()
    assert set(re.findall(r"\w+_\w+|floor", image["computed"])) <= image.keys()  # its words are fields beside it


@pytest.mark.parametrize("form", [needs("onnx")])
@pytest.mark.slow
def test_the_onnx_graph_is_plain(form: str, model: str) -> None:
    import onnx

    graph = onnx.load(export.export(model, form).path)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", export_formats.OPSET)]
    assert not {node.op_type for node in graph.graph.node} & {"If", "Loop", "Scan", "STFT", "DFT"}
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)


@pytest.mark.parametrize("form", [needs("openvino")])
@pytest.mark.slow
def test_half_stores_float16(form: str, model: str) -> None:
    whole = export.export(model, form)
    half = export.export(model, form, Path("half.xml"), half=True)
    assert Path("half.bin").stat().st_size < 0.51 * Path("tiny.bin").stat().st_size
    assert whole.difference < 1e-4 and half.difference < export.HALF_LIMIT


def test_every_activation_can_be_exported(reference: Eager) -> None:
    for activation, numpys in export.ACTIVATIONS.items():
        network = SimpleNamespace(
            model=reference.network.model,
            frontend=reference.network.frontend,
            checkpoint=dataclasses.replace(reference.checkpoint, activation=activation),
        )
        module, image = export_formats.scored_module(network)
        with torch.inference_mode():
            logits, scores, _ = module(image)
        np.testing.assert_allclose(scores.numpy(), numpys(logits.numpy()), atol=1e-6)


# What is refused before anything is written


def off(network: Any, image: np.ndarray, by: float) -> tuple[np.ndarray, np.ndarray]:
    logits, scores = right(network, image)
    return logits, scores + np.float32(by)


def broken_runtime(network: Any, image: np.ndarray) -> Any:
    raise RuntimeError("no such operation\nand a long trace")


WRONG = {
    "a sound": (
        lambda n, x: off(n, x, 0.01 if x.max() < -90 else 0),
        "by 0.01 for silence, where 0.001 is the limit",
    ),
    "a duration": (lambda n, x: off(n, x, 0.01 if x.shape[3] > 128 else 0), "by 0.01 for "),
    "a batch": (lambda n, x: off(n, x, 0.01 if len(x) > 1 else 0), "by 0.01 for "),
    "logits": (lambda n, x: (right(n, x)[0] + 1, right(n, x)[1]), "other probabilities"),
    "NaN": (lambda n, x: off(n, x, np.nan), "by inf for "),
    "a shape": (
        lambda n, x: [y[:1] for y in right(n, x)],
        r"cannot be exported as \w+: \(1, 4\) is the shape of the scores, not",
    ),
    "an error": (broken_runtime, r"cannot be exported as \w+: no such operation$"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_nothing_is_written_when_the_runtime_disagrees(
    wrong: Any, message: str, model: str, faked: Callable[..., None], folder: Path
) -> None:
    faked(wrong)
    with pytest.raises(EranntagError, match=message):
        export.export(model, "openvino")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.slow
def test_a_weight_that_changed_on_the_way_is_noticed(
    form: str, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored_module = export_formats.scored_module

    def disturbed(network: Any) -> Any:
        other = weights.load(model)
        with torch.no_grad():
            other.model.stages[2][1].conv1.weight[0] += 0.1
        return scored_module(other)

    monkeypatch.setattr(export_formats, "scored_module", disturbed)
    result = run(model, "--format", form)
    assert result.exit_code == 1 and result.stdout == "" and not list(folder.iterdir())
    assert re.search(rf"{form} gives other probabilities, by \S+ for \w+, where 0.001 is the limit; nothing", result.stderr)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("form", "there"), [("onnx", "tiny.onnx"), ("openvino", "tiny.xml"), ("openvino", "tiny.bin")])
def test_what_is_there_is_overwritten_only_by_force(form: str, there: str, model: str, faked: Callable[..., None]) -> None:
    faked(right)
    Path(there).write_text("mine")
    result = run(model, "--format", form)
    assert result.exit_code == 2 and f"{there} is there already; use --force" in result.stderr
    assert Path(there).read_text() == "mine" and [path.name for path in Path().iterdir()] == [there]
    assert run(model, "--format", form, "--force").exit_code == 0
    assert Path(there).read_text() == "new"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onnx", "-o", "dog.wav"], "dog.wav: must end in .onnx"),
        (["--format", "openvino", "-o", "tiny.onnx"], "tiny.onnx: must end in .xml"),
        (["--format", "onnx", "-o", "nowhere/tiny.onnx"], "nowhere/tiny.onnx: must be in a folder that exists"),
        (["--format", "onnx", "-o", "folder.onnx", "--force"], "folder.onnx is there already"),
        (["--format", "onnx", "--half"], "--half is not for --format onnx"),
        (["--format", "tflite"], "'tflite' is not one of"),
        ([], "Missing option '--format'"),
    ],
)
def test_wrong_use_is_one_line(options: list[str], message: str, faked: Callable[..., None]) -> None:
    faked(right)
    Path("dog.wav").write_text("sound")
    Path("folder.onnx").mkdir()
    result = run("tiny.safetensors", *options)
    assert result.exit_code == 2 and result.stdout == "" and message in result.stderr
    assert Path("dog.wav").read_text() == "sound" and {path.name for path in Path().iterdir()} == {"dog.wav", "folder.onnx"}


@pytest.mark.parametrize(
    ("form", "advice"),
    [("onnx", "needs onnx and onnxruntime: pip install 'eranntag[onnx]'"), ("openvino", "pip install 'eranntag[openvino]'")],
)
def test_a_missing_package_is_named(form: str, advice: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    result = run(model, "--format", form)
    assert result.exit_code == 2 and advice in result.stderr and result.stderr.count("\n") == 1


def test_whoever_is_killed_on_the_way_leaves_no_graph_beside_other_weights(
    model: str, faked: Callable[..., None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked(right)
    for name in ("tiny.bin", "tiny.xml"):
        Path(name).write_text("old")
    replace = atomic.replace

    def killed(path: Path) -> Any:
        if path.suffix == ".xml":
            raise KeyboardInterrupt
        return replace(path)

    monkeypatch.setattr(atomic, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export.export(model, "openvino", force=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"tiny.bin": "new"}


@pytest.mark.parametrize(
    ("name", "path"),
    [("a/best.safetensors", "best.onnx"), ("hf:me/dogs@main", "dogs.onnx"), ("hf:me/dogs/v1.2.safetensors", "v1.2.onnx")],
)
def test_the_file_is_named_after_the_checkpoint(name: str, path: str) -> None:
    assert export._output_path(name, export.FORMATS["onnx"], None, False) == Path(path)


# The user's own sounds


@pytest.mark.slow
def test_the_users_clips_are_compared_too(model: str, faked: Callable[..., None], wav: Callable[..., Path]) -> None:
    lengths = set()

    def record(network: Any, image: np.ndarray) -> Any:
        lengths.add(image.shape[3] // 128)
        return off(network, image, 0.0005 if image.shape[3] == 128 * 30 else 0)

    faked(record)
    short = wav("short.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    long = wav("long.wav", np.random.default_rng(0).normal(0, 0.1, 31 * 8000), 8000)
    done = export.export(model, "onnx", clips=[short, long])
    assert done.sounds == (*BUILT_IN, "short.wav", "long.wav") and done.worst == "long.wav"
    assert lengths == {1, export.REPEATS, export.CLIP_SECONDS}


def test_a_clip_that_is_no_sound_is_an_error(model: str, tmp_path: Path, folder: Path, faked: Callable[..., None]) -> None:
    faked(right)
    (tmp_path / "broken.wav").write_text("no sound")
    with pytest.raises(EranntagError, match=r"broken\.wav"):
        export.export(model, "onnx", clips=[tmp_path / "broken.wav"])
    assert not list(folder.iterdir())


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="format 'tflite' is none of onnx, openvino"):
        export.export("tiny.safetensors", "tflite")


# The embedded checkpoint


def process(*args: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize("form", [needs("onnx")])
@pytest.mark.slow
def test_the_documents_example_runs(form: str, folder: Path) -> None:
    """In real processes: what libraries print or warn about must not reach the user."""
    exported = process("-m", "eranntag", "export", EMBEDDED, "--format", form)
    assert (exported.returncode, exported.stdout) == (0, f"{EMBEDDED}.onnx\n"), exported.stderr
    shown = re.search(r"```text\n(eranntag: .*?)```", DOCUMENT, re.DOTALL)
    number = r"\d\.\de-\d\d of eranntag's \(\w+\)"  # of another machine
    assert shown and re.sub(number, "", exported.stderr) == re.sub(number, "", shown[1])
    example = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "sample.wav", folder / "docs")
    (folder / "example.py").write_text(example[1], encoding="utf-8")
    done = process("-W", "error", "example.py")
    assert (done.stdout, done.stderr) == (example[2], "")


@pytest.mark.parametrize("form", [needs("openvino")])
@pytest.mark.slow
def test_the_embedded_checkpoint_agrees_on_a_real_clip(form: str, data_root: Path) -> None:
    clip = min((data_root / "esc50" / "audio").iterdir())
    result = run(EMBEDDED, "--format", form, "--clip", clip)
    assert (result.exit_code, result.stdout) == (0, f"{EMBEDDED}.xml\n")
    assert result.stderr.endswith(f"on silence, noise, tone, clicks, chirp, {clip.name}\n") and result.stderr.count("\n") == 1
    compute, about = opened(Path(f"{EMBEDDED}.xml"))
    tagger = eranntag.load(EMBEDDED, engine="eager", device="cpu")
    waveform = tagger.prepare(eranntag.read(clip))
    image = tagger.network.frontend(torch.from_numpy(waveform)[None]).numpy()
    np.testing.assert_allclose(compute(image)[1], tagger.scores(waveform[None]), atol=1e-4)
    assert json.loads(about["eranntag-1"])["licence"] == tagger.checkpoint.licence
