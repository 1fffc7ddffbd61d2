"""What an evaluation was made of: facts for readers, provenance for programs."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.files import checksum
from caloman_cli.data.showers import Showers
from caloman_cli.evaluation.comparison import Comparison, Metric
from caloman_cli.published import DATASETS
from caloman_cli.published.caveats import energy_note, reference_notes
from caloman_cli.published.official import is_official
from caloman_cli.runs.directory import find_model
from caloman_cli.runs.provenance import collect


def input_notes(comparison: Comparison, metrics: dict[str, Metric]) -> list[str]:
    """Open the showers that the metrics need; what they are limits what the scores say."""
    needed = {need for metric in metrics.values() for need in metric.needs}
    notes = []
    if "reference" in needed:
        notes += reference_notes(
            comparison.reference,
            published=comparison.geometry.name in DATASETS,
            official=is_official(comparison.reference),
        )
    if "generated" in needed:
        mismatch = energy_note(comparison.reference, comparison.generated)
        notes += [mismatch] if mismatch else []
    return notes


def input_facts(comparison: Comparison) -> list[str]:
    """One line each about the showers that were looked at."""
    facts = []
    if comparison.has("reference"):
        names = ", ".join(path.name for path in comparison.reference.paths)
        facts.append(f"reference: {len(comparison.reference):,} showers, {names}")
    if comparison.has("generated"):
        names = ", ".join(path.name for path in comparison.generated.paths)
        facts.append(f"generated: {len(comparison.generated):,} showers, {names}")
    if comparison.has("truth") and comparison.truth is not None:
        facts.append(comparison.truth.label)
    return facts


def provenance(cfg: DictConfig, comparison: Comparison) -> dict[str, Any]:
    """What ``metrics.json`` says of inputs, settings, software and hardware."""
    plain, inputs = settings(cfg), judged(comparison)
    if comparison.has("truth") and comparison.truth is not None:
        pair = comparison.truth
        inputs["truth"] = {"label": pair.label, **_identity(pair.sample)}
    return {
        "label": comparison.label,
        "inputs": inputs,
        "model_sha256": model_hash(cfg),
        "settings": plain,
        "provenance": collect(plain, comparison.device),
        "figures": [
            str(drawn.path.relative_to(comparison.output)) for drawn in comparison.figures
        ],
    }


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The verb's config as plain types."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def judged(comparison: Comparison) -> dict[str, Any]:
    """Files and content of the reference and of the generated showers, where they are open."""
    inputs: dict[str, Any] = {}
    if comparison.has("reference"):
        inputs["reference"] = _identity(comparison.reference)
    if comparison.has("generated"):
        inputs["generated"] = _identity(comparison.generated)
    return inputs


def model_hash(cfg: DictConfig) -> str | None:
    """SHA-256 of the model that ``run=`` names."""
    if cfg.run is None:
        return None
    return checksum(find_model(Path(cfg.run)))


def _identity(showers: Showers) -> dict[str, Any]:
    return {
        "files": [_shown(path) for path in showers.paths],
        "showers": len(showers),
        "fingerprint": showers.fingerprint,
    }


def _shown(path: Path) -> str:
    """A path below the working directory, else a name: the rest is nobody's but this machine's."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
