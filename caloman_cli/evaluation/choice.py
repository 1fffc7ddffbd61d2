"""Which metrics a suite has and which of them the given inputs allow."""

from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig, OmegaConf

from caloman_cli.config.targets import PLACES, constructor
from caloman_cli.errors import Failure, FileError, UserError
from caloman_cli.evaluation.comparison import Comparison, Metric, Particular

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep


def suite_metrics(cfg: DictConfig) -> dict[str, Metric]:
    """The suite's metrics, settings checked, in the order of the file."""
    parts = {str(name): part for name, part in cfg.evaluation.items() if OmegaConf.is_dict(part)}
    parts |= {f"extra {number}": part for number, part in enumerate(cfg.evaluation.extra, 1)}
    return {
        name: constructor(
            OmegaConf.to_container(part, resolve=True), PLACES["evaluation"], f"evaluation.{name}"
        )()
        for name, part in parts.items()
    }


def available_metrics(cfg: DictConfig, metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Metrics whose inputs were given.

    Raises:
        UserError: Inputs contradict each other or none of the metrics can be computed.
    """
    if cfg.run is not None and cfg.generated is not None:
        raise UserError(
            "run= and generated= were both given: run=DIR scores what the run's model makes, "
            "generated=FILE scores a file"
        )
    if not metrics:
        raise UserError(
            f"evaluation={cfg.evaluation.name} has no metric: all are null, or none was named "
            "with metric=[NAME,...]"
        )
    needed = {need for metric in metrics.values() for need in metric.needs}
    if cfg.run is None and cfg.generated is None and "generated" in needed:
        raise UserError(
            "nothing to evaluate: give run=DIR (a run of 'caloman train') or generated=FILE"
        )
    if cfg.run is None and "name" not in cfg.dataset:
        raise UserError(
            "say whose showers these are: dataset=NAME (ds1_photons, ds1_pions, ds2, ds3, ...)"
        )
    chosen = {
        name: metric
        for name, metric in metrics.items()
        if cfg.run is not None or "model" not in metric.needs
    }
    if not chosen:
        raise UserError(
            f"evaluation={cfg.evaluation.name} needs a model: give run=DIR (a run of 'caloman "
            "train'), not files"
        )
    return chosen


def answerable(comparison: Comparison, metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics that the model can answer; the model is loaded where one of them asks.

    Raises:
        Failure: There is none.
    """
    found, reasons = {}, []
    for name, metric in metrics.items():
        try:
            if isinstance(metric, Particular):
                metric.require(cast("TwoStep", comparison.model))
            found[name] = metric
        except FileError:
            raise
        except UserError as error:
            reasons.append(str(error))
    if not found:
        raise nothing_computed(reasons)
    return found


def nothing_computed(reasons: list[str]) -> Failure:
    """What an evaluation without a number ends with."""
    return Failure(f"nothing could be computed: {'; '.join(dict.fromkeys(reasons))}")
