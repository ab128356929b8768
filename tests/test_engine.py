"""Engines: every way to execute a checkpoint says what the reference says, or is not used."""

import dataclasses
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import float32_tolerance

import eranntag
from eranntag import registry
from eranntag.checkpoints import weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.engines import compile_cache, request_pool, selection, verify
from eranntag.engines.eager import Eager
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.errors import IntegrityError, UsageError
from eranntag.inference import devices
from eranntag.inference.tagger import Tagger
from eranntag.types import Clip

openvino = pytest.mark.skipif(selection.find_spec("openvino") is None, reason="no openvino")
ENGINES = [pytest.param(name, marks=[openvino] if name == "openvino" else []) for name in selection.ENGINES]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of tests that need a compiled network, but not its compilation."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def compiled_before(compiled: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(compiled))


@pytest.fixture
def path(tiny_tagger: Eager, tmp_path: Path) -> Path:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors", half=False)
    return tmp_path / "tiny.safetensors"


def noise(seconds: float, seed: int = 0) -> Clip:
    return Clip(0.1 * np.random.default_rng(seed).standard_normal((1, int(44100 * seconds)), np.float32), 44100, "noise")


def source(tagger: Eager, path: Path, loads: list[str] | None = None) -> VerifiedCheckpoint:
    def load() -> Any:
        if loads is not None:
            loads.append("")
        return weights.load(path)

    return VerifiedCheckpoint(tagger.checkpoint, file_sha256(path), load)


@pytest.mark.usefixtures("compiled_before")
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_says_what_the_reference_says(name: str, tiny_tagger: Eager, path: Path) -> None:
    tagger = selection.build(source(tiny_tagger, path), name, "cpu", "float32")
    assert isinstance(tagger, Tagger)
    assert (tagger.engine, tagger.dtype, tagger.device, tagger.labels) == (name, "float32", "cpu", tiny_tagger.labels)
    for seconds in (0.2, 1, 3.5):
        np.testing.assert_allclose(tagger.tag(noise(seconds)).scores, tiny_tagger.tag(noise(seconds)).scores, atol=1e-4)
    assert verify.difference(tagger, verify.scores(tiny_tagger)) < 1e-4
    two = np.stack([tagger.prepare(noise(1, seed)) for seed in (1, 2)])
    np.testing.assert_allclose(tagger.scores(two), [tagger.tag(noise(1, seed)).scores for seed in (1, 2)], atol=1e-5)


@pytest.mark.usefixtures("compiled_before")
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_columns_and_a_head_for_long_sounds(name: str, tiny_tagger: Eager, path: Path) -> None:
    tagger = selection.build(source(tiny_tagger, path), name, "cpu", "float32")
    assert tagger.geometry == tiny_tagger.geometry
    image = np.random.default_rng(0).normal(-40, 15, (1, 1, 128, 256)).astype(np.float32)
    tolerance = float32_tolerance(tiny_tagger.columns, image, terms=20 * 9 * 128)  # layers, kernel and channels of the widest
    for ours, theirs in zip(tagger.columns(image), tiny_tagger.columns(image), strict=True):
        assert ours.shape == (1, 128, 256 // 64) and ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)
    pooled = np.random.default_rng(1).standard_normal((1, 128), np.float32)
    np.testing.assert_allclose(tagger.classify(pooled), tiny_tagger.classify(pooled), atol=1e-4)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_is_near_or_refused(name: str, dtype: str, tiny_tagger: Eager, path: Path) -> None:
    try:
        tagger = selection.build(source(tiny_tagger, path), name, "cpu", dtype)
    except UsageError as error:
        assert name == "openvino" and dtype in str(error)
        return
    assert tagger.dtype == dtype
    reference = verify.scores(tiny_tagger)
    assert 0 < verify.difference(tagger, reference) < 0.03


def test_a_reduced_dtype_that_is_not_as_good_is_not_chosen(
    tiny_tagger: Eager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "native_dtype", lambda: ("bfloat16", "so says the test"))
    tagger = selection.build(source(tiny_tagger, path), "torch", "cpu")
    assert tagger.dtype == "bfloat16" and "so says the test" in tagger.notes[0]
    monkeypatch.setitem(verify.LIMITS, "bfloat16", 1e-7)
    tagger = selection.build(source(tiny_tagger, path), "torch", "cpu")
    assert tagger.dtype == "float32" and "bfloat16 is not as good" in tagger.notes[0]


def test_numbers_that_are_not_finite_are_infinitely_far(tiny_tagger: Eager) -> None:
    reference = verify.scores(tiny_tagger)
    tiny_tagger.network.model.fc2.bias.data[1] = float("nan")
    assert verify.difference(tiny_tagger, reference) == float("inf")


def test_the_check_hears_loud_soft_and_silent_sounds() -> None:
    clips = verify.signals(44100)
    assert {clip.source for clip in clips} == {"silence", "noise", "tone", "clicks", "chirp"}
    levels = [float(np.abs(clip.waveform).max()) for clip in clips]
    assert levels[0] == 0 and all(0.3 < level <= 1 for level in levels[1:])


# What "auto" is


@openvino
@pytest.mark.usefixtures("compiled_before")
def test_openvino_is_taken_on_a_cpu(path: Path) -> None:
    tagger = eranntag.load(path, device="cpu", dtype="float32")  # with what AMX has, ONEDNN_MAX_CPU_ISA=AVX2 fails
    assert tagger.engine == "openvino" and tagger.notes[0].startswith("openvino 20")


def test_torch_is_taken_where_openvino_is_missing_and_the_remedy_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda _: None)
    tagger = eranntag.load(path, device="cpu")
    assert tagger.engine == "torch" and "pip install 'eranntag[openvino]'" in tagger.notes[0]
    with pytest.raises(UsageError, match=r"^the engine openvino is not installed: pip install 'eranntag\[openvino\]'$"):
        eranntag.load(path, engine="openvino")


