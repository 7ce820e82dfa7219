"""One job per file: none is longer than 500 lines."""

import tree

LIMIT = 500

paths = tree.files(*tree.SOURCES, ".py", ".sh", ".js", ".go") + [path for path in tree.files() if path.name == "dev"]
broken = [f"{path}: {lines} lines, {LIMIT} at most" for path in paths
          if (lines := tree.text(path).count("\n")) > LIMIT]
tree.conclude("length of files", broken, len(paths))
