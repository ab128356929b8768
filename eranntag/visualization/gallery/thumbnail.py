"""Small PNG pictures: a log-mel image in the colors of cividis, and the score of a label in time as a shade of gray.

Pillow comes with matplotlib (the extra `plot`), but importing matplotlib for one table of colors would cost half a second.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 480, 64  # at most; the page stretches pictures
RANGE_DB = 80.0  # between the brightest and the darkest color
LEVELS = 64  # of 1.3 dB, which look alike; with 256 the files would be half as large again
HEAT = 0.9  # opacity of a score of 1

# Colors of cividis (Nunez, Anderton and Renslow, 2018, PLoS ONE 13(7), e0199239) at some of its 256 places. Linear
# interpolation between them has an error of at most 1.5 of 255.
_PLACES = (0, 19, 21, 23, 28, 34, 52, 84, 126, 147, 179, 205, 219, 232, 243, 251, 255)
_COLORS = bytes.fromhex(
    "00224E 00306F 003170 013271 123570 1E3A6F 36466C 565C6D 7B7A78 8F8A78 AEA371 C9B965 D9C55C E7D150 F3DB42 FDE334 FEE838"
)


def spectrogram(image: np.ndarray) -> bytes:
    """Return the PNG of (mel bands, columns) in dB, the lowest band first: time goes right, frequency up, silence is dark."""
    from PIL import Image

    levels = np.nan_to_num((image - image.max()) / RANGE_DB + 1) if np.ptp(image) > 0 else np.zeros_like(image)
    picture = Image.fromarray(np.float32(levels.clip(0, 1)[::-1]))
    picture = picture.resize((min(COLUMNS, picture.width), min(ROWS, picture.height)), Image.Resampling.BOX)
    indexed = Image.fromarray(np.uint8(np.asarray(picture) * (LEVELS - 1) + 0.5))
    indexed.putpalette(cividis(LEVELS).tobytes())
    return _png(indexed)


def heat(scores: np.ndarray) -> bytes:
    """Return the PNG, one pixel high, of the scores (columns,) in [0, 1]: gray, and more opaque for higher scores."""
    from PIL import Image

    columns = min(COLUMNS, len(scores))
    highest = np.maximum.reduceat(scores, np.arange(columns) * len(scores) // columns)
    opacity = np.uint8(np.round(highest.clip(0, 1) * (LEVELS - 1)) * (255 * HEAT / (LEVELS - 1)))
    shape = (columns, 1)
    return _png(Image.merge("LA", (Image.new("L", shape, 128), Image.frombytes("L", shape, opacity.tobytes()))))


@cache
def cividis(levels: int) -> np.ndarray:
    """Return the color map (levels, 3) uint8, from dark to bright."""
    colors = np.frombuffer(_COLORS, np.uint8).reshape(-1, 3)
    places = np.linspace(0, 255, levels)
    return np.stack([np.uint8(np.interp(places, _PLACES, channel) + 0.5) for channel in colors.T], axis=1)


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
