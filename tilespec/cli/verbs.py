"""The table of commands, in the order of a day's work: a verb is one entry, its options are declared in its room."""

from typing import Final

from tilespec.cli.commands import Argument, Command, ModelsThenScenes, SeveralThenOut
from tilespec.training.ranks.launchers import leads

SIMULATE = """Simulate a physically based scene of any size with its truth; resumes by itself.

\b
plants   potted plants, 407 to 997 nm: layers labels, plant and material; --raw writes counts
samples  meat on a tray, 850 to 1700 nm: layer sample, hidden maps fat, water and protein;
         OUT.references.csv holds their means over each sample"""

BASELINE = """Fit a classical method on a region as the model OUT.model, and predict the scene with it.

\b
ndvi       vegetation index above --threshold; needs no labels
ndvi-otsu  the same above Otsu's threshold of the region; needs no labels
plsda      partial least squares on classes: --components (a number, auto, auto:N), --samples (a number, all),
           --folds, --scale, --diagnostics
plsr       partial least squares on --references, numbers of samples: a scene each, or the ids of --samples-layer;
           --column, --mask, --components, --folds, --held-out, --reference-error, --scale, --diagnostics
ridge      ridge regression on the same; --ridge
sam        spectral angle to class means of the region, or to --references; --max-angle
svm        linear support vector machine on --samples pixels; --penalty
logistic   logistic regression on --samples pixels; --penalty
kmeans     --clusters of spectra over all pixels, at most --passes; needs no labels
mlp        perceptron with two hidden layers on --samples pixels
linear     least squares onto the spectra of --target, a scene on the same plane, from --samples pixels, or on
           --references as plsr; --ridge
polynomial the same from monomials up to --degree, or their roots: --root
rbf        the same from --centres Gaussians

`tilespec predict OUT.model SCENE OUT` applies the model to other scenes."""

STUDY = """Train and judge every variant on every fold with every seed: one table; goes on where it was interrupted.

\b
tilespec study preset:best --out s --set data.scene=a.zarr --rows 400:1024 --test-rows 0:400 --vary net.base_width=8,16
tilespec study preset:best --out s --folds list_a.csv --folds list_b.csv --root stores --baseline plsda
tilespec study preset:best --out s --set 'data.scene=["a.zarr", "b.zarr"]' --fold A=a --fold B=b --seeds 5"""

INGEST = """Bring any format into a scene, or several flight lines into one each: streamed, resumable.

\b
envi     .hdr with its data, any interleave        raster  GeoTIFF, and what else GDAL reads
matlab   .mat, also of version 7.3                 image   .png, .jpg, .bmp and others, as bands or as labels
hdf5     .h5, .hdf5                                netcdf  .nc, on any even grid
npy      an array, npz several                     zarr    a store of another program
emit, prisma, neon          products of these sensors
text, instrument        tables of spectra: CSV, TSV; JCAMP-DX, SPC, OPUS
folder                  a table of spectra, a file each
gic, icvl, cave, arad       data sets: --dataset

PATH:VARIABLE names an array of a file that has several."""

TRAIN = """Train a net on random patches; resumes by itself.

\b
preset:tiny             seconds, on any labelled scene
preset:demo             the training of `tilespec demo`
preset:best             the recommended settings
preset:rgb-best         spectra from RGB pictures, recommended settings
preset:mishra2021       as published for plants
preset:alvarezgila2017  as published for spectra from RGB pictures
preset:chemmap          maps from one number for each sample, recommended settings
preset:engstrom2025     as published for maps of fat content
preset:spectra-best     labelled spectra from a GAN, recommended settings
preset:audebert2018     the same as published
preset:notebook         the same as its authors' code has it

docs/training.md explains every key of a configuration."""

DATA, SPECTRA, LEARNING, PREDICTION = "Bring data in", "Spectra", "Learn", "Predict"
RESULTS, PRODUCTS, ALL, MACHINE = "Judge and hand on", "Products", "All of it", "Machines"

MODEL, SCENE, STORE, PRED, OUT = map(Argument, ("model", "scene", "store", "pred", "out"))

