# SPDX-License-Identifier: Apache-2.0
"""Servers as process groups: started on free ports of loopback, waited for, recorded, stopped by any other program."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

from recipes import cache


def free_port():
    """Below the ports that Linux gives to connections, which could take it before the server does."""
    for _ in range(1000):
        port = random.randrange(10000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise cache.Failure("no free port on 127.0.0.1 between 10000 and 32767")


# Whatever proxy the environment names, it is not for loopback.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(port, path="/", word=""):
    """Whether HTTP on this port of loopback says 200, and the word."""
    try:
        with _HTTP.open(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
            return reply.status == 200 and word in reply.read().decode()
    except OSError:
        return False


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stat(pid):
    """The state, the group and the start time of a process, or None."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[2]), int(fields[19])


def running(pid):
    """Whether there is such a process, and no mere zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _group(leader):
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if running(pid) and (_stat(pid) or (0, 0))[1] == leader]


def _beyond_loopback(pids):
    """Addresses other than loopback's on which these processes listen, as /proc writes them."""
    sockets = set()
    for pid in pids:
        for link in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(link))
            except OSError:
                pass
    found = []
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].split(":")[0]
            loopback = (
                address.endswith("7F")
                if len(address) == 8
                else address in ("00000000000000000000000001000000",)
                or address.startswith("0000000000000000FFFF0000")
                and address.endswith("7F")
            )
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets and not loopback:
                found.append(fields[1])
    return found


class Place:
    """Where one server of one run keeps its files: its log, its configuration, and who it is."""

    def __init__(self, run, label):
        self.label = label
        self.folder = cache.root() / "runs" / run / label
        self.log = self.folder / "log"

    def fresh(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder

    def recorded(self):
        """What start wrote, or None."""
        try:
            return json.loads((self.folder / "server.json").read_text())
        except OSError:
            return None

    def start(self, command, *, variables, ready, seconds=120, environment=None, cwd=None, shared=None):
        """Runs the command until ready() holds; a Failure with the log's end where it does not within these seconds.

        What is left of shared memory whose names begin with `shared` goes when the server does, however that is.
        """
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
                start_new_session=True,
            )
        # The start time tells the process from a stranger that later gets the same number.
        record = {
            "pid": process.pid,
            "started": (_stat(process.pid) or (0, 0, 0))[2],
            "variables": variables,
            "shared": shared,
        }
        (self.folder / "server.json").write_text(json.dumps(record, indent=1))
        try:
            until = time.monotonic() + seconds
            while not ready():
                if process.poll() is not None:
                    raise cache.Failure(f"{self.label} ended with {process.returncode} before it was ready")
                if time.monotonic() > until:
                    raise cache.Failure(f"{self.label} was not ready within {seconds} s")
                time.sleep(0.1)
            if beyond := _beyond_loopback(_group(process.pid)):
                raise cache.Failure(f"{self.label} listens beyond loopback, on {', '.join(beyond)}")
        except BaseException as error:
            self.stop()
            if isinstance(error, cache.Failure):
                raise cache.Failure(f"{error}; the end of {self.log}:\n{self.tail()}") from None
            raise
        return variables

    def running(self):
        record = self.recorded()
        return record is not None and running(record["pid"]) and _stat(record["pid"])[2] == record["started"]

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self, by=signal.SIGTERM, seconds=20):
        """The leader gets the signal, then what it left behind; SIGKILL after these seconds. The log stays."""
        record = self.recorded()
        if record is None:
            return False
        leader = record["pid"]
        stat = _stat(leader)
        if stat is None or stat[2] == record["started"]:
            if running(leader):
                os.kill(leader, by)
            until = time.monotonic() + seconds
            while running(leader) and time.monotonic() < until:
                time.sleep(0.05)
            for last in (by, signal.SIGKILL):
                until = time.monotonic() + 5
                for pid in _group(leader):
                    try:
                        os.kill(pid, last)
                    except ProcessLookupError:
                        pass
                while _group(leader) and time.monotonic() < until:
                    time.sleep(0.05)
        for region in pathlib.Path("/dev/shm").glob(f"{record['shared']}*") if record["shared"] else ():
            region.unlink(missing_ok=True)
        (self.folder / "server.json").unlink(missing_ok=True)
        return True
