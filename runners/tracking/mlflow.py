"""Backtests in an MLflow tracking store, for those who compare their work there."""

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

_FILES = ("metrics.json", "config.toml", "report.html", "equity.csv", "trades.csv")

# What MLflow reads once, when it is imported; what the user has set stays.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which is for our own results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that does not answer is known in seconds, not minutes
}


def open_store(uri: str) -> MlflowClient:
    """The client of a tracking store, such as ``sqlite:///results/mlflow.db`` or the address of an MLflow server.

    The store is asked something, so that one that cannot be used is known before any work is done.

    Raises
    ------
    SettingsError
        If MLflow is not installed, or the store cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise SettingsError("--mlflow needs MLflow: pip install -c constraints.txt -e '.[mlflow]'") from None
    with _told_plainly(), warnings.catch_warnings():
        # MLflow 3.17's tables use what SQLAlchemy 2.1 deprecates
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def log_run(client: MlflowClient, run: Run) -> None:
    """Log a backtest just made as a finished MLflow run of the experiment that has its dataset's name.

    ``client`` as `open_store` gives it.

    Raises
    ------
    SettingsError
        If the store does not take it.
    """
    from mlflow.entities import Metric, Param

    figures = {"strategy": run.metrics, "buy_and_hold": run.holding}
    now = time.time_ns() // 1_000_000
    metrics = [
        Metric(f"{whose}/{name}", value, now, 0)
        for whose, of_account in figures.items()
        for name, value in of_account.to_dict().items()
        if value is not None
    ]
    tables = {"train": run.training.settings, **{k: v for k, v in run.config.items() if isinstance(v, dict)}}
    flat = [setting for table, settings in tables.items() for setting in flat_settings(table, settings).items()]
    with _told_plainly():
        logged = client.create_run(_experiment(client, run.dataset), run_name=_name(run), tags=_tags(run))
        client.log_batch(logged.info.run_id, metrics, [Param(name.replace(": ", "."), value) for name, value in flat])
        for file in _FILES:
            client.log_artifact(logged.info.run_id, str(run.folder / file))
        client.set_terminated(logged.info.run_id)


def _name(run: Run) -> str:
    """Its id, and what must be known of figures that are not of a plain backtest, such as that they are in-sample."""
    return run.id if run.kind == "backtest" else f"{run.id} {run.kind}"


def _tags(run: Run) -> dict[str, str]:
    from training.provenance import git_commit

    tags = {
        "dataset": run.dataset,
        "run": run.id,
        "kind": run.kind,
        "models": run.models,
        "fingerprint": run.config["fingerprint"],
        "in_sample": str(run.in_sample).lower(),
        "commit": git_commit() or "",
        "mlflow.note.content": run.note,
    }
    return {name: value for name, value in tags.items() if value}


def _experiment(client: MlflowClient, dataset: str) -> str:
    """The id of the dataset's experiment, which is made if it is not there."""
    found = client.get_experiment_by_name(dataset)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(dataset, artifact_location=_beside_database(client.tracking_uri)))


def _beside_database(uri: str) -> str | None:
    """For an SQLite file a folder for artifacts beside it, not in the working directory; None: the store's own."""
    from sqlalchemy.engine import make_url

    if not uri.startswith("sqlite:"):
        return None
    database = make_url(uri).database
    return str(Path(database).resolve().parent / "mlruns") if database else None


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Tell what a store refuses, or a missing database driver, as the user's mistake that it is."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise SettingsError(f"--mlflow: the store cannot be used: {str(error).splitlines()[0]}") from None
