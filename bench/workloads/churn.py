"""Object churn for python3.sh: a bounded cache of records, trees, strings, JSON, sorting. Prints one checksum."""

import json
import random

generator = random.Random(7)
checksum = 0


class Record:
    def __init__(self, key, text, tags):
        self.key = key
        self.text = text
        self.tags = tags


def churn_cache():
    global checksum
    cache = {}
    for step in range(500000):
        key = generator.randrange(30000)
        old = cache.pop(key, None)
        if old is not None:
            checksum += len(old.text) + sum(old.tags)
        cache[key] = Record(key, f"record {key} at step {step} " * (1 + key % 5), [key, step, key ^ step])
    checksum += len(cache)


def build_tree(depth):
    return (build_tree(depth - 1), build_tree(depth - 1)) if depth else ([depth], {})


def count_tree(tree):
    return 1 if isinstance(tree[0], list) else 1 + count_tree(tree[0]) + count_tree(tree[1])


def churn_text():
    global checksum
    words = [f"w{generator.randrange(5000)}" for _ in range(60000)]
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    lines = [" ".join(words[i:i + 12]) for i in range(0, len(words), 12)]
    text = json.dumps({"lines": lines, "counts": counts})
    back = json.loads(text)
    checksum += len(text) + len(sorted(back["lines"])) + sum(back["counts"].values())


churn_cache()
for _ in range(10):
    checksum += count_tree(build_tree(14))
for _ in range(8):
    churn_text()
print(checksum)
