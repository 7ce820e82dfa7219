"""What bench.py runs: the workloads with their targets, and the inputs of the real programs, the same on every machine."""

import dataclasses
import pathlib
import re
import shlex
import shutil
import subprocess

from measure import RESULT_LINE, digest

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass
class Workload:
    name: str
    title: str
    command: list
    target: float | None = None  # wall, native = 1; of the complete exact `run`, of `attach`
    environment: dict = dataclasses.field(default_factory=dict)
    may_keep_nothing: bool = False
    real: bool = False  # a program of the world outside
    target_ns: float | None = None  # of a pair under `attach`
    target_of_floor: float | None = None  # wall, the traps alone = 1
    expected: str | None = None  # digest of the output, from the first native run

    def wrong_output(self, code, printed):
        """None, or how this run's status or output differs from the native run's."""
        if code != 0:
            return f"exit status {code}"
        printed = digest(re.sub(rb"loop_ns \d+", b"", printed).strip())
        self.expected = self.expected or printed
        return None if printed == self.expected else "other output than alone"


def program(name, title, command, target, **environment):
    return Workload(name, title, command, target, environment, real=True)


def scaled(number, scale):
    return max(1, int(number * scale))


def write_once(path, lines):
    if not path.exists():
        partial = path.with_suffix(".partial")
        with partial.open("w") as file:
            file.writelines(lines)
        partial.rename(path)
    return path


def xml_lines(bytes_wanted):
    yield "<?xml version='1.0'?>\n<catalogue>\n"
    written, number = 0, 0
    while written < bytes_wanted:
        line = (f"  <item id='{number}' kind='k{number % 13}'><name>item {number * 7919 % 100003}</name>"
                f"<price currency='c{number % 5}'>{number % 997}.{number % 100:02}</price>"
                f"<text>{'word ' * (number % 11)}</text></item>\n")
        written += len(line)
        number += 1
        yield line
    yield "</catalogue>\n"


def sql_lines(rows):
    return [f"""
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i % 97, (i * 31 % 1009) / 7.0 FROM n;
CREATE INDEX item_name ON item(name);
SELECT kind, count(*), round(sum(price), 2) FROM item GROUP BY kind ORDER BY kind;
SELECT count(*) FROM item a JOIN item b ON a.name = b.name WHERE a.id < b.id AND a.kind < 10;
UPDATE item SET name = upper(name) || '!' WHERE kind % 3 = 0;
SELECT substr(name, 1, 7) AS head, group_concat(kind, ',') FROM item WHERE id % 50 = 0 GROUP BY head ORDER BY head LIMIT 50;
DELETE FROM item WHERE kind = 5;
SELECT count(*), min(name), max(name) FROM item;
"""]


def compiler_command():
    """cc1plus as g++ would start it, which alone is measured."""
    source = HERE / "programs/header_heavy.cpp"
    shown = subprocess.run(["g++", "-std=c++20", "-O0", "-S", "-o", "/dev/null", "-###", source],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    line = next(line for line in shown.stderr.splitlines() if "cc1plus" in line)
    return [word for word in shlex.split(line) if word != "-quiet"] + ["-quiet"]


def pairs(bin_folder, depth, per_descent, number, paths=256):
    return [bin_folder / "pairs", depth, paths, per_descent, number]


def python_program(rounds, target):
    python = "/usr/bin/python3" if shutil.which("/usr/bin/python3") else "python3"  # not a version manager's script
    return program("python3", "python3, json and regex, PYTHONMALLOC=malloc",
                   [python, "-s", HERE / "programs/json_and_regex.py", rounds], target, PYTHONMALLOC="malloc",
                   PYTHONHASHSEED="0")


def xmllint(input_folder, scale, target):
    xml = write_once(input_folder / f"catalogue.{scale}.xml", xml_lines(scaled(16 << 20, scale)))
    return program("xmllint", "xmllint, 16 MB", ["xmllint", "--noout", xml], target)


def cc1plus(target):
    return program("cc1plus", "cc1plus -O0, header-heavy", compiler_command(), target)


def start_and_end():
    made = program("true", "start and end of /bin/true", ["/bin/true"], None)
    made.may_keep_nothing = True
    return made


def preload_workloads(bin_folder, input_folder, scale):
    number = scaled(10_000_000, scale)
    live_blocks = scaled(5_000_000, scale)
    sql = write_once(input_folder / f"items.{scale}.sql", sql_lines(scaled(400_000, scale)))
    made = [
        Workload("pairs-8", "malloc+free pairs, depth 8, another of 256 call paths each time", pairs(bin_folder, 8, 1, number),
                 2.6),
        Workload("pairs-30", "the same at depth 30", pairs(bin_folder, 30, 1, number), 2.2),
        Workload("descent-8", "16 pairs per descent, depth 8", pairs(bin_folder, 8, 16, number), 2.3),
        Workload("descent-30", "16 pairs per descent, depth 30", pairs(bin_folder, 30, 16, number), 3.0),
        Workload("new-frames", "pairs, depth 32, another of 65,536 call paths each time",
                 pairs(bin_folder, 32, 1, number, 65536)),
        Workload("messages", "4 threads, frees on other threads", [bin_folder / "messages", scaled(2_000_000, scale)], 1.2),
        Workload("live", "5 million live blocks, then churn", [bin_folder / "live", live_blocks, live_blocks], 1.5),
        python_program(scaled(2000, scale), 1.20),
        program("sqlite3", "sqlite3 in memory", ["sqlite3", "-init", "/dev/null", ":memory:", f".read {sql}"], 1.10),
        xmllint(input_folder, scale, 1.25),
        cc1plus(1.20),
        start_and_end(),
    ]
    if (bin_folder / "opencv_loop").exists():
        made.insert(-2, program("opencv", "C++ OpenCV loop", [bin_folder / "opencv_loop", scaled(1000, scale)], 1.05))
    return made


def ebpf_workloads(bin_folder, input_folder, scale):
    number = scaled(300_000, scale)  # a pair costs two traps or more
    return [
        Workload("pairs-8", "malloc+free pairs, depth 8, another of 256 call paths each time", pairs(bin_folder, 8, 1, number),
                 target_ns=2500, target_of_floor=1.5),
        Workload("pairs-30", "the same at depth 30", pairs(bin_folder, 30, 1, number), target_of_floor=2),
        python_program(scaled(100, scale), 13),
        xmllint(input_folder, scale, 13),
        cc1plus(3),
    ]


WORKLOADS = {"preload": preload_workloads, "ebpf": ebpf_workloads}
TRUE_TARGET_MS = 5.0
SAMPLED_TARGET = 1.02  # any of the real programs
