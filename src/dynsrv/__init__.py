"""Keeps the live servers of HAProxy backends in sync with service discovery."""

__version__ = "0.1.0"
