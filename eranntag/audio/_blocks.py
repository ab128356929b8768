"""The size of the blocks in which audio is decoded."""

BLOCK_SAMPLES = 1 << 18  # of each channel
_FULL_BLOCK_CHANNELS = 8  # with more channels a block has fewer samples


def max_block_samples(channels: int) -> int:
    """Return the samples of each channel in a block, so that its size is bounded for any number of channels."""
    return max(BLOCK_SAMPLES * _FULL_BLOCK_CHANNELS // max(channels, _FULL_BLOCK_CHANNELS), 1)
