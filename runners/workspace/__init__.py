"""A workspace's folders, settings files and user code."""
