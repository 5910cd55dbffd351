"""Everything that decides how a training run goes, and nothing about where it runs."""

from dataclasses import dataclass, field

from frcrn_export.exporters.networks.wave_unet import WaveUNetConfig
from frcrn_export.exporters.training.data import MixRecipe

DEFAULT_NETWORK = WaveUNetConfig(
    channels=(32, 64, 128, 144), strides=(4, 4, 4, 2), context_blocks=6, residual=True
)


@dataclass(frozen=True)
class Recipe:
    """A training run. It ends with the first of `steps` and `minutes` (both counted over resumes).

    The learning rate rises over `warmup_steps`, halves each time the validation stops improving for
    `patience` validations, and falls to `final_rate` of that over the last `cooldown` of the run.
    """

    network: WaveUNetConfig = DEFAULT_NETWORK
    mix: MixRecipe = field(default_factory=MixRecipe)
    seed: int = 0
    steps: int | None = None
    minutes: float | None = 40.0
    batch: int = 8
    learning_rate: float = 1.2e-3
    warmup_steps: int = 100
    norm_steps: int = 300  # after them the batch norms keep their statistics: see _Run.train_step
    patience: int = 5
    cooldown: float = 0.4
    final_rate: float = 0.03
    gradient_norm: float = 5.0
    ema_decay: float = 0.999
    spectral_weight: float = 3.0
    validate_every: int = 250  # steps; the state for a resume is saved as often
    validation_examples: int = 64
    validation_share: float = 0.06  # of the files of each folder
