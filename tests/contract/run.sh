#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that our declaration of the Open Inference Protocol is the published one, number by number.
# usage: run.sh [PROTOC [PYTHON]]; exits 77 when Python has no protobuf.
set -euo pipefail

protoc=${1:-protoc}
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

if ! "$python" -c "import google.protobuf" 2>/dev/null; then
  echo "skipped: $python has no protobuf package (Debian: python3-protobuf)"
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$protoc" -I "$root/proto" --include_imports -o "$work/open_inference.pb" inferwire/contract/open_inference.proto
# The public paths are spelled in C++, where the tests of the calls see to them.
"$python" "$here/contract_check.py" --descriptor-set "$work/open_inference.pb" \
  --contract "$here/tables/triton_v2.json" \
  --service-map inference.GRPCInferenceService=inferwire.open_inference.GRPCInferenceService \
  --map inference=inferwire.open_inference --no-paths
