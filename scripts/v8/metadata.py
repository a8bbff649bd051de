"""Answers from `cargo metadata` on standard input.

metadata.py folder CRATE            the folder of the crate's source
metadata.py requirement CRATE DEP   the version of DEP that CRATE asks for in its manifest
"""

import json
import os
import sys


def main():
    question, name, *rest = sys.argv[1:]
    package = next(p for p in json.load(sys.stdin)["packages"] if p["name"] == name)
    if question == "folder":
        print(os.path.dirname(package["manifest_path"]))
    else:
        print(next(d["req"] for d in package["dependencies"] if d["name"] == rest[0]))


main()
