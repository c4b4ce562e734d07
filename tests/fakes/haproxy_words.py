"""How does HAProxy read a line? Its tokenizer (`cli_parse_request`, `co_getdelim`): the reference for quoting."""

from __future__ import annotations


def commands_of(text: str) -> list[list[str]]:
    """Return the commands in *text*, each as its words; a `;` or a line feed without a backslash ends a command."""
    if not set(text) & set(";\n\t\\"):
        return [text.split()]  # as below, and much faster
    return [_words(command) for command in _commands(text)]


def _commands(text: str) -> list[str]:
    commands = [""]
    escaped = False
    for character in text:
        if not escaped and character in ";\n":
            commands.append("")
            continue
        commands[-1] += character
        escaped = not escaped and character == "\\"
    if text.endswith("\n") and not commands[-1]:
        commands.pop()  # a line feed ends a line, it begins none
    return commands


def _words(command: str) -> list[str]:
    words: list[str] = []
    position = 0
    while position < len(command):
        if command[position] in " \t":
            position += 1
            continue
        begin = position
        while position < len(command) and command[position] not in " \t":
            position += 2 if command[position] == "\\" else 1
        words.append(_unescaped(command[begin:position]))
    return words


def _unescaped(word: str) -> str:
    result = ""
    escaped = False
    for character in word:
        if character == "\\" and not escaped:
            escaped = True
            continue
        result += character
        escaped = False
    return result
