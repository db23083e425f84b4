"""Messages and errors that every part shares."""

import sys


class Failure(Exception):
    """One run went wrong; the others go on."""


def die(message):
    print(f"compare: {message}", file=sys.stderr)
    raise SystemExit(2)


def say(message):
    print(f"compare: {message}", file=sys.stderr, flush=True)


def last_lines(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:300]


def capital(words):
    return words[0].upper() + words[1:]
