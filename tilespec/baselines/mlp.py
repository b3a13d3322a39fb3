"""MLP: a multilayer perceptron on single spectra, a non-linear classifier without context."""

from typing import ClassVar, final

import numpy as np
import torch

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.labelled_pixels import Labelled
from tilespec.baselines.synthetic_spectra import draw_augmented
from tilespec.models.determinism import torch_threads
from tilespec.models.nets.pixelwise import Mlp

SAMPLES = 200_000
"""The number of sampled pixels: 150 MB of 186 bands, or all labelled pixels of a smaller region."""
EPOCHS, BATCH, RATE = 12, 1024, 2e-3
STEPS_AT_LEAST = 600
"""The least number of gradient steps, for samples with few pixels."""


@final
class Perceptron:
    """A perceptron with hidden layers (two of 64), cross-entropy, and Adam with a cosine decay."""

    STEPS: ClassVar[str] = "vsn"
    USES: ClassVar[tuple[str, ...]] = ("samples", "synthetic", "hidden")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the trained perceptron."""
        labelled = draw_augmented(on, SAMPLES, balanced=False)
        with torch_threads(1):  # a batch is too small to share, and bits do not depend on the machine's cores
            net = _trained(labelled, on)
        with torch.inference_mode():
            guess = (
                net(torch.from_numpy(labelled.spectra)[None].permute(0, 2, 1)[..., None]).argmax(dim=1).numpy().ravel()
            )
        return FittedBaseline(
            net={"name": "mlp", "hidden": list(on.options.layers)},
            weights={key: value.detach().clone() for key, value in net.state_dict().items()},
            classes=labelled.names,
            head="logits",
            facts={
                "samples": len(guess),
                "invalid_samples": labelled.invalid,
                "absent_classes": list(labelled.absent),
                "calibration_accuracy": float((guess == labelled.classes).mean()),
            },
        )


def _trained(labelled: Labelled, on: FitInput) -> Mlp:
    """Return the perceptron after `EPOCHS` passes over the pixels, in an order by the seed."""
    x, y = torch.from_numpy(labelled.spectra), torch.from_numpy(labelled.classes)
    net, progress = _initial(x, len(labelled.names), on.options.layers, on.seed), on.progress
    steps = max(STEPS_AT_LEAST, EPOCHS * -(-len(x) // BATCH))
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng([on.seed, 5])
    progress.start("fit", steps, "steps")
    for _ in range(steps):
        batch = torch.from_numpy(rng.integers(0, len(x), min(BATCH, len(x))))
        loss = torch.nn.functional.cross_entropy(net.logits(x[batch][None])[0], y[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        progress.advance(1)
    progress.finish()
    return net.eval()


def _initial(x: torch.Tensor, classes: int, hidden: tuple[int, ...], seed: int) -> Mlp:
    """Return the perceptron before training, which standardises by the drawn pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Mlp(x.shape[1], classes, hidden=hidden)
    deviation = x.std(dim=0)
    net.mean.copy_(x.mean(dim=0))
    net.gain.copy_(1 / torch.where(deviation > 0, deviation, torch.ones(())))
    return net
