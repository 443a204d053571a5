#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that our declarations of others' contracts, of the Open Inference Protocol one a dialect, are the published ones,
# number by number; that recorded messages mean to them what they meant to those who wrote them; and that they read all
# that real servers were sent and answered.
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
set="$work/contracts.pb"
(cd "$root/proto" && "$protoc" -I . --include_imports -o "$set" inferwire/contract/*.proto)

# The public paths are spelled in C++, where the tests of the contracts see to them.
check() {  # TABLE ARGUMENT...
  echo "== $1"
  "$python" "$here/contract_check.py" --descriptor-set "$set" --contract "$here/tables/$1.json" --no-paths "${@:2}"
}
golden() {  # NAME ARGUMENT...
  "$python" "$here/golden_check.py" --descriptor-set "$set" --golden "$root/tests/data/golden/$1" "${@:2}"
}
captures() {  # NAME ARGUMENT...
  "$python" "$here/captures_check.py" --descriptor-set "$set" --captures "$root/tests/data/captures/$1.json" "${@:2}"
}

# One dialect of the Open Inference Protocol.
dialect() {  # TABLE PUBLIC_PACKAGE PRIVATE_SERVICE ARGUMENT...
  check "$1" --map "$2=inferwire.open_inference" --service-map "$2.GRPCInferenceService=$3.GRPCInferenceService" "${@:4}"
}
# Kinds of parameters that not every server knows.
few=(--allow-extra inference.InferParameter.4 --allow-extra inference.InferParameter.5)

dialect triton_v2 inference inferwire.open_inference
golden triton_v2 --map inference=inferwire.open_inference

dialect oip_v2_kserve inference inferwire.open_inference.kserve "${few[@]}"
golden oip_v2_kserve --map inference=inferwire.open_inference \
  --map inference.RepositoryModelLoadRequest=inferwire.open_inference.kserve.RepositoryModelLoadRequest \
  --map inference.RepositoryModelLoadResponse=inferwire.open_inference.kserve.RepositoryModelLoadResponse

# MLServer's metadata has fields that others use otherwise, so that they are declared nowhere. Its second service offers
# three methods of the first again.
repository=inference.model_repository
dialect oip_v2_mlserver inference inferwire.open_inference.mlserver "${few[@]}" \
  --allow-missing inference.ModelMetadataResponse.parameters \
  --allow-missing inference.ModelMetadataResponse.TensorMetadata.parameters \
  --allow-extra "$repository.RepositoryModel*loadRequest.3" --allow-extra "$repository.RepositoryModelLoadRequest.3" \
  --service-map "$repository.ModelRepositoryService=inferwire.open_inference.mlserver.GRPCInferenceService" \
  --allow-extra "/$repository.ModelRepositoryService/*"
golden oip_v2_mlserver --map inference=inferwire.open_inference

# TorchServe has the unary part, under its own package.
torchserve=org.pytorch.serve.grpc.openinference
dialect torchserve_oip $torchserve inferwire.open_inference \
  --allow-extra $torchserve.InferParameter.4 --allow-extra $torchserve.InferParameter.5 \
  --allow-extra "/$torchserve.GRPCInferenceService/Model[CS]*" \
  --allow-extra "/$torchserve.GRPCInferenceService/*[RU]*" --allow-extra "/$torchserve.GRPCInferenceService/*Status" \
  --allow-extra "/$torchserve.GRPCInferenceService/*Setting*"

# Vectors of contracts without any from elsewhere: made of the tables alone, so that they know nothing of our protos.
"$python" "$here/make_golden.py" "$work/golden"
for made in "$work"/golden/*; do
  diff -r "$made" "$root/tests/data/golden/${made##*/}"
done

# All that there is of a contract which has a private package to itself.
contract() {  # TABLE PRIVATE_PACKAGE "PUBLIC_PACKAGE..." ARGUMENT...
  local maps=() public
  for public in $3; do maps+=(--map "$public=inferwire.$2"); done
  check "$1" "${maps[@]}" "${@:4}"
  golden "$1" "${maps[@]}"
  if [ -f "$root/tests/data/captures/$1.json" ]; then captures "$1" "${maps[@]}" "${unknown[@]}"; fi
}
unknown=(--allow-unknown inferwire.vllm.FinishInfo.9)  # an integer that is in no published file
# Fields of which only the kind of encoding is known.
contract vllm_native vllm vllm \
  --allow-missing vllm.GenerateRequest.watermarking --allow-missing vllm.GenerateRequest.kv_hints \
  --allow-missing vllm.GenerateRequest.engine_reasoning_gate --allow-missing vllm.DecodingParameters.bad_words_token_ids \
  --allow-missing vllm.StoppingCriteria.thinking_token_budget
unknown=()
contract sglang_runtime_v1 sglang sglang.runtime.v1 --allow-missing "sglang.runtime.v1.*GenerateRequest.kv_hints"
# A name that is taken in generated C++.
contract vllm_engine vllm_engine "vllm.grpc.engine smg.grpc.common" \
  --rename smg.grpc.common.RemoteTensorHandle.descriptor=descriptor_bytes
contract sglang_scheduler sglang_scheduler "sglang.grpc.scheduler smg.grpc.common"
contract trtllm_service tensorrt_llm "trtllm smg.grpc.common"
contract openengine_v1 open_engine openengine.v1
# The part for language models.
contract xai xai xai_api --allow-missing "xai_api.GetChatCompletion*.debug_output" \
  --allow-missing "/xai_api.Chat/*StoredCompletion" --allow-missing /xai_api.Chat/CompactContext \
  --allow-missing "/xai_api.Models/*ImageGenerationModel*"
contract tei_v1 tei tei.v1
