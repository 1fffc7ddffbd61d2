"""``caloman evaluate``: score showers against a reference."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from caloman_cli.data.cache import default_cache_dir
from caloman_cli.data.showers import Showers, read_energies
from caloman_cli.data.sources import Dataset, open_dataset
from caloman_cli.device import resolve_device
from caloman_cli.errors import UserError
from caloman_cli.metrics.caveats import energy_note, is_toy, reference_notes
from caloman_cli.metrics.report import Comparison, Metric, Section
from caloman_cli.metrics.tables import Score, summary, write_tables
from caloman_cli.metrics.truth import TruthPair, truth_pair
from caloman_cli.model import TwoStep, load_model
from caloman_cli.provenance import Usage, collect
from caloman_cli.run import RunDirectory
from caloman_cli.verbs import sample

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Evaluate a run, or any file of showers.

    Args:
        cfg: The checked config of ``conf/evaluate.yaml``.

    Returns:
        The directory with ``metrics.json``, ``table.md``, ``table.csv`` and ``plots/``.

    Raises:
        UserError: The choices do not fit together or a file is not valid.
    """
    metrics = _metrics(cfg)
    chosen = _available(cfg, metrics)
    dataset = _dataset(cfg)
    comparison = _comparison(cfg, dataset)
    notes = [
        f"{name} was left out: it needs a model, give run=DIR"
        for name in metrics
        if name not in chosen
    ]
    notes += _input_notes(dataset, comparison, chosen)
    for note in notes:
        log.warning("%s", note)
    try:
        comparison.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make output={comparison.output}: {error.strerror}") from error
    scores: list[Score] = []
    details: dict[str, Any] = {}
    for name, metric in chosen.items():
        section, cost = _measured(name, metric, comparison)
        scores += section.scores
        notes += section.notes
        details[name] = {**section.details, "cost": cost}
    paths = write_tables(
        comparison.output,
        f"{comparison.label} on {dataset.name}: {cfg.evaluation.name}",
        scores,
        notes,
        _facts(comparison),
        {**_provenance(cfg, comparison), "metrics": details},
    )
    log.info("%s", "\n\n".join(["", summary(scores)]))
    for path in paths:
        log.info("%s", path)
    if comparison.figures:
        log.info("%d figures in %s", len(comparison.figures), comparison.output / "plots")
    return comparison.output


def _metrics(cfg: DictConfig) -> dict[str, Metric]:
    """The suite's metrics, settings checked, in the order of the file."""
    parts = {str(name): part for name, part in cfg.evaluation.items() if OmegaConf.is_dict(part)}
    parts |= {f"extra {number}": part for number, part in enumerate(cfg.evaluation.extra, 1)}
    try:
        return {name: instantiate(part, _convert_="all") for name, part in parts.items()}
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


def _available(cfg: DictConfig, metrics: dict[str, Metric]) -> dict[str, Metric]:
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
        raise UserError(f"evaluation={cfg.evaluation.name} has no metric: all are null")
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


def _dataset(cfg: DictConfig) -> Dataset:
    """The dataset named on the command line, else the run's, with the reference that was given."""
    facts = cfg.dataset
    data_dir, cache_dir = cfg.data_dir, cfg.cache_dir
    if "name" not in facts:
        trained = RunDirectory(sample.find_model(Path(cfg.run)).parent).config
        facts = trained.dataset.copy()
        data_dir = trained.data_dir if data_dir is None else data_dir
        cache_dir = trained.cache_dir if cache_dir is None else cache_dir
        for role in ("train", "reference"):
            if cfg.dataset[role] is not None:
                facts[role] = cfg.dataset[role]
    if cfg.reference is not None:
        if cfg.dataset.reference is not None:
            raise UserError("reference= and dataset.reference= were both given: give one of them")
        facts = facts.copy()
        facts.reference = [str(cfg.reference)]
    return open_dataset(facts, data_dir, cache_dir)


def _comparison(cfg: DictConfig, dataset: Dataset) -> Comparison:
    device = resolve_device(cfg.device)
    if cfg.run is None:
        label = Path(cfg.generated).stem if cfg.generated is not None else dataset.name
        folder = Path("outputs/evaluate") / label
    else:
        model_path = sample.find_model(Path(cfg.run))
        home = model_path.resolve().parent
        # A run's own name is often a time; its parent says which model it is.
        label = home.parent.name if home.name[:1].isdigit() else home.name
        folder = RunDirectory(model_path.parent).evaluation
    output = folder / cfg.evaluation.name if cfg.output is None else Path(cfg.output)

    def open_model() -> TwoStep:
        return load_model(model_path, device)[0]

    def open_generated() -> Showers:
        if cfg.run is None:
            return Showers.from_files([Path(cfg.generated)], dataset.geometry)
        return _sampled(cfg, comparison, model_path)

    comparison = Comparison(
        dataset.geometry,
        device,
        cfg.seed,
        dataset.cache_dir or default_cache_dir(),
        output,
        label,
        open_reference=dataset.reference,
        open_generated=open_generated if cfg.run or cfg.generated else None,
        open_truth=partial(_truth, cfg, dataset),
        open_model=open_model,
    )
    return comparison


