"""The search for better settings of each network, by Optuna studies that processes and machines can share."""
