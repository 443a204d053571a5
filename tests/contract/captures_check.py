#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read what real servers were sent and answered with a project's own descriptors.

  captures_check.py --captures captures/NAME.json --descriptor-set x.pb [--map FROM=TO]

Per request and response: its bytes parse with no field unknown, mean what the capture's JSON says, and serialise again
to as many bytes of the same meaning, which are the very same unless the entries of a map were in another order.
  --map FROM=TO           a package in the capture -> one in the descriptors
  --allow-unknown FIELD   "pkg.Msg.number" in the descriptors' spelling: servers send it, and nobody knows what it is
Needs only python `protobuf`. Last line "N messages of M calls, K of them byte for byte, F failures"; exit 0/1.
"""
import argparse
import json
import pathlib
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

try:
    from google.protobuf.unknown_fields import UnknownFieldSet as unknown_of
except ImportError:  # before 4.22 or so

    def unknown_of(read):
        return read.UnknownFields()


def unknown(read):
    """The fields in it and in its parts that nothing is declared of, as pkg.Msg.number."""
    found = [f"{read.DESCRIPTOR.full_name}.{field.field_number}" for field in unknown_of(read)]
    for field, value in read.ListFields():
        if not field.message_type:
            continue
        parts = [value]
        if field.label == field.LABEL_REPEATED:
            parts = value.values() if field.message_type.GetOptions().map_entry else value
        for part in parts:
            found += unknown(part) if isinstance(part, message.Message) else []
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", required=True)
    parser.add_argument("--descriptor-set", required=True)
    parser.add_argument("--map", action="append", default=[], metavar="FROM=TO")
    parser.add_argument("--allow-unknown", action="append", default=[], metavar="FIELD")
    arguments = parser.parse_args()
    maps = sorted((m.partition("=")[::2] for m in arguments.map), key=lambda m: -len(m[0]))

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(arguments.descriptor_set).read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    get_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype

    def method_of(path):
        service, name = path.strip("/").split("/")
        ours = next((to + service[len(of):] for of, to in maps if service.startswith(of + ".")), service)
        return pool.FindServiceByName(ours).methods_by_name[name]

    def faults(type_, raw, meaning):
        """(what is wrong with it, whether it comes out byte for byte)"""
        read = get_class(type_)()
        try:
            read.ParseFromString(raw)
        except (message.DecodeError, ValueError) as error:
            return [f"does not parse: {error}"], False
        wrong = [f"{field} is unknown" for field in unknown(read) if field not in arguments.allow_unknown]
        known = get_class(type_)()
        known.CopyFrom(read)
        known.DiscardUnknownFields()
        try:
            if json_format.ParseDict(meaning, get_class(type_)()) != known:
                wrong.append("means something else than its JSON")
        except json_format.ParseError as error:
            wrong.append(f"its JSON: {error}")
        again = read.SerializeToString()
        back = get_class(type_)()
        back.ParseFromString(again)
        if len(again) != len(raw) or back != read:
            wrong.append("serialises to something else")
        return wrong, again == raw

    calls = json.loads(pathlib.Path(arguments.captures).read_text(encoding="utf-8"))["calls"]
    messages = exact = failures = 0
    for call in calls:
        method = method_of(call["path"])
        rows = [("request", method.input_type, call["request_hex"], call["request"])]
        rows += [(f"message {i}", method.output_type, m["hex"], m["json"]) for i, m in enumerate(call["messages"])]
        for what, type_, raw, meaning in rows:
            wrong, same = faults(type_, bytes.fromhex(raw), meaning)
            for text in wrong:
                print(f"{call['name']}, {what}: {text}")
            messages += 1
            exact += same
            failures += bool(wrong)
    print(f"{messages} messages of {len(calls)} calls, {exact} of them byte for byte, {failures} failures")
    return 1 if failures or not messages else 0


if __name__ == "__main__":
    sys.exit(main())
