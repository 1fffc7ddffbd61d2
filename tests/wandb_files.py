"""wandb's offline files, read back: what an upload would send."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32_768, 7
_WHOLE, _LAST = 1, 4


@dataclass
class OfflineRun:
    """One ``run-<id>.wandb`` file."""

    folder: Path
    id: str = ""
    project: str = ""
    group: str = ""
    name: str = ""
    resumes: bool = False
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)

    def table(self, key: str) -> dict[str, Any]:
        """``columns`` and ``data`` of a table."""
        return json.loads((self.folder / "files" / self.summary[key]["path"]).read_text())


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The offline runs below ``folder/wandb``, in the order in which they began."""
    import wandb

    wandb.teardown()  # the service's process may still be writing
    files = folder.glob("wandb/offline-run-*/run-*.wandb")
    return [_read(path) for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)]


def _read(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(path.parent)
    for content in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project = record.run.run_id, record.run.project
            run.name = record.run.display_name
            run.group, run.resumes = record.run.run_group, record.run.resume
            run.config = _values(record.run.config.update)
        elif kind == "history":
            run.history.append(_values(record.history.item))
        elif kind == "summary":
            _merge(run.summary, _values(record.summary.update))
        elif kind == "metric":
            run.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _records(data: bytes) -> Iterator[bytes]:
    """The payloads of a LevelDB log: blocks of chunks of records."""
    position, record = _HEADER, b""  # a file's own header is as long as a chunk's
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + _HEADER])
        position += _HEADER
        record += data[position : position + length]
        position += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *parents, last = item.nested_key or [item.key]
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = json.loads(item.value_json)
    return found


def _merge(known: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            _merge(known[key], value)
        else:
            known[key] = value
