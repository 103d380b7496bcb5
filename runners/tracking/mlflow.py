"""Logs backtests to an MLflow tracking store."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import SettingsError
from data.settings import flat_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from runners.backtesting.runs import Run

_FILES = ("metrics.json", "config.toml", "report.html", "equity.csv", "forecasts.csv", "trades.csv")

# Defaults of variables that MLflow reads when it is imported.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for our results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # fail in seconds, not minutes, if the server does not answer
}


def open_store(uri: str) -> MlflowClient:
    """Connect to a tracking store, such as ``sqlite:///results/mlflow.db`` or the address of an MLflow server.

    Raises
    ------
    SettingsError
        If MLflow is not installed, or a test query fails.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise SettingsError("--mlflow needs MLflow: pip install -c constraints.txt -e '.[mlflow]'") from None
    with _store_errors(), warnings.catch_warnings():
        # MLflow 3.17 uses a feature that SQLAlchemy 2.1 deprecates
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def log_run(client: MlflowClient, run: Run) -> None:
    """Log a backtest as a finished MLflow run of the experiment named like its dataset.

    Raises
    ------
    SettingsError
        If the store cannot be used.
    """
    from mlflow.entities import Metric, Param

    figures = {"strategy": run.metrics, "buy_and_hold": run.holding}
    now = time.time_ns() // 1_000_000
    metrics = [
        Metric(f"{strategy}/{name}", value, now, 0)
        for strategy, account in figures.items()
        for name, value in account.to_dict().items()
        if value is not None
    ]
    tables = {"train": run.training.settings, **{k: v for k, v in run.config.items() if isinstance(v, dict)}}
    flat = [setting for table, settings in tables.items() for setting in flat_settings(table, settings).items()]
    name = run.id if run.kind == "backtest" else f"{run.id} {run.kind}"
    with _store_errors():
        logged = client.create_run(_experiment(client, run.dataset), run_name=name, tags=_tags(run))
        client.log_batch(logged.info.run_id, metrics, [Param(name.replace(": ", "."), value) for name, value in flat])
        for file in _FILES:
            client.log_artifact(logged.info.run_id, str(run.folder / file))
        client.set_terminated(logged.info.run_id)


def _tags(run: Run) -> dict[str, str]:
    from training.provenance import git_commit

    tags = {
        "dataset": run.dataset,
        "run": run.id,
        "kind": run.kind,
        "models": run.models,
        "fingerprint": run.config["fingerprint"],
        "in_sample": str(run.in_sample).lower(),
        "mark": run.mark,
        "commit": git_commit() or "",
        "mlflow.note.content": run.note,
    }
    return {name: value for name, value in tags.items() if value}


def _experiment(client: MlflowClient, dataset: str) -> str:
    """The id of the dataset's experiment, created if missing; an SQLite store keeps artifacts beside its file."""
    from sqlalchemy.engine import make_url

    experiment = client.get_experiment_by_name(dataset)
    if experiment:
        return str(experiment.experiment_id)
    uri = client.tracking_uri
    database = make_url(uri).database if uri.startswith("sqlite:") else None
    location = str(Path(database).resolve().parent / "mlruns") if database else None
    return str(client.create_experiment(dataset, artifact_location=location))


@contextmanager
def _store_errors() -> Iterator[None]:
    """Raise errors of the store, and of a missing database driver, as a `SettingsError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise SettingsError(f"--mlflow: the store cannot be used: {str(error).splitlines()[0]}") from None
