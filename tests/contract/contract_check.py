#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that a project's protos are wire-compatible with a contract fact table.

  protoc --include_imports -I proto -o x.pb proto/a.proto proto/b.proto
  contract_check.py --descriptor-set x.pb --contract tables/NAME.json

Compared, starting from every method of every contract service and from the
table's extra roots:
  service full name, method name, streaming kinds; per message reached (paired
  structurally through input/output and field types): field number, name, type,
  label, presence, packedness, map key/value, oneof grouping; per enum: numbers,
  names, open/closed. A declared field the contract left out ("omitted") must
  agree with what the table says about it; a field the contract does not know,
  or has reserved, is a mismatch.

  --map FROM=TO          package (or name) prefix in the contract -> prefix in the
                         project. Longest prefix wins. It only matters for services
                         and roots: everything else pairs structurally.
  --service-map FROM=TO  the same for one service, before --map. Where a service has
                         another name, the project sends the contract's path from
                         code. Descriptors cannot show that path, so give
                         --path-source as well.
  --path-source FILE     text (a header, say) that must hold every method path of
                         the contract as a string literal, quotes included.
  --no-paths             with services of other names: accept unchecked paths.
  --method GLOB          only these methods (by name); repeatable.
  --allow-missing GLOB   contract items the project may leave out: "pkg.Msg.field",
                         "pkg.Msg", "ENUM.VALUE" or "/pkg.Service/Method".
  --allow-extra GLOB     project items the contract does not know, in the
                         contract's spelling: "pkg.Msg.number" or a method path.
  --rename ITEM=NAME     "pkg.Msg.field=name": the project calls this field so (a name that
                         cannot be used in C++, say "descriptor"; only JSON notices).
  --ignore-names         names are free (only numbers are on the wire).

