"""json and regular expressions, as a log processor would use them: json_and_regex.py ROUNDS."""

import json
import re
import sys

WORD = re.compile(r"(?P<key>[a-z]+)=(?P<value>\d+)")


def document(turn):
    return {"id": turn, "name": f"item {turn}", "tags": [f"tag{turn * 7 % n}" for n in range(1, 12)],
            "nested": {str(n): {"value": n * turn, "text": "x" * (n % 17)} for n in range(20)}}


def main(rounds):
    total = 0
    for turn in range(rounds):
        text = json.dumps([document(turn * 10 + n) for n in range(10)])
        total += sum(item["id"] for item in json.loads(text))
        line = " ".join(f"{name}={turn * n}" for n, name in enumerate(("alpha", "beta", "gamma", "delta")))
        total += sum(int(match["value"]) for match in WORD.finditer(line * 20))
    print(total)


main(int(sys.argv[1]))
