"""The weight file: what is saved is loaded; what is damaged, foreign or hostile is refused in one line."""

import dataclasses
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eranntag.checkpoints import header, weights
from eranntag.engines.eager import Eager
from eranntag.errors import CheckpointError, IntegrityError
from eranntag.inference.network import Network, meta_tensors
from eranntag.types import Checkpoint

NOISE = (0.1 * np.random.default_rng(0).standard_normal((2, 44100))).astype(np.float32)


@pytest.fixture
def saved(tiny_tagger: Eager, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    weights.save(tiny_tagger.network, path)
    return path


def parts(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], Any] = lambda _: None, **spec: Any) -> None:
    """Change tensors and fields of the spec as somebody would who also corrects the digest."""
    metadata, tensors = parts(path)
    change(tensors)
    fields = {**json.loads(metadata[header.KEY]), **spec, "tensors_sha256": weights.tensors_sha256(tensors)}
    save_file(tensors, path, metadata={header.KEY: json.dumps(fields)})


def refusal(path: Path, kind: type[CheckpointError] = CheckpointError) -> str:
    """Why `path` cannot be loaded; the error is one line that begins with the file's name."""
    with pytest.raises(kind) as caught:
        weights.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and len(line.splitlines()) == 1
    return line.removeprefix(f"{path}: ")


def test_a_saved_tagger_gives_the_same_scores(tiny_tagger: Eager, tmp_path: Path) -> None:
    expected = tiny_tagger.scores(NOISE)
    assert ((expected > 0.01) & (expected < 0.99)).all()  # not saturated, so that a difference would show
    for half, tolerance in ((False, 0.0), (True, 2e-3)):
        weights.save(tiny_tagger.network, tmp_path / "x.safetensors", half=half)
        loaded = weights.load(tmp_path / "x.safetensors")
        assert not loaded.training
        assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in loaded.parameters())
        np.testing.assert_allclose(Eager(loaded).scores(NOISE), expected, rtol=0, atol=tolerance)


def test_half_precision_is_for_matrices_alone(saved: Path, tiny_tagger: Eager, tmp_path: Path) -> None:
    kept = tiny_tagger.network.model.state_dict()
    for name, tensor in parts(saved)[1].items():
        assert tensor.dtype == (torch.float16 if tensor.ndim > 1 else kept[name].dtype), name
    weights.save(tiny_tagger.network, tmp_path / "full.safetensors", half=False)
    assert saved.stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size


def test_the_whole_spec_survives(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    spec = dataclasses.replace(
        tiny_checkpoint, labels=("été", 'a, "b"', "犬", "\n"), activation="softmax", title="t", data="d", licence="CC0",
        source="s", metrics={"metric": "mAP", "value": 0.25}, training={"seed": 3, "fold": None, "mixup": True},
    )  # fmt: skip
    path = tmp_path / "x.safetensors"
    weights.save(Network(spec), path)
    assert header.read_checkpoint(path) == spec
    loaded = weights.load(path)
    assert loaded.checkpoint == spec and isinstance(loaded.checkpoint.labels, tuple)
    assert weights.load(path, name="alias").checkpoint == dataclasses.replace(spec, name="alias")


def test_the_spec_is_read_without_the_tensors(saved: Path, tiny_checkpoint: Checkpoint) -> None:
    content = bytearray(saved.read_bytes())
    content[-1000:] = b"\xff" * 1000  # nobody looks
    saved.write_bytes(content)
    assert header.read_checkpoint(saved) == tiny_checkpoint
    assert "damaged" in refusal(saved, IntegrityError)


def test_a_loaded_file_can_be_saved_again_unchanged(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    weights.save(weights.load(saved), again)
    assert again.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("where", [0.01, 0.5, 0.999])
def test_a_flipped_bit_in_the_tensors_is_noticed(where: float, saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + int(where * (len(content) - start))] ^= 1
    saved.write_bytes(content)
    assert "SHA-256" in refusal(saved, IntegrityError)


def test_a_renamed_tensor_is_noticed(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b'"fc1.bias"', b'"fc1.bies"'))
    assert "'fc1.bies'" in refusal(saved, IntegrityError)


@pytest.mark.parametrize("kept", [0, 3, 8, 1000, 100_000, -1])
def test_a_truncated_file_is_refused(kept: int, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    assert "not a safetensors file" in refusal(saved)
    with pytest.raises(CheckpointError):
        header.read_checkpoint(saved)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 50_000_000, 0])
def test_an_absurd_header_length_is_refused(length: int, saved: Path) -> None:
    saved.write_bytes(struct.pack("<Q", length) + saved.read_bytes()[8:])
    assert "not a safetensors file" in refusal(saved)


def test_bytes_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (np.random.default_rng(0).bytes(5000), bytes(5000), b"\xff" * 5000, b"{}" * 100):
        path.write_bytes(content)
        assert "not a safetensors file" in refusal(path)


