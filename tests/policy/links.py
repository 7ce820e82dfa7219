"""Every relative link and picture in a Markdown file leads to a file of the tree, and every #anchor to a heading."""

import re

import tree

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|<img[^>]+src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page):
    """As the usual hosts make them: lower case, spaces to dashes, the rest dropped."""
    prose = CODE_BLOCK.sub("", tree.text(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose)}


broken = []
pages = tree.files(".md")
for page in pages:
    for match in LINK.finditer(CODE_BLOCK.sub("", tree.text(page))):
        link = match.group(1) or match.group(2)
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (tree.ROOT / page).parent / name if name else tree.ROOT / page
        if not target.exists():
            broken.append(f"{page}: {link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.resolve().relative_to(tree.ROOT)):
            broken.append(f"{page}: {link}: no such heading")
tree.conclude("links", broken, len(pages))
