#!/usr/bin/env python3
"""Runs the cells of bench.sh, Flink's and Millpond's in turn, and prints both and their ratio."""

import argparse
import functools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ARGUMENTS = argparse.ArgumentParser()
for name in ("rest", "task-managers", "jar", "work", "millpond"):
    ARGUMENTS.add_argument("--" + name, required=True)
ARGUMENTS.add_argument("parts", nargs="*")
A = ARGUMENTS.parse_args()
KEYS = int(float(os.environ.get("KEYS", "1e6")))
SP_KEYS = int(float(os.environ.get("SP_KEYS", "1e7")))
CELL_S = int(os.environ.get("CELL_S", "15"))
WARM_S = float(os.environ.get("WARM_S", "8"))
SP_REPS = int(os.environ.get("SP_REPS", "3"))
ZIPF_KEYS = int(float(os.environ.get("ZIPF_KEYS", "1e7")))
MEMORY_MB = os.environ.get("MEMORY_MB", "512")
TICKS = os.sysconf("SC_CLK_TCK")
PROBE = A.work + "/probe.csv"
FIRSTS = PROBE + ".firsts"
# One, with the id tm-0; tm-0, tm-1 and so on if a worker is killed.
TASK_MANAGERS = [int(pid) for pid in A.task_managers.split()]
STARTS = int(os.environ.get("STARTS", "10"))
KILLS = int(os.environ.get("KILLS", "3"))
CLASSES = {"i64": "KeyedCount", "string": "KeyedCountString"}


class Cell:
    """A job: the type of its keys, how many there are, how they are distributed, and where the state is."""

    def __init__(self, kind, keys, backend="hashmap", distribution="uniform"):
        self.kind, self.keys, self.backend, self.distribution = kind, keys, backend, distribution

    def of_millpond(self):
        memory = ["--memory", MEMORY_MB + "mb"] if self.backend == "rocksdb" else []
        return ["--keys", str(self.keys), "--backend", self.backend, *memory]


THROUGHPUT = {
    "i64": Cell("i64", KEYS),
    "string": Cell("string", KEYS),
    "rocksdb": Cell("i64", KEYS, "rocksdb"),
    "zipf": Cell("i64", ZIPF_KEYS, "rocksdb", "zipf"),
}
SAVEPOINTS = {
    # the cell, its format, and the parallelism of the restore
    "savepoint": (Cell("i64", SP_KEYS), "CANONICAL", 1),
    "native": (Cell("i64", SP_KEYS, "rocksdb"), "NATIVE", 2),
}
# How Flink is measured, and the command of millpond-bench.
RESPONSES = {
    "start": (lambda: flink_start(), ["cluster-start", "--jobs", str(STARTS)]),
    "recovery": (lambda: flink_recovery(), ["recovery", "--keys", str(KEYS), "--kills", str(KILLS)]),
}


def rest(method, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{A.rest}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"{}")


def wait(what, limit_s, ready):
    end = time.time() + limit_s
    while time.time() < end:
        try:
            if ready():
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.02)
    sys.exit(f"{what}: not within {limit_s} s")


