"""The Markdown tables that bench.py prints: medians, native as 1. One set for each backend."""

import statistics

from measure import WAYS
from workloads import SAMPLED_TARGET, TRUE_TARGET_MS

TRACED = WAYS["preload"][1:]
LONG_OPERATION_NS = 1e5  # no single call of an allocator


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
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def nanoseconds_text(value):
    return f"{value:.1f} ns" if value < 100 else f"{value:.0f} ns"


def wall_cell(workload, of, way):
    if way not in of:
        return "-"
    if workload.name == "true":
        return f"{of[way]['target_wall'] * 1e3:.1f} ms"
    nanoseconds = of[way]["per_operation_ns"]
    is_told = nanoseconds and nanoseconds < LONG_OPERATION_NS and way != "native"
    return ratio(of, way, "time") + (f" ({nanoseconds_text(nanoseconds)})" if is_told else "")


def native_cell(workload, of):
    nanoseconds = of["native"]["per_operation_ns"]
    if nanoseconds and nanoseconds < LONG_OPERATION_NS:
        return nanoseconds_text(nanoseconds)
    return f"{of['native']['time']:.2f} s" if workload.name != "true" else f"{of['native']['target_wall'] * 1e3:.1f} ms"


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def wrong_answers(runs):
    wrong = sorted({f"{way}: {run.right}" for way, made in runs.items() for run in made if run.right != "yes"})
    return "; ".join(wrong) or "yes"


def preload_tables(workloads, results):
    wall, rest = [], []
    for workload in workloads:
        runs = results[workload.name]
        of = {way: medians(made) for way, made in runs.items() if made}
        target = f"{TRUE_TARGET_MS:g} ms" if workload.name == "true" else f"{workload.target:g}" if workload.target else "-"
        wall.append([workload.title, native_cell(workload, of), wall_cell(workload, of, "heaptrack"),
                     wall_cell(workload, of, "exact"), target, wall_cell(workload, of, "sampled"),
                     f"{SAMPLED_TARGET:g}" if workload.real and workload.name != "true" else "-", wrong_answers(runs)])
        after = [f"{of[way]['after_end']:.2f}" if way in of else "-" for way in ("exact", "heaptrack")]
        beside = [f"{of[way]['tracer_memory']:.0f}" if way in of else "-" for way in ("exact", "heaptrack")]
        rest.append([workload.title, *(ratio(of, way, "target_cpu") for way in TRACED),
                     f"{of['native']['target_memory']:.0f}", *(ratio(of, way, "target_memory") for way in TRACED),
                     *after, *beside])
    return (table(["wall, native = 1", "native", "heaptrack", "exact", "target", "sampled", "target", "right"], wall),
            table(["CPU, memory, report", "CPU: exact", "sampled", "heaptrack", "memory: native, MiB",
                   "exact", "sampled", "heaptrack", "report after the end, s: exact", "heaptrack_print", "beside it, MiB: unfreed",
                   "heaptrack"], rest))


TITLES = {"memleak": "memleak-bpfcc", "bpftrace": "bpftrace, as memleak", "floor": "floor: only counting",
          "ebpf": "ebpf"}


def ebpf_tables(workloads, results):
    ways = [way for way in TITLES if any(runs.get(way) for runs in results.values())]
    wall, rest = [], []
    for workload in workloads:
        of = {way: medians(made) for way, made in results[workload.name].items() if made}
        of_floor = f"{of['ebpf']['time'] / of['floor']['time']:.2f}" if {"ebpf", "floor"} <= of.keys() else "-"
        target = f"{workload.target:g}" if workload.target else "-"
        if workload.target_ns:
            target = nanoseconds_text(workload.target_ns)
        wall.append([workload.title, native_cell(workload, of), *(wall_cell(workload, of, way) for way in ways), target,
                     of_floor, f"{workload.target_of_floor:g}" if workload.target_of_floor else "-",
                     wrong_answers(results[workload.name])])
        rest.append([workload.title, *(ratio(of, way, "target_cpu") for way in ways),
                     *(f"{of['ebpf'][field]:{form}}" if "ebpf" in of else "-"
                       for field, form in (("after_end", ".2f"), ("tracer_memory", ".0f")))])
    titles = [TITLES[way] for way in ways]
    return (table(["wall, native = 1", "native", *titles, "target", "ebpf : floor", "target", "right"], wall),
            table(["CPU, report", *(f"CPU: {title}" for title in titles), "report after the end, s",
                   "beside it, MiB: unfreed"], rest))


TABLES = {"preload": preload_tables, "ebpf": ebpf_tables}
