"""`python -m dynsrv` is `dynsrv`."""

from dynsrv.cli import main

main()
