"""Is there a Docker engine, and if not: can one be started here?

    python -m tools.engine    # as root, on Debian or Ubuntu

Starts the distribution's engine, by systemd where that runs, else as a plain process that stays. One that answers
already is used as it is.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.debian import FetchError, run

SYSTEMD = Path("/run/systemd/system")
LOG = Path("/var/log/dockerd.log")
PACKAGES = ("docker.io", "iptables")
PATIENCE = 60.0


def missing_engine() -> str | None:
    """Return why no Docker engine can be used, or None if one answers."""
    if shutil.which("docker") is None:
        return "there is no command docker"
    try:
        run("docker", "version", "--format", "{{.Server.Version}}")
    except FetchError as error:
        return f"no Docker engine answers ({str(error).splitlines()[-1]})"
    return None


def install() -> None:
    """Install the distribution's engine, if there is none."""
    if shutil.which("dockerd") is None or shutil.which("docker") is None or shutil.which("iptables") is None:
        print(f"There is no Docker engine on this machine: installing Debian's packages {' and '.join(PACKAGES)}.")
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES)


def start() -> subprocess.Popen[bytes] | None:
    """Start the engine, wait until it answers, and return its process, unless systemd has it."""
    if SYSTEMD.is_dir():
        run("systemctl", "start", "docker")
        process = None
    else:
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    deadline = time.monotonic() + PATIENCE
    while reason := missing_engine():
        if process is not None and process.poll() is not None:
            last_words = "\n".join(LOG.read_text(errors="replace").splitlines()[-8:])
            raise FetchError(f"dockerd ended:\n{last_words}")
        if time.monotonic() > deadline:
            raise FetchError(f"{reason}, {PATIENCE:.0f} s after it was started; see {LOG}")
        time.sleep(0.2)
    return process


def main() -> None:
    """Run the command line."""
    if (reason := missing_engine()) is None:
        print("Docker engine: there already")
        return
    if os.environ.get("DOCKER_HOST"):
        sys.exit(f"engine: {reason}; the environment variable DOCKER_HOST names another than could be started here")
    if os.geteuid() != 0:
        sys.exit(f"engine: {reason}; start one, or run this as root")
    try:
        install()
        # What was just installed may run already.
        if missing_engine():
            start()
    except (FetchError, OSError) as error:
        sys.exit(f"engine: {error}")
    print("Docker engine: started")


if __name__ == "__main__":
    main()
