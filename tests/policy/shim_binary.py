"""What the built shim promises to every program that it is loaded into.

It needs nothing but libc, it adds no name but the hooks, it calls no function of libc that could allocate, take a lock or
be one of its own hooks, and its thread-local variables never make the loader allocate.
"""

import re
import sys

import tree

MAY_NEED = {"libc.so.6", "ld-linux-x86-64.so.2"}
IMPORTS = tree.ROOT / "tests/policy/shim_imports.txt"
# Exported beside the functions of functions.def: they record no allocation, so that list does not have them.
ALSO_EXPORTED = {
    "dlclose": "other code may lie at the same addresses from then on",
    **dict.fromkeys(("getrlimit", "getrlimit64", "setrlimit", "setrlimit64", "prlimit", "prlimit64"),
                    "the table counts in a limit of the address space"),
    "mlockall": "locked memory is filled, and the table is large",
    **dict.fromkeys(("execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "posix_spawn", "posix_spawnp"),
                    "a program that the shim cannot follow into is told of"),
    "mprotect": "reserved address space becomes memory, or stops being it",
}

shim = sys.argv[1]


def hooks():
    return (set(re.findall(r"^UF_(?:ALLOCATES|FREES)\(\w+, (\w+), \w+\)", tree.text("preload/contract/functions.def"), re.M))
            | set(re.findall(r"^UF_MAKES_MAT\(\w+, (\w+)\)", tree.text("preload/contract/mats.def"), re.M)))


def allowed_imports():
    """symbol -> why it may be called; one `symbol: why` a line."""
    lines = [line for line in IMPORTS.read_text().splitlines() if line and not line.startswith("#")]
    return dict(re.split(r":\s+", line, maxsplit=1) for line in lines)


def dynamic_symbols():
    """(defined, undefined) names; what is local is neither, and what is weak and undefined the start files want."""
    defined, undefined = set(), set()
    for line in tree.run("readelf", "-W", "--dyn-syms", shim).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit() or fields[4] == "LOCAL":
            continue
        name = fields[7].split("@")[0]
        if fields[6] != "UND":
            defined.add(name)
        elif fields[4] != "WEAK":
            undefined.add(name)
    return defined, undefined


broken = []
needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", tree.run("readelf", "-W", "-d", shim)))
broken += [f"needs {library}" for library in sorted(needed - MAY_NEED)]

defined, undefined = dynamic_symbols()
expected = hooks() | set(ALSO_EXPORTED)
broken += [f"exports {name}, which is no hook" for name in sorted(defined - expected)]
broken += [f"does not export the hook {name}" for name in sorted(expected - defined)]

allowed = allowed_imports()  # a compiler may do without some of them
broken += [f"calls {name}, which {IMPORTS.name} does not allow" for name in sorted(undefined - set(allowed))]

relocations = tree.run("readelf", "-W", "-r", shim)
broken += [f"dynamic thread-local storage: {kind}"
           for kind in ("R_X86_64_DTPMOD64", "R_X86_64_TLSDESC") if kind in relocations]

tree.conclude("the shim's promises", broken, len(defined) + len(undefined))
