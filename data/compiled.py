"""Compiles functions with numba, which is imported only when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path


@cache
def compiled(
    function: Callable[..., None],
    called: tuple[Callable[..., object], ...] = (),
    inlined: tuple[Callable[..., object], ...] = (),
) -> Callable[..., None]:
    """A function of arrays and numbers, compiled; ``called`` and ``inlined`` are the functions of ours that it calls.

    A division by 0 gives an infinity or NaN, as in NumPy. Without the checks, and with the functions inlined that every
    bar calls, the simulator takes half the time; with all of them inlined it would take five times as long to compile.
    The compiled code is kept in numba's cache: in ``__pycache__``, else in the user's cache folder, or where
    NUMBA_CACHE_DIR says. Without a folder to write to, each process compiles it again. Its name has a hash of all files
    that have one of the functions, because numba would only notice changes of the first one's file.
    """
    from numba import njit
    from numba.extending import register_jitable

    files = sorted({each.__code__.co_filename for each in (function, *called, *inlined)})
    sources = b"".join(Path(file).read_bytes() for file in files)
    function.__qualname__ = f"{function.__name__}_{hashlib.sha256(sources).hexdigest()[:16]}"
    for each in called:
        register_jitable(each)
    for each in inlined:
        register_jitable(inline="always")(each)
    try:
        return njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:  # no folder for the cache
        return njit(function, nogil=True, error_model="numpy")
