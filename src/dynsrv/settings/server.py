"""What are the settings of added servers? The `server` section of a backend, and the keywords that it stands for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dynsrv import server_keywords
from dynsrv.documents import KeyPath
from dynsrv.documents.messages import show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import CheckTime, Count, Flag, PositiveCount, Section, Weight, in_milliseconds, matching
from dynsrv.planning.options import implied_check_keywords, keyword


class SslSettings(Section):
    """TLS from HAProxy to the servers."""

    verify: Literal["required", "none"] = Field(
        default="required", description="Whether HAProxy verifies the server's certificate."
    )
    ca_file: Annotated[str, AfterValidator(server_keywords.checked_argument)] | None = Field(
        default=None,
        description="The certificate authorities to trust; required for `verify: required`. HAProxy accepts only a"
        " file that its own configuration already loads, or `@system-ca`.",
    )
    sni: (
        Annotated[str, matching("[A-Za-z0-9._-]+", "a host name; an expression goes into options: sni ssl_fc_sni")]
        | None
    ) = Field(default=None, description="The host name that HAProxy sends in the TLS handshake.")

    @model_validator(mode="after")
    def _verifiable(self) -> Self:
        if self.verify == "required" and self.ca_file is None:
            problem = "this key is missing: verify: required needs it; add it, or write verify: none"
            raise problems_at(type(self), [(("ca_file",), problem)])
        return self


class ServerSettings(Section):
    """The settings of every server that dynsrv adds."""

    check: Flag = Field(default=True, description="Whether HAProxy checks the server's health.")
    inter: CheckTime | None = Field(default=None, description="Time between two checks. Default: HAProxy's.")
    fastinter: CheckTime | None = Field(
        default=None, description="Time between two checks while the server changes its state. Default: `inter`."
    )
    downinter: CheckTime | None = Field(
        default=None, description="Time between two checks while the server is down. Default: `inter`."
    )
    fall: PositiveCount | None = Field(
        default=None, description="Failed checks until the server is down. Default: HAProxy's."
    )
    rise: PositiveCount | None = Field(
        default=None, description="Passed checks until it is up again. Default: HAProxy's."
    )
    maxconn: Count = Field(
        default=0, description="The limit of concurrent connections; 0: no limit. A change is applied in place."
    )
    slowstart: CheckTime | None = Field(
        default=None, description="Time in which its traffic grows to its full share after it came up."
    )
    weight: Weight = Field(
        default=100,
        description="The weight of endpoints without one of their own. A change is applied in place. HAProxy's own"
        " default is 1.",
    )
    ssl: SslSettings | None = Field(default=None, description="TLS to the servers, for traffic and checks.")
    options: tuple[Annotated[str, AfterValidator(server_keywords.checked_option)], ...] = Field(
        default=(),
        description='More keywords of HAProxy\'s `server` line, each with its arguments: `["send-proxy-v2",'
        ' "on-marked-down shutdown-sessions"]`.',
    )

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        given = {keyword(option): "the key server.ssl" for option in self._typed_keywords()}
        problems: list[tuple[KeyPath, str]] = []
        for index, option in enumerate(self.options):
            word = keyword(option)
            if word in given:
                problem = f"found {show(option)}, but {given[word]} gives {word} already; remove one of the two"
                problems.append((("options", index), problem))
            if word == "track" and self.check:
                problem = f"found {show(option)}, but what tracks has no check of its own; write check: false"
                problems.append((("options", index), problem))
            given.setdefault(word, f"options[{index}]")
        line = " ".join(self.keywords())
        if len(line.split(" ")) > server_keywords.MAX_WORDS or len(line) > server_keywords.MAX_LENGTH:
            most = f"{server_keywords.MAX_WORDS} words and {server_keywords.MAX_LENGTH} characters"
            problems.append((("options",), f"too long for HAProxy, which may cut after {most}; remove some"))
        if problems:
            raise problems_at(type(self), problems)
        return self

    def keywords(self) -> tuple[str, ...]:
        """Return the keywords of `add server`, one with its arguments an item, without weight and id."""
        typed = self._typed_keywords()
        return (*typed, *implied_check_keywords((*typed, *self.options)), *self.options)

    def _typed_keywords(self) -> list[str]:
        keywords = ["check"] if self.check else []
        times = {"inter": self.inter, "fastinter": self.fastinter, "downinter": self.downinter}
        counts = {"fall": self.fall, "rise": self.rise}
        keywords += [f"{name} {in_milliseconds(time)}ms" for name, time in times.items() if time is not None]
        keywords += [f"{name} {count}" for name, count in counts.items() if count is not None]
        if self.slowstart is not None:
            keywords.append(f"slowstart {in_milliseconds(self.slowstart)}ms")
        if self.ssl:
            keywords += ["ssl", f"verify {self.ssl.verify}"]
            keywords += [f"ca-file {self.ssl.ca_file}"] if self.ssl.ca_file else []
            keywords += [f"sni str({self.ssl.sni})"] if self.ssl.sni else []
        return keywords
