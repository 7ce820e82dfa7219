"""What tracing costs: each workload native, under `unfreed run` (exact, and --sample 512KiB) and under heaptrack, in turn.

Prints Markdown tables with medians, native as 1, and writes every single run to bench.json in the build's folder. Exit
status 1 when an answer was wrong; no status depends on a time.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

from measure import WAYS, Bench
from workloads import SAMPLED_TARGET, TRUE_TARGET_MS, all_workloads


def machine():
    processor = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                     platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{os.cpu_count()} cores ({processor}), {memory} GiB, Linux {platform.release()}, glibc {platform.libc_ver()[1]}"


def medians(runs):
    """One way's runs of one workload -> field -> median; `time` is the loop's where the workload measures it."""
    found = {field: statistics.median(values) for field in
             ("target_wall", "target_cpu", "target_memory", "whole_wall", "after_end", "tracer_memory")
             if (values := [getattr(run, field) for run in runs])}
    loops = [run.loop_ns for run in runs if run.loop_ns is not None]
    found["time"] = statistics.median(loops) / 1e9 if loops else found["target_wall"]
    found["per_operation_ns"] = found["time"] * 1e9 / runs[0].operations if loops else None
    return found


def ratio(of, way, field):
    if way not in of or not of["native"][field]:
        return "-"
    value = of[way][field] / of["native"][field]
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def nanoseconds_text(value):
    return f"{value:.1f} ns" if value < 100 else f"{value:.0f} ns"


def wall_cell(workload, of, way):
    if way not in of:
        return "-"
    if workload.name == "true":
        return f"{of[way]['target_wall'] * 1e3:.1f} ms"
    nanoseconds = of[way]["per_operation_ns"]
    detail = f" ({nanoseconds_text(nanoseconds)})" if nanoseconds and nanoseconds < 1e4 and way != "native" else ""
    return ratio(of, way, "time") + detail


def native_cell(workload, of):
    nanoseconds = of["native"]["per_operation_ns"]
    if nanoseconds and nanoseconds < 1e4:
        return nanoseconds_text(nanoseconds)
    return f"{of['native']['time']:.2f} s" if workload.name != "true" else f"{of['native']['target_wall'] * 1e3:.1f} ms"


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tables(workloads, results):
    wall, rest = [], []
    for workload in workloads:
        runs = results[workload.name]
        of = {way: medians(made) for way, made in runs.items() if made}
        target = f"{TRUE_TARGET_MS:g} ms" if workload.name == "true" else f"{workload.target:g}" if workload.target else "-"
        wrong = sorted({f"{way}: {run.right}" for way, made in runs.items() for run in made if run.right != "yes"})
        wall.append([workload.title, native_cell(workload, of), wall_cell(workload, of, "heaptrack"),
                     wall_cell(workload, of, "exact"), target, wall_cell(workload, of, "sampled"),
                     f"{SAMPLED_TARGET:g}" if workload.real and workload.name != "true" else "-", "; ".join(wrong) or "yes"])
        after = [f"{of[way]['after_end']:.2f}" if way in of else "-" for way in ("exact", "heaptrack")]
        beside = [f"{of[way]['tracer_memory']:.0f}" if way in of else "-" for way in ("exact", "heaptrack")]
        rest.append([workload.title, *(ratio(of, way, "target_cpu") for way in WAYS[1:]),
                     f"{of['native']['target_memory']:.0f}", *(ratio(of, way, "target_memory") for way in WAYS[1:]),
                     *after, *beside])
    return (table(["wall, native = 1", "native", "heaptrack", "exact", "target", "sampled", "target", "right"], wall),
            table(["CPU, memory, report", "CPU: exact", "sampled", "heaptrack", "memory: native, MiB",
                   "exact", "sampled", "heaptrack", "report after the end, s: exact", "heaptrack_print", "beside it, MiB: unfreed",
                   "heaptrack"], rest))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=5, help="how often each way of each workload (5)")
    parser.add_argument("--only", action="append", metavar="NAME", help="that workload alone (repeatable)")
    parser.add_argument("--without", action="append", default=[], choices=WAYS[1:], help="leave a way out (repeatable)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the workloads; below 1 the times mean nothing")
    return parser.parse_args()


def main():
    options = parse_arguments()
    ways = [way for way in WAYS if way not in options.without]
    folder = options.build / "bench"
    (folder / "work").mkdir(parents=True, exist_ok=True)
    bin_folder = options.build / "tests/bench/bin"
    workloads = all_workloads(bin_folder, folder, options.scale)
    if options.only:
        unknown = set(options.only) - {workload.name for workload in workloads}
        if unknown:
            sys.exit(f"unfreed: bench: no workload {', '.join(sorted(unknown))}; one of "
                     f"{', '.join(workload.name for workload in workloads)}")
        workloads = [workload for workload in workloads if workload.name in options.only]
    if "heaptrack" in ways and not shutil.which("heaptrack"):
        sys.exit("unfreed: bench: heaptrack is not installed; add --without heaptrack")

    bench = Bench(bin_folder, options.build / "bin/unfreed", folder / "work")
    results = {workload.name: {way: [] for way in ways} for workload in workloads}
    for turn in range(options.runs):
        for workload in workloads:
            for way in ways:
                if sys.stderr.isatty():
                    print(f"\r\033[Krun {turn + 1} of {options.runs}: {workload.name}, {way}", end="", file=sys.stderr)
                results[workload.name][way].append(bench.run(way, workload))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)

    commit = subprocess.run(["git", "-C", pathlib.Path(__file__).parent, "rev-parse", "--short", "HEAD"],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout.strip()
    about = {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit,
             "command": " ".join(["./dev bench", *sys.argv[3:]]), "runs": options.runs, "scale": options.scale}
    written = folder / "bench.json"
    written.write_text(json.dumps(about | {"workloads": [
        {"name": workload.name, "title": workload.title, "target": workload.target,
         "ways": {way: [dataclasses.asdict(run) for run in made] for way, made in results[workload.name].items()}}
        for workload in workloads]}, indent=1))

    print(f"{about['machine']}; {about['date']}, commit {commit}; `{about['command']}`, medians of {options.runs}.\n")
    print("\n\n".join(tables(workloads, results)))
    print(f"\nEvery run: {written}")
    return any(run.right != "yes" for of in results.values() for made in of.values() for run in made)


sys.exit(main())
