"""Luck of the seed: how far an ensemble's figures are from their mean over seeds.

An analysis of variance with random effects (Searle, Casella and McCulloch 1992, "Variance components"): the variance
between the members, less what chance over these bars alone makes of it. The members' mean returns differ; that they
also differ in other ways, such as in volatility, is neglected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.drawdowns import RESAMPLES
from training.long_run import cosine_coefficients


@dataclass(frozen=True)
class SeedLuck:
    """Members of one ensemble, scaled so that the sum of their squared means is the variance over seeds.

    Attributes
    ----------
    networks
        Ensembles with the same name are the same one.
    of_mean, of_sharpe
        ``(n_bars, n_members)``: of the mean return per bar, and of the annualised Sharpe ratio.
    """

    networks: str
    of_mean: np.ndarray
    of_sharpe: np.ndarray


def seed_luck(members: np.ndarray | None, drawn: int | None, slope: np.ndarray, networks: str) -> SeedLuck | None:
    """Luck of an ensemble of ``drawn`` members (None: of all ``members``); None if there are less than two members.

    Parameters
    ----------
    members
        ``(n_bars, n_members)`` simple returns of each member.
    slope
        ``(n_bars,)`` of the annualised Sharpe ratio in each bar's return.
    networks
        Name of the ensemble.
    """
    if members is None or members.shape[1] < 2:
        return None
    n_members = members.shape[1]
    n_drawn = drawn or n_members
    deviations = members - members.mean(axis=1, keepdims=True)
    of_mean = deviations / math.sqrt((n_members - 1) * n_drawn)
    return SeedLuck(f"{networks} {n_members} {n_drawn}", of_mean, of_mean * slope[:, None])


def between_seeds(effects: np.ndarray) -> np.ndarray:
    """Covariance over seeds ``(n_strategies, n_strategies)`` of ``effects`` ``(n_bars, n_members, n_strategies)``.

    These are the products of the members' means, less what chance over these bars alone makes of them.
    """
    coefficients = cosine_coefficients(effects)
    products = np.einsum("imk,iml->ikl", coefficients, coefficients) / len(effects)
    return products[0] - products[1:].mean(axis=0)


def drifts(seeds: Sequence[SeedLuck | None]) -> np.ndarray:
    """Draws ``(RESAMPLES, n_strategies)`` from Student's t of what the seeds add to the mean return, with a fixed seed.

    Strategies of the same networks move together; 0 where the luck of the seed is not known.
    """
    random, drawn = np.random.default_rng(1), np.zeros((RESAMPLES, len(seeds)))
    by_networks: dict[str, dict[int, SeedLuck]] = {}
    for number, each in enumerate(seeds):
        if each:
            by_networks.setdefault(each.networks, {})[number] = each
    for group in by_networks.values():
        effects = np.stack([each.of_mean for each in group.values()], axis=2)
        degrees = effects.shape[1] - 1
        variances, vectors = np.linalg.eigh(between_seeds(effects))
        root = vectors * np.sqrt(np.maximum(variances, 0))
        normal = random.standard_normal((RESAMPLES, len(group)))
        chi = np.sqrt(random.chisquare(degrees, (RESAMPLES, 1)) / degrees)
        drawn[:, list(group)] = np.einsum("ij,kj->ik", normal / chi, root)
    return drawn
