"""How large the blocks are in which sound is decoded."""

BLOCK_SAMPLES = 1 << 18  # of each channel
_BLOCK_CHANNELS = 8  # of more, a block has fewer samples


def most_samples(channels: int) -> int:
    """Of each channel in a block, so that its size is bounded whatever their number."""
    return max(BLOCK_SAMPLES * _BLOCK_CHANNELS // max(channels, _BLOCK_CHANNELS), 1)