@openvino
def test_torch_is_taken_where_openvino_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eranntag.engines import openvino_runtime

    def unknown(network: Any) -> Any:
        raise RuntimeError("No conversion rule for operation\naten::something")

    monkeypatch.setattr(openvino_runtime, "converted", unknown)
    tagger = eranntag.load(path, device="cpu")
    assert tagger.engine == "torch"
    assert tagger.notes[0] == "openvino cannot convert tiny: No conversion rule for operation"


def test_the_reference_is_taken_where_all_else_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: no kernel image\nfor this device")

    monkeypatch.setattr(selection, "find_spec", lambda _: None)
    monkeypatch.setattr(registry.get("eranntag.engines", "torch"), "build", broken)
    tagger = eranntag.load(path, device="cpu")
    assert tagger.engine == "eager" and tagger.notes[0] == "torch's fast way fails on cpu: CUDA error: no kernel image"


@openvino
@pytest.mark.slow
def test_a_wrong_conversion_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eranntag.engines import openvino_runtime

    converted = openvino_runtime.converted

    def wrong(network: Any) -> Any:
        network.model.fc2.bias.data += 1
        return converted(network)

    monkeypatch.setattr(openvino_runtime, "converted", wrong)
    tagger = eranntag.load(path, device="cpu")
    assert tagger.engine == "torch" and tagger.notes[0].startswith("openvino computes tiny wrongly: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "openvin"}, "engine 'openvin' is none of auto, eager, openvino, torch; did you mean 'openvino'"),
        ({"dtype": "float"}, "dtype 'float' is none of auto, float32, bfloat16, float16; did you mean 'float"),
        ({"device": "gpu"}, "device 'gpu' is none of auto, cpu, cuda"),
        pytest.param({"engine": "openvino", "device": "mps"}, "openvino runs on the CPU, not on mps", marks=[openvino]),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_fetched(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        eranntag.load("hf:nobody/nothing", **options)


# Compiled networks are kept


@openvino
def test_a_compiled_network_is_used_again_without_the_weights(tiny_tagger: Eager, path: Path, cache: Path) -> None:
    loads: list[str] = []
    first = selection.build(source(tiny_tagger, path, loads), "openvino")
    again = selection.build(source(tiny_tagger, path, loads), "openvino", many=True)
    assert len(loads) == 1 and len(list(cache.glob("*.ov"))) == 1
    assert "compiled now and kept" in first.notes[0] and "compiled before" in again.notes[0]
    np.testing.assert_array_equal(first.tag(noise(1.5)).scores, again.tag(noise(1.5)).scores)  # whatever the threads


@openvino
@pytest.mark.slow
def test_other_weights_or_another_dtype_are_compiled_anew(
    tiny_tagger: Eager, path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = source(tiny_tagger, path)
    monkeypatch.setattr(devices, "native_dtype", lambda: ("bfloat16", "so says the test"))
    monkeypatch.setitem(verify.LIMITS, "bfloat16", 1e-7)
    for some, dtype in ((given, "auto"), (given, "float32"), (dataclasses.replace(given, sha256="0" * 64), "float32")):
        assert selection.build(some, "openvino", dtype=dtype).dtype == "float32"
    assert len(list(cache.glob("*.ov"))) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5000],
        lambda content: content[: -2 * 4096],
        lambda content: content[:-9000] + bytes([content[-9000] ^ 1]) + content[-8999:],
        lambda content: b"{}\n" + content,
        lambda content: content.replace(b"parts", b"ports", 1),
        lambda content: content.replace(b"40000", b"-4000", 1),
        lambda content: content.replace(b"65", b"64", 1),
        lambda content: b"[1, 2, 3]\n" + content,
        lambda content: b"[" * 100_000,
        lambda content: b"\xff" * 4096,
    ],
)
def test_a_damaged_one_counts_as_absent(damage: Callable[[bytes], bytes], cache: Path) -> None:
    compile_cache.write(
        cache / "a.ov", {"frame_multiple": 65}, {"network": bytes(range(200)) * 200, "empty": b"", "head": b"head"}
    )
    assert compile_cache.read(cache / "a.ov") is not None
    content = (cache / "a.ov").read_bytes()
    assert damage(content) != content
    (cache / "a.ov").write_bytes(damage(content))
    assert compile_cache.read(cache / "a.ov") is None