COMMANDS: Final = (
    Command("simulate", SIMULATE, (OUT,), group=DATA, example="scene --rows 512 --cols 466 --plants 9 --raw"),
    Command(
        "ingest",
        INGEST,
        (SeveralThenOut("src", "One source or several, then the output.", "SRC... OUT", single=True),),
        group=DATA,
        example="scene/raw.hdr scene.zarr --white scene/white.hdr --dark scene/dark.hdr --labels scene/labels.hdr",
    ),
    Command(
        "info",
        "Say what a store holds.",
        (STORE,),
        options=False,
        progress=False,
        sets_exit_code=False,
        group=DATA,
        example="scene.zarr",
    ),
    Command(
        "fit",
        "Fit a recipe of spectral steps, out of core.",
        (SCENE, OUT),
        group=SPECTRA,
        example="scene.zarr recipe --steps vsn,pca=4",
    ),
    Command(
        "transform",
        "Write the scene that a recipe makes of a scene.",
        (Argument("recipe"), SCENE, OUT),
        group=SPECTRA,
        example="recipe scene.zarr scores.zarr",
    ),
    Command(
        "render",
        "Write a scene as sRGB, as an eye or a camera sees it; resumes by itself.",
        (SCENE, OUT),
        group=SPECTRA,
        example="scene.zarr picture.zarr",
    ),
    Command(
        "export",
        "Hand a store on in the format that OUT ends in: .tif, .tiff, .hdr (ENVI), .nc, .csv, .mat, .npy, .png; "
        "or .geojson, .gpkg: polygons of the regions of classes.",
        (STORE, OUT),
        group=RESULTS,
        example="map.zarr map.tif",
    ),
    Command(
        "new",
        "Write a commented configuration that suits your data: network, recipe, patch, batch, each with its reason. "
        "What is not given is asked.",
        (Argument("out", "The file, NAME.toml.", default="tilespec.toml"),),
        group=LEARNING,
        example="my.toml --task segment --scene scene.zarr",
    ),
    Command(
        "preview",
        "Show the first patches of a training on a page, as pictures and spectra: in the scene, after the recipe, "
        "augmented.",
        (Argument("config", "A TOML file, or preset:NAME."), Argument("out", "The page, NAME.html.")),
        group=LEARNING,
        example="my.toml page.html",
    ),
    Command(
        "import-spectrai",
        "Write a configuration of spectrai 0.1.4 as one of tilespec, with the commands that bring its data in; notes "
        "name what is different.",
        (Argument("file", "A file NAME.yml of spectrai."), Argument("out", "The file, NAME.toml.")),
        group=LEARNING,
        example="old.yml my.toml --root DATA",
    ),
    Command(
        "train",
        TRAIN,
        (Argument("config", "A TOML file, or preset:NAME."), Argument("out", "Model folder.", flag="--out")),
        answers=leads,
        group=LEARNING,
        example="preset:best --out model --set data.scene=scene.zarr --set data.rows=400:1024",
    ),
    Command(
        "predict",
        "Predict one scene, or several into the folder OUT: blended tiles; resumes by itself. Of several models of one "
        "task the mean is predicted, and with --disagreement their spread.",
        (ModelsThenScenes("paths", "Models, scenes, then where the product goes.", "MODEL... SCENE... OUT"),),
        group=PREDICTION,
        example="model scene.zarr map.zarr --workers 2",
    ),
    Command(
        "synth",
        "Draw labelled spectra from a generator into a table (a store, or OUT.csv), or fill a label map with them.",
        (MODEL, OUT),
        group=PREDICTION,
        example="model spectra.csv --count 1000",
    ),
    Command(
        "baseline",
        BASELINE,
        (
            Argument("name", "A method of the table, or a dotted path."),
            SeveralThenOut("scene", "One scene, or several of plsr, ridge, linear.", "SCENE... OUT", single=True),
        ),
        group=PREDICTION,
        example="plsda scene.zarr plsda.zarr --rows 400:1024",
    ),
    Command(
        "adopt",
        "Make a model of a fitted estimator of scikit-learn, a file of skops; `predict` then takes it.",
        (Argument("file"), OUT),
        group=LEARNING,
        example="forest.skops model --task segment --like scene.zarr",
    ),
    Command(
        "probe",
        "Measure a model: receptive field, tile class, overlap to use, determinism.",
        (MODEL,),
        group=LEARNING,
        example="model",
    ),
    Command(
        "status",
        "Say how far a product is: done, missing, torn, in quarantine; who writes it.",
        (OUT,),
        options=False,
        progress=False,
        group=PRODUCTS,
        example="map.zarr",
    ),
    Command(
        "verify",
        "Hash every object of a product again; exit 3 when one is damaged.",
        (OUT,),
        options=False,
        group=PRODUCTS,
        example="map.zarr",
    ),
    Command(
        "repair",
        "Remove damaged objects of a product and compute them again, and only them.",
        (OUT,),
        group=PRODUCTS,
        example="map.zarr",
    ),
    Command(
        "evaluate",
        "Compare a prediction with the truth.",
        (PRED, Argument("truth")),
        group=RESULTS,
        example="map.zarr scene.zarr --rows 0:400",
    ),
    Command(
        "measure",
        "Write a table of plants, polygons or connected regions, or the means of predicted numbers over samples.",
        (PRED, SCENE, Argument("out", metavar="OUT.csv")),
        group=RESULTS,
        example="map.zarr scene.zarr plants.csv",
    ),
    Command(
        "report",
        "Write one self-contained HTML page about scenes, models and predictions.",
        (SeveralThenOut("runs", "Stores and folders, then the page.", "RUN... OUT.html"),),
        group=RESULTS,
        example="scene.zarr model map.zarr report.html",
    ),
    Command(
        "view",
        "Look at stores in the browser: pictures, layers, spectra of pixels and regions. Prints an address that only "
        "this machine answers; Ctrl-C ends.",
        (Argument("stores", "Stores, or folders of some.", metavar="STORE...", kind=list[str]),),
        group=RESULTS,
        example="scene.zarr map.zarr",
        announces=True,
    ),
    Command(
        "demo",
        "All of it on a small simulated raw scene; ends with a report.",
        (Argument("out", "Folder.", flag="--out", default="demo"),),
        group=ALL,
        example="--out demo",
    ),
    Command(
        "study",
        STUDY,
        (
            Argument("config", "TOML files, or preset:NAME; several are compared.", kind=list[str]),
            Argument("out", "Folder of models, predictions, results and the table.", flag="--out"),
        ),
        group=ALL,
        example="preset:best --out s --set data.scene=a.zarr --rows 400:1024 --test-rows 0:400",
    ),
    Command(
        "doctor",
        "Measure this machine, and say what will limit the work on a scene.",
        (Argument("scene", optional=True),),
        group=MACHINE,
        example="scene.zarr",
    ),
    Command(
        "cluster init-tls",
        "Make a private CA and certificates for a Dask cluster, and print the lines that use them.",
        (Argument("folder", "A new folder, readable by its owner."),),
        group=MACHINE,
        example="certificates",
    ),
)
"""All commands, as the help lists them."""
