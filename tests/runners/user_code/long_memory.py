"""Broken: goes by the mean of all closes that it has ever seen, further back than any lookback."""

from strategies import LSTMRegimeStrategy


class LongMemory(LSTMRegimeStrategy):
    def __init__(self):
        super().__init__()
        self.closes = []

    def next(self):
        self.closes.append(self.traded.close[0])
        super().next()

    def wanted_size(self, forecast, held):
        return 100.0 if self.closes[-1] > sum(self.closes) / len(self.closes) else 0.0