One line per mismatch; last line "N fields compared, M mismatches".
Exit 0: none, 1: some (a missing service included), 2: unusable arguments.
Needs only python `protobuf`.
"""
from __future__ import annotations

import argparse
import fnmatch
import json
import pathlib
import sys

from google.protobuf import descriptor_pb2 as dpb

F = dpb.FieldDescriptorProto
TYPE = {v.number: v.name[len("TYPE_"):].lower() for v in F.DESCRIPTOR.enum_types_by_name["Type"].values}
LABEL = {F.LABEL_OPTIONAL: "singular", F.LABEL_REPEATED: "repeated", F.LABEL_REQUIRED: "required"}
UNPACKABLE = {"string", "bytes", "message", "group"}
WKT = "google.protobuf."


class Project:
    """A FileDescriptorSet by full name (no descriptor pool: duplicates are shown, not fatal)."""

    def __init__(self, fds):
        self.msg, self.enum, self.svc, self.dup = {}, {}, {}, []
        for fd in fds.file:
            pre = fd.package + "." if fd.package else ""
            for m in fd.message_type:
                self._msg(pre, m, fd, [])
            for e in fd.enum_type:
                self._put(self.enum, pre + e.name, (e, fd))
            for s in fd.service:
                self._put(self.svc, pre + s.name, (s, fd))

    def _put(self, d, name, v):
        if name in d:
            self.dup.append(f"{name}: defined in {d[name][1].name} and in {v[1].name}")
        d[name] = v

    def _msg(self, pre, m, fd, outer):
        full = pre + m.name
        self._put(self.msg, full, (m, fd, outer))
        for n in m.nested_type:
            self._msg(full + ".", n, fd, outer + [m])
        for e in m.enum_type:
            self._put(self.enum, full + "." + e.name, (e, fd))


def feature(chain, name, default):
    for d in chain:
        if d.HasField("options") and "features" in d.options.DESCRIPTOR.fields_by_name \
                and d.options.HasField("features") and d.options.features.HasField(name):
            return getattr(d.options.features, name)
    return default


def facts(fd, outer, msg, f):
    """Effective (type, label, presence, packed) of a project field."""
    ftype, label = TYPE[f.type], LABEL[f.label]
    rep = label == "repeated"
    packable = rep and ftype not in UNPACKABLE
    oneof = f.HasField("oneof_index")
    syntax = fd.syntax or "proto2"
    if syntax == "editions":
        fs = dpb.FeatureSet
        chain = [f, msg] + outer[::-1] + [fd]
        packed = feature(chain, "repeated_field_encoding", fs.PACKED) == fs.PACKED
        pres = feature(chain, "field_presence", fs.EXPLICIT)
        if ftype == "message" and feature(chain, "message_encoding", fs.LENGTH_PREFIXED) == fs.DELIMITED:
            ftype = "group"
        if pres == fs.LEGACY_REQUIRED:
            label, presence = "required", "required"
        else:
            presence = None if rep else ("explicit" if pres == fs.EXPLICIT or oneof
                                         or ftype in ("message", "group") else "implicit")
        return ftype, label, presence, packed if packable else None
    if rep:
        presence = None
    elif label == "required":
        presence = "required"
    elif syntax == "proto2" or f.proto3_optional or oneof or ftype in ("message", "group"):
        presence = "explicit"
    else:
        presence = "implicit"
    packed = None
    if packable:
        packed = f.options.packed if f.options.HasField("packed") else syntax == "proto3"
    return ftype, label, presence, packed


class Checker:
    def __init__(self, contract, proj, a):
        self.c, self.p, self.a = contract, proj, a
        self.cmsg = {m["full_name"]: m for m in contract["messages"]}
        self.cenum = {e["full_name"]: e for e in contract["enums"]}
        self.bad, self.notes = [], []
        self.compared = self.undefined = 0
        self.seen = set()
        self.maps = sorted((m.partition("=")[::2] for m in a.map), key=lambda x: -len(x[0]))
        self.renames = dict(r.partition("=")[::2] for r in a.rename)
        self.smaps = dict(m.partition("=")[::2] for m in a.service_map)

    def mis(self, text):
        self.bad.append(text)

    def may_miss(self, item):
        return any(fnmatch.fnmatchcase(item, g) for g in self.a.allow_missing)

    def may_extra(self, item):
        return any(fnmatch.fnmatchcase(item, g) for g in self.a.allow_extra)

    def fname(self, cname, name):
        return self.renames.get(f"{cname}.{name}", name)

    def mapped(self, full):
        for frm, to in self.maps:
            if full == frm:
                return to
            if full.startswith(frm + "."):
                return to + full[len(frm):]
        return full

    # ------------------------------------------------------------ services
    def services(self):
        texts = [pathlib.Path(p).read_text(encoding="utf-8", errors="replace") for p in self.a.path_source]
        for s in self.c["services"]:
            full = s["full_name"]
            want = self.smaps.get(full) or self.mapped(full)
            if want not in self.p.svc:
                self.mis(f"service {full}: not in the descriptor set"
                         + (f" (looked for {want})" if want != full else ""))
                continue
            have = {m.name: m for m in self.p.svc[want][0].method}
            if want != full and not texts and not self.a.no_paths:
                self.mis(f"service {full}: declared as {want}, so its paths come from code; "
                         f"give --path-source (or --no-paths)")
            known = set()
            for m in s["methods"]:
                known.add(m["name"])
                if self.a.method and not any(fnmatch.fnmatchcase(m["name"], g) for g in self.a.method):
                    continue
                path = m["path"]
                if m["name"] not in have:
                    if not self.may_miss(path):
                        self.mis(f"method {path}: missing")
                    continue
                pm = have[m["name"]]
                mine = f"/{want}/{pm.name}"
                if mine != path and not texts and not self.a.no_paths and want == full:
                    self.mis(f"method {path}: the project's path is {mine}")
                if texts and not any(f'"{path}"' in t for t in texts):
                    self.mis(f'method {path}: "{path}" is in none of the --path-source files')
                for k in ("client_streaming", "server_streaming"):
                    if bool(getattr(pm, k)) != m[k]:
                        self.mis(f"method {path}: {k} is {bool(getattr(pm, k))}, contract says {m[k]}")
                self.message(m["input"], pm.input_type.lstrip("."), f"{m['name']}.input")
                self.message(m["output"], pm.output_type.lstrip("."), f"{m['name']}.output")
            for extra in sorted(set(have) - known):
                if not self.may_extra(f"/{full}/{extra}"):
                    self.mis(f"method /{full}/{extra}: not in the contract")

    def roots(self):
        for r in self.c.get("roots", []):
            want = self.mapped(r)
            if r in self.cenum:
                self.enum(r, want, "root")
                continue
            if want not in self.p.msg:
                if not self.may_miss(r):
                    self.mis(f"message {r}: not in the descriptor set"
                             + (f" (looked for {want})" if want != r else ""))
                continue
            if want != r:
                self.notes.append(f"note: {r} is declared as {want}; inside google.protobuf.Any the type_url "
                                  f"must still say {r}, so match it by that string, not with Is<>/UnpackTo")
            self.message(r, want, "root")

    # ------------------------------------------------------------ messages
    def message(self, cname, pname, where):
        if (cname, pname) in self.seen:
            return
        self.seen.add((cname, pname))
        if cname.startswith(WKT) or pname.startswith(WKT):
            if cname != pname:
                self.mis(f"{where}: message {pname}, contract says {cname}")
            return
        if cname not in self.cmsg:
            self.mis(f"{where}: the table does not describe {cname}")
            return
        if pname not in self.p.msg:
            self.mis(f"{where}: message {pname} is not in the descriptor set (protoc --include_imports?)")
            return
        pm, fd, outer = self.p.msg[pname]
        label = cname if cname == pname else f"{cname} (as {pname})"
        cm = self.cmsg[cname]
        mine = {f.number: f for f in pm.field}
        by_name = {f.name: f for f in pm.field}
        known = set()
        for cf in cm["fields"]:
            n = cf["number"]
            if n is None:
                self.undefined += 1
                if cf["name"] not in by_name and not self.may_miss(f"{cname}.{cf['name']}"):
                    self.mis(f"{label}.{cf['name']}: missing (number undefined by the source)")
                elif cf["name"] in by_name:
                    known.add(by_name[cf["name"]].number)
                continue
            known.add(n)
            item = f"{cname}.{cf['name']}"
            if n not in mine:
                if self.may_miss(item):
                    continue
                other = by_name.get(cf["name"])
                self.mis(f"{label}.{cf['name']} = {n}: missing"
                         + (f" (a field of that name has number {other.number})" if other else ""))
                continue
            self.compared += 1
            self.field(label, cf, pm, fd, outer, mine[n], self.fname(cname, cf["name"]))
        for of in cm.get("omitted", []):
            known.add(of["number"])
            if of["number"] in mine:
                self.compared += 1
                self.omitted_field(label, of, pm, fd, outer, mine[of["number"]])
        for n in sorted(set(mine) - known):
            if self.may_extra(f"{cname}.{n}"):
                continue
            res = any(lo <= n <= hi for lo, hi in cm.get("reserved", []))
            self.mis(f"{label}.{mine[n].name} = {n}: " + ("reserved in the contract" if res else "not in the contract"))
        self.oneofs(label, cm, pm, mine)

    def field(self, label, cf, pm, fd, outer, pf, wanted):
        at = f"{label}.{cf['name']} = {cf['number']}"
        ftype, flabel, presence, packed = facts(fd, outer, pm, pf)
        if pf.name != wanted and not self.a.ignore_names:
            self.mis(f"{at}: named {pf.name}" + (f", not {wanted}" if wanted != cf["name"] else ""))
        ptype = pf.type_name.lstrip(".")
        entry = self.map_entry(ptype) if ftype == "message" and flabel == "repeated" else None
        if bool(entry) != bool(cf["map"]):
            self.mis(f"{at}: {'a map' if entry else 'not a map'}, contract says {'map' if cf['map'] else 'no map'}")
            return
        if entry:
            k = next(x for x in entry.field if x.number == 1)
            v = next(x for x in entry.field if x.number == 2)
            for part, f, want in (("key", k, cf["map"]["key"]), ("value", v, cf["map"]["value"])):
                if TYPE[f.type] != want:
                    self.mis(f"{at}: map {part} is {TYPE[f.type]}, contract says {want}")
            self.follow(TYPE[v.type], cf["map"]["value"], cf["map"]["value_type_name"], v.type_name.lstrip("."), at)
            return
        if ftype != cf["type"]:
            self.mis(f"{at}: type {ftype}, contract says {cf['type']}")
        if flabel != cf["label"]:
            self.mis(f"{at}: {flabel}, contract says {cf['label']}")
        elif cf.get("presence") == "explicit" and presence == "implicit":
            self.mis(f"{at}: no presence, contract has it (a zero could not be sent)")
        if packed != cf["packed"] and flabel == cf["label"] and ftype == cf["type"]:
            self.mis(f"{at}: packed={packed}, contract says packed={cf['packed']}")
        self.follow(ftype, cf["type"], cf["type_name"], ptype, at)

    def follow(self, ftype, ctype, ctname, ptname, at):
        if ftype != ctype:
            return
        if ftype in ("message", "group"):
            self.message(ctname, ptname, at)
        elif ftype == "enum":
            self.enum(ctname, ptname, at)

    def omitted_field(self, label, of, pm, fd, outer, pf):
        at = f"{label}.{of['name']} = {of['number']} (outside the table's subset)"
        ftype, flabel, _, _ = facts(fd, outer, pm, pf)
        if pf.name != of["name"] and not self.a.ignore_names:
            self.mis(f"{at}: named {pf.name}")
        if (ftype, flabel) != (of["type"], of["label"]):
            self.mis(f"{at}: {flabel} {ftype}, contract says {of['label']} {of['type']}")

    def map_entry(self, full):
        m = self.p.msg.get(full)
        return m[0] if m and m[0].options.map_entry else None

    def oneofs(self, label, cm, pm, mine):
        """Fields both sides declare must be grouped alike (a group of one is free)."""
        def group(key):
            g = {}
            for n, o in key.items():
                if o is not None:
                    g.setdefault(o, set()).add(n)
            return {n: frozenset(s) for s in g.values() if len(s) > 1 for n in s}
        rows = [f for f in cm["fields"] + cm.get("omitted", []) if f["number"] in mine]
        want = group({f["number"]: f.get("oneof") for f in rows})
        have = group({f["number"]: (mine[f["number"]].oneof_index
                                    if mine[f["number"]].HasField("oneof_index")
                                    and not mine[f["number"]].proto3_optional else None) for f in rows})
        for f in rows:
            if want.get(f["number"]) != have.get(f["number"]):
                def show(s):
                    return "oneof {" + ",".join(map(str, sorted(s))) + "}" if s else "no oneof"
                self.mis(f"{label}.{f['name']} = {f['number']}: {show(have.get(f['number']))}, "
                         f"contract says {show(want.get(f['number']))}")

    def enum(self, cname, pname, where):
        if (cname, pname) in self.seen:
            return
        self.seen.add((cname, pname))
        if cname.startswith(WKT) or pname.startswith(WKT):
            if cname != pname:
                self.mis(f"{where}: enum {pname}, contract says {cname}")
            return
        if cname not in self.cenum:
            self.mis(f"{where}: the table does not describe enum {cname}")
            return
        if pname not in self.p.enum:
            self.mis(f"{where}: enum {pname} is not in the descriptor set")
            return
        e, fd = self.p.enum[pname]
        label = cname if cname == pname else f"{cname} (as {pname})"
        ce = self.cenum[cname]
        have, want = {}, {}
        for v in e.value:
            have.setdefault(v.number, set()).add(v.name)
        for v in ce["values"]:
            want.setdefault(v["number"], set()).add(v["name"])
        for n in sorted(want):
            name = sorted(want[n])[0]
            if n not in have:
                if not self.may_miss(f"{cname}.{name}"):
                    self.mis(f"enum {label}: value {n} ({name}) missing")
            elif not self.a.ignore_names and not (have[n] & want[n]):
                self.mis(f"enum {label}: value {n} is {sorted(have[n])[0]}, contract says {name}")
        for n in sorted(set(have) - set(want)):
            if not self.may_extra(f"{cname}.{n}"):
                self.mis(f"enum {label}: value {n} ({sorted(have[n])[0]}) not in the contract")
        syntax = fd.syntax or "proto2"
        if syntax == "editions":
            closed = feature([e, fd], "enum_type", dpb.FeatureSet.OPEN) == dpb.FeatureSet.CLOSED
        else:
            closed = syntax == "proto2"
        if closed and not ce.get("closed"):
            self.mis(f"enum {label}: closed, contract says open (an unknown value would be dropped)")

    def run(self):
        for s in set(self.smaps) - {s["full_name"] for s in self.c["services"]}:
            self.mis(f"--service-map {s}: the contract has no such service")
        self.services()
        self.roots()
        if self.compared + self.undefined == 0 and not self.bad:
            self.mis("nothing was compared")
        return self.bad


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--descriptor-set", action="append", required=True)
    ap.add_argument("--contract", required=True)
    ap.add_argument("--map", action="append", default=[], metavar="FROM=TO")
    ap.add_argument("--service-map", action="append", default=[], metavar="FROM=TO")
    ap.add_argument("--path-source", action="append", default=[])
    ap.add_argument("--no-paths", action="store_true")
    ap.add_argument("--method", action="append", default=[])
    ap.add_argument("--allow-missing", action="append", default=[], metavar="GLOB")
    ap.add_argument("--allow-extra", action="append", default=[], metavar="GLOB")
    ap.add_argument("--rename", action="append", default=[], metavar="MSG.FIELD=NAME")
    ap.add_argument("--ignore-names", action="store_true")
    a = ap.parse_args(argv)
    for opt in a.map + a.service_map + a.rename:
        if "=" not in opt:
            ap.error(f"{opt}: expected FROM=TO")
    try:
        contract = json.loads(pathlib.Path(a.contract).read_text(encoding="utf-8"))
        fds, clash = dpb.FileDescriptorSet(), []
        for p in a.descriptor_set:
            for fd in dpb.FileDescriptorSet.FromString(pathlib.Path(p).read_bytes()).file:
                fd.ClearField("source_code_info")
                old = next((x for x in fds.file if x.name == fd.name), None)
                if old is None:
                    fds.file.append(fd)
                elif old != fd:
                    clash.append(fd.name)
        for p in a.path_source:
            pathlib.Path(p).read_bytes()
    except Exception as e:                                        # unreadable input is not a mismatch
        print(f"contract_check: {e}", file=sys.stderr)
        return 2
    if contract.get("schema") != 1:
        print("contract_check: this reads tables of schema 1", file=sys.stderr)
        return 2
    proj = Project(fds)
    ck = Checker(contract, proj, a)
    for n in clash:
        ck.mis(f"file {n}: differs between the descriptor sets")
    for d in proj.dup:
        ck.mis(f"duplicate symbol {d}")
    ck.run()
    for line in ck.notes + ck.bad:
        print(line)
    if ck.undefined:
        print(f"{ck.undefined} fields undefined by the contract's source, not compared")
    print(f"{ck.compared} fields compared, {len(ck.bad)} mismatches")
    return 1 if ck.bad else 0


if __name__ == "__main__":
    sys.exit(main())
