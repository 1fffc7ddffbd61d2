"""``evaluate_after=SUITE``: a run is scored as soon as it is trained."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from caloman_cli.cli.hydra_app import HydraApp, opened
from caloman_cli.config import targets
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import absolute_paths
from caloman_cli.config.paths import readable
from caloman_cli.errors import Failure, UserError

if TYPE_CHECKING:
    from caloman_cli.data.showers import Showers

log = logging.getLogger(__name__)

KEY = "evaluate_after"
_FEW = 500  # built-in showers that a dry run looks at


def asked_suites(cfg: DictConfig) -> list[str]:
    """The suites that a config of ``train`` asks for; none for other verbs."""
    value = cfg.get(KEY)
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def check_suites(cfg: DictConfig) -> None:
    """Raise a UserError where a suite does not exist or is not one."""
    for _ in _composed(cfg):
        pass


def check_after(cfg: DictConfig) -> None:
    """Look before the training at what is wanted after it.

    Args:
        cfg: The config of ``train``, paths absolute.

    Raises:
        UserError: A suite does not exist, or its metrics need a reference that is not there.
    """
    for suite, evaluation in _composed(cfg):
        from caloman_cli.evaluation.choice import suite_metrics

        with targets.trusting(_named(evaluation)):
            needed = {need for m in suite_metrics(evaluation).values() for need in m.needs}
        if "dataset" in cfg and "reference" in needed:
            _require_a_reference(cfg, suite)


def foretell_after(cfg: DictConfig) -> None:
    """Say what scoring with every suite that was asked for will cost; nothing is written.

    Args:
        cfg: The config of ``train``, paths absolute.

    Raises:
        UserError: See :func:`check_after`.
    """
    for suite, evaluation in _composed(cfg):
        from caloman_cli.data.sources import open_dataset
        from caloman_cli.evaluation.choice import suite_metrics
        from caloman_cli.evaluation.cost import say_cost
        from caloman_cli.evaluation.inputs import open_comparison

        dataset = open_dataset(cfg.dataset, *_folders(cfg))
        with targets.trusting(_named(evaluation)):
            metrics = suite_metrics(evaluation)
        if not any("reference" in metric.needs for metric in metrics.values()):
            continue
        try:
            reference, n = dataset.preview("reference", _FEW)
        except UserError as error:
            raise UserError(f"{KEY}={suite}: {error}") from error
        evaluation.run = None  # there is none yet
        comparison = open_comparison(evaluation, dataset, partial(_given, reference))
        log.info("%s=%s, besides drawing %d showers:", KEY, suite, n)
        say_cost(comparison, metrics, n, suite, always=True)


def evaluate_after(cfg: DictConfig, run: Path) -> None:
    """Score a run that is trained with every suite that was asked for and is not there yet.

    Raises:
        UserError: One of them could not be evaluated.
        Failure: The same, and it is no mistake of the user.
    """
    from caloman_cli.verbs import evaluate

    for suite, evaluation in _composed(cfg):
        if _is_there(run, evaluation.evaluation.name):
            log.info("%s: evaluation=%s is there already", run, suite)
            continue
        evaluation.run = str(run)
        log.info("%s=%s", KEY, suite)
        try:
            with targets.trusting(_named(evaluation)):
                evaluate.run(evaluation)
        except UserError as error:
            raise UserError(f"trained, but {KEY}={suite}: {error}") from error
        except Failure as error:
            raise Failure(f"trained, but {KEY}={suite}: {error}") from error


def _is_there(run: Path, suite: str) -> bool:
    """Whether a suite was evaluated of the model that the run has now."""
    from caloman_cli.data.files import checksum

    try:
        scores = json.loads((run / "evaluation" / suite / "metrics.json").read_bytes())
        return bool(scores["model_sha256"] == checksum(run / "model.pt"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _require_a_reference(cfg: DictConfig, suite: str) -> None:
    from caloman_cli.data.sources import open_dataset

    try:
        open_dataset(cfg.dataset, *_folders(cfg)).reference()
    except UserError as error:
        raise UserError(f"{KEY}={suite}: {error}") from error


def _folders(cfg: DictConfig) -> tuple[Path | None, Path | None]:
    """``data_dir`` and ``cache_dir``."""
    data, cache = (None if cfg[k] is None else Path(cfg[k]) for k in ("data_dir", "cache_dir"))
    return data, cache


def _given(showers: "Showers") -> "Showers":
    return showers


def _composed(cfg: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Suite, and the config of ``evaluate`` for it; the run is yet to be named."""
    for suite in asked_suites(cfg):
        with _beside() as app:
            options = app.options("evaluation")
            if suite not in options:
                raise UserError(
                    f"{KEY}={suite} does not exist: there is: {', '.join(options)}; write "
                    f"{KEY}=[a,b] for several"
                )
            overrides = [f"evaluation={suite}", "run=x", "overwrite=true"]
            found = app.compose([*overrides, readable(f"device={cfg.device}")])
        with open_dict(found):
            choices: Any = OmegaConf.to_container(found.hydra.runtime.choices)
            del found["hydra"]
        check_config(found, "evaluate", choices)
        absolute_paths(found, "evaluate")
        yield suite, found


@contextmanager
def _beside() -> Iterator[HydraApp]:
    """Hydra for ``evaluate`` within a job of another verb, with the user's own configs."""
    sources = HydraConfig.get().runtime.config_sources
    own = [source.path for source in sources if source.provider == "command-line"]
    outer = GlobalHydra.instance().hydra
    try:
        with opened("evaluate", own[0] if own else None) as app:
            yield app
    finally:
        GlobalHydra.instance().hydra = outer


def _named(cfg: DictConfig) -> set[str]:
    """The classes that a config names."""
    return targets.named(OmegaConf.to_container(cfg, resolve=True))
