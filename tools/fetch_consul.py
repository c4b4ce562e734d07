"""Fetch the Consul that the integration tests run against.

    python -m tools.fetch_consul [--into .consul]    # in the project's folder

The result is a runnable `.consul/consul`, the one of Debian.
"""

from tools.packaged import Packaged

# The last one that Debian had, in bullseye.
CONSUL = Packaged(
    name="Consul", package="consul", branch="1.8", programs=("consul",), argument="version", says="Consul v"
)

if __name__ == "__main__":
    CONSUL.main()
