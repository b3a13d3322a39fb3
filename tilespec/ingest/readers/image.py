"""Pictures: PNG, JPEG, BMP and TIFF as cubes of grey, or of red, green and blue, whose values are sRGB from 0 to 1.

GDAL decodes them line by line, so that a picture may be larger than memory. Integers do not change, and have a scale. A
TIFF is a picture only when its metadata say so without doubt; any other raster is read by
`tilespec.ingest.readers.raster`.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.gaps import with_gaps
from tilespec.ingest.readers.image_light import COLOURS, PEAKS, check_peak, picture_facts
from tilespec.ingest.readers.raster import GATHER, georef_of, open_raster, place_notes, raster_at, read_raster, whole
from tilespec.ingest.readers.source import Facts, Options, Source, refuse_array_options

PIECE: Final = 1 << 23
"""The bytes of one request to GDAL, less than its cache holds, or lines would be decoded once for each band."""
CACHE: Final = 1 << 26
"""The size in bytes of GDAL's cache while pictures are read; its default is a share of the machine's memory."""
RGB: Final = ("red", "green", "blue")
PLUGINS: Final = {
    "PNG": "PngImagePlugin:PngImageFile",
    "JPEG": "JpegImagePlugin:JpegImageFile",
    "GIF": "GifImagePlugin:GifImageFile",
    "GTiff": "TiffImagePlugin:TiffImageFile",
}
"""Pillow's readers of headers by GDAL's names of formats; used directly, they accept large pictures."""
ORIENTATION: Final = 0x0112
"""The EXIF tag of the orientation of a picture; 1 is as stored."""
GEOTIFF_ALPHA: Final = 4
"""The interpretation that GDAL gives to the fourth of four byte bands in any file."""

Lines = Shaped[np.ndarray, "y x _band"]


@final
class Scan:
    """A raster that is not closed between reads, so that compressed lines are decoded once, from top to bottom."""

    def __init__(self, path: str) -> None:
        self._path, self._raster = path, None

    def rows(self, y0: int, y1: int) -> Lines:
        """Return rows of all bands with their stored values."""
        from rasterio import Env
        from rasterio.windows import Window

        with whole(self._path), Env(GDAL_CACHEMAX=CACHE):
            raster: Any = self._raster or raster_at(self._path)
            self._raster = raster
            out = np.empty((y1 - y0, raster.width, raster.count), raster.dtypes[0])
            step = max(1, PIECE // max(out[:1].nbytes, 1))
            for y in range(y0, y1, step):
                block = raster.read(window=Window(0, y, raster.width, min(step, y1 - y)))
                out[y - y0 : y - y0 + step] = np.moveaxis(block, 0, -1)
            if y1 == raster.height:
                raster.close()
                self._raster = None
        return out


@final
@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """The interpretation of a raster's bands as colours."""

    colours: int
    """The number of bands that are colours; they come first."""
    alpha: int | None = None
    """The index of the opacity band, if there is one."""
    table: UInt8[np.ndarray, "256 4"] | None = None
    """The colour and the opacity of each index of a palette."""
    hidden: tuple[int, ...] | None = None
    """The colour that is transparent."""

    @property
    def gaps(self) -> bool:
        """Whether pixels may be without data."""
        clear = self.table is not None and bool((self.table[:, 3] < PEAKS["uint8"]).any())
        return clear or self.alpha is not None or self.hidden is not None

    def of(self, raw: Lines) -> tuple[Lines, Bool[np.ndarray, "y x"] | None]:
        """Return the colours of some lines, and which pixels have data, or None for all."""
        if self.table is not None:
            entries = self.table[raw[..., 0]]
            return entries[..., :3], (entries[..., 3] == PEAKS["uint8"] if self.gaps else None)
        colours = raw[..., : self.colours]
        if self.alpha is not None:
            return colours, raw[..., self.alpha] == PEAKS[raw.dtype.name]
        return colours, None if self.hidden is None else ~(colours == self.hidden).all(axis=-1)


@final
@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """A source of one picture."""

    facts: Facts
    """The facts of the picture."""
    look: PictureFormat
    """The interpretation of its bands as colours."""
    lines: Scan
    """The raster that is read."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``, in a wider type if there may be pixels without data."""
        colours, visible = self.look.of(self.lines.rows(y0, y1))
        if visible is None:
            return colours
        wide = colours.astype(self.facts.dtype)
        wide[~visible] = self.facts.nodata
        return wide


def read_image(path: Path, options: Options) -> Source:
    """Return a picture; read labels, references and other TIFFs by `read_raster`.

    Raises:
        UserError: GDAL cannot read it, the file has several pictures, the colours are inks, or the data type is
            unsupported.
    """
    if options.kind != "cube":
        return read_raster(path, options)
    with open_raster(str(path)) as raster:
        _refuse(path, raster)
        if raster.driver == "GTiff" and not (options.rgb or photographed(raster)):
            return read_raster(path, options)
        refuse_array_options(path, options)
        look, peak = _look(path, raster), _peak(path, raster, options)
        facts = Facts(
            shape=(raster.height, raster.width, 3 if look.table is not None else look.colours),
            dtype=np.dtype(raster.dtypes[0]),
            georef=georef_of(raster),
            header={key: str(value) for key, value in raster.tags().items() if key != "AREA_OR_POINT"},
            nodata=raster.nodata if look.hidden is None else None,
            notes=(*_notes(path, raster, look), *place_notes(path.name, raster)),
            files=(path,),
            read_bytes=GATHER,
        )
    if look.gaps:
        facts = with_gaps(replace(facts, nodata=None))
    return PictureSource(facts=picture_facts(facts, peak), look=look, lines=Scan(str(path)))


