"""The first block's forms for CPUs against torch's own convolutions and BatchNorm."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eranntag.models import _stem
from eranntag.models.erann import Block, Config, Model

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}  # of sums over an image


def first_block(dtype: torch.dtype, channels: int = 16, shortcut_bn: bool = True) -> Block:
    torch.manual_seed(0)
    block = Block(1, channels, (1, 1), shortcut_bn, first=True).to(dtype=dtype, memory_format=torch.channels_last)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return block


def plainly(block: Block, x: Tensor) -> Tensor:
    h = block.conv2(block.act2(block.norm2(block.conv1(x))))
    return h + block.shortcut(x)


def gradients(block: Block, output: Tensor, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    gradient = torch.randn_like(output)
    found = torch.autograd.grad(output, [x, *block.parameters()], gradient)
    return dict(zip(["x", *(name for name, _ in block.named_parameters())], found, strict=True))


def images(dtype: torch.dtype, frames: int = 48, mean: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return (mean + 2 * torch.randn(3, 1, 20, frames, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_first_block_in_training_is_the_plain_one(dtype: torch.dtype) -> None:
    fast, plain, close = first_block(dtype), first_block(dtype), TOLERANCES[dtype]
    for _ in range(2):  # running statistics of two steps
        x = images(dtype)
        assert fast._of_image(x)
        ours, theirs = fast(x), plainly(plain, x)
        torch.testing.assert_close(ours, theirs, rtol=close, atol=close)
        assert ours.is_contiguous(memory_format=torch.channels_last)
    found, expected = gradients(fast, ours, x), gradients(plain, theirs, x)
    size = max(
        gradient.abs().max().item() for gradient in expected.values()
    )  # BatchNorm leaves the shortcut's weight next to none
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=close, atol=close * size, msg=name)
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), rtol=close, atol=close)


def test_bfloat16_is_as_near_to_float64_as_the_plain_block() -> None:
    exact, x = first_block(torch.float64), images(torch.float64)
    expected = gradients(exact, plainly(exact, x), x)
    errors = []
    for forward in (Block.forward, plainly):
        block, narrow = first_block(torch.float32), images(torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            output = forward(block, narrow)
        assert output.dtype == torch.bfloat16
        found = {name: gradient.double() for name, gradient in gradients(block, output, narrow).items()}
        errors.append({name: ((found[name] - expected[name]).norm() / expected[name].norm()).item() for name in expected})
    ours, theirs = errors
    for name in expected:
        assert ours[name] < 2 * theirs[name] + 2**-8, (name, ours[name], theirs[name])


def test_the_first_block_is_plain_where_it_must_be() -> None:
    block, x = first_block(torch.float32), images(torch.float32)
    assert block._of_image(x)
    assert not block._of_image(images(torch.float32, frames=40))
    assert not block.eval()._of_image(x)
    assert not first_block(torch.float32, shortcut_bn=False)._of_image(x)
    assert not first_block(torch.float32).to(memory_format=torch.contiguous_format)._of_image(x)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(first_block(torch.float32))
    assert not synchronised._of_image(x)


def test_a_network_trains_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Model(Config(width=2), rows=16, classes=3).to(memory_format=torch.channels_last).train()
    x, mask = torch.randn(2, 1, 16, 128), (torch.rand(2, 1, 16, 128) > 0.1).float()
    outputs = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(Block, "_of_image", lambda self, x: False)
        outputs.append(model(x, mask).clip_logits)
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


def test_convolved_is_conv2d_at_the_edges() -> None:
    x = torch.arange(2.0 * 5 * 32, dtype=torch.float64).reshape(2, 1, 5, 32)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_stem.convolved(x, weight), functional.conv2d(x, weight, padding=1))
