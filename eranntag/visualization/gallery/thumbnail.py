"""Small pictures as PNG: a log-mel image in the colours of cividis, and one label's score in time as a shade of grey.

Pillow comes with matplotlib (the extra `plot`), but importing matplotlib for one table of colours would cost half a second.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 480, 64  # at most; a picture is stretched to the width of its place
RANGE_DB = 80.0  # below the sound's own maximum is the darkest colour
LEVELS = 64  # of 1.3 dB, not to be told apart; 256 would make the files half as large again
HEAT = 0.9  # how opaque a score of 1 is

# Colours of cividis (Nunez, Anderton and Renslow, 2018, PLoS ONE 13(7), e0199239) at these of its 256 places. Straight lines
# between them are nowhere more than 1.5 of 255 off.
_PLACES = (0, 19, 21, 23, 28, 34, 52, 84, 126, 147, 179, 205, 219, 232, 243, 251, 255)
_COLOURS = bytes.fromhex(
    "00224E 00306F 003170 013271 123570 1E3A6F 36466C 565C6D 7B7A78 8F8A78 AEA371 C9B965 D9C55C E7D150 F3DB42 FDE334 FEE838"
)


def spectrogram(image: np.ndarray) -> bytes:
    """PNG of (mel bands, columns) in dB, the lowest band first: time goes right, frequency up, silence is dark."""
    from PIL import Image

    levels = np.nan_to_num((image - image.max()) / RANGE_DB + 1) if np.ptp(image) > 0 else np.zeros_like(image)
    picture = Image.fromarray(np.float32(levels.clip(0, 1)[::-1]))
    picture = picture.resize((min(COLUMNS, picture.width), min(ROWS, picture.height)), Image.Resampling.BOX)
    indexed = Image.fromarray(np.uint8(np.asarray(picture) * (LEVELS - 1) + 0.5))
    indexed.putpalette(cividis(LEVELS).tobytes())
    return _png(indexed)


def heat(scores: np.ndarray) -> bytes:
    """PNG of (columns,) in [0, 1], one pixel high: grey, the more opaque the higher the score, on any background."""
    from PIL import Image

    columns = min(COLUMNS, len(scores))
    highest = np.maximum.reduceat(scores, np.arange(columns) * len(scores) // columns)
    opacity = np.uint8(np.round(highest.clip(0, 1) * (LEVELS - 1)) * (255 * HEAT / (LEVELS - 1)))
    shape = (columns, 1)
    return _png(Image.merge("LA", (Image.new("L", shape, 128), Image.frombytes("L", shape, opacity.tobytes()))))


@cache
def cividis(levels: int) -> np.ndarray:
    """(levels, 3) uint8, from dark to bright."""
    colours = np.frombuffer(_COLOURS, np.uint8).reshape(-1, 3)
    places = np.linspace(0, 255, levels)
    return np.stack([np.uint8(np.interp(places, _PLACES, channel) + 0.5) for channel in colours.T], axis=1)


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
