"""Fetch the Docker Compose that the integration tests use.

    python -m tools.fetch_compose [--into .docker-compose]    # in the project's folder

The result is a runnable `.docker-compose/docker-compose`, the one of Debian.
"""

from tools.packaged import Packaged

# The one of trixie, which builds images without the plugin buildx.
COMPOSE = Packaged(
    name="Docker Compose",
    package="docker-compose",
    branch="2.26",
    programs=("docker-compose",),
    argument="version",
    says="Docker Compose version ",
    folder="usr/libexec/docker/cli-plugins",
)

if __name__ == "__main__":
    COMPOSE.main()
