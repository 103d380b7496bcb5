"""Compiles functions with numba, which is imported only when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def compiled(function: Callable[..., None], *called: Callable[..., object]) -> Callable[..., None]:
    """A function of arrays and numbers, compiled; ``called`` are the functions of ours that it calls.

    The compiled code is kept in numba's cache: in ``__pycache__``, else in the user's cache folder, or where
    NUMBA_CACHE_DIR says. Without a folder to write to, each process compiles it again.
    """
    from numba import njit
    from numba.extending import register_jitable

    for each in called:
        register_jitable(each)
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # no folder for the cache
        return njit(function, nogil=True)
