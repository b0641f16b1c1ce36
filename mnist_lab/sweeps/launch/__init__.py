"""Launchers: how a sweep's trials are started."""
