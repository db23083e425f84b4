"""Children that test scripts start: each leads a session, so that all it started can be found and ended with it."""

import collections
import os
import resource
import signal
import time

Process = collections.namedtuple("Process", "pid running cpu resident")  # cpu: seconds, with those of its dead children


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def of_session(session):
    """Every Process of a session."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(Process(int(pid), fields[0] in "RD", sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"),
                                 int(fields[21]) * resource.getpagesize()))
    return found


def kill_session(session):
    """Ends all of it: again and again, since who is not dead yet may fork; a zombie waits for its parent, no more."""
    while True:
        left = [process for process in of_session(session) if process.resident or process.running]
        if not left:
            return
        for process in left:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
