# %% [markdown]
# # What the models forecast
# Cells for a notebook; or ``python runners/examples/notebook.py CANDLES.csv MODELS_FOLDER [PLOT.png]``.

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

from data.candles import read_candles
from models import Forecaster, ModelSet
from models.regimes import regime_name

if len(sys.argv) < 3:
    sys.exit("usage: python runners/examples/notebook.py CANDLES.csv MODELS_FOLDER [PLOT.png]")
csv, folder, *png = sys.argv[1:]  # in a notebook, write the paths here
candles, models = read_candles(csv), ModelSet.load(folder)

# %% [markdown]
# One row per bar. Training has not seen the bars after `validation_end`.

# %%
table = Forecaster(models).forecast(candles).join(candles["close"])
table["outcome"] = np.log(table["close"].shift(-1) / table["close"])
unseen = table[table.index > models.validation_end].dropna()
named = unseen.groupby(unseen["regime"].map(regime_name))
print(named[["forecast", "outcome"]].agg(["count", "mean", "std"]))

# %%
figure, (price, forecast) = plt.subplots(2, 1, sharex=True, figsize=(10, 6), layout="constrained")
for name, bars in named:
    price.plot(bars.index, bars["close"], ".", markersize=3, label=name)
    forecast.plot(bars.index, 1e4 * bars["forecast"], ".", markersize=3)
price.set_title(f"{models.dataset}: close by regime")
price.legend()
forecast.set_title("forecast log return, basis points")
figure.savefig(png[0]) if png else plt.show()