class Touch:
    """What a hostile pickle does: code of its own, here `Path.touch`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    executed, path = tmp_path / "executed", tmp_path / "x.safetensors"
    torch.save(Touch(executed), path)
    assert "not a safetensors file" in refusal(path)
    path.write_bytes(pickle.dumps(Touch(executed)))
    assert "not a safetensors file" in refusal(path)
    assert not executed.exists()
    pickle.loads(path.read_bytes())
    assert executed.exists()  # it would have worked


def test_safetensors_of_others_are_refused(saved: Path, tmp_path: Path) -> None:
    tensors = parts(saved)[1]
    for metadata in (None, {}, {"format": "pt"}):
        save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
        assert "not one of eranntag's" in refusal(tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match="not one of eranntag's"):
            header.read_checkpoint(tmp_path / "x.safetensors")


REQUIRED = [each.name for each in dataclasses.fields(Checkpoint) if each.default is each.default_factory is dataclasses.MISSING]


@pytest.mark.parametrize("field", [*REQUIRED, "tensors_sha256"])
def test_a_missing_field_is_refused_by_its_name(field: str, saved: Path) -> None:
    metadata, tensors = parts(saved)
    fields = json.loads(metadata[header.KEY])
    del fields[field]
    save_file(tensors, saved, metadata={header.KEY: json.dumps(fields)})
    assert f"cannot be read ({field} is missing)" in refusal(saved)


@pytest.mark.parametrize("spec", ["", "{", "[]", "3", "null", "{}", '{"labels": 3}', "[" * 100_000])
def test_a_spec_that_is_none_is_refused(spec: str, saved: Path) -> None:
    tensors = parts(saved)[1]
    save_file(tensors, saved, metadata={header.KEY: spec})
    assert "spec" in refusal(saved)


@pytest.mark.parametrize(
    "spec",
    [
        {"family": "resnet"}, {"family": "_layers"}, {"family": None}, {"frontend_family": "mfcc2"},
        {"model": {"s_m": 9}}, {"model": {"depth": 3}}, {"model": []}, {"frontend": {"fmax_hz": 1e9}},
        {"activation": "relu"}, {"activation": ["softmax"]}, {"labels": None}, {"unknown": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_spec_is_refused(spec: dict[str, Any], saved: Path) -> None:
    rewrite(saved, **spec)
    refusal(saved)


def test_tensors_of_another_shape_are_refused(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors.update({"fc2.weight": tensors["fc2.weight"][:3].clone()}))
    assert refusal(saved, IntegrityError).startswith("tensor fc2.weight has shape (3, 128), not (4, 128); ")


def test_another_number_of_labels_or_width_is_refused(saved: Path) -> None:
    rewrite(saved, labels=["a", "b"])
    assert "has shape" in refusal(saved, IntegrityError)
    rewrite(saved, labels=["a", "b", "c", "d"], model={"s_m": 2, "width": 2})
    assert "has shape" in refusal(saved, IntegrityError)


def test_missing_and_unknown_tensors_are_refused(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors.update(extra=torch.zeros(1)))
    assert "extra" in refusal(saved, IntegrityError)
    rewrite(saved, lambda tensors: (tensors.pop("extra"), tensors.pop("fc1.bias")))
    assert "fc1.bias" in refusal(saved, IntegrityError)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["fc2.weight", "bn0.running_mean"])
def test_weights_that_are_not_finite_are_refused(name: str, value: float, saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors[name].view(-1)[:1].fill_(value))
    assert refusal(saved, IntegrityError).startswith(f"tensor {name} has values that are not finite; ")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.safetensors").startswith("no such checkpoint file; ")
    assert refusal(tmp_path).startswith("cannot be read (a folder); ") and "best.safetensors" in refusal(tmp_path)


def test_what_could_not_be_read_again_is_not_written(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    for change in ({"labels": ("a", "a")}, {"name": "../a"}, {"labels": ("\udcff",)}, {"thresholds": (0.5,)}):
        network = Network(dataclasses.replace(tiny_checkpoint, **change))
        with pytest.raises(CheckpointError, match="not written"):
            weights.save(network, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frontend", ["logmel", "wavegram"])
@pytest.mark.parametrize(("family", "model"), [("erann", {"width": 1}), ("apae", {}), ("cnn14", {"channels": 2})])
def test_shapes_are_known_meta_tensors(family: str, model: dict[str, Any], frontend: str, tiny_checkpoint: Checkpoint) -> None:
    spec = dataclasses.replace(tiny_checkpoint, family=family, model=model, frontend_family=frontend, frontend={})
    expected, found = Network(spec).tensors(), meta_tensors(spec)
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {name: (t.shape, t.dtype) for name, t in expected.items()}
    assert all(tensor.is_meta for tensor in found.values())


def test_a_save_that_fails_leaves_the_old_file(saved: Path, tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(_: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    before = saved.read_bytes()
    monkeypatch.setattr(weights, "save_file", half_written)
    with pytest.raises(OSError, match="disk full"):
        weights.save(tiny_tagger.network, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
