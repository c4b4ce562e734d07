"""Fetch the kubectl that the integration tests render the manifests with.

    python -m tools.fetch_kubectl [--into .kubectl]    # in the project's folder

The result is a runnable `.kubectl/kubectl`, the one of Debian.
"""

from tools.packaged import Packaged

# The one of trixie: the oldest of Debian's whose kustomize knows components and `patches`.
KUBECTL = Packaged(
    name="kubectl",
    package="kubectl",
    branch="1.32",
    programs=("kubectl",),
    argument="version --client",
    says="Client Version: v",
)

if __name__ == "__main__":
    KUBECTL.main()
