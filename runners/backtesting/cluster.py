"""Runs joblib tasks in local processes or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from joblib import parallel_config

from data.errors import SettingsError

_SECONDS_TO_CONNECT = 5


@contextmanager
def workers(cluster: str | None, jobs: int | None) -> Iterator[None]:
    """Run the joblib tasks of a ``with`` block on a cluster or in local processes.

    Parameters
    ----------
    cluster
        Address of a Dask scheduler such as ``tcp://host:8786``; None for local processes. If a worker dies, another one
        repeats its task. Workers need this package and its dependencies, but no files.
    jobs
        Number of local processes with one thread each; default: one per core.

    Raises
    ------
    SettingsError
        If no scheduler answers at the address, or Dask is not installed.
    """
    if cluster is None:
        with parallel_config(backend="loky", n_jobs=jobs or os.cpu_count() or 1):
            yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError("--cluster needs Dask: pip install -c constraints.txt -e '.[cluster]'") from None
    try:
        client = Client(cluster, timeout=_SECONDS_TO_CONNECT, set_as_default=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise SettingsError(f"--cluster {cluster}: no Dask scheduler answers ({error}).") from None
    with client, parallel_config(backend="dask", n_jobs=-1):
        yield
