"""One job of a verb: check, then work, here or on a cluster's node."""

import logging
from importlib import import_module
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from caloman_cli.cli.after import check_after, check_suites, evaluate_after, foretell_after
from caloman_cli.cli.endings import OK, explain, report
from caloman_cli.cli.places import job_id, job_name, own_output
from caloman_cli.cli.sweep import Outcome, Sweep
from caloman_cli.cli.verbs import Verb
from caloman_cli.config import targets
from caloman_cli.config.check import check_config
from caloman_cli.config.compose import absolute_paths, refuse_misplaced
from caloman_cli.runs.dry import dry_run
from caloman_cli.runs.failures import forget_failure, note_failure

log = logging.getLogger(__name__)


def do_job(
    verb: Verb,
    debug: bool,
    chosen: tuple[str, ...],
    cfg: DictConfig,
    sweep: Sweep | None = None,
    dry: bool = False,
) -> Outcome:
    """One job, in this process or on a cluster's node: check, then work.

    Failures are returned, not raised, so that the jobs of a multirun do not stop each other.
    """
    hydra_cfg = HydraConfig.get()
    choices = OmegaConf.to_container(hydra_cfg.runtime.choices)
    overrides = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    typed = [str(override) for override in overrides if override not in chosen]
    name = verb.words if sweep is None else job_name(typed, sweep.varied)
    folder = None if sweep is None or dry else sweep.names.get(job_id(typed, sweep.varied))
    try:
        check_config(cfg, verb.config, choices)  # type: ignore[arg-type]
        if sweep is not None:
            own_output(cfg, hydra_cfg.sweep.dir, typed, sweep.varied, sweep.names)
        absolute_paths(cfg, verb.config)
        refuse_misplaced(cfg)
        if OmegaConf.select(cfg, "dataset.geometry_xml") is not None:
            from caloman_cli.data.detector import settle

            settle(cfg)
        if verb.config == "train" and sweep is None and not _names_a_place(typed):
            from caloman_cli.runs.unfinished import go_on

            go_on(cfg)
        from caloman_cli.runs.device import configure_threads

        configure_threads()
        if chosen:
            from caloman_cli.cli.recipes import said

            log.info(said(chosen[0].partition("=")[2], cfg.dataset.name, choices))  # type: ignore[arg-type]
        with targets.trusting(_named(cfg)), dry_run(dry):
            (check_suites if dry else check_after)(cfg)
            module = import_module(f"caloman_cli.verbs.{verb.config}")
            path = module.dry_run(cfg) if dry else module.run(cfg)
            if dry:
                foretell_after(cfg)
            else:
                evaluate_after(cfg, path)
    except Exception as error:  # noqa: BLE001  a job's failure is its result
        place = cfg.get("output") or (cfg.get("run") if verb.config == "evaluate" else None)
        message = explain(error)[1]
        if sweep is not None and folder is not None:
            note_failure(Path(sweep.folder), folder, message)
        return Outcome(name, report(error, debug), message, place)
    if sweep is not None and folder is not None:
        forget_failure(Path(sweep.folder), folder)
    return Outcome(name, OK, "", None if path is None else str(path))


def _names_a_place(overrides: list[str]) -> bool:
    keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    return bool(keys & {"output", "overwrite"})


def _named(cfg: DictConfig) -> set[str]:
    """The classes that the command line names: in the configs that it chose, and as ``trust``."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    trust = values.get("trust") or []
    return targets.named(values) | set([trust] if isinstance(trust, str) else trust)
