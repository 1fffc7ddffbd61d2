"""Which evaluation a directory holds: another one never takes its place unasked."""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from caloman_cli.config.public import renamed
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison, Metric
from caloman_cli.evaluation.record import judged, model_hash, settings
from caloman_cli.runs.differences import differences

log = logging.getLogger(__name__)

_BY_CONTENT = ("run", "generated", "reference")
"""Settings that name showers or a model: what counts is what they hold, not where it lies."""
_LOOKS = "figures"
"""Settings of pictures alone, which change no score."""


def refuse_another(
    folder: Path, cfg: DictConfig, comparison: Comparison, metrics: dict[str, Metric]
) -> None:
    """Only the same evaluation may take the place of the one in ``folder``.

    The same: the same showers or model, reference, seed, protocol and settings; where a model is
    timed also the same kind of device.

    Args:
        folder: Where the results go; it need not exist.
        cfg: The verb's config.
        comparison: Its showers are open where the metrics need them.
        metrics: What is going to be measured.

    Raises:
        UserError: ``folder`` holds another evaluation.
    """
    path = folder / "metrics.json"
    if not path.exists():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        before, inputs = renamed(dict(stored["settings"])), dict(stored["inputs"])
        known = {role: inputs[role]["fingerprint"] for role in inputs}
        model, device = stored["model_sha256"], stored["provenance"]["device"]["type"]
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s): it is made again", path, error)
        return
    except (KeyError, TypeError) as error:
        raise UserError(
            f"output={folder} holds an evaluation by another version of caloman: give another"
            " output=, or overwrite=true to replace it"
        ) from error
    now = settings(cfg)
    differing = differences(_others(before), _others(now))
    for role, found in judged(comparison).items():
        if role not in known or known[role] != found["fingerprint"]:
            differing.append(f"{role}: {_files(inputs.get(role))} -> {_files(found)}")
    if model != model_hash(cfg):
        differing.append(f"run: {before.get('run')} -> {now['run']}")
    timed = any("model" in metric.needs for metric in metrics.values())
    if timed and device != comparison.device.type:
        differing.append(f"device: {device} -> {comparison.device.type}")
    if differing:
        raise UserError(
            f"output={folder} holds another evaluation; it differs in {'; '.join(differing)}: "
            "give another output=, or overwrite=true to replace it"
        )


def _others(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in (*_BY_CONTENT, _LOOKS)}


def _files(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "none"
    return f"{', '.join(facts['files'])} ({facts['fingerprint'][:8]})"
