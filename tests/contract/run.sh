#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that our declarations of the Open Inference Protocol, one a dialect, are the published ones, number by number,
# and that recorded messages mean to them what they meant to those who wrote them.
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
set="$work/open_inference.pb"
(cd "$root/proto" && "$protoc" -I . --include_imports -o "$set" inferwire/contract/open_inference*.proto)

# The public paths are spelled in C++, where the tests of the dialects see to them.
check() {  # TABLE PUBLIC_PACKAGE PRIVATE_SERVICE ARGUMENT...
  echo "== $1"
  "$python" "$here/contract_check.py" --descriptor-set "$set" --contract "$here/tables/$1.json" --no-paths \
    --map "$2=inferwire.open_inference" --service-map "$2.GRPCInferenceService=$3.GRPCInferenceService" "${@:4}"
}
golden() {  # NAME ARGUMENT...
  "$python" "$here/golden_check.py" --descriptor-set "$set" --golden "$root/tests/data/golden/$1" "${@:2}"
}
# Kinds of parameters that not every server knows.
few=(--allow-extra inference.InferParameter.4 --allow-extra inference.InferParameter.5)

check triton_v2 inference inferwire.open_inference
golden triton_v2 --map inference=inferwire.open_inference

check oip_v2_kserve inference inferwire.open_inference.kserve "${few[@]}"
golden oip_v2_kserve --map inference=inferwire.open_inference \
  --map inference.RepositoryModelLoadRequest=inferwire.open_inference.kserve.RepositoryModelLoadRequest \
  --map inference.RepositoryModelLoadResponse=inferwire.open_inference.kserve.RepositoryModelLoadResponse

# MLServer's metadata has fields that others use otherwise, so that they are declared nowhere. Its second service offers
# three methods of the first again.
repository=inference.model_repository
check oip_v2_mlserver inference inferwire.open_inference.mlserver "${few[@]}" \
  --allow-missing inference.ModelMetadataResponse.parameters \
  --allow-missing inference.ModelMetadataResponse.TensorMetadata.parameters \
  --allow-extra "$repository.RepositoryModel*loadRequest.3" --allow-extra "$repository.RepositoryModelLoadRequest.3" \
  --service-map "$repository.ModelRepositoryService=inferwire.open_inference.mlserver.GRPCInferenceService" \
  --allow-extra "/$repository.ModelRepositoryService/*"
golden oip_v2_mlserver --map inference=inferwire.open_inference

# TorchServe has the unary part, under its own package.
torchserve=org.pytorch.serve.grpc.openinference
check torchserve_oip $torchserve inferwire.open_inference \
  --allow-extra $torchserve.InferParameter.4 --allow-extra $torchserve.InferParameter.5 \
  --allow-extra "/$torchserve.GRPCInferenceService/Model[CS]*" \
  --allow-extra "/$torchserve.GRPCInferenceService/*[RU]*" --allow-extra "/$torchserve.GRPCInferenceService/*Status" \
  --allow-extra "/$torchserve.GRPCInferenceService/*Setting*"
