#!/usr/bin/env python3
"""Continuous backup beside Litestream: what a SIGKILL of everything loses, how long a restore takes, CPU, bytes written.

Both sides take the same rows at the same fixed rate, back up to a folder on the same disk, are killed at the same moment, lose
their data folder, and are restored. Ours is the whole database role, asked over HTTP; theirs is a bare SQLite connection
in Python (WAL, synchronous=FULL) with `litestream replicate` beside it, whose CPU and bytes are its own alone: for ours the same run
without a destination is subtracted. In `litestream, our database` it is the database role's own file, without a backup of ours, that
Litestream follows: the same pages are written then, those of the indexes and of the change log too. Bytes are those given to write(2), whether they reached the disk or not, since Litestream
does not flush what it stores. Rounds alternate.

    bench/backup.py --sixfold target/release/sixfold --litestream LITESTREAM [--rounds 3] [--seconds 10] [--rate 200]
"""

import argparse, http.client, json, os, pathlib, random, shutil, signal, socket, sqlite3, statistics, subprocess, sys, tempfile, threading, time

# Words by chance, so that rows compress as text does.
WORDS = ["".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=4 + number % 7)) for number in range(2000)]


def filler(number):
    """Some 300 bytes of text, the same for the same number."""
    return " ".join(random.Random(number).choices(WORDS, k=38))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def usage(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    io = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    return cpu, int(io["wchar"])


class OneProcess:
    """A system whose database and backup, or backup alone, are one process."""

    def pids(self):
        return [self.process.pid]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Sixfold(OneProcess):
    def __init__(self, binary, folder, mode, size_mib=0):
        self.folder, self.binary, self.port = folder, binary, free_port()
        self.file = folder / "data/sixfold.db"
        backup = f'[database.backup]\ndestination = "file:{folder}/destination"\nmode = "{mode}"\n' if mode else ""
        self.config = folder / "sixfold.toml"
        self.config.write_text(
            f'[process]\ndata = "{folder}/data"\nadmin = "127.0.0.1:{free_port()}"\n'
            f'[database]\nlisten = "127.0.0.1:{self.port}"\n{backup}'
        )
        self.process = subprocess.Popen(
            [binary, "database", "--config", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.local = threading.local()
        deadline = time.time() + 30
        while time.time() < deadline:
            try:
                status = self.ask("GET", "/v1/backup", None)
                if not mode or (status and status["standing"]["state"] == "shipping"):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("sixfold does not start")

    def ask(self, method, path, body):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json"}
            self.local.connection.request(method, path, body, headers)
            answer = self.local.connection.getresponse()
            text = answer.read()
        except Exception as error:
            del self.local.connection
            raise OSError(error)
        if answer.status != 200:
            raise OSError(text)
        return json.loads(text)

    def write(self, first, count=1):
        operations = [
            {"op": "put", "collection": "things", "id": str(first + n), "data": {"filler": filler(first + n)}} for n in range(count)
        ]
        self.ask("POST", "/v1/transact", json.dumps({"namespace": "shop", "operations": operations}))

    def restore(self):
        shutil.rmtree(self.folder / "data")
        began = time.time()
        subprocess.run(
            [self.binary, "database", "restore", "--at", "latest", "--config", self.config],
            check=True, stdout=subprocess.DEVNULL,
        )
        took = time.time() - began
        rows = sqlite3.connect(self.folder / "data/sixfold.db").execute("SELECT id FROM records").fetchall()
        return took, {int(row[0]) for row in rows}


class Litestream(OneProcess):
    def __init__(self, binary, folder):
        self.folder, self.binary = folder, binary
        (folder / "data").mkdir()
        self.file = folder / "data/test.db"
        self.connection = sqlite3.connect(self.file, check_same_thread=False, isolation_level=None)
        for pragma in ["journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0", "busy_timeout=5000"]:
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, data TEXT)")
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [binary, "replicate", self.file, f"file://{folder}/destination"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(3)

    def write(self, first, count=1):
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            for n in range(count):
                self.connection.execute("INSERT INTO records VALUES (?, ?)", (first + n, json.dumps({"filler": filler(first + n)})))
            self.connection.execute("COMMIT")

    def restore(self):
        self.connection.close()
        shutil.rmtree(self.folder / "data")
        (self.folder / "data").mkdir()
        return litestream_restore(self.binary, self.folder, self.file)


class LitestreamBeside(Sixfold):
    """Litestream following the database of a role that has no backup."""

    def __init__(self, binary, litestream, folder):
        super().__init__(binary, folder, None)
        self.litestream = litestream
        self.follower = subprocess.Popen(
            [litestream, "replicate", self.file, f"file://{folder}/destination"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(3)

    def pids(self):
        return [self.follower.pid]

    def kill(self):
        self.follower.send_signal(signal.SIGKILL)
        super().kill()
        self.follower.wait()

    def restore(self):
        shutil.rmtree(self.folder / "data")
        (self.folder / "data").mkdir()
        return litestream_restore(self.litestream, self.folder, self.file)


def litestream_restore(binary, folder, file):
    began = time.time()
    subprocess.run(
        [binary, "restore", "-o", file, f"file://{folder}/destination"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    took = time.time() - began
    return took, {int(row[0]) for row in sqlite3.connect(file).execute("SELECT id FROM records")}


def load(side, seconds, rate):
    """Writes at a fixed rate from four threads; gives what was acknowledged, and when."""
    ledger, lock, stop = {}, threading.Lock(), threading.Event()
    began, counter = time.time(), iter(range(10**9))

    def work():
        while not stop.is_set():
            with lock:
                number = next(counter)
            wait = began + number / rate - time.time()
            if wait > 0:
                time.sleep(wait)
            try:
                side.write(number)
            except (OSError, sqlite3.Error):
                continue
            with lock:
                ledger[number] = time.time()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    before = [usage(pid) for pid in side.pids()]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    after = [usage(pid) for pid in side.pids()]
    side.kill()
    killed = time.time()
    stop.set()
    for thread in threads:
        thread.join(2)
    cpu = sum(a[0] - b[0] for a, b in zip(after, before))
    written = sum(a[1] - b[1] for a, b in zip(after, before))
    return {n: at for n, at in ledger.items() if at <= killed}, killed, cpu, written


def one_round(make, seconds, rate):
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as text:
        side = make(pathlib.Path(text))
        ledger, killed, cpu, written = load(side, seconds, rate)
        stored = size_of(side.folder / "destination")
        took, found = side.restore()
        lost = [killed - at for number, at in ledger.items() if number not in found]
        return {"acknowledged": len(ledger), "lost": len(lost), "window_s": max(lost, default=0.0), "cpu_s": cpu, "written_mib": written / 2**20, "stored_mib": stored / 2**20, "restore_s": took}


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def big_restore(make, mib):
    """Fills a database until its file has so many MiB, waits, kills, and times the restore."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as text:
        side = make(pathlib.Path(text))
        rows = 0
        while side.file.stat().st_size < mib * 2**20:
            side.write(rows, 500)
            rows += 500
        time.sleep(5)
        side.kill()
        stored, size = size_of(side.folder / "destination"), side.file.stat().st_size
        took, found = side.restore()
        return {"rows": rows, "restored": len(found), "data_mib": size / 2**20, "stored_mib": stored / 2**20, "restore_s": took}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sixfold", required=True)
    parser.add_argument("--litestream", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--mib", type=int, default=100)
    options = parser.parse_args()
    sides = {
        "sixfold async": lambda folder: Sixfold(options.sixfold, folder, "async"),
        "sixfold sync": lambda folder: Sixfold(options.sixfold, folder, "sync"),
        "litestream": lambda folder: Litestream(options.litestream, folder),
        "litestream, our database": lambda folder: LitestreamBeside(options.sixfold, options.litestream, folder),
    }
    results = {name: [] for name in sides}
    for round in range(options.rounds):
        for name, make in sides.items():
            result = one_round(make, options.seconds, options.rate)
            results[name].append(result)
            print(round, name, json.dumps({k: round_(v) for k, v in result.items()}), flush=True)
    bare = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as text:
            side = Sixfold(options.sixfold, pathlib.Path(text), None)
            _, _, cpu, written = load(side, options.seconds, options.rate)
            bare.append((cpu, written / 2**20))
            print("sixfold without a backup", json.dumps({"cpu_s": round_(cpu), "written_mib": round_(written / 2**20)}), flush=True)
    cpu0, written0 = (statistics.median(column) for column in zip(*bare))
    print("\nmedians of", options.rounds)
    print("| side | lost of acknowledged | loss window s | CPU s for the backup | MiB written for the backup | MiB at the destination | restore s |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in results.items():
        mid = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        ours = name.startswith("sixfold")
        cpu, written = mid["cpu_s"] - (cpu0 if ours else 0), mid["written_mib"] - (written0 if ours else 0)
        print(f"| {name} | {mid['lost']:.0f} of {mid['acknowledged']:.0f} | {mid['window_s']:.3f} | {cpu:.2f} | {written:.1f} | {mid['stored_mib']:.1f} | {mid['restore_s']:.2f} |")
    print()
    took = {"sixfold async": [], "litestream": []}
    for _ in range(min(options.rounds, 3)):
        for name, seconds in took.items():
            result = big_restore(sides[name], options.mib)
            seconds.append(result["restore_s"])
            print("filled at once:", name, json.dumps({k: round_(v) for k, v in result.items()}), flush=True)
    print("restore s, medians:", {name: round_(statistics.median(seconds)) for name, seconds in took.items()})


def round_(value):
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
