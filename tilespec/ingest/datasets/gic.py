"""GIC: the labelled scenes of the Grupo de Inteligencia Computacional (Indian Pines, Pavia, Salinas, KSC, Botswana).

``NAME.mat`` or ``NAME_corrected.mat`` holds the cube ``y, x, band``, and ``NAME_gt.mat`` beside it the classes from 1
on, with 0 for none; each file has one array of that kind, so its name is not needed, and the numbers of bands and
classes are those of the files. Any other set of files that are named like this, such as Houston, is read as well.
"""

from pathlib import Path
from typing import Final

from tilespec.ingest.datasets.members import Member

TRUTH: Final = "_gt"
CORRECTED: Final = "_corrected"
"""What stands behind the name of a scene without the bands in which water absorbs."""
CLASSES: Final = {
    "indian_pines": (
        *("Alfalfa", "Corn-notill", "Corn-mintill", "Corn", "Grass-pasture", "Grass-trees", "Grass-pasture-mowed"),
        *("Hay-windrowed", "Oats", "Soybean-notill", "Soybean-mintill", "Soybean-clean", "Wheat", "Woods"),
        *("Buildings-Grass-Trees-Drives", "Stone-Steel-Towers"),
    ),
    "paviau": (
        *("Asphalt", "Meadows", "Gravel", "Trees", "Painted metal sheets", "Bare Soil", "Bitumen"),
        *("Self-Blocking Bricks", "Shadows"),
    ),
    "pavia": (
        *("Water", "Trees", "Asphalt", "Self-Blocking Bricks", "Bitumen", "Tiles", "Shadows", "Meadows", "Bare Soil"),
    ),
    "salinas": (
        *("Brocoli_green_weeds_1", "Brocoli_green_weeds_2", "Fallow", "Fallow_rough_plow", "Fallow_smooth", "Stubble"),
        *("Celery", "Grapes_untrained", "Soil_vinyard_develop", "Corn_senesced_green_weeds", "Lettuce_romaine_4wk"),
        *("Lettuce_romaine_5wk", "Lettuce_romaine_6wk", "Lettuce_romaine_7wk", "Vinyard_untrained"),
        "Vinyard_vertical_trellis",
    ),
    "ksc": (
        *("Scrub", "Willow swamp", "Cabbage palm hammock", "Cabbage palm/oak hammock", "Slash pine"),
        *("Oak/broadleaf hammock", "Hardwood swamp", "Graminoid marsh", "Spartina marsh", "Cattail marsh"),
        *("Salt marsh", "Mud flats", "Water"),
    ),
    "botswana": (
        *("Water", "Hippo grass", "Floodplain grasses 1", "Floodplain grasses 2", "Reeds", "Riparian", "Firescar"),
        *("Island interior", "Acacia woodlands", "Acacia shrublands", "Acacia grasslands", "Short mopane"),
        *("Mixed mopane", "Exposed soils"),
    ),
}
"""The names of the classes 1, 2, ... by the name of the truth, in small letters; others are numbered."""


def members(folder: Path) -> list[Member]:
    """Return the cubes that have a truth beside them."""
    listing = []
    for truth in sorted(folder.rglob(f"*{TRUTH}.mat")):
        name = truth.stem.removesuffix(TRUTH)
        cubes = (truth.with_name(f"{name}{end}.mat") for end in ("", CORRECTED))
        listing += [
            Member(
                kind="cube",
                name=cube.stem,
                src=str(cube),
                reader="matlab",
                labels=str(truth),
                classes=CLASSES.get(name.lower(), ()),
            )
            for cube in cubes
            if cube.exists()
        ]
    return listing
