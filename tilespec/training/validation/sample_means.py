"""Sample means: the predicted means of held-out samples are compared with their references during a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.evaluate.metrics.base import Metric
from tilespec.spectra.recipe import Recipe
from tilespec.training.data.sample_stream import SampleReader, SampleStream, truth_of
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import TrainingSet
from tilespec.training.objectives.mean_reference import sample_sums
from tilespec.training.settings import Config
from tilespec.training.setup import Setup

METRICS: Final = tuple(
    Metric(name=name, truth="field", better="smaller") for name in ("mse_of_means", "rmse_of_means", "mae_of_means")
)
"""The metrics of means, the leading one first."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleMeans:
    """The held-out samples of a training."""

    stream: SampleStream
    """The held-out samples, none of them mirrored."""
    reader: SampleReader
    """The function that reads them."""
    setup: Setup
    """The task and the net."""

    @classmethod
    def of(cls, config: Config, training_set: TrainingSet, setup: Setup, recipe: Recipe) -> "SampleMeans | None":
        """Return the held-out samples of a configuration, or None without any.

        Raises:
            UserError: samples are held out where none are learned from, or regions where samples are.
        """
        settings, whole = config.validation, training_set.whole_samples
        samples, regions = settings.samples or settings.share, settings.rows or settings.cols or settings.scene
        if regions if whole else samples:
            raise UserError(
                "[validate]",
                found="regions, where samples are learned" if whole else "samples, for a task that learns from pixels",
                expected="validate.samples or validate.share" if whole else "validate.rows, validate.cols or others",
                do="Hold out what is learned from.",
            )
        if not samples:
            return None
        stream = SampleStream.of(config, training_set, setup.reach, held_out=True)
        blocks = ScoreCache(training_set.regions, recipe, config.data.cache)
        return cls(stream=stream, reader=SampleReader(stream, blocks, setup.task), setup=setup)

    @property
    def ids(self) -> list[str]:
        """The ids of the held-out samples."""
        regions = self.stream.regions
        return [truth_of(regions[place.scene]).samples[place.number].id for place in self.stream.places]

    def figures(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the figures of the means that a net with these weights predicts, in the units of the references."""
        net = self.setup.nets(0)["generator"].eval()
        net.load_state_dict(dict(tensors))
        errors = []
        for place in self.stream.places:
            sample = self.reader.sample(place)
            sums = sample_sums(net, self.setup.task, sample.tiles())
            errors.append((sums.values / sums.pixels.clamp(min=1)).numpy() - np.asarray(sample.references))
        known = np.concatenate(errors)[np.isfinite(np.concatenate(errors))]
        mse, mae = (float(np.mean(f(known))) if len(known) else None for f in (np.square, np.abs))
        return dict(zip((one.name for one in METRICS), (mse, None if mse is None else mse**0.5, mae), strict=True))
