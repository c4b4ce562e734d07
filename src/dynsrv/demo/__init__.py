"""What does dynsrv do? A story to watch: a HAProxy and web servers on loopback, of which nothing stays behind."""

from __future__ import annotations

from dynsrv.demo.performance import run

__all__ = ["run"]
