"""A contract header is a C subset that needs nothing before it: it compiles alone, as C and as C++."""

import subprocess
import sys

import tree

c_compiler, cpp_compiler = sys.argv[1:]
broken = []
headers = [path for path in tree.files(".h") if str(path).startswith(("preload/contract/", "bpf/contract"))]
for header in headers:
    for compiler, language, standard in ((c_compiler, "c", "c11"), (cpp_compiler, "c++", "c++20")):
        compiled = subprocess.run(
            [compiler, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tree.ROOT}", "-"],
            input=f'#include "{header}"\n', capture_output=True, text=True)
        if compiled.returncode != 0:
            broken.append(f"{header}: not {standard} on its own:\n{compiled.stderr}")
tree.conclude("contract headers stand alone", broken, len(headers))
