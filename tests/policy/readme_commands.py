"""README.md and --help name the same options, and README.md names no verb that is not there."""

import re
import subprocess
import sys

import tree

unfreed = sys.argv[1]
VERBS = ("run", "attach", "report", "diff", "check", "rss")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[a-z])(?![\w-])")
ANYWHERE = {"-h", "--help", "--version", "--"}


def help_of(verb):
    done = subprocess.run([unfreed, verb, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


readme = tree.text("README.md")
helps = {verb: text for verb in VERBS if (text := help_of(verb))}
broken = []

# Commands shown, on lines of code or in `spans`: the verb exists, and so does each option before the traced command.
shown = re.findall(r"(?:^(?:    |\$ )|`)(unfreed|\./dev) ([a-z]+)([^`\n]*)", readme, re.M)
dev_verbs = {verb.strip() for group in re.findall(r"^    ([a-z |]+)\)", tree.text("dev"), re.M) for verb in group.split("|")}
for command, verb, arguments in shown:
    if verb not in helps and not (command == "./dev" and verb in dev_verbs):
        broken.append(f"README.md: {command} {verb}: no such verb")
    elif verb in helps:
        broken += [f"README.md: {verb} {option}: not in unfreed {verb} --help"
                   for option in OPTION.findall(arguments.split(" -- ")[0])
                   if option not in ANYWHERE and option not in OPTION.findall(helps[verb])]

# Every option that --help has is explained.
explained = set(OPTION.findall(readme))
for verb, text in helps.items():
    for option in sorted(set(OPTION.findall(text)) - ANYWHERE):
        if option not in explained:
            broken.append(f"unfreed {verb} --help: {option}: not in README.md")

tree.conclude("README and --help", broken, len(shown) if helps else 0)
