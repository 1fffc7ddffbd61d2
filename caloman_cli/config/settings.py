"""What a user may choose about training, and which values are allowed."""

from dataclasses import dataclass, field
from typing import Literal

from caloman_cli.config.stages import LEARNING
from caloman_cli.config.values import Count, Natural, NotNegative, Positive, Share, checked
from caloman_cli.errors import UserError


@checked
@dataclass
class StageSettings:
    """How one stage is trained.

    Args:
        epochs: The largest number of passes over the training split.
        batch_size: Rows per step, at most; an epoch is cut into equal batches.
        optimizer: ``adam`` or ``adamw``.
        lr: Learning rate at its highest.
        player_lr: Learning rates of single players of an adversarial model, by name.
        weight_decay: Decoupled for ``adamw``, an L2 penalty for ``adam``.
        schedule: Course of the learning rate, per step: ``none``, ``cosine``, ``one_cycle``.
        warmup: Epochs in which the learning rate rises linearly from zero.
        clip: Largest norm of a player's gradient, or null.
        ema: Decay of the exponential moving average of the weights per step, or null.
            Where it is on, validation, ``best.pt`` and the final model use the average.
        patience: Epochs without a better score before the stage stops, or null.
        score: The validation score that decides, one of the model's scores.
        select: Keep the weights of the ``best`` score or those of the ``last`` epoch.
        precision: ``float32``, or ``bfloat16``: automatic mixed precision on CUDA. Not float16,
            whose largest number, 65504, is less than the energies that heads compute with.

    Raises:
        UserError: A value is out of its range.
    """

    epochs: Count = 100
    batch_size: Count = 512
    optimizer: Literal["adam", "adamw"] = "adamw"
    lr: Positive = 1e-3
    player_lr: dict[str, NotNegative] = field(default_factory=dict)
    weight_decay: NotNegative = 0.0
    schedule: Literal["none", "cosine", "one_cycle"] = "none"
    warmup: NotNegative = 0.0
    clip: Positive | None = None
    ema: Share | None = None
    patience: Count | None = None
    score: str = "loss"
    select: Literal["best", "last"] = "best"
    precision: Literal["float32", "bfloat16"] = "float32"

    def check(self, where: str) -> None:
        """Raise a UserError where values exclude each other; ``where`` is the stage's key."""
        if self.warmup >= self.epochs:
            raise UserError(
                f"{where}.warmup={self.warmup:g} must be less than {where}.epochs={self.epochs}:"
                f" set {where}.warmup=0 with it, or more epochs"
            )
        if self.schedule == "one_cycle" and self.warmup:
            raise UserError(f"{where}: schedule=one_cycle has a warm-up of its own, set warmup=0")
        if self.select == "last" and self.patience is not None:
            raise UserError(f"{where}: select=last keeps no best epoch, set patience=null")


@checked
@dataclass
class TrainerSettings:
    """The group ``trainer``.

    Args:
        energy, encoder, density: One block for each stage that learns.
        latents: What the density model learns: posterior ``sample``\\ s, drawn anew for every
            batch, or posterior ``mean``\\ s.
        checkpoint_minutes: ``last.pt`` is written after every epoch, and within an epoch when
            the last one is older than this.
        layer_dimensions: Say after every epoch how many dimensions the hidden layers of networks
            have on the validation split, see
            :func:`~caloman_cli.training.layers.layer_dimensions`.
        profile: Steps of each stage that torch's profiler watches; it writes a table for each into
            ``profile/`` of the run directory.
        deterministic: Ask CUDA for deterministic kernels. The CPU's are deterministic.
        tf32: Let CUDA multiply float32 matrices in TF32.
    """

    energy: StageSettings = field(default_factory=StageSettings)
    encoder: StageSettings = field(default_factory=StageSettings)
    density: StageSettings = field(default_factory=StageSettings)
    latents: Literal["sample", "mean"] = "sample"
    checkpoint_minutes: Positive = 10.0
    layer_dimensions: bool = False
    profile: Natural = 0
    deterministic: bool = True
    tf32: bool = False

    def stage(self, name: str) -> StageSettings:
        """The block of a stage that learns, one of :data:`~caloman_cli.config.stages.LEARNING`."""
        block: StageSettings = getattr(self, name)
        return block

    def check(self) -> None:
        """Raise a UserError where values exclude each other."""
        for name in LEARNING:
            self.stage(name).check(f"trainer.{name}")
        for name in ("energy", "density"):
            if self.stage(name).precision != "float32":
                raise UserError(
                    f"trainer.{name}.precision={self.stage(name).precision}: likelihoods need"
                    " float32; mixed precision is for trainer.encoder.precision"
                )
