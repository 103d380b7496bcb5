"""The search for better settings of each network: Optuna studies that processes and machines may share."""
