"""The state of a training run."""

import copy
import math

import torch
from torch import Tensor, nn

from frcrn_export.exporters.training.recipe import Recipe, rate_factor
from frcrn_export.exporters.training_task import Task
from frcrn_export.runtime.errors import UserError

MAX_SKIPPED = 10  # steps in a row whose loss or gradients are not finite


class TrainingRun:
    """Networks, optimiser, schedule, counters. `network` is trained, `average` validated and kept.

    Raises CheckpointError where the task starts from weights of another network.
    """

    def __init__(self, task: Task, recipe: Recipe, device: str, amp: bool) -> None:
        self.task = task
        self.recipe = recipe
        self.device = torch.device(device)
        self.amp = amp
        torch.manual_seed(recipe.seed)
        self.network = task.build().to(self.device)
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
        self.start: float | None = None  # validation of what a fine-tuning starts from
        self.best: float | None = None
        self.best_step: int | None = None
        self.since_best = 0  # validations
        self.skipped = 0  # steps
        self.skipped_in_a_row = 0
        self.losses: list[float] = []  # since the last validation
        self.held_out: dict[str, list[str]] = {}  # sources of "speech" and of "noise"
        self.saved = False  # whether there is a state to go on from

    def metadata(self) -> dict[str, str]:
        """The settings that distinguish its network, and its initial checkpoint."""
        start = self.task.checkpoint
        return {**self.task.metadata(), **({"fine_tuned_from": start.sha256} if start else {})}

    def done(self) -> float:
        """The used share of the budget."""
        by_steps = self.step / self.recipe.steps if self.recipe.steps else 0.0
        by_time = self.seconds / (60.0 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return max(by_steps, by_time)

    def stopped_early(self) -> bool:
        """Whether the validation has not improved for the recipe's `early_stop` validations."""
        return self.recipe.early_stop is not None and self.since_best >= self.recipe.early_stop

    def train_step(self, noisy: Tensor, clean: Tensor) -> tuple[float, float]:
        """One update on [B, 1, N] signals; gives its loss and learning rate.

        Skips the update where the loss or a gradient is not finite. Raises UserError at the tenth
        such step in a row.
        """
        self.network.train()
        if self.task.checkpoint or self.step >= self.recipe.norm_steps:
            # The loudest example dominates batch statistics, which therefore differ from the
            # running ones that the exported network uses: from here on they are frozen.
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp)
        loss = self.task.loss(self.network, noisy, clean, autocast)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        group = self.optimiser.param_groups[0]
        before = group["lr"]
        rate = before * rate_factor(self.recipe, self.step, self.done())
        self.step += 1
        value = loss.item()
        if math.isfinite(value) and math.isfinite(norm.item()):
            group["lr"] = rate
            self.optimiser.step()
            group["lr"] = before
            self.skipped_in_a_row = 0
            self._update_average()
        else:
            self._skip()
        return value, rate

    def validate(self, noisy: Tensor, clean: Tensor, on_schedule: bool) -> tuple[float, bool]:
        """Mean SI-SNR improvement in dB of the averaged weights, and whether it is the best yet."""
        improvement = self._improvement_db(noisy, clean)
        if self.step == 0 and math.isfinite(improvement):
            self.start = improvement
        if on_schedule and self.recipe.schedule == "plateau":
            self.plateau.step(improvement)
        better = math.isfinite(improvement) and (self.best is None or improvement > self.best)
        if better:
            self.best, self.best_step, self.since_best = improvement, self.step, 0
        else:
            self.since_best += on_schedule
        return improvement, better

    @torch.no_grad()
    def _improvement_db(self, noisy: Tensor, clean: Tensor) -> float:
        gains = [
            self.task.improvement_db(self.average, x.to(self.device), target.to(self.device))
            for x, target in zip(torch.split(noisy, 8), torch.split(clean, 8), strict=True)
        ]
        return float(torch.cat(gains).mean())

    def _update_average(self) -> None:
        """Move the averaged weights, batch-norm statistics included, towards the current ones."""
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1.0 - decay)
            else:
                value.copy_(current[name])

    def _skip(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        averages = dict(self.average.named_buffers())
        for name, value in self.network.named_buffers():  # batch-norm statistics are not finite
            value.copy_(averages[name])
        if self.skipped_in_a_row >= MAX_SKIPPED:
            lower = self.recipe.learning_rate / 3
            way = "go on from the last state with --resume, or start anew with --force, and "
            raise UserError(
                f"the loss was not finite {MAX_SKIPPED} times in a row, up to step {self.step}: "
                + (way if self.saved else "")
                + f"lower the learning rate, as in --learning-rate {lower:.1e}"
                + (" --no-amp" if self.amp else "")
            )