def cpu_s():
    fields = open(f"/proc/{TASK_MANAGERS[0]}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@functools.cache
def uploaded():
    answer = subprocess.run(
        ["curl", "-s", "-F", "jarfile=@" + A.jar, f"http://127.0.0.1:{A.rest}/jars/upload"],
        capture_output=True, text=True, check=True,
    ).stdout
    return os.path.basename(json.loads(answer)["filename"])


def submit(cell, parallelism, checkpoints, savepoint=None, options=()):
    """Starts the job; returns its id and when it was asked for."""
    for file in (PROBE, FIRSTS):
        if os.path.exists(file):
            os.remove(file)
    configuration = {"state.backend.type": cell.backend, "execution.checkpointing.dir": f"file://{A.work}/checkpoints"}
    if cell.backend == "rocksdb":
        configuration["execution.checkpointing.incremental"] = "true"
    if checkpoints:
        configuration["execution.checkpointing.interval"] = "1s"
    configuration.update(options)
    body = {
        "entryClass": CLASSES[cell.kind], "parallelism": parallelism,
        "programArgsList": [str(cell.keys), PROBE, "2", cell.distribution], "flinkConfiguration": configuration,
    }
    if savepoint:
        body["savepointPath"] = savepoint
    jar = uploaded()
    begin = time.time()
    return rest("POST", f"/jars/{jar}/run", body)["jobid"], begin


def probe():
    """What the job has written: [(ms, records)], and the time of the first record."""
    lines, first = [], None
    if os.path.exists(PROBE):
        for line in open(PROBE).read().split("\n")[:-1]:
            a, b = line.split(",")
            if a == "first":
                first = int(b)
            else:
                lines.append((int(a), int(b)))
    return lines, first


def records_at(lines, ms):
    for (t0, n0), (t1, n1) in zip(lines, lines[1:]):
        if t0 <= ms <= t1 and t1 > t0:
            return n0 + (n1 - n0) * (ms - t0) / (t1 - t0)
    return lines[-1][1]


def counted(records):
    return lambda: (probe()[0] or [(0, 0)])[-1][1] >= records


def state(job):
    return rest("GET", "/jobs/" + job)["state"]


def cancel(job):
    rest("PATCH", f"/jobs/{job}?mode=cancel")
    wait("cancel", 60, lambda: state(job) == "CANCELED")
    shutil.rmtree(A.work + "/checkpoints", ignore_errors=True)


def savepoint(job, form, stop):
    directory = f"file://{A.work}/savepoints"
    begin = time.time()
    if stop:
        request = rest("POST", f"/jobs/{job}/stop", {"targetDirectory": directory, "drain": False, "formatType": form})
    else:
        request = rest("POST", f"/jobs/{job}/savepoints", {"target-directory": directory, "formatType": form})
    while True:
        answer = rest("GET", f"/jobs/{job}/savepoints/{request['request-id']}")
        if answer["status"]["id"] == "COMPLETED":
            break
        time.sleep(0.01)
    if "location" not in answer["operation"]:
        sys.exit(str(answer)[:1000])
    return time.time() - begin, answer["operation"]["location"]


def rss_bytes():
    return int(open(f"/proc/{TASK_MANAGERS[0]}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flink_throughput(cell):
    job, _ = submit(cell, 2, True)
    wait("every key seen", 900, counted(cell.keys * 1.1))
    time.sleep(WARM_S)
    cpu, begin = cpu_s(), time.time()
    time.sleep(CELL_S)
    cpu, end = cpu_s() - cpu, time.time()
    time.sleep(0.3)
    lines, _ = probe()
    records = records_at(lines, end * 1000) - records_at(lines, begin * 1000)
    checkpoints = rest("GET", f"/jobs/{job}/checkpoints")
    resident = rss_bytes()
    cancel(job)
    return {
        "records_per_s": round(records / (end - begin)), "records_per_cpu_s": round(records / cpu), "cpu_s": cpu,
        "checkpoints": checkpoints["counts"]["completed"],
        "checkpoint_ms": checkpoints["summary"]["end_to_end_duration"]["p50"],
        "checkpointed_bytes": checkpoints["summary"]["checkpointed_size"]["p50"], "rss_bytes": resident,
    }


def worst_window(lines, begin_ms, end_ms):
    """The lowest rate of any 300 ms from begin to end."""
    starts = range(int(begin_ms), max(int(end_ms) - 300, int(begin_ms)) + 1, 20)
    return round(min((records_at(lines, ms + 300) - records_at(lines, ms)) / 0.3 for ms in starts))


def flink_savepoint(cell, form, restore_parallelism):
    job, _ = submit(cell, 2, False)
    wait("every key seen", 900, counted(cell.keys * 1.1))
    time.sleep(WARM_S)
    seconds, worst = [], []
    for _ in range(SP_REPS):
        time.sleep(4)
        begin = time.time()
        took, location = savepoint(job, form, False)
        seconds.append(round(took, 3))
        time.sleep(0.5)
        lines, _ = probe()
        before = (records_at(lines, begin * 1000) - records_at(lines, begin * 1000 - 3000)) / 3
        worst.append(round(worst_window(lines, begin * 1000, (begin + took) * 1000) / before, 3))
        path = location.replace("file:", "", 1)
        size = sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
        shutil.rmtree(path)
    stop_s, location = savepoint(job, form, True)
    wait("stop", 60, lambda: state(job) == "FINISHED")
    job, begin = submit(cell, restore_parallelism, False, location)
    wait("first record after the restore", 300, lambda: probe()[1])
    first_s = probe()[1] / 1000 - begin
    cancel(job)
    shutil.rmtree(A.work + "/savepoints", ignore_errors=True)
    return {
        "savepoint_s": seconds, "worst_300ms_share": worst, "bytes": size, "stop_s": round(stop_s, 3),
        "restore_first_record_s": round(first_s, 3),
    }


def firsts(begin):
    """Milliseconds from then to the first record of each subtask behind it, in order; None while one is missing."""
    subtasks = {}
    for line in open(FIRSTS).read().split("\n")[:-1] if os.path.exists(FIRSTS) else []:
        subtask, ms = map(int, line.split(","))
        if ms > begin * 1000:
            subtasks.setdefault(subtask, ms - begin * 1000)
    return sorted(subtasks.values()) if len(subtasks) == 2 else None


def first_and_last(times, what):
    """As the figures of millpond-bench are named."""
    figures = {}
    for name, place in (("first_record", 0), ("all_subtasks", -1)):
        values = [each[place] for each in times]
        figures[name + "_ms_median"], figures[name + "_ms_max"] = round(statistics.median(values)), round(max(values))
    return {**figures, what: len(times)}


def flink_start():
    cell, times = Cell("i64", 1000), []
    for _ in range(STARTS + 1):
        job, begin = submit(cell, 2, False)
        wait("first record", 60, lambda: firsts(begin))
        times.append(firsts(begin))
        cancel(job)
        wait("free slots", 60, lambda: rest("GET", "/overview")["slots-available"] == 2)
    return first_and_last(times[1:], "jobs")


def flink_recovery():
    # It begins anew again and again while it takes the slots of the killed one for free.
    options = {"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": str(2**31 - 1),
               "restart-strategy.fixed-delay.delay": "10 ms"}
    job, begin = submit(Cell("i64", KEYS), 2, True, options=options)
    wait("first record", 60, lambda: firsts(begin))
    completed = lambda: rest("GET", f"/jobs/{job}/checkpoints")["counts"]["completed"]
    # Long enough to see all keys.
    wait("checkpoints", 300, lambda: completed() >= 10)
    times, known = [], []
    for _ in range(KILLS):
        seen = completed()
        wait("two checkpoints more", 120, lambda: completed() >= seen + 2)
        counter = next(vertex["id"] for vertex in rest("GET", f"/jobs/{job}")["vertices"] if "counter" in vertex["name"])
        one = rest("GET", f"/jobs/{job}/vertices/{counter}")["subtasks"][0]["taskmanager-id"]
        killed = time.time()
        os.kill(TASK_MANAGERS[int(one.removeprefix("tm-"))], signal.SIGKILL)
        wait("every subtask after the kill", 300, lambda: firsts(killed))
        times.append(firsts(killed))
        # When the job manager knew, of the last time that it began anew.
        known.append(times[-1][0] - (rest("GET", f"/jobs/{job}")["timestamps"]["RESTARTING"] - killed * 1000))
    cancel(job)
    return {**first_and_last(times, "kills"), "from_last_restart_ms_median": round(statistics.median(known))}


def millpond(*arguments):
    answer = subprocess.run([A.millpond, *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit("millpond-bench failed: " + answer.stderr[-1000:])
    return json.loads(answer.stdout.strip().split("\n")[-1])


def note(**figures):
    with open(A.work + "/bench.jsonl", "a") as out:
        out.write(json.dumps({**figures, "load": os.getloadavg()[0]}) + "\n")


def line(what, flink, ours, unit, ratio):
    print(f"{what:<44} {flink:>14,} {ours:>14,} {unit:<10} {ratio:8.1f} x", flush=True)


def main():
    parts = A.parts if A.parts not in ([], ["all"]) else ["i64", "string", "savepoint"]
    if os.getloadavg()[0] > 1:
        print(f"warning: the load of this machine is {os.getloadavg()[0]:.1f}; the figures need it idle", file=sys.stderr)
    wait("Flink's start", 60, lambda: rest("GET", "/overview")["taskmanagers"] == len(TASK_MANAGERS))
    print(f"{'':<44} {'Flink':>14} {'Millpond':>14}")
    for part in parts:
        if part in THROUGHPUT:
            cell = THROUGHPUT[part]
            flink = flink_throughput(cell)
            note(part=part, keys=cell.keys, engine="flink", **flink)
            ours = millpond("keyed-count", *cell.of_millpond(), "--key-type", cell.kind, "--distribution", cell.distribution,
                            "--parallelism", "2", "--checkpoint-interval", "1s", "--seconds", str(CELL_S))
            note(part=part, engine="millpond", **ours)
            what = f"{part}, {cell.keys:,} keys"
            for name, unit in (("records_per_cpu_s", "/CPU-s"), ("records_per_s", "/s")):
                line(f"{what}: {name}", flink[name], ours[name], unit, ours[name] / flink[name])
        elif part in SAVEPOINTS:
            cell, form, parallelism = SAVEPOINTS[part]
            flink = flink_savepoint(cell, form, parallelism)
            note(part=part, keys=cell.keys, engine="flink", **flink)
            ours = millpond("savepoint", *cell.of_millpond(), "--type", form.lower(), "--parallelism", "2",
                            "--restore-parallelism", str(parallelism))
            note(part=part, engine="millpond", **ours)
            what = f"{part}, {cell.keys:,} keys"
            theirs = statistics.median(flink["savepoint_s"])
            written = round(ours["trigger_to_done_s"] - ours["sync_s"], 3)
            line(f"{what}: savepoint", theirs, round(ours["trigger_to_done_s"], 3), "s", theirs / ours["trigger_to_done_s"])
            line(f"{what}: savepoint without fsync", theirs, written, "s", theirs / written)
            line(f"{what}: stop with savepoint", flink["stop_s"], round(ours["stop_s"], 3), "s", flink["stop_s"] / ours["stop_s"])
            name = "restore_first_record_s"
            line(f"{what}: restore to first record", flink[name], round(ours[name], 3), "s", flink[name] / ours[name])
            theirs = statistics.median(flink["worst_300ms_share"])
            print(f"{what}: worst 300 ms, of the normal rate: Flink {theirs:.2f}, Millpond {ours['worst_300ms_share']:.2f}", flush=True)
        elif part in RESPONSES:
            measured, command = RESPONSES[part]
            flink = measured()
            note(part=part, engine="flink", **flink)
            ours = millpond(*command)
            note(part=part, engine="millpond", **ours)
            for name in ("first_record_ms_median", "first_record_ms_max", "all_subtasks_ms_median", "all_subtasks_ms_max"):
                line(f"{part}: {name}", flink[name], ours[name], "ms", flink[name] / max(ours[name], 1))
            if part == "recovery":
                print(f"of Flink's recovery, behind its last restart: {flink['from_last_restart_ms_median']:,} ms (median)", flush=True)
        else:
            sys.exit(f"unknown part {part}; expected one of {', '.join([*THROUGHPUT, *SAVEPOINTS, *RESPONSES])}")


main()
