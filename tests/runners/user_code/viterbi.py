"""Broken: the likeliest path of states is worked out with hindsight."""

import numpy as np

from models.detectors.hmm import HMMDetector
from models.regimes import register_detector


@register_detector
class ViterbiDetector(HMMDetector):
    name = "viterbi"

    def filter(self, features):
        known = np.isfinite(features).all(axis=1)
        likelihood = np.log(self._likelihoods((features[known] - self.mean_) / self.scale_))
        transitions = np.log(self.transitions_)
        score, came_from = likelihood[0], []
        for row in likelihood[1:]:
            paths = score[:, None] + transitions
            came_from.append(paths.argmax(axis=0))
            score = paths.max(axis=0) + row
        path = [int(score.argmax())]
        for before in reversed(came_from):
            path.append(int(before[path[-1]]))
        probabilities = np.full((len(features), 3), np.nan)
        probabilities[known] = np.eye(3)[path[::-1]]
        return probabilities
