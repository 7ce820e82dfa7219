"""What tracing costs: each workload native and under tracers, in turn.

--backend preload: under `unfreed run` (exact, and --sample 512KiB) and under heaptrack.
--backend ebpf: under `unfreed attach` (ebpf), under the same probes that only count (floor), under memleak-bpfcc and
under bpftrace with a script that does what memleak does. As root, on a machine where nothing else runs: bpftrace's
probes are in every process. What does not run here is left out, with a line that says why.

Prints Markdown tables with medians, native as 1, and writes every single run to bench.json (bench.ebpf.json) in the
build's folder. Exit status 1 when an answer was wrong; no status depends on a time.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

from measure import WAYS, Bench
from tables import TABLES
from workloads import WORKLOADS, start_and_end


def machine():
    processor = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                     platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{os.cpu_count()} cores ({processor}), {memory} GiB, Linux {platform.release()}, glibc {platform.libc_ver()[1]}"


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--backend", choices=WAYS, default="preload", help="whose rows (preload)")
    parser.add_argument("--runs", type=int, default=5, help="how often each way of each workload (5)")
    parser.add_argument("--only", action="append", metavar="NAME", help="that workload alone (repeatable)")
    parser.add_argument("--without", action="append", default=[], choices=[way for ways in WAYS.values() for way in ways[1:]],
                        help="leave a way out (repeatable)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the workloads; below 1 the times mean nothing")
    return parser.parse_args()


def main():
    options = parse_arguments()
    ways = [way for way in WAYS[options.backend] if way not in options.without]
    folder = options.build / "bench"
    (folder / "work").mkdir(parents=True, exist_ok=True)
    bin_folder = options.build / "tests/bench/bin"
    workloads = WORKLOADS[options.backend](bin_folder, folder, options.scale)
    if options.only:
        unknown = set(options.only) - {workload.name for workload in workloads}
        if unknown:
            sys.exit(f"unfreed: bench: no workload {', '.join(sorted(unknown))}; one of "
                     f"{', '.join(workload.name for workload in workloads)}")
        workloads = [workload for workload in workloads if workload.name in options.only]
    if "heaptrack" in ways and not shutil.which("heaptrack"):
        sys.exit("unfreed: bench: heaptrack is not installed; add --without heaptrack")

    bench = Bench(bin_folder, options.build / "bin/unfreed", folder / "work")
    left_out = {}
    if options.backend == "ebpf":
        obstacles = {way: bench.obstacle(way, start_and_end()) for way in ways}
        left_out = {way: obstacle for way, obstacle in obstacles.items() if obstacle}
        ways = [way for way in ways if way not in left_out]
        if "ebpf" in left_out:
            sys.exit(f"unfreed: bench: the ebpf backend does not run here: {left_out['ebpf'].removeprefix('unfreed: ')}")
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
             "command": " ".join(["./dev bench", *sys.argv[3:]]), "runs": options.runs, "scale": options.scale,
             "left_out": left_out}
    written = folder / {"preload": "bench.json", "ebpf": "bench.ebpf.json"}[options.backend]
    written.write_text(json.dumps(about | {"workloads": [
        {"name": workload.name, "title": workload.title, "target": workload.target,
         "ways": {way: [dataclasses.asdict(run) for run in made] for way, made in results[workload.name].items()}}
        for workload in workloads]}, indent=1))

    print(f"{about['machine']}; {about['date']}, commit {commit}; `{about['command']}`, medians of {options.runs}.\n")
    print("\n\n".join(TABLES[options.backend](workloads, results)))
    for way, obstacle in left_out.items():
        print(f"\n{way} is left out: it does not run here ({obstacle})")
    print(f"\nEvery run: {written}")
    return any(run.right != "yes" for of in results.values() for made in of.values() for run in made)


sys.exit(main())
