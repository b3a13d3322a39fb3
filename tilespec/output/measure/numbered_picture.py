"""Numbered picture: a scene in false colour with the outlines of its objects, each with its number."""

import io

import numpy as np
from jaxtyping import Bool

from tilespec.output.measure.job import MeasureJob, around
from tilespec.output.measure.object_masks import ObjectMasks
from tilespec.output.measure.object_sums import NONE, ObjectSums
from tilespec.output.pictures import false_colour
from tilespec.storage.scene import Scene

SIDE = 1600
"""The largest number of pixels on the longer side of the picture."""
LINE, TEXT = (255, 230, 0), (255, 255, 255)
"""The colours of outlines and of numbers."""
SOFTWARE = "tilespec measure"
"""The text in the file by which a picture that this verb wrote is known."""


def numbered_picture(job: MeasureJob, objects: ObjectMasks, sums: ObjectSums) -> bytes:
    """Return the picture as PNG. The scene is read once more, object by object; every n-th pixel has an outline."""
    from PIL import Image, ImageDraw, ImageFont
    from PIL.PngImagePlugin import PngInfo

    pixels = false_colour(Scene.open(job.scene), job.roi, SIDE)
    step = max(1, -(-max(job.roi.shape) // SIDE))
    edges = _edges(job, objects, step)
    pixels[: edges.shape[0], : edges.shape[1]][edges] = LINE
    times = max(1, 640 // max(pixels.shape[:2]))
    image = Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(12, max(image.size) // 60))
    centres = sums.places / np.maximum(sums.pixels, 1)[:, None] - (job.roi.y0, job.roi.x0)
    for number, (y, x), count in zip(sums.ids.tolist(), centres.tolist(), sums.pixels.tolist(), strict=True):
        if count:
            place = ((x + 0.5) * times / step, (y + 0.5) * times / step)
            draw.text(place, str(number), fill=TEXT, font=font, anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    out = io.BytesIO()
    text = PngInfo()
    text.add_text("Software", SOFTWARE)
    image.save(out, format="PNG", pnginfo=text)
    return out.getvalue()


def _edges(job: MeasureJob, objects: ObjectMasks, step: int) -> Bool[np.ndarray, "y x"]:
    """Return every ``step``-th pixel of the region: whether the next one to the right or below is of another object."""
    parts: list[np.ndarray] = []
    for strip, roi in enumerate(job.strips):
        wide = around(job, roi)
        first = roi.y0 - wide.y0
        skip = -(roi.y0 - job.roi.y0) % step
        edge = np.zeros((len(range(skip, roi.shape[0], step)), -(-roi.shape[1] // step)), bool)
        for plane in objects.planes(roi, strip, wide):
            thin = plane[first + skip : first + roi.shape[0] : step, ::step]
            below = np.concatenate([thin[1:], thin[-1:]])
            right = np.concatenate([thin[:, 1:], thin[:, -1:]], axis=1)
            edge |= ((thin != below) | (thin != right)) & ((thin != NONE) | (below != NONE) | (right != NONE))
        parts.append(edge)
    return np.concatenate(parts)
