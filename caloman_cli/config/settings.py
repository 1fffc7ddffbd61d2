"""What a user may choose about training, and which values are allowed."""

from dataclasses import dataclass, field

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from caloman_cli.errors import UserError

STAGES = ("energy", "encoder", "density")
OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("none", "cosine", "one_cycle")
PRECISIONS = ("float32", "bfloat16")
SELECTIONS = ("best", "last")
LATENTS = ("sample", "mean")


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

    epochs: int = 100
    batch_size: int = 512
    optimizer: str = "adamw"
    lr: float = 1e-3
    player_lr: dict[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    schedule: str = "none"
    warmup: float = 0.0
    clip: float | None = None
    ema: float | None = None
    patience: int | None = None
    score: str = "loss"
    select: str = "best"
    precision: str = "float32"

    def check(self, where: str) -> None:
        """Raise UserError where a value is out of range; ``where`` is the key of the stage."""
        _among(f"{where}.optimizer", self.optimizer, OPTIMIZERS)
        _among(f"{where}.schedule", self.schedule, SCHEDULES)
        _among(f"{where}.precision", self.precision, PRECISIONS)
        _among(f"{where}.select", self.select, SELECTIONS)
        for name, lowest in (("epochs", 1), ("batch_size", 1), ("weight_decay", 0), ("warmup", 0)):
            _holds(getattr(self, name) >= lowest, f"{where}.{name}", self, f"{lowest} or more")
        _holds(self.lr > 0, f"{where}.lr", self, "above 0")
        _holds(self.clip is None or self.clip > 0, f"{where}.clip", self, "above 0 or null")
        _holds(
            self.ema is None or 0 < self.ema < 1, f"{where}.ema", self, "between 0 and 1 or null"
        )
        _holds(
            self.patience is None or self.patience > 0, f"{where}.patience", self, "1 up or null"
        )
        if self.warmup >= self.epochs:
            raise UserError(
                f"{where}.warmup={self.warmup:g} must be less than {where}.epochs={self.epochs}:"
                f" set {where}.warmup=0 with it, or more epochs"
            )
        if self.schedule == "one_cycle" and self.warmup:
            raise UserError(f"{where}: schedule=one_cycle has a warm-up of its own, set warmup=0")
        if self.select == "last" and self.patience is not None:
            raise UserError(f"{where}: select=last keeps no best epoch, set patience=null")


@dataclass
class TrainerSettings:
    """The group ``trainer``.

    Args:
        energy, encoder, density: One block for each stage.
        latents: What the density model learns: posterior ``sample``\\ s, drawn anew for every
            batch, or posterior ``mean``\\ s.
        checkpoint_minutes: ``last.pt`` is written after every epoch, and within an epoch when
            the last one is older than this.
        deterministic: Ask CUDA for deterministic kernels. The CPU's are deterministic.
        tf32: Let CUDA multiply float32 matrices in TF32.
    """

    energy: StageSettings = field(default_factory=StageSettings)
    encoder: StageSettings = field(default_factory=StageSettings)
    density: StageSettings = field(default_factory=StageSettings)
    latents: str = "sample"
    checkpoint_minutes: float = 10.0
    deterministic: bool = True
    tf32: bool = False

    def stage(self, name: str) -> StageSettings:
        """The block of one of :data:`STAGES`."""
        block: StageSettings = {
            "energy": self.energy,
            "encoder": self.encoder,
            "density": self.density,
        }[name]
        return block


def trainer_settings(node: DictConfig) -> TrainerSettings:
    """Check the group ``trainer`` of a composed config.

    Raises:
        UserError: An unknown key, a wrong type or a value out of range.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainerSettings), node)
    except OmegaConfBaseException as error:
        raise UserError(f"trainer: {str(error).splitlines()[0]}") from error
    settings = OmegaConf.to_object(merged)
    if not isinstance(settings, TrainerSettings):
        raise UserError("trainer must be a mapping of settings")
    for name in STAGES:
        settings.stage(name).check(f"trainer.{name}")
    _among("trainer.latents", settings.latents, LATENTS)
    if settings.checkpoint_minutes <= 0:
        raise UserError(
            f"trainer.checkpoint_minutes={settings.checkpoint_minutes}, must be above 0"
        )
    for name in ("energy", "density"):
        if settings.stage(name).precision != "float32":
            raise UserError(
                f"trainer.{name}.precision={settings.stage(name).precision}: likelihoods need"
                " float32; mixed precision is for trainer.encoder.precision"
            )
    return settings


def _among(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value}, must be one of {', '.join(allowed)}")


def _holds(condition: bool, key: str, settings: StageSettings, allowed: str) -> None:
    if not condition:
        raise UserError(f"{key}={getattr(settings, key.rsplit('.', 1)[1])}, must be {allowed}")
