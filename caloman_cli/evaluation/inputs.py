"""The showers of an evaluation: opened, or made, only when a metric asks."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from caloman_cli.config.figures import FigureSettings, Labels
from caloman_cli.data.cache import default_cache_dir
from caloman_cli.data.container import open_hdf5
from caloman_cli.data.showers import Showers, read_energies
from caloman_cli.data.sources import Dataset, open_dataset
from caloman_cli.data.spectrum import warn_foreign
from caloman_cli.errors import UserError
from caloman_cli.evaluation.comparison import Comparison
from caloman_cli.evaluation.truth import TruthPair, asked_truth, truth_pair
from caloman_cli.metrics.protocol import find_protocol
from caloman_cli.published.caveats import is_toy
from caloman_cli.runs.detector import run_dataset
from caloman_cli.runs.device import resolve_device
from caloman_cli.runs.directory import RunDirectory, find_model
from caloman_cli.runs.pretrained import results_of

if TYPE_CHECKING:
    from caloman_cli.models.two_step import TwoStep

log = logging.getLogger(__name__)


def evaluated_dataset(cfg: DictConfig) -> Dataset:
    """The dataset named on the command line, else the run's, with the files that were given.

    A run that is named as the dataset brings files of its own: those that were given go first.
    """
    facts = cfg.dataset
    data_dir, cache_dir = cfg.data_dir, cfg.cache_dir
    if "name" not in facts:
        model_path = find_model(Path(cfg.run))
        trained, facts = RunDirectory(model_path.parent).config, run_dataset(model_path)
        data_dir = trained.data_dir if data_dir is None else data_dir
        cache_dir = trained.cache_dir if cache_dir is None else cache_dir
        for role in ("train", "reference"):
            if cfg.dataset[role] is not None:
                facts[role] = cfg.dataset[role]
    facts = facts.copy()
    facts["limit"] = cfg.dataset.limit  # a run's own is that of what it learned from
    for role in ("train", "reference"):
        if cfg[role] is not None:
            facts[role] = [str(cfg[role])]
    return open_dataset(facts, data_dir, cache_dir)


def open_comparison(
    cfg: DictConfig, dataset: Dataset, open_reference: Callable[[], Showers] | None = None
) -> Comparison:
    """The comparison that the config describes; nothing is read yet.

    Args:
        cfg: The verb's config.
        dataset: Whose showers these are.
        open_reference: Opens what judges; None: the dataset's.
    """
    device = resolve_device(cfg.device)
    if cfg.run is None:
        label = Path(cfg.generated).stem if cfg.generated is not None else dataset.name
        folder = Path("outputs/evaluate") / label
    else:
        model_path = find_model(Path(cfg.run))
        label = RunDirectory(model_path.parent).label
        folder = RunDirectory(results_of(Path(cfg.run), model_path)).evaluation
    output = folder / cfg.evaluation.name if cfg.output is None else Path(cfg.output)

    def open_model() -> "TwoStep":
        from caloman_cli.runs import sampling

        return sampling.loaded(model_path, device)[0]

    def open_generated() -> Showers:
        if cfg.run is None:
            given = Showers.from_files([Path(cfg.generated)], dataset.geometry)
            return given.limited(dataset.limit)
        return _sampled(cfg, comparison, model_path)

    comparison = Comparison(
        dataset.geometry,
        device,
        cfg.seed,
        dataset.cache_dir or default_cache_dir(),
        output,
        label,
        find_protocol(cfg.protocol),
        figure_settings(cfg.figures),
        open_reference=open_reference or dataset.reference,
        open_generated=open_generated if cfg.run or cfg.generated else None,
        open_truth=partial(_truth, cfg, dataset),
        open_train=partial(_train, cfg, dataset),
        open_model=open_model,
        count_train=partial(_trained, cfg),
    )
    return comparison


def figure_settings(node: DictConfig) -> FigureSettings:
    """The keys ``figures`` of a checked config."""
    labels = Labels(node.labels.reference, node.labels.truth, node.labels.get("model"))
    return FigureSettings(list(node.format), node.dpi, labels)


def _sampled(cfg: DictConfig, comparison: Comparison, model_path: Path) -> Showers:
    """The model's showers for the reference's incident energies, made where there are none."""
    from caloman_cli.runs import sampling  # two files are compared without any model

    reference = comparison.reference
    model, trained = sampling.loaded(model_path, comparison.device)
    if model.geometry.n_voxels != reference.geometry.n_voxels:
        raise UserError(
            f"the model makes {model.geometry.n_voxels} voxels ({model.geometry.name}), the "
            f"reference has {reference.geometry.n_voxels} ({reference.geometry.name}): give the "
            "dataset of the run"
        )
    warn_foreign(model, reference.energies)
    wanted = sampling.provenance(model_path, trained, cfg.seed, comparison.device)
    folder = RunDirectory(model_path.parent).samples
    for path in sorted(folder.glob("*.hdf5")) if folder.is_dir() else []:
        if _matches(path, wanted, reference.energies):
            log.info("using the sample %s", path)
            return Showers.from_files([path], reference.geometry)
    out = folder / f"evaluate_{len(reference)}_seed{cfg.seed}.hdf5"
    log.info("sampling %d showers with the reference's incident energies", len(reference))
    sampling.write_sample(
        model,
        reference.energies,
        out,
        seed=cfg.seed,
        batch_size=cfg.batch_size,
        attributes=wanted,
    )
    return Showers.from_files([out], reference.geometry)


def _matches(path: Path, wanted: dict[str, Any], energies: np.ndarray) -> bool:
    """Whether a file is what this version would sample of the model for these energies now."""
    try:
        with open_hdf5(path) as file:
            same = all(
                key in file.attrs and file.attrs[key] == wanted[key]
                for key in ("model_sha256", "seed", "sampling_version")
            )
        return same and np.array_equal(read_energies(path), energies)
    except (OSError, UserError) as error:
        log.warning("%s is passed over: %s", path, error)
        return False


def _trained(cfg: DictConfig) -> int | None:
    """The size of the run's training split; None where there is no run, or it is not known."""
    run = _run_that_trained(cfg)
    if run is None or not (path := RunDirectory(run).split_path).is_file():
        return None
    with np.load(path) as split:
        return len(split["train"])


