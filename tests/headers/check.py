#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the headers as text: macros begin with INFERWIRE_, nobody's min and max are met, and includes point to rooms below.

usage: check.py INCLUDE_DIR DOCS_DIR
"""
import pathlib
import re
import sys

# What doors declare, defined: they include it at their foot, in the form that is not compiled.
IMPL = "detail/impl/"
FOOT = re.compile(r'#if !defined\(INFERWIRE_SEPARATE_COMPILATION\)\n(?:#include "inferwire/detail/impl/[^\n]*\n)+#endif\n')

# What a call needs to be compiled, in the compiled form, has nothing to do with the machinery, but for its door.
DOORS = ["client.h", "inference.h", "admin.h", "batcher.h", "response_stream.h", "request_stream.h", "session.h", "task.h", "future.h", "start.h"]
MACHINERY = re.compile(r"detail/(?:engine/(?!door\.h|gate\.h)|channel/|policy/|batch/|impl/|model/known_models)")

# The rule that tells a path's reader whether he may include it: what lies in detail/ is not for users. docs/headers.md has all the rest.
PRIVATE = re.compile(r"detail/")

# From the ground up. A header may include those of lower floors and of its own room (folder).
FLOORS = [
    ["version.h", "detail/base/"],
    ["executor.h"],
    ["clock.h", "error_details.h", "rpc.h", "stats.h", "task.h", "tensor.h"],
    ["status.h"],
    ["detail/async/", "embedding_types.h", "generation_types.h", "infer_input.h"],
    ["admin_types.h", "bearer_token.h", "credentials.h", "future.h", "infer_request.h", "infer_result.h", "model_metadata.h", "observe/",
     "detail/wire/"],
    ["detail/async/tell_info.h", "options/"],
    ["detail/policy/"],
    ["batcher_options.h", "detail/model/request_check.h"],
    ["detail/batch/rows.h", "dlpack.h", "eigen.h", "npy.h", "sender.h", "shared_memory.h", "signature.h", "start.h", "torch.h"],
    ["detail/channel/", "eigen_tensor.h"],
    ["call_options.h"],
    ["client_options.h"],
    ["detail/engine/"],
    ["contract/contract.h", "contract/generation_chunk.h", "contract/generation_contract.h"],
    ["detail/contract/", "detail/generation/"],
    ["contract/"],
    ["detail/batch/", "detail/model/", "readiness.h", "response_stream.h"],
    ["asio.h", "request_stream.h"],
    ["session.h"],
    ["client.h"],
    ["embedding.h", "model.h"],
    ["batcher.h", "generation.h", "sequence.h"],
    ["inference.h"],
    ["admin.h", "contract/open_engine.h", "contract/open_inference.h", "contract/open_inference_text.h", "contract/sglang.h", "contract/sglang_scheduler.h",
     "contract/simple.h", "contract/tei.h", "contract/tensorrt_llm.h", "contract/vllm.h", "contract/vllm_engine.h", "contract/xai.h", "typed_model.h"],
    ["contracts.h"],
    ["detail/testing/"],
    ["inferwire.h", "testing/"],
    [IMPL],
    ["contract/open_inference_src.h", "src.h"],
]


def floor_of(path):
    if path.startswith(IMPL):
        return len(FLOORS) - 2
    for named in (lambda room: path == room, lambda room: room.endswith("/") and path.startswith(room)):
        for floor, rooms in enumerate(FLOORS):
            if any(named(room) for room in rooms):
                return floor
    return None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1]) / "inferwire"
    wrong = []
    includes = {}
    headers = sorted(root.rglob("*.h"))
    for header in headers:
        path = header.relative_to(root).as_posix()
        text = header.read_text()
        if floor_of(path) is None:
            wrong.append(f"{path}: belongs to no room")
            continue
        guard = "INFERWIRE_" + re.sub(r"[^A-Z0-9]", "_", path.upper()) + "_"
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            wrong.append(f"{path}: expected the include guard {guard}")
        defined = re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", text, re.M)
        undefined = re.findall(r"^[ \t]*#[ \t]*undef[ \t]+(\w+)", text, re.M)
        for macro in defined:
            if not macro.startswith("INFERWIRE_") and macro not in undefined:
                wrong.append(f"{path}: leaks the macro {macro}")
        for call in re.findall(r"(?<!\()\b(?:std::|numeric_limits<[^>]*>::)(?:min|max)\(", text):
            wrong.append(f"{path}: {call} is taken for the macro of <windows.h>; expected ({call[:-1]})(")
        text = FOOT.sub("", text)
        includes[path] = re.findall(r'#include "inferwire/([^"]+\.h)"', text)
        for included in includes[path]:
            if included.endswith(".pb.h"):
                if not path.startswith(("contract/", "detail/contract/", IMPL + "open_inference_")):
                    wrong.append(f"{path}: includes generated code ({included}), which is a contract's")
                continue
            same_room = "/" in path and path.rsplit("/", 1)[0] == included.rsplit("/", 1)[0]
            if not same_room and not (floor_of(included) is not None and floor_of(included) < floor_of(path)):
                wrong.append(f"{path}: includes {included}, which is not below it")
    for door in DOORS:
        ways, next_ = {door: door}, [door]
        while next_:
            at = next_.pop()
            for included in includes.get(at, []):
                if included not in ways:
                    ways[included] = f"{ways[at]} > {included}"
                    next_.append(included)
        wrong += [f"{ways[reached]}: a door that pulls in machinery" for reached in sorted(ways) if MACHINERY.match(reached)]
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*\]\(([^)]+)\) \|$", pathlib.Path(sys.argv[2], "headers.md").read_text(), re.M))
    public = {path for path in includes if not PRIVATE.match(path)}
    wrong += [f"{path}: docs/headers.md does not name it" for path in sorted(public - listed.keys())]
    wrong += [f"{path}: docs/headers.md names it, but it is private, or not there" for path in sorted(listed.keys() - public)]
    wrong += [f"docs/headers.md: {page} is not there" for page in sorted(set(listed.values())) if not pathlib.Path(sys.argv[2], page).is_file()]
    print("\n".join(wrong) or f"{len(headers)} headers are in order")
    sys.exit(1 if wrong else 0)


main()
