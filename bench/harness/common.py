"""Messages and errors that every part shares."""

import random
import sys


FEW_ROUNDS = 5  # the least that make an interval


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


def shuffled(names, round_number, what):
    """NAMES in the order of a round, another for each round and WHAT, the same in every comparison.

    Not rotated: each library would always follow the same one, and how dear fresh memory is depends on what the process
    before gave back.
    """
    return random.Random(f"{round_number} {what}").sample(names, len(names))
