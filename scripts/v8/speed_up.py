"""Makes V8's build several times quicker without changing the library that comes out.

speed_up.py rules OUT          rewrites rules in ninja files of the configured folder OUT
speed_up.py headers OUT PCH    precompiles headers for the largest targets into the folder PCH
"""

import glob
import os
import re
import subprocess
import sys

# Their code runs once, inside mksnapshot while building: optimising it costs more than it saves.
BUILD_TIME_ONLY = ("v8_initializers", "torque_generated_initializers")

# What nearly every file of a target includes, found by trying.
COMMON_HEADERS = {
    "v8_base_without_compiler": (
        "api/api-inl.h",
        "execution/isolate-inl.h",
        "execution/frames-inl.h",
        "heap/heap-inl.h",
        "heap/factory-inl.h",
        "objects/objects-inl.h",
        "objects/js-objects-inl.h",
        "objects/map-inl.h",
        "objects/hash-table-inl.h",
        "objects/string-inl.h",
    ),
    "v8_compiler": (
        "compiler/js-heap-broker-inl.h",
        "compiler/turboshaft/assembler.h",
        "compiler/turboshaft/phase.h",
        "compiler/turboshaft/copying-phase.h",
        "compiler/js-graph.h",
        "compiler/node-properties.h",
        "compiler/access-builder.h",
        "objects/objects-inl.h",
    ),
}


def rewrite(path, change):
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(change(text))


def copy_compiler_objects(text):
    """mksnapshot's copy of the compiler has the same flags: copies its objects instead of compiling twice."""
    own, twin = "v8_compiler_for_mksnapshot_source_set", "v8_compiler"
    lines = ["rule copy_object", "  command = cp -f $in $out", ""]
    in_replaced_rule = False
    for line in text.split("\n"):
        object_file = re.match(rf"build obj/v8/{own}/(\S+)\.o: cxx", line)
        if object_file:
            lines.append(f"build obj/v8/{own}/{object_file[1]}.o: copy_object obj/v8/{twin}/{object_file[1]}.o")
            in_replaced_rule = True
        elif not (in_replaced_rule and line.startswith("  ")):
            in_replaced_rule = False
            lines.append(line)
    return "\n".join(lines)


def rules(out):
    for target in BUILD_TIME_ONLY:
        rewrite(f"{out}/obj/v8/{target}.ninja", lambda text: re.sub(r" -O[23]\b", " -O0", text))
    rewrite(f"{out}/obj/v8/v8_compiler_for_mksnapshot_source_set.ninja", copy_compiler_objects)


def header_texts(out):
    texts = {t: "".join(f'#include "src/{h}"\n' for h in headers) for t, headers in COMMON_HEADERS.items()}
    # The generated files include much the same as each other: one of them names it.
    sample = glob.glob(f"{out}/gen/**/array-foreach-tq-csa.cc", recursive=True)
    if sample:
        with open(sample[0]) as file:
            text = "".join(line for line in file if line.startswith('#include "src/'))
        texts.update({target: text for target in BUILD_TIME_ONLY})
    return texts


def headers(out, pch):
    commands = subprocess.run(
        ["ninja", "-C", out, "-t", "commands", "rusty_v8"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for target, text in header_texts(out).items():
        command = next((c for c in commands if f" -o obj/v8/{target}/" in c and " -c " in c), None)
        if command is None:
            continue
        with open(f"{pch}/{target}.h", "w") as file:
            file.write(text)
        command = re.sub(r" -MD -MF \S+", "", command.strip())
        command = re.sub(
            r" -c \S+ -o \S+$",
            f" -x c++-header {pch}/{target}.h -fpch-instantiate-templates -o {pch}/{target}.new",
            command,
        )
        done = subprocess.run(command, shell=True, cwd=out, stderr=subprocess.DEVNULL).returncode == 0
        if done:
            os.rename(f"{pch}/{target}.new", f"{pch}/{target}.pch")
        print(f"  {target}: {'done' if done else 'does without'}", file=sys.stderr)


if sys.argv[1] == "rules":
    rules(sys.argv[2])
else:
    headers(sys.argv[2], sys.argv[3])
