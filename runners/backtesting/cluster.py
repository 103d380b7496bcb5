"""Where training tasks run: side by side on this machine's cores, or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from joblib import parallel_config

from data.errors import SettingsError

_SECONDS_TO_CONNECT = 5


@contextmanager
def workers(cluster: str | None, jobs: int | None) -> Iterator[None]:
    """Within the block joblib runs its tasks there.

    Parameters
    ----------
    cluster
        Address of a Dask scheduler such as ``tcp://host:8786``. A task whose worker dies is run again by another; its
        workers need this package and its dependencies, and no files.
    jobs
        Processes on this machine, by default one a core; each computes on one thread.

    Raises
    ------
    SettingsError
        If there is no cluster at the address, or the packages for it are not installed.
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
        raise SettingsError(f"--cluster {cluster}: there is no Dask scheduler to be reached ({error}).") from None
    with client, parallel_config(backend="dask", n_jobs=-1):
        yield
