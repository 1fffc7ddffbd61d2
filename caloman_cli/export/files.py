"""Files of traced models: written, read and run."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from caloman_cli.data.files import replacing
from caloman_cli.errors import FileError, UserError, needed, reason
from caloman_cli.export.facts import KEY, entries, understood
from caloman_cli.export.sampler import Sampler
from caloman_cli.export.translate import quiet, translated

Format = Literal["onnx", "exported_program"]
Runner = Callable[[Mapping[str, Tensor]], list[Tensor]]
SUFFIX: dict[str, str] = {"onnx": ".onnx", "exported_program": ".pt2"}
_EXTRA = f"{KEY}.json"


def check_libraries() -> None:
    """Raise a UserError where what ONNX needs is not installed."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        library(package)


def library(package: str) -> Any:
    """A package of the extra.

    Raises:
        UserError: It is not installed.
    """
    return needed(package, package, "'caloman[onnx]'", "format=onnx", "format=exported_program")


def check_name(path: Path, format: Format) -> None:
    """Raise a UserError where a file's name does not say its format."""
    if path.suffix != SUFFIX[format]:
        raise UserError(f"out={path.name} must end in {SUFFIX[format]} for format={format}")


def write(
    path: Path,
    format: Format,
    program: ExportedProgram,
    module: Sampler,
    facts: Mapping[str, Any],
    checked: Callable[[Runner], None],
) -> None:
    """Write a file whole or not at all; it takes its place once ``checked`` has run it.

    Raises:
        UserError: An operation has no form in ONNX.
    """
    content = _onnx(program, module, facts) if format == "onnx" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        if content is not None:
            part.write_bytes(content)
        else:
            with part.open("wb") as file, quiet():
                torch.export.save(program, file, extra_files={_EXTRA: entries(facts)[KEY]})
        checked(runner(part, format))


def runner(path: Path, format: Format) -> Runner:
    """What runs a file: the outputs of named inputs."""
    if format == "exported_program":
        with path.open("rb") as file, quiet():
            graph = torch.export.load(file).module()

        def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            with torch.no_grad():
                found = graph(**inputs)
            return [found] if isinstance(found, Tensor) else list(found)

        return run
    session = _session(path)

    def run_onnx(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        given = {name: value.numpy() for name, value in inputs.items()}
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run_onnx


def _session(path: Path) -> Any:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    content = path.read_bytes()
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  the runtime's own, without a common class
        raise UserError(
            f"ONNX Runtime cannot run the model ({reason(error)}): give format=exported_program"
        ) from error


def _onnx(program: ExportedProgram, module: Sampler, facts: Mapping[str, Any]) -> bytes:
    model = translated(program, module)
    for name, value in entries(facts).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    content: bytes = model.SerializeToString()
    return content


def describe(path: Path) -> dict[str, Any]:
    """The facts that a file carries.

    Raises:
        FileError: It is missing, or no file of ``caloman export``.
        UserError: What reads it is not installed.
    """
    if not path.is_file():
        raise FileError(f"{path} does not exist: give a file of 'caloman export'")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{_EXTRA}")]
            return understood(path, archive.read(names[0]).decode() if names else None)
    onnx = library("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # noqa: BLE001  protobuf's own, without a common class
        raise FileError(
            f"{path} cannot be read ({reason(error)}): give a file of 'caloman export'"
        ) from error
    return understood(path, {p.key: p.value for p in model.metadata_props}.get(KEY))
