#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode the golden vectors with a project's own descriptors and compare.

  golden_check.py --golden golden/NAME --descriptor-set x.pb [--map FROM=TO]
  golden_check.py --golden golden/NAME --contract contracts/NAME.json   (table's own descriptors)

Per vector: the message parses (or fails to, where the index says so), its JSON
equals NAME.json, and serializing again gives the same bytes ("canonical") or at
least the same message. JSON keys the descriptors do not declare are tolerated
only where those fields came back as unknown fields. Needs only python `protobuf`
(4.25 or newer).
Last line "N vectors, M failures"; exit 0/1.
"""
from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import sys

from google.protobuf import descriptor_pb2 as dpb
from google.protobuf import descriptor_pool, json_format, message, message_factory

json_format._WKTJSONMETHODS.pop("google.protobuf.Any", None)      # {type_url, value}, as the vectors have it


def same(want, have, path=""):
    """Differences of two JSON values; keys missing from `have` are returned apart."""
    bad, gone = [], []
    if isinstance(want, dict) and isinstance(have, dict):
        for k in want:
            if k in have:
                b, g = same(want[k], have[k], f"{path}.{k}")
                bad += b
                gone += g
            else:
                gone.append(f"{path}.{k}")
        bad += [f"{path}.{k}: not in the vector" for k in have if k not in want]
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        for i, (w, h) in enumerate(zip(want, have)):
            b, g = same(w, h, f"{path}[{i}]")
            bad += b
            gone += g
    elif want != have:
        bad.append(f"{path}: {have!r}, vector has {want!r}")
    return bad, gone


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--golden", required=True)
    ap.add_argument("--descriptor-set", action="append", default=[])
    ap.add_argument("--contract")
    ap.add_argument("--map", action="append", default=[], metavar="FROM=TO")
    a = ap.parse_args(argv)
    maps = sorted((m.partition("=")[::2] for m in a.map), key=lambda x: -len(x[0]))

    def mapped(full):
        for frm, to in maps:
            if full == frm or full.startswith(frm + "."):
                return to + full[len(frm):]
        return full
    fds = dpb.FileDescriptorSet()
    for p in a.descriptor_set:
        fds.MergeFromString(pathlib.Path(p).read_bytes())
    if a.contract:
        import contract_to_set
        fds.MergeFrom(contract_to_set.build(json.loads(pathlib.Path(a.contract).read_text()), maps))
    pool = descriptor_pool.DescriptorPool()
    get_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    todo = {f.name: f for f in fds.file}
    done = set()

    def add(n):
        if n.startswith("google/protobuf/") and n not in todo:        # a set made without --include_imports
            mod = importlib.import_module(n[:-len(".proto")].replace("/", ".") + "_pb2")
            todo[n] = dpb.FileDescriptorProto.FromString(mod.DESCRIPTOR.serialized_pb)
        if n in todo and n not in done:
            done.add(n)
            for d in todo[n].dependency:
                add(d)
            pool.Add(todo[n])
    for n in list(todo):
        add(n)
    root = pathlib.Path(a.golden)
    index = json.loads((root / "index.json").read_text())
    failures, n = 0, 0
    for v in index["vectors"]:
        n += 1
        errs = []
        data = (root / f"{v['name']}.bin").read_bytes()
        if len(data) != v["bytes"]:
            errs.append(f"file has {len(data)} bytes, index says {v['bytes']}")
        try:
            cls = get_class(pool.FindMessageTypeByName(mapped(v["message"])))
        except KeyError:
            print(f"{v['name']}: no message {mapped(v['message'])}")
            failures += 1
            continue
        m = cls()
        try:
            m.ParseFromString(data)
            parsed = True
        except (message.DecodeError, UnicodeDecodeError, ValueError) as e:
            parsed, why = False, str(e)
        if v.get("expect", {}).get("parse") == "error":
            if parsed:
                errs.append("parsed, but must not")
        elif not parsed:
            errs.append(f"does not parse: {why}")
        else:
            have = json.loads(json_format.MessageToJson(m, preserving_proto_field_name=True))
            bad, gone = same(json.loads((root / f"{v['name']}.json").read_text()), have)
            errs += bad
            again = m.SerializeToString(deterministic=True)
            if gone:
                if len(again) != len(data):
                    errs.append(f"fields lost: {', '.join(gone)}")
            elif v.get("canonical", True) and again != data:
                errs.append("serializes to other bytes")
            back = cls()
            back.ParseFromString(again)
            if back != m and "nan" not in (root / f"{v['name']}.json").read_text().lower():
                errs.append("does not round-trip")
        for e in errs:
            print(f"{v['name']}: {e}")
        failures += bool(errs)
    print(f"{n} vectors, {failures} failures")
    return 1 if failures or not n else 0


if __name__ == "__main__":
    sys.exit(main())
