"""What does HAProxy answer? One connection to the Runtime API of one fake process, in the words of each version."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.fakes import haproxy_dumps
from tests.fakes.haproxy_keywords import read_server
from tests.fakes.haproxy_process import CONFIGURED, ENABLED, FakeBackend, FakeServer, Process
from tests.fakes.haproxy_words import commands_of

_MAX_LINE = 16_383
_MAX_WORDS = 64


class Said(Exception):
    """A whole answer, said early."""


class Session:
    """One connection. *level* is that of the stats socket: user, operator or admin."""

    def __init__(self, process: Process, *, level: str = "admin", journal: list[str] | None = None) -> None:
        self.process = process
        self.level = level
        self.prompt = False
        self.closed = False
        self.experimental = False
        self._journal = [] if journal is None else journal

    def answer(self, line: str) -> str:
        """Return the reply to *line*, without the prompt, as HAProxy writes it."""
        self._journal.append(line)
        if len(line) > _MAX_LINE:
            self.closed = True
            if self.process.number < (3, 0):
                return ""
            return "The command is too big for the buffer size. Please change tune.bufsize.\n"
        replies = [self._run(words) for words in commands_of(line)]
        return "\n".join(replies)

    def _run(self, words: list[str]) -> str:
        if len(words) > _MAX_WORDS:
            if self.process.number >= (3, 2):
                return "Too many arguments. Commands must have at most 64 arguments.\n"
            del words[_MAX_WORDS:]
        if words == ["prompt"]:
            self.prompt = not self.prompt
            return ""
        if not self.prompt or words == ["quit"]:
            self.closed = True
        if not words and self.process.number >= (3, 0):
            return ""
        for length in (3, 2, 1):
            command = _COMMANDS.get(tuple(words[:length]))
            if command is not None and self._knows(words):
                try:
                    return command(self, words[length:])
                except Said as said:
                    return str(said)
        return self._unknown(words)

    def _knows(self, words: Sequence[str]) -> bool:
        number = self.process.number
        if words[0] == "wait":
            return number >= (3, 0)
        if words[:2] in (["add", "server"], ["del", "server"]) or words[0] == "experimental-mode":
            return number >= (2, 4)
        return True

    def _unknown(self, words: Sequence[str]) -> str:
        help_ = "  help [<command>]                        : list matching or all commands\n"
        if self.process.number < (2, 4):
            return f"Unknown command. Please enter one of the following commands only :\n{help_}"
        if self.process.number < (3, 0):
            return f"Unknown command, but maybe one of the following ones is a better match:\n{help_}"
        return f"Unknown command: '{words[0]}', but maybe one of the following ones is a better match:\n{help_}"

    # ---- what commands share

    def _sentence(self, text: str) -> str:
        """What `add server` and `del server` say of themselves; to 2.8 without a line feed at the end."""
        return text if self.process.number < (3, 0) else f"{text}\n"

    def _need_admin(self) -> None:
        if self.level != "admin":
            raise Said("Permission denied\n")

    def _need_experimental(self) -> None:
        if self.process.number < (2, 6) and not self.experimental:
            raise Said("This command is restricted to experimental mode only.\n")

    def _server(self, words: Sequence[str]) -> FakeServer:
        """Return the server that the first word names, of a backend that is not stopped."""
        backend, slash, name = (words[0] if words else "").partition("/")
        if not slash or not backend or not name:
            raise Said("Require 'backend/server'.\n")
        if backend not in self.process.backends:
            raise Said("No such backend.\n")
        server = self.process.backends[backend].find(name)
        if server is None:
            raise Said("No such server.\n")
        if self.process.stopping:
            raise Said("Proxy is disabled.\n")
        return server

    # ---- commands

    def show_info(self, _: list[str]) -> str:
        return haproxy_dumps.info(self.process)

    def show_cli_level(self, _: list[str]) -> str:
        return f"{self.level}\n"

    def show_servers_state(self, words: list[str]) -> str:
        if words and words[0] not in self.process.backends:
            return "Can't find backend.\n"
        backends = [self.process.backends[words[0]]] if words else list(self.process.backends.values())
        return haproxy_dumps.servers_state(backends, self.process)

    def show_stat(self, words: list[str]) -> str:
        name, kinds, sid = (words + ["-1", "-1", "-1"][len(words) :])[:3]
        if name != "-1" and not name.isdigit() and name not in self.process.backends:
            return "No such proxy.\n"
        backends = [one for one in self.process.backends.values() if name in {one.name, str(one.id), "-1"}]
        if not sid.removeprefix("-").isdigit() or not kinds.removeprefix("-").isdigit():
            return haproxy_dumps.stat([], 0, 0, algorithms=False)
        return haproxy_dumps.stat(backends, int(kinds), int(sid), algorithms=self.level != "user")

    def experimental_mode(self, words: list[str]) -> str:
        self._need_admin()
        if not words:
            return f"experimental-mode is {'ON' if self.experimental else 'OFF'}\n"
        self.experimental = words[0] == "on"
        return ""

    def add_server(self, words: list[str]) -> str:
        self._need_experimental()
        self._need_admin()
        backend_name, slash, name = (words[0] if words else "").partition("/")
        if not slash or not backend_name or not name:
            return self._sentence("Require 'backend/server'.")
        backend = self.process.backends.get(backend_name)
        if backend is None:
            return self._sentence("No such backend.")
        refusal = self._refusal_of_backend(backend)
        if refusal is not None:
            return refusal
        taken = "Already exists a server with the same name in backend.\n"
        if self.process.number >= (3, 3) and backend.find(name):
            return taken
        if len(words) < 2:
            return "'server' expects <name> and <addr>[:<port>] as arguments.\n"
        try:
            server = read_server(backend, name, words[1], words=words[2:], process=self.process)
        except ValueError as error:
            return f"{error}\n"
        if backend.find(name):
            return taken
        backend.add(server)
        warning = ""
        if backend.mode != "http" and "cookie" in words:
            warning = "Ignoring cookie as HTTP mode is disabled.\n"
        return f"{warning}New server registered.\n"

    def _refusal_of_backend(self, backend: FakeBackend) -> str | None:
        prefix = f"Backend does not support dynamic servers : backend '{backend.name}' uses "
        newest = self.process.number >= (3, 3)
        if backend.mode == "log":
            return f"{prefix}mode log.\n" if newest else " Dynamic servers cannot be used with log backends.\n"
        if not backend.dynamic:
            if newest:
                return f"{prefix}a non dynamic load balancing method.\n"
            return self._sentence("Backend must use a dynamic load balancing to support dynamic servers.")
        return None

    def del_server(self, words: list[str]) -> str:
        self._need_experimental()
        self._need_admin()
        backend_name, slash, name = (words[0] if words else "").partition("/")
        if not slash or not backend_name or not name:
            return self._sentence("Require 'backend/server'.")
        backend = self.process.backends.get(backend_name)
        if backend is None:
            return self._sentence("No such backend.")
        server = backend.find(name)
        if server is None:
            return self._sentence("No such server.")
        refusal = self.process.refusal_to_delete(server)
        if refusal is not None:
            return self._sentence(refusal)
        backend.servers.remove(server)
        return self._sentence("Server deleted.")

    def enable_health(self, words: list[str]) -> str:
        self._need_admin()
        server = self._server(words)
        if not server.check_state & CONFIGURED:
            return "Health check was not configured on this server, cannot enable.\n"
        server.check_state |= ENABLED
        return ""

    def enable_agent(self, words: list[str]) -> str:
        self._need_admin()
        server = self._server(words)
        if not server.agent_state & CONFIGURED:
            return "Agent was not configured on this server, cannot enable.\n"
        server.agent_state |= ENABLED
        return ""

    def disable_agent(self, words: list[str]) -> str:
        self._need_admin()
        self._server(words).agent_state &= ~ENABLED
        return ""

    def enable_server(self, words: list[str]) -> str:
        self._need_admin()
        self._server(words).set_state("ready", self.process)
        return ""

    def disable_server(self, words: list[str]) -> str:
        self._need_admin()
        self._server(words).set_state("maint", self.process)
        return ""

    def set_server(self, words: list[str]) -> str:
        self._need_admin()
        server = self._server(words)
        match words[1:]:
            case ["state", ("ready" | "drain" | "maint") as state, *_]:
                server.set_state(state, self.process)
                return ""
            case ["state", *_]:
                return "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n"
            case ["weight", weight, *_] if weight.isdigit():
                if int(weight) > 256:
                    return "Absolute weight can only be between 0 and 256 inclusive.\n"
                server.weight = int(weight)
                return ""
            case ["weight", _, *_]:
                return self._sentence("Empty weight string empty or preceded by garbage")
            case ["weight"]:
                return "Require <weight> or <weight%>.\n"
            case _:
                return "usage: set server <backend>/<server> addr | agent | health | state | weight\n"

    def set_maxconn(self, words: list[str]) -> str:
        self._need_admin()
        server = self._server(words)
        if len(words) < 2 or not words[1].isdigit():
            return "Require <maxconn>.\n"
        server.maxconn = int(words[1])
        return ""

    def shutdown_sessions(self, words: list[str]) -> str:
        self._need_admin()
        server = self._server(words)
        if self.process.number >= (3, 2):
            server.closing += server.sessions
        server.sessions = 0
        return ""

    def wait(self, words: list[str]) -> str:
        self._need_admin()
        match words:
            case ["-h", *_]:
                return "Usage: wait {-h|<duration>} [condition [args...]]\n"
            case []:
                return "Expects a duration in milliseconds.\n"
            case [duration, *_] if not duration.isdigit() or not int(duration):
                return "Invalid duration.\n"
            case [_]:
                return "Done.\n"
            case [_, "srv-removable"]:
                return "Missing server name (<backend>/<server>).\n"
            case [_, "srv-removable", path, *_]:
                return self._wait_removable(path)
            case _:
                return "Usage: wait {-h|<duration>} [condition [args...]]\n"

    def _wait_removable(self, path: str) -> str:
        backend, _, name = path.partition("/")
        told = self.process.number >= (3, 3)
        if backend not in self.process.backends:
            return "Failed. No such backend.\n" if told else "Failed.\n"
        server = self.process.backends[backend].find(name)
        if server is None:
            return "Failed. No such server.\n" if told else "Failed.\n"
        self.process.settle()
        refusal = self.process.refusal_to_delete(server)
        if refusal is None:
            return "Done.\n"
        outcome = "Wait delay expired." if "attached" in refusal else "Failed."
        return f"{outcome} {refusal}\n" if told else f"{outcome}\n"


_COMMANDS: dict[tuple[str, ...], Callable[[Session, list[str]], str]] = {
    ("show", "info"): Session.show_info,
    ("show", "cli", "level"): Session.show_cli_level,
    ("show", "servers", "state"): Session.show_servers_state,
    ("show", "stat"): Session.show_stat,
    ("experimental-mode",): Session.experimental_mode,
    ("add", "server"): Session.add_server,
    ("del", "server"): Session.del_server,
    ("enable", "health"): Session.enable_health,
    ("enable", "agent"): Session.enable_agent,
    ("disable", "agent"): Session.disable_agent,
    ("enable", "server"): Session.enable_server,
    ("disable", "server"): Session.disable_server,
    ("set", "server"): Session.set_server,
    ("set", "maxconn", "server"): Session.set_maxconn,
    ("shutdown", "sessions", "server"): Session.shutdown_sessions,
    ("wait",): Session.wait,
}
