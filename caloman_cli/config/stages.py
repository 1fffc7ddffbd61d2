"""The stages of a training: what each is called and which settings it rests on."""

from dataclasses import dataclass

EVERY = ("seed", "dataset", "preprocess", "trainer.deterministic", "trainer.tf32")
"""Keys of the config that all stages rest on."""


@dataclass(frozen=True)
class Stage:
    """A part of a training that is made once, kept, and taken over by other runs.

    Args:
        name: Of the stage, of its folder in a run and, where it learns, of its block in the group
            ``trainer``.
        own: Keys of the config that it rests on, beside those of ``after`` and :data:`EVERY`.
        after: Stages whose outcome it rests on.
        learns: Whether it is fitted step by step, with a block of settings of its own.
    """

    name: str
    own: tuple[str, ...]
    after: tuple[str, ...] = ()
    learns: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the config that it rests on, beside :data:`EVERY`."""
        before = [stage for stage in STAGES if stage.name in self.after]
        return tuple(dict.fromkeys(key for stage in before for key in stage.keys)) + self.own


STAGES = (
    Stage("energy", ("energy", "trainer.energy")),
    # The encoder learns from true layer energies, the density model from the encoder's latents.
    Stage("encoder", ("encoder", "head", "trainer.encoder")),
    Stage("density", ("density", "trainer.density", "trainer.latents"), after=("encoder",)),
    Stage("calibration", ("calibration",), after=("energy", "encoder", "density"), learns=False),
)
"""In the order in which they are made; how, says :mod:`caloman_cli.training.stages`."""

LEARNING = tuple(stage.name for stage in STAGES if stage.learns)
