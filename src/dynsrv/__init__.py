"""Keeps the live servers of HAProxy backends equal to what service discovery says."""

__version__ = "0.1.0"
