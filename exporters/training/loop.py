"""The training loop of `wave-unet-16k`."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from frcrn_export.exporters.networks.wave_unet import WaveUNet
from frcrn_export.exporters.training.data import FloatArray, draw_batch, split
from frcrn_export.exporters.training.losses import denoising_loss, si_snr_db
from frcrn_export.exporters.training.recipe import Recipe
from frcrn_export.runtime.errors import CheckpointError, UserError

STATE_NAME = "last.pt"
WEIGHTS_NAME = "wave-unet-16k.safetensors"
VALIDATION_STREAM = 1  # seeds are (seed, stream, step): training draws from stream 0


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step. `validation` is there when the step ended in one."""

    step: int
    seconds: float
    done: float  # share of the budget, 0 to 1
    loss: float
    learning_rate: float
    validation: float | None  # mean SI-SNR improvement in dB of the averaged weights
    best: float | None


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run made."""

    weights: Path
    steps: int
    seconds: float
    best: float  # mean SI-SNR improvement in dB over the held-out mixtures
    parameters: int


def train(
    recipe: Recipe,
    speech: Sequence[FloatArray],
    noise: Sequence[FloatArray],
    run_dir: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    amp: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> TrainingResult:
    """Trains on clips at 16 kHz and keeps the best averaged weights in `run_dir`.

    `run_dir` gets `last.pt` (everything a resume needs; continuing from it is exact),
    `wave-unet-16k.safetensors` (the best weights with their configuration), and TensorBoard events
    where tensorboard is installed. `amp` computes the network in bfloat16.
    Raises UserError for a budget that is missing or used up, CheckpointError for a state that is
    missing, unreadable or of another network.
    """
    if recipe.steps is None and recipe.minutes is None:
        raise UserError("a run needs an end: give --steps or --minutes")
    run = _Run(recipe, device)
    if resume:
        run.load(run_dir / STATE_NAME)
    run_dir.mkdir(parents=True, exist_ok=True)
    train_speech, held_speech = split(speech, recipe.validation_share, recipe.seed)
    train_noise, held_noise = split(noise, recipe.validation_share, recipe.seed)
    validation = draw_batch(
        (recipe.seed, VALIDATION_STREAM),
        held_speech,
        held_noise,
        replace(recipe.mix, noise_only=0.0),
        recipe.validation_examples,
    )
    log = _tensorboard(run_dir, run.step)
    started = time.monotonic() - run.seconds
    if run.done() >= 1.0:
        raise UserError(f"{run_dir} is trained already ({run.step} steps): ask for more to go on")

    def batch_of(step: int) -> tuple[FloatArray, FloatArray]:
        seed = (recipe.seed, 0, step)
        return draw_batch(seed, train_speech, train_noise, recipe.mix, recipe.batch)

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(batch_of, run.step)
        while run.done() < 1.0:
            noisy, clean = (torch.from_numpy(x).to(device) for x in pending.result())
            pending = ahead.submit(batch_of, run.step + 1)
            loss, rate = run.train_step(noisy, clean, amp)
            run.seconds = time.monotonic() - started
            improvement = None
            at_end = run.done() >= 1.0
            on_schedule = run.step % recipe.validate_every == 0
            if on_schedule or at_end:
                improvement = run.validate(*(torch.from_numpy(x) for x in validation))
                if on_schedule:
                    run.plateau.step(improvement)
                if run.best is None or improvement > run.best:
                    run.best = improvement
                    run.save_weights(run_dir / WEIGHTS_NAME)
                run.seconds = time.monotonic() - started
                run.save(run_dir / STATE_NAME)
            if log is not None:
                log.add_scalar("loss", loss, run.step)
                log.add_scalar("learning_rate", rate, run.step)
                if improvement is not None:
                    log.add_scalar("validation/si_snr_improvement_db", improvement, run.step)
            on_progress(
                Progress(run.step, run.seconds, run.done(), loss, rate, improvement, run.best)
            )
    if log is not None:
        log.close()
    assert run.best is not None
    parameters = sum(p.numel() for p in run.network.parameters())
    return TrainingResult(run_dir / WEIGHTS_NAME, run.step, run.seconds, run.best, parameters)


class _Run:
    """All that changes while training: networks, optimiser, schedule, counters."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe = recipe
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.network = WaveUNet(recipe.network).to(self.device)
        if recipe.network.residual:  # start from letting everything pass
            for parameter in self.network.out.parameters():
                nn.init.zeros_(parameter)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser,
            mode="max",
            factor=0.5,
            patience=recipe.patience,
            threshold=0.01,  # dB
            threshold_mode="abs",
        )
        self.step = 0
        self.seconds = 0.0
        self.best: float | None = None

    def done(self) -> float:
        """The share of the budget that is used."""
        by_steps = self.step / self.recipe.steps if self.recipe.steps else 0.0
        by_time = self.seconds / (60.0 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return max(by_steps, by_time)

    def rate_factor(self) -> float:
        """What the plateau's learning rate is multiplied by at this step."""
        recipe = self.recipe
        warmup = min(1.0, (self.step + 1) / recipe.warmup_steps)
        left = min(1.0, (1.0 - self.done()) / recipe.cooldown)  # 1 until the cooldown, then to 0
        return warmup * (recipe.final_rate + (1.0 - recipe.final_rate) * left)

    def train_step(self, noisy: Tensor, clean: Tensor, amp: bool) -> tuple[float, float]:
        """One update on [B, 1, N] signals; the loss and the learning rate it was made with."""
        self.network.train()
        if self.step >= self.recipe.norm_steps:
            # The loudest example of a batch decides its statistics, so a network that is trained
            # with them is not the one that runs: from here on, it is.
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            estimate = run_padded(self.network, noisy)
        loss = denoising_loss(noisy, estimate.float(), clean, self.recipe.spectral_weight)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        group = self.optimiser.param_groups[0]
        plateau_rate = group["lr"]
        rate = group["lr"] = plateau_rate * self.rate_factor()
        self.optimiser.step()
        group["lr"] = plateau_rate
        self.step += 1
        self._update_average()
        return loss.item(), rate

    def _update_average(self) -> None:
        """Moves the averaged weights, batch-norm statistics included, towards the current ones."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1.0 - decay)
            else:
                value.copy_(current[name])

    @torch.no_grad()
    def validate(self, noisy: Tensor, clean: Tensor) -> float:
        """Mean SI-SNR improvement in dB of the averaged weights, example by example."""
        gains = []
        for x, target in zip(torch.split(noisy, 8), torch.split(clean, 8), strict=True):
            x, target = x.to(self.device), target.to(self.device)
            gains.append(si_snr_db(run_padded(self.average, x), target) - si_snr_db(x, target))
        return float(torch.cat(gains).mean())

    def save_weights(self, path: Path) -> None:
        state = {
            name: value.contiguous().cpu() for name, value in self.average.state_dict().items()
        }
        metadata = {
            **self.recipe.network.to_metadata(),
            "model": "wave-unet-16k",
            "sample_rate": "16000",
            "level": "peak",
            "training_steps": str(self.step),
        }
        _write_aside(path, lambda aside: aside.write_bytes(save(state, metadata)))

    def save(self, path: Path) -> None:
        state = {
            "metadata": self.recipe.network.to_metadata(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
        }
        _write_aside(path, lambda aside: torch.save(state, aside))

    def load(self, path: Path) -> None:
        if not path.is_file():
            raise CheckpointError(f"nothing to resume: {path} is missing; leave --resume out")
        try:
            state: Mapping[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise CheckpointError(f"cannot read {path}; remove it to start anew") from error
        if state.get("metadata") != self.recipe.network.to_metadata():
            raise CheckpointError(
                f"{path} holds another network ({state.get('metadata')}); "
                "resume with the --channels and --strides it was started with"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]


def run_padded(network: WaveUNet, wave: Tensor) -> Tensor:
    """The network on [B, 1, N] of any length: zeros up to the next hop, cut off again."""
    length = wave.shape[2]
    padded = nn.functional.pad(wave, (0, -length % network.hop))
    enhanced: Tensor = network(padded)
    return enhanced[:, :, :length]


def _write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Writes to a temporary name and renames, so that `path` is always whole."""
    aside = path.with_name(path.name + ".part")
    write(aside)
    aside.replace(path)


def _tensorboard(run_dir: Path, step: int) -> Any:
    """A writer of TensorBoard events, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run_dir), purge_step=step or None)
