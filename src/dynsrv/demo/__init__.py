"""What does dynsrv do? A demonstration with its own HAProxy and web servers on loopback, all removed at the end."""

from __future__ import annotations

from dynsrv.demo.runner import run

__all__ = ["run"]
