#!/bin/bash
# The system's python3: big dictionaries, json, threads, multiprocessing by fork and spawn, subprocess, C modules.
. "$(dirname "$0")/lib.sh"

# The distribution's own: a python of the user's may be linked to another malloc.
python=/usr/bin/python3
[ -x "$python" ] || skip_all "$python is not installed"
export python

same "python: dictionaries, lists, strings, sets churn" <<'SCRIPT'
$python - <<'PY'
import random, hashlib
r = random.Random(1)
d = {}
for i in range(400000):
    d[r.randrange(100000)] = [i] * (i % 7) if i % 3 else "s" * (i % 300)
    if i % 5 == 0:
        d.pop(r.randrange(100000), None)
print(len(d), sum(len(v) for v in d.values()))
print(hashlib.md5(repr(sorted(d.items(), key=lambda kv: kv[0])).encode()).hexdigest())
big = [bytes(n) for n in range(0, 200000, 97)]; print(sum(map(len, big))); del big
s = "".join(chr(65 + i % 26) for i in range(1000000)); print(len(s.replace("A", "abc")), s.count("Z"))
a = bytearray(); [a.extend(b"0123456789" * (i % 50)) for i in range(20000)]; print(len(a))
x = 3 ** 100000; print(x % 1000007, len(str(x % 10 ** 4000)))
PY
SCRIPT
same "python: with its own small-object allocator turned off (PYTHONMALLOC=malloc)" <<'SCRIPT'
PYTHONMALLOC=malloc $python - <<'PY'
import json, ast, gc
class Node:
    def __init__(self, depth):
        self.children = [Node(depth - 1) for _ in range(4)] if depth else []
        self.back = self
for _ in range(4):
    root = Node(6); del root; gc.collect()
data = {str(i): {"list": list(range(i % 50)), "text": "t" * (i % 100), "none": None} for i in range(20000)}
text = json.dumps(data, indent=1); assert json.loads(text) == data; print(len(text))
tree = ast.parse("\n".join(f"def f{i}(a, b={i}): return [a * k for k in range(b)]" for i in range(3000)))
print(len(ast.dump(tree))); exec(compile(tree, "x", "exec")); print(f17(2)[-1])
PY
SCRIPT
same "python: threads" <<'SCRIPT'
$python - <<'PY'
import threading, queue, zlib, hashlib
from concurrent.futures import ThreadPoolExecutor
def work(n):
    data = bytes(range(256)) * (n % 400 + 1)
    return hashlib.sha256(zlib.decompress(zlib.compress(data))).hexdigest()
with ThreadPoolExecutor(8) as pool:
    print(hashlib.md5("".join(pool.map(work, range(2000))).encode()).hexdigest())
q, out = queue.Queue(100), []
def consume():
    while (item := q.get()) is not None:
        out.append(len(item))
threads = [threading.Thread(target=consume) for _ in range(4)]
[t.start() for t in threads]
for i in range(20000): q.put("x" * (i % 500))
[q.put(None) for _ in threads]; [t.join() for t in threads]
print(len(out), sum(out))
for _ in range(300):
    t = threading.Thread(target=lambda: [bytearray(k * 100) for k in range(50)]); t.start(); t.join()
print("done")
PY
SCRIPT
same "python: multiprocessing by fork, spawn and forkserver" <<'SCRIPT'
cat >mp.py <<'PY'
import multiprocessing as mp, sys, threading
def work(n):
    return sum(len([i] * (i % 10)) for i in range(n)), len({k: str(k) for k in range(n)})
def main():
    for method in ("fork", "spawn", "forkserver"):
        context = mp.get_context(method)
        with context.Pool(3) as pool:
            print(method, sum(a + b for a, b in pool.map(work, range(0, 3000, 30))))
    # fork while other threads are busy allocating
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            [bytearray(i * 50) for i in range(100)]
    threads = [threading.Thread(target=busy) for _ in range(3)]
    [t.start() for t in threads]
    context = mp.get_context("fork"); q = context.Queue()
    for i in range(20):
        p = context.Process(target=lambda: q.put(work(500))); p.start(); q.get(); p.join(); assert p.exitcode == 0
    stop.set(); [t.join() for t in threads]
    print("forked 20 times")
if __name__ == "__main__":
    main()
PY
$python mp.py
SCRIPT
same "python: subprocess, sqlite3, xml, re, decimal, pickle, ctypes" <<'SCRIPT'
$python - <<'PY'
import subprocess, sqlite3, re, decimal, pickle, ctypes, lzma, bz2, array, hashlib, xml.etree.ElementTree as ET
print(sum(int(subprocess.run(["sh", "-c", f"echo {i}; exit {i % 3}"], capture_output=True).stdout) for i in range(100)))
db = sqlite3.connect(":memory:"); db.execute("create table t(a integer primary key, b text, c blob)")
db.executemany("insert into t values(?,?,?)", ((i, "x" * (i % 100), bytes(i % 300)) for i in range(30000)))
print(db.execute("select count(*), sum(length(b)), sum(length(c)) from t where a % 3 = 1").fetchone()); db.close()
root = ET.Element("r")
for i in range(20000): ET.SubElement(root, "e", n=str(i)).text = "t" * (i % 50)
text = ET.tostring(root); print(len(text), len(ET.fromstring(text)))
print(len(re.findall(r"(\w+)@(\w+)\.com", "some.one@example.com, " * 20000)))
decimal.getcontext().prec = 2000; print(str(decimal.Decimal(2).sqrt())[-20:])
obj = {i: (str(i), [i] * 3, {"k": {i}}) for i in range(30000)}; assert pickle.loads(pickle.dumps(obj)) == obj
data = bytes(i * i % 251 for i in range(500000))
print(lzma.decompress(lzma.compress(data, preset=1)) == data, bz2.decompress(bz2.compress(data)) == data)
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
for n in range(0, 100000, 1000): libc.free(libc.malloc(n))
a = array.array("d", range(300000)); a.extend(a); print(len(a), a[-1])
PY
SCRIPT
done_testing