@openvino
@pytest.mark.slow
def test_what_is_absent_or_from_elsewhere_is_compiled_anew(tiny_tagger: Eager, path: Path, cache: Path) -> None:
    selection.build(source(tiny_tagger, path), "openvino")
    (kept,) = cache.glob("*.ov")
    entry = compile_cache.read(kept)
    assert entry is not None
    others = dict.fromkeys(entry.parts, b"another OpenVINO's")
    for spoil in (lambda: kept.write_bytes(b"no"), lambda: compile_cache.write(kept, entry.facts, others)):
        spoil()
        tagger = selection.build(source(tiny_tagger, path), "openvino")
        assert "compiled now and kept" in tagger.notes[0]
        np.testing.assert_allclose(tagger.tag(noise(1)).scores, tiny_tagger.tag(noise(1)).scores, atol=1e-4)
    assert "compiled before" in selection.build(source(tiny_tagger, path), "openvino").notes[0]


@openvino
@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_only_time(
    tiny_tagger: Eager, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "file"))
    tagger = selection.build(source(tiny_tagger, path), "openvino")
    assert "compiled now, not kept (" in tagger.notes[0]
    assert np.isfinite(tagger.tag(noise(1)).scores).all()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files")
def test_a_folder_that_others_may_write_to_is_not_trusted(cache: Path) -> None:
    assert compile_cache.write(cache / "a.ov", {}, {"x": b"x"}) == "" and compile_cache.read(cache / "a.ov")
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    assert compile_cache.read(cache / "a.ov") is None
    assert compile_cache.write(cache / "b.ov", {}, {"x": b"x"}) == f"{cache} could be written by others"


def test_what_a_killed_writer_left_is_removed_in_time(cache: Path) -> None:
    cache.mkdir(parents=True)
    for name, age in (("old", 2 * compile_cache.UNFINISHED_SECONDS), ("new", 10)):
        (cache / f".{name}.part").write_bytes(b"x")
        os.utime(cache / f".{name}.part", (time.time() - age,) * 2)
    compile_cache.write(cache / "a.ov", {}, {"x": b"x"})
    assert {file.name for file in cache.iterdir()} == {".new.part", "a.ov"}


