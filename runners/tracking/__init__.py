"""Logs for MLflow and TensorBoard."""