def photographed(raster: Any) -> bool:
    """Return whether a TIFF is a picture: three bytes marked as red, green and blue, without wavelengths.

    Sixteen bits are a picture only without georeference, because satellite images have those too. Four bands are never
    a picture, because GDAL marks the fourth band of many TIFFs as alpha.
    """
    sizes = ("uint8", "uint16") if raster.crs is None and raster.transform.is_identity else ("uint8",)
    tagged = any(key.lower() == "wavelength" for key in raster.tags(1)) or bool(raster.tags(1, ns="IMAGERY"))
    plain = not tagged and set(raster.scales) == {1.0} and not any(raster.offsets)
    return plain and set(raster.dtypes) <= set(sizes) and _colours(raster) == RGB


def _colours(raster: Any) -> tuple[str, ...]:
    """Return the colour interpretation of the bands from GDAL."""
    return tuple(colour.name for colour in raster.colorinterp)


def _refuse(path: Path, raster: Any) -> None:
    """Refuse several pictures in one file, and colours that are inks."""
    header = _header_of(path, raster)
    tiff = raster.driver == "GTiff"  # Pillow also counts the overviews of a TIFF
    pages = len(raster.subdatasets) if tiff else getattr(header, "n_frames", 1)
    if pages > 1:
        raise UserError(
            path,
            found=f"{pages} pictures in one file",
            expected="one",
            do=f"Take one out first, for example: gdal_translate GTIFF_DIR:1:{path.name} one.tif"
            if tiff
            else "Save the one that is meant by itself.",
        )
    if getattr(header, "mode", "") in ("CMYK", "LAB") or _colours(raster)[:1] == ("cyan",):
        raise UserError(
            path,
            found="inks or lightness (CMYK or Lab)",
            expected="red, green and blue, or grey: what inks look like depends on the paper",
            do="Convert it to sRGB with its colour profile.",
        )


def _look(path: Path, raster: Any) -> PictureFormat:
    """Return the interpretation of the bands as colours."""
    named = _colours(raster)
    table = _palette(raster) if named[0] == "palette" else None
    alpha = raster.count - 1 if raster.count in (2, GEOTIFF_ALPHA) else None
    colours = raster.count if alpha is None else alpha
    if colours not in COLOURS or len(set(raster.dtypes)) > 1 or raster.dtypes[0] not in PEAKS:
        raise UserError(
            path,
            found=f"{raster.count} bands of {', '.join(sorted(set(raster.dtypes)))}",
            expected="grey or red, green, blue, with or without alpha, of uint8, uint16 or floats",
            do="Leave --rgb away, or convert it.",
        )
    transparent = raster.tags().get("NODATA_VALUES", "").split()
    hidden = tuple(int(value) for value in transparent) if len(transparent) == colours else None
    return PictureFormat(colours=colours, alpha=alpha, table=table, hidden=hidden)


def _palette(raster: Any) -> UInt8[np.ndarray, "256 4"]:
    """Return the colours of the indices; an index without a colour has no data."""
    table = np.zeros((256, 4), np.uint8)
    for index, colour in raster.colormap(1).items():
        if index < len(table):
            table[index] = colour
    return table


def _peak(path: Path, raster: Any, options: Options) -> float:
    """Return the stored value of white: from the user, else the maximum of the data type."""
    if options.peak is not None:
        check_peak(options.peak)
        return options.peak
    bits = raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    if bits is None or _colours(raster)[0] == "palette":
        return PEAKS[raster.dtypes[0]]
    if not 1 <= int(bits) <= 16:
        raise UserError(f"{path}: bits", found=bits, expected="1 to 16", do="Say with --peak what white is.")
    return float((1 << int(bits)) - 1)


def _notes(path: Path, raster: Any, look: PictureFormat) -> tuple[str, ...]:
    """Return notes on the interpretation of a picture for the user."""
    header, notes = _header_of(path, raster), []
    turned = _orientation(header)
    if turned != 1:
        notes.append(f"{path.name}: EXIF orientation {turned}: viewers turn it, here pixels stay as they are stored")
    profile = getattr(header, "info", {}).get("icc_profile") or b""
    if profile and b"sRGB" not in profile and b"s\0R\0G\0B" not in profile:
        notes.append(f"{path.name}: its colour profile is not sRGB and is not applied: values are taken as sRGB")
    if look.gaps:
        notes.append(f"{path.name}: pixels that are not opaque have no data")
    if raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
        notes.append(f"{path.name}: one bit a pixel: values are 0 and 1")
    return tuple(notes)


def _orientation(header: Any) -> int:
    """Return the EXIF orientation, 1 by default; a PNG has it before its pixels or not at all."""
    if header is None:
        return 1
    tags = getattr(header, "tag_v2", None)
    if tags is None:
        tags = header.getexif() if "exif" in header.info else {}
    return int(tags.get(ORIENTATION, 1))


def _header_of(path: Path, raster: Any) -> Any:
    """Return Pillow's object for a picture's header; None if it cannot read it, or for more bands than colours."""
    from importlib import import_module

    module, _, name = PLUGINS.get(raster.driver, "").partition(":")
    if not module or raster.count > GEOTIFF_ALPHA:
        return None
    opener, mute = (
        getattr(import_module(f"PIL.{module}"), name),
        (SyntaxError, OSError, ValueError, TypeError, KeyError),
    )
    with suppress(*mute), opener(path) as header:
        getattr(header, "n_frames", 1)  # counted while the file is open
        return header
    return None