def test_weights_that_change_while_they_are_read_are_refused(
    path: Path, tiny_tagger: Eager, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = weights.load_network

    def replaced(*arguments: Any) -> Any:
        tiny_tagger.network.model.fc2.bias.data += 1
        weights.save(tiny_tagger.network, path)
        return load(*arguments)

    monkeypatch.setattr(weights, "load_network", replaced)
    with pytest.raises(IntegrityError, match="changed while it was read; try again"):
        eranntag.load(path, device="cpu")
    assert not list(cache.glob("*.ov"))


def test_numbers_that_a_chosen_dtype_cannot_hold_are_computed_in_float32(
    tiny_tagger: Eager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "native_dtype", lambda: ("bfloat16", "so says the test"))
    tagger = selection.build(source(tiny_tagger, path), "torch", "cpu")
    assert tagger.dtype == "bfloat16"
    logits = type(tagger).logits

    def overflowing(self: Any, prepared: np.ndarray) -> np.ndarray:
        values = logits(self, prepared)
        if self.dtype == "bfloat16":
            values[1] = np.inf
        return values

    monkeypatch.setattr(type(tagger), "logits", overflowing)
    two = np.stack([tagger.prepare(noise(1, seed)) for seed in (1, 2)])
    scores = tagger.scores(two)
    np.testing.assert_allclose(scores[1], tiny_tagger.scores(two)[1], atol=1e-4)
    asked = selection.build(source(tiny_tagger, path), "torch", "cpu", "bfloat16")
    assert np.isnan(asked.scores(two)[1]).all() and np.isfinite(asked.scores(two)[0]).all()


@openvino
@pytest.mark.parametrize(
    "error", [ImportError("libopenvino.so.2641: no such file"), RuntimeError("no plugin"), AttributeError("Core")]
)
def test_a_broken_openvino_is_told_of_and_torch_taken(error: Exception, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eranntag.engines import openvino_runtime

    def broken() -> Any:
        raise error

    monkeypatch.setattr(openvino_runtime, "imported", broken)
    openvino_runtime.core.cache_clear()
    tagger = eranntag.load(path, device="cpu")
    assert tagger.engine == "torch" and tagger.notes[0].endswith(str(error))


@openvino
@pytest.mark.slow
def test_a_dtype_that_openvino_has_not_is_not_chosen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eranntag.engines import openvino_compile

    compiled = openvino_compile._compiled

    def without(checkpoint: Any, models: Any, facts: Any, expected: Any) -> Any:
        return None if facts.dtype != "float32" else compiled(checkpoint, models, facts, expected)

    monkeypatch.setattr(devices, "native_dtype", lambda: ("float16", "so says the test"))
    monkeypatch.setattr(openvino_compile, "_compiled", without)
    tagger = eranntag.load(path, device="cpu")
    assert (tagger.engine, tagger.dtype) == ("openvino", "float32") and "openvino has no float16 on this CPU" in tagger.notes[0]
    with pytest.raises(UsageError, match="openvino has no float16 on this CPU; use another --dtype, or --engine torch"):
        eranntag.load(path, device="cpu", engine="openvino", dtype="float16")


def test_a_thread_too_many_costs_no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(request_pool.Thread, "start", refuse)
    given = np.zeros((1, 1, 2, 2))
    pool = request_pool.ShapeSpecialized(lambda images: [images], lambda shape: None)  # type: ignore[arg-type]
    assert all(pool(given)[0] is given for _ in range(2 * request_pool.SPECIALIZE_AFTER))


def test_a_network_of_its_own_with_other_numbers_is_not_used() -> None:
    pool = request_pool.ShapeSpecialized(lambda images: [images], lambda shape: lambda images: [images + 1e-7])  # type: ignore
    given = np.zeros((1, 1, 2, 2))
    pool.specialize(given, [given])
    assert not pool.by_shape
    pool.compile_for = lambda shape: lambda images: [images.copy()]  # type: ignore[assignment, return-value]
    pool.specialize(given, [given])
    assert list(pool.by_shape) == [given.shape]


def test_a_cache_that_can_only_be_read_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_cache.write(cache / "a.ov", {"name": "a"}, {"x": b"x"})

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert compile_cache.read(cache / "a.ov") is not None


def test_the_room_of_compiled_networks_is_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_cache, "KEPT_BYTES", 70_000)
    for age, name in enumerate("abcd"):
        assert compile_cache.write(cache / f"{name}.ov", {"name": name}, {"x": b"x" * 5000, "y": b"y" * 10}) == ""
        os.utime(cache / f"{name}.ov", (10_000 - age, 10_000 - age))
    assert compile_cache.read(cache / "c.ov") is not None  # used last, so kept
    assert compile_cache.write(cache / "e.ov", {}, {"z": b"z" * 9000}) == ""
    left = {file.stem for file in cache.glob("*.ov")}
    assert {"c", "e"} <= left and len(left) < 5
    entry = compile_cache.read(cache / "c.ov")
    assert entry is not None and entry.facts == {"name": "c"}
    assert {name: bytes(part) for name, part in entry.parts.items()} == {"x": b"x" * 5000, "y": b"y" * 10}
    some = compile_cache.read(cache / "c.ov", ("y",))
    assert some is not None and list(some.parts) == ["y"]


@openvino
@pytest.mark.slow
def test_a_length_that_comes_often_gets_a_network_of_its_own_with_the_same_numbers(
    tiny_tagger: Eager, path: Path, cache: Path
) -> None:
    selection.build(source(tiny_tagger, path), "openvino")
    tagger = selection.build(source(tiny_tagger, path), "openvino", many=True)
    before = [tagger.tag(noise(2, seed)).scores for seed in range(request_pool.SPECIALIZE_AFTER)]
    wait_for(lambda: bool(tagger._outputs.by_shape))
    gc.collect()  # what the network reads its weights from must still be there
    after = [tagger.tag(noise(2, seed)).scores for seed in range(request_pool.SPECIALIZE_AFTER)]
    np.testing.assert_array_equal(after, before)
    assert list(tagger._outputs.by_shape) == [(1, 1, 128, 256)]
    for file in cache.glob("*.ov"):
        file.unlink()
        file.write_bytes(b"damaged")
    for seed in range(request_pool.SPECIALIZE_AFTER + 2):
        tagger.tag(noise(1, seed))  # the general one goes on
    assert list(tagger._outputs.by_shape) == [(1, 1, 128, 256)]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# A light process


def command(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """`eranntag ARGS`, and on standard error the names of all modules that it imported."""
    script = (
        "import sys\nfrom eranntag.cli import cli\n"
        "try: cli(sys.argv[1:], prog_name='eranntag')\n"
        "finally: print('modules:', *sys.modules, file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, timeout=120)


@openvino
@pytest.mark.slow
def test_with_a_compiled_network_predict_imports_no_torch(path: Path, tmp_path: Path, wav: Callable[..., Path]) -> None:
    clip = wav("clip.wav", noise(1).waveform[0])
    results = []
    for _ in range(2):
        result = command("predict", clip, "-c", path, "--device", "cpu", "--format", "json", "--verbose")
        assert result.returncode == 0, result.stderr
        results.append(json.loads(result.stdout))
        modules = result.stderr.rpartition("modules:")[2].split()
    assert results[0] == results[1]
    assert "eranntag: openvino 20" in result.stderr and "compiled before" in result.stderr
    heavy = {"torch", "torchaudio", "huggingface_hub", "openvino.tools.ovc", "openvino_telemetry", "scipy"}
    assert not heavy & set(modules)
    assert "openvino" in modules


@openvino
@pytest.mark.slow
def test_other_code_may_still_convert_models_and_nothing_is_reported() -> None:
    script = (
        "import sys\nfrom eranntag.engines import openvino_runtime\n"
        "openvino = openvino_runtime.imported()\n"
        "assert not [name for name in sys.modules if 'telemetry' in name]\n"
        "sys.modules['openvino_telemetry'] = None\n"  # or this very test would report
        "import torch\nmodel = openvino.convert_model(torch.nn.ReLU(), example_input=torch.zeros(1, 3))\n"
        "print(len(model.inputs))"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "1", result.stderr


# A GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_graph_gives_the_same_again_and_again(tiny_tagger: Eager, path: Path) -> None:
    tagger = selection.build(source(tiny_tagger, path), "torch", "cuda")
    for _ in range(4):
        np.testing.assert_allclose(tagger.tag(noise(1.5)).scores, tiny_tagger.tag(noise(1.5)).scores, atol=0.02)