def _run_that_trained(cfg: DictConfig) -> Path | None:
    return None if cfg.run is None or cfg.train is not None else find_model(Path(cfg.run)).parent


def _train(cfg: DictConfig, dataset: Dataset) -> Showers:
    """The showers that the model learned from, as few as there were.

    An evaluation's limit is of what is scored: copies of a shower that was left out would not be
    found.
    """
    run, limit = _run_that_trained(cfg), None
    if run is not None and RunDirectory(run).config_path.is_file():
        limit = RunDirectory(run).config.dataset.get("limit")
    dataset = replace(dataset, limit=limit)
    try:
        return dataset.train()
    except UserError as error:
        raise UserError(f"no training file: {error}; give train=FILE") from error


def check_truth(cfg: DictConfig, dataset: Dataset, comparison: Comparison) -> None:
    """Look at ``truth=FILE`` before anything is sampled or computed.

    Raises:
        UserError: It cannot be read or does not fit the reference.
    """
    if cfg.truth is not None:
        _truth(cfg, dataset, comparison.reference, 1)


def _truth(cfg: DictConfig, dataset: Dataset, reference: Showers, n: int) -> TruthPair | None:
    if cfg.truth is not None:
        given = Showers.from_files([Path(cfg.truth)], dataset.geometry)
        if is_toy(given) != is_toy(reference):
            kinds = ["built-in toy showers" if is_toy(x) else "real" for x in (given, reference)]
            raise UserError(
                f"truth={cfg.truth} is {kinds[0]}, the reference is {kinds[1]}: give showers of "
                "one kind"
            )
        return _named(asked_truth(reference, n, given))
    train = None
    try:
        train = dataset.train()
    except UserError:
        log.debug("no training file for a truth row", exc_info=True)
    if train is not None and is_toy(train) != is_toy(reference):
        train = None
    return _named(truth_pair(reference, n, train))


def _named(pair: TruthPair) -> TruthPair:
    if not is_toy(pair.reference):
        return pair
    return replace(pair, label=pair.label.replace("(real", "(built-in toy"))  # nothing is real
