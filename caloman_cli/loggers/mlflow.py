"""MLflow."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caloman_cli.config.values import checked
from caloman_cli.data.files import read_json, write_json
from caloman_cli.errors import needed, reason
from caloman_cli.loggers.base import Logger, flat, multirun, numbers, said_name, said_tags
from caloman_cli.loggers.evaluated import Evaluated

log = logging.getLogger(__name__)

_LONGEST = 500  # letters of a setting's value, that every server takes
_AT_ONCE = 100  # settings, that every server takes


@checked
class MLflow(Logger):
    """A run of MLflow: settings, scalars against epochs, scores and pictures of evaluations.

    ``mlflow.json`` in the run's directory remembers which run of MLflow it is: a resumed training
    and evaluations of its model go on with that one.

    Args:
        uri: Of the tracking server, or of a database; null takes ``MLFLOW_TRACKING_URI``, else
            a database in ``mlflow/`` of the run's directory.
        experiment: What MLflow groups runs by; null takes ``MLFLOW_EXPERIMENT_NAME``, else
            ``caloman``.
        name: The run's name; null takes the directory's, or what was evaluated.
        tags: Labels.

    Raises:
        UserError: MLflow is not installed; it comes with the extra ``mlflow``.
    """

    def __init__(
        self,
        uri: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        extra = '"caloman[mlflow]"'
        asked = "logger=mlflow", "logger=none"
        self._make: Any = needed("mlflow.tracking", "mlflow", extra, *asked).MlflowClient
        self._metric: Any = needed("mlflow.entities", "mlflow", extra, *asked).Metric
        self._param: Any = needed("mlflow.entities", "mlflow", extra, *asked).Param
        self.uri, self.experiment, self.name, self.tags = uri, experiment, name, list(tags)

    def open(self, folder: Path, config: Mapping[str, Any]) -> None:
        tags = said_tags(config)
        resumed = self._begin(folder, said_name(config, folder), tags)
        if resumed:  # settings are said once
            return
        params = [self._param(k, str(v)[:_LONGEST]) for k, v in flat(config).items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._run, params=params[start : start + _AT_ONCE])

    def log(self, row: Mapping[str, object]) -> None:
        found = {name: value for name, value in numbers(row).items() if name[-6:] != "/epoch"}
        self._tell(found, int(str(row["epoch"])))

    def close(self, exit_code: int) -> None:
        self._client.set_terminated(self._run, "FINISHED" if exit_code == 0 else "FAILED")

    def evaluated(self, evaluation: Evaluated) -> None:
        self._begin(evaluation.home, f"{evaluation.label} {evaluation.suite}")
        key = evaluation.key
        found: dict[str, float] = {}
        for scalar in evaluation.scalars:
            values = {"": scalar.value, "/truth": scalar.truth, "/error": scalar.error}
            found |= {key(scalar.key + end): x for end, x in values.items() if x is not None}
        self._tell(found, 0)
        for point in evaluation.points:
            self._tell({key(f"ms_per_shower/{point.measure}"): point.value}, point.batch_size)
        for path in (*evaluation.figures, evaluation.output / "report.html"):
            if path.is_file():
                self._client.log_artifact(self._run, str(path), key("files"))
        self.close(0)

    def _begin(self, folder: Path, name: str, tags: Sequence[str] = ()) -> bool:
        """Start the run of ``folder``, or go on with it; whether it goes on."""
        uri, files = self.uri or os.environ.get("MLFLOW_TRACKING_URI"), None
        if uri is None:
            own = folder.resolve() / "mlflow"
            own.mkdir(exist_ok=True)
            uri, files = f"sqlite:///{own}/mlflow.db", (own / "files").as_uri()
        self._client = self._make(uri)
        record = folder / "mlflow.json"
        try:
            self._run = str(read_json(record)["run"])
            self._client.update_run(self._run, "RUNNING")
            return True
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001  whatever it is, a new run may begin
            log.warning("%s: %s: a new run of MLflow begins", record, reason(error))
        experiment = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "caloman"
        known = self._client.get_experiment_by_name(experiment)
        if known is None:
            number = self._client.create_experiment(experiment, artifact_location=files)
        else:
            number = known.experiment_id
        labels = dict.fromkeys([*self.tags, *tags], "true")
        if (sweep := multirun()) is not None:
            labels["multirun"] = sweep
        made = self._client.create_run(number, run_name=self.name or name, tags=labels)
        self._run = str(made.info.run_id)
        write_json(record, {"run": self._run, "experiment": experiment})
        return False

    def _tell(self, found: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, step) for name, value in found.items()]
        for start in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[start : start + _AT_ONCE])