def _sampled(cfg: DictConfig, comparison: Comparison, model_path: Path) -> Showers:
    """The model's showers for the reference's incident energies, made where there are none."""
    reference = comparison.reference
    model, trained = load_model(model_path, comparison.device)
    if model.geometry.n_voxels != reference.geometry.n_voxels:
        raise UserError(
            f"the model makes {model.geometry.n_voxels} voxels ({model.geometry.name}), the "
            f"reference has {reference.geometry.n_voxels} ({reference.geometry.name}): give the "
            "dataset of the run"
        )
    wanted = sample.provenance(
        OmegaConf.create({"seed": cfg.seed, "energies": None}),
        model_path,
        trained,
        comparison.device,
    )
    folder = RunDirectory(model_path.parent).samples
    for path in sorted(folder.glob("*.hdf5")) if folder.is_dir() else []:
        if _matches(path, wanted, reference.energies):
            log.info("using the sample %s", path)
            return Showers.from_files([path], reference.geometry)
    out = folder / f"evaluate_{len(reference)}_seed{cfg.seed}.hdf5"
    log.info("sampling %d showers with the reference's incident energies", len(reference))
    sample.warn_outside(reference.energies, model.geometry)
    sample.write_sample(
        model,
        reference.energies,
        out,
        seed=cfg.seed,
        batch_size=cfg.batch_size,
        attributes=wanted,
    )
    return Showers.from_files([out], reference.geometry)


def _matches(path: Path, wanted: dict[str, Any], energies: np.ndarray) -> bool:
    """Whether a file is this model's sample for these incident energies and this seed."""
    try:
        with h5py.File(path, "r") as file:
            same = all(
                key in file.attrs and file.attrs[key] == wanted[key]
                for key in ("model_sha256", "seed")
            )
        return same and np.array_equal(read_energies(path), energies)
    except (OSError, UserError) as error:
        log.warning("%s is passed over: %s", path, error)
        return False


def _truth(cfg: DictConfig, dataset: Dataset, reference: Showers, n: int) -> TruthPair | None:
    if cfg.truth is not None:
        given = Showers.from_files([Path(cfg.truth)], dataset.geometry)
        return truth_pair(reference, n, given)
    train = None
    try:
        train = dataset.train()
    except UserError as error:
        log.info("truth row from the reference alone: %s", error)
    if train is not None and is_toy(train) != is_toy(reference):
        log.warning("truth row from the reference alone: %s is of another kind", train.name)
        train = None
    pair = truth_pair(reference, n, train)
    if is_toy(reference):  # nothing here is real
        pair = replace(pair, label=pair.label.replace("(real", "(built-in toy"))
    return pair


def _measured(name: str, metric: Metric, comparison: Comparison) -> tuple[Section, dict]:
    """One metric with its cost; what cannot be computed is a row that says why."""
    log.info("%s ...", name)
    usage = Usage(comparison.device)
    with usage:
        try:
            section = metric(comparison)
        except UserError as error:
            log.warning("%s could not be computed: %s", name, error)
            section = Section([Score(name, "not computed", None, note=str(error), summary=True)])
    log.info("%s: %.1f s", name, usage.seconds)
    return section, {"seconds": round(usage.seconds, 2), **usage.memory()}


def _input_notes(
    dataset: Dataset, comparison: Comparison, metrics: dict[str, Metric]
) -> list[str]:
    """Open the showers that the metrics need; what they are limits what the scores say."""
    needed = {need for metric in metrics.values() for need in metric.needs}
    notes = []
    if "reference" in needed:
        notes += reference_notes(dataset, comparison.reference)
    if "generated" in needed:
        mismatch = energy_note(comparison.reference, comparison.generated)
        notes += [mismatch] if mismatch else []
    return notes


def _facts(comparison: Comparison) -> list[str]:
    facts = []
    if comparison.has("reference"):
        names = ", ".join(str(path) for path in comparison.reference.paths)
        facts.append(f"reference: {len(comparison.reference):,} showers, {names}")
    if comparison.has("generated"):
        names = ", ".join(str(path) for path in comparison.generated.paths)
        facts.append(f"generated: {len(comparison.generated):,} showers, {names}")
    if comparison.has("truth") and comparison.truth is not None:
        facts.append(comparison.truth.label)
    return facts


def _provenance(cfg: DictConfig, comparison: Comparison) -> dict[str, Any]:
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    plain = {str(key): value for key, value in settings.items()}
    inputs: dict[str, Any] = {}
    if comparison.has("reference"):
        inputs["reference"] = _identity(comparison.reference)
    if comparison.has("generated"):
        inputs["generated"] = _identity(comparison.generated)
    if comparison.has("truth") and comparison.truth is not None:
        pair = comparison.truth
        inputs["truth"] = {"label": pair.label, **_identity(pair.sample)}
    return {
        "label": comparison.label,
        "inputs": inputs,
        "settings": plain,
        "provenance": collect(plain, comparison.device),
        "figures": [str(path.relative_to(comparison.output)) for path in comparison.figures],
    }


def _identity(showers: Showers) -> dict[str, Any]:
    return {
        "files": [str(path) for path in showers.paths],
        "showers": len(showers),
        "fingerprint": showers.fingerprint,
    }
