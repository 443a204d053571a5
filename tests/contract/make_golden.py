#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make golden vectors of contracts from their tables alone, in the form that golden_check.py reads.

  make_golden.py OUTPUT

The descriptors come from tables/NAME.json and from nothing else, so that the bytes check our protos and cannot repeat
their mistakes. Numbers are such that a float holds them exactly. Needs only python `protobuf`.
"""
import hashlib
import json
import pathlib
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, json_format, message_factory, struct_pb2
from google.protobuf import timestamp_pb2

Field = descriptor_pb2.FieldDescriptorProto


def pool_of(table):
    """A pool of what a table describes: one file a package, each of which may use those before it."""
    pool = descriptor_pool.DescriptorPool()
    imports = []
    for module in (empty_pb2, struct_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        imports.append(module.DESCRIPTOR.name)
    files, messages = {}, {}

    def holder(full):
        """The message or the file that a type of this full name is declared in."""
        outer = full.rpartition(".")[0]
        if outer not in messages and outer not in files:
            files[outer] = descriptor_pb2.FileDescriptorProto(name=f"{outer}.table", package=outer, syntax="proto3")
        return messages[outer] if outer in messages else files[outer]

    for m in sorted(table["messages"], key=lambda m: m["full_name"]):  # outer ones first
        outer = holder(m["full_name"])
        inside = outer.nested_type if isinstance(outer, descriptor_pb2.DescriptorProto) else outer.message_type
        messages[m["full_name"]] = inside.add(name=m["full_name"].rpartition(".")[2])
    for e in table["enums"]:
        enum = holder(e["full_name"]).enum_type.add(name=e["full_name"].rpartition(".")[2])
        for v in e["values"]:
            enum.value.add(name=v["name"], number=v["number"])

    def typed(field, kind, name):
        field.type = getattr(Field, "TYPE_" + kind.upper())
        if name:
            field.type_name = "." + name

    for m in table["messages"]:
        node = messages[m["full_name"]]
        lone = []
        for f in m["fields"]:
            repeated = f["label"] == "repeated"
            field = node.field.add(name=f["name"], number=f["number"],
                                   label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL)
            if f["map"]:
                entry = node.nested_type.add(name="".join(p.capitalize() for p in f["name"].split("_")) + "Entry")
                entry.options.map_entry = True
                typed(entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL), f["map"]["key"], None)
                typed(entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL), f["map"]["value"],
                      f["map"]["value_type_name"])
                typed(field, "message", f"{m['full_name']}.{entry.name}")
                continue
            typed(field, f["type"], f["type_name"])
            if f["oneof"]:
                names = [o.name for o in node.oneof_decl]
                if f["oneof"] not in names:
                    names.append(node.oneof_decl.add(name=f["oneof"]).name)
                field.oneof_index = names.index(f["oneof"])
            elif f["presence"] == "explicit" and f["type"] != "message":
                field.proto3_optional = True
                lone.append(field)
        for field in lone:  # `optional` is a oneof of one, and these come last
            field.oneof_index = len(node.oneof_decl)
            node.oneof_decl.add(name="_" + field.name)
    for package in sorted(files, key=lambda p: (p == table["package"], p)):
        files[package].dependency.extend(imports)
        pool.AddSerializedFile(files[package].SerializeToString())
        imports.append(files[package].name)
    return pool


def make(table, vectors, output):
    pool = pool_of(table)
    get_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    output.mkdir(parents=True)
    rows = []
    for name, type_, fields, *note in vectors:
        full = type_ if "." in type_ else f"{PACKAGES[table['contract']]}.{type_}"
        message = json_format.ParseDict(fields, get_class(pool.FindMessageTypeByName(full))())
        data = message.SerializeToString(deterministic=True)
        meaning = json_format.MessageToDict(message, preserving_proto_field_name=True)
        (output / f"{name}.bin").write_bytes(data)
        (output / f"{name}.json").write_text(json.dumps(meaning, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
                                             encoding="utf-8")
        rows.append({"name": name, "message": full, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                     **({"note": note[0]} if note else {})})
    index = {"contract": table["contract"], "source": f"made of the table, which is of {table['source']}", "vectors": rows}
    (output / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


PACKAGES = {"vllm_native": "vllm", "sglang_runtime_v1": "sglang.runtime.v1", "openengine_v1": "openengine.v1",
            "trtllm_service": "trtllm", "xai": "xai_api"}

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_prompt_tokens": 0, "reasoning_tokens": 1}
VLLM_GUIDES = {"regex": "[ab]+", "choice": {"choices": ["yes", "no"]}, "grammar": "root ::= \"a\"", "json_object": True,
               "structural_tag": "{}"}
OPEN_ENGINE_GUIDES = {"regex": "[ab]+", "ebnf_grammar": "root ::= \"a\"", "structural_tag": "{}",
                      "choice": {"choices": ["yes", "no"]}, "json_object": {}}
SGLANG_SAMPLING = {
    "temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.125, "frequency_penalty": -0.5, "presence_penalty": 0.25,
    "repetition_penalty": 1.5, "max_new_tokens": 16, "min_new_tokens": 0, "stop": ["\n\n", "é"], "stop_token_ids": [0, 2],
    "ignore_eos": False, "n": 1, "json_schema": "{}", "regex": "", "seed": "-7", "guided_decoding": {"json_schema": "{}"}}
XAI_TOOL_CALL = {"id": "call_1", "type": "TOOL_CALL_TYPE_CLIENT_SIDE_TOOL", "status": "TOOL_CALL_STATUS_COMPLETED",
                 "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}
XAI_LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.25, "bytes": "SGk=",
                             "top_logprobs": [{"token": "Ho", "logprob": -2.5, "bytes": "SG8="}]}]}
XAI_RESPONSE = {
    "id": "c1", "created": "2026-01-02T03:04:05.000000006Z", "model": "grok", "system_fingerprint": "fp",
    "citations": ["https://example.com/"], "service_tier": "SERVICE_TIER_DEFAULT",
    "outputs": [{"finish_reason": "REASON_STOP", "index": 0, "logprobs": XAI_LOGPROBS,
                 "message": {"content": "Hi", "reasoning_content": "hm", "role": "ROLE_ASSISTANT", "encrypted_content": "e"}},
                {"finish_reason": "REASON_TOOL_CALLS", "index": 1,
                 "message": {"role": "ROLE_ASSISTANT", "tool_calls": [XAI_TOOL_CALL]}}],
    "usage": {"completion_tokens": 2, "prompt_tokens": 3, "total_tokens": 5, "prompt_text_tokens": 3,
              "reasoning_tokens": 1, "cost_in_usd_ticks": "0"},
    "settings": {"max_tokens": 0, "temperature": 0, "user": "u", "tool_choice": {"mode": "TOOL_MODE_AUTO"}}}

VECTORS = {
    "vllm_native": [
        ("generate_request", "GenerateRequest", {
            "request_id": "r1", "model": "m", "text": "Hé", "temperature": 0,
            "sampling": {"num_sequences": 1, "top_k": 40, "top_p": 0.5, "min_p": 0.125, "seed": "0"},
            "decoding": {"presence_penalty": 0.25, "frequency_penalty": -0.5, "repetition_penalty": 1.5,
                         "logit_bias": {"5": -1.5, "128000": 2}, "allowed_token_ids": [0, 5, 128000], "json": "{}"},
            "stopping": {"max_new_tokens": 16, "min_new_tokens": 1, "stop_token_ids": [0, 2], "stop_strings": ["\n\n"],
                         "include_stop_strings": True, "ignore_eos": True},
            "response": {"prompt_token_ids": True, "prompt_logprobs": True, "prompt_candidates": {"top_n": 0},
                         "output_text": False, "output_token_ids": True, "output_logprobs": True,
                         "output_candidates": {"token_ids": {"ids": [1, 2]}}, "skip_special_tokens": False},
            "kv": {"bypass_prefix_cache": True, "cache_salt": "s", "kv_transfer_params": {"a": [1, None, "b"]},
                   "ec_transfer_params": {}},
            "truncate_prompt_tokens": 100, "priority": -1, "session_id": "", "lora_name": "l",
            "media": [{"modality": "MODALITY_IMAGE", "url": "https://example.com/a.png", "mime_type": "image/png", "uuid": "u"},
                      {"modality": "MODALITY_AUDIO", "raw_bytes": "AP8="}, {"data_uri": "data:,a"},
                      {"features": {"kwargs": "", "identifier": "i", "offset": "1", "length": "2", "mm_hash": "h",
                                    "is_embed": [True, False]}}]},
         "temperature, seed, output_text, skip_special_tokens and session_id are present with zeros"),
        ("generate_request_ids", "GenerateRequest", {"token_ids": {"ids": [0, 101, 128000]},
                                                     "response": {"output_candidates": {"all": True}}}),
        *((f"generate_request_{k}", "GenerateRequest", {"text": "a", "decoding": {k: v}}) for k, v in VLLM_GUIDES.items()),
        ("generate_first", "GenerateResponse", {
            "prompt_info": {"num_prompt_tokens": 2, "token_ids": [101, 7592], "logprobs": [-0.5], "ranks": [1],
                            "candidate_tokens": [{"tokens": [{"id": 7592, "logprob": -0.5, "rank": 1}]}]}},
         "a stream begins with the prompt alone"),
        ("generate_chunk", "GenerateResponse", {
            "outputs": {"index": 0, "text": " é", "num_tokens": 2, "token_ids": [0, 300], "logprobs": [-0.25, -1.5],
                        "ranks": [1, 2], "candidate_tokens": [{"tokens": [{"id": 0, "logprob": -0.25, "rank": 1}]}, {}]}},
         "what is new"),
        ("generate_last_length", "GenerateResponse", {"outputs": {
            "text": "z", "num_tokens": 1, "token_ids": [26],
            "finish_info": {"num_output_tokens": 3, "finish_reason": "LENGTH", "kv_transfer_params": {"a": 1}}}}),
        ("generate_last_token", "GenerateResponse", {"outputs": {"finish_info": {
            "num_output_tokens": 3, "finish_reason": "STOP", "stop_token_id": 0}}}, "stopped at token 0, which is present"),
        ("generate_last_eos", "GenerateResponse", {"outputs": {"finish_info": {
            "num_output_tokens": 3, "finish_reason": "STOP", "eos_token_id": 2}}}),
        ("generate_last_string", "GenerateResponse", {"outputs": {"index": 1, "finish_info": {
            "num_output_tokens": 3, "finish_reason": "STOP", "stop_string": "\n\n", "ec_transfer_params": {}}}}),
        ("generate_last_aborted", "GenerateResponse", {"outputs": {"finish_info": {
            "num_output_tokens": 1, "finish_reason": "ABORTED"}}}, "an abort ends the stream OK"),
        ("abort_request", "AbortRequest", {"request_ids": ["r1", "r2"]}),
        ("server_info", "ServerInfo", {
            "engine_version": "0.32.0", "instance_id": "i", "parallelism": {"tensor_parallel_size": 1, "world_size": "1"},
            "max_model_len": 256, "total_kv_blocks": "1024", "rl_capabilities": {"sleep_mode_enabled": True},
            "effective_attention_block_size": "0"}),
        ("model_info", "ModelInfo", {"model_id": "m", "served_model_aliases": ["a", "b"], "supports_text_input": True,
                                     "supports_token_ids_input": True, "tool_call_parser": "hermes"}),
    ],
    "sglang_runtime_v1": [
        ("text_generate_request", "TextGenerateRequest", {
            "text": "Hé", "sampling_params": SGLANG_SAMPLING, "stream": True, "return_logprob": False, "top_logprobs_num": 0,
            "logprob_start_len": -1, "return_text_in_logprobs": True, "rid": "r1", "lora_path": "l", "routing_key": "k",
            "routed_dp_rank": 0, "trace_headers": {"traceparent": "00-1"}, "session_id": "s",
            "disaggregated_params": {"bootstrap_host": "h", "bootstrap_port": 8998, "bootstrap_room": "7"},
            "priority": -1, "require_reasoning": False, "max_thinking_tokens": 0}),
        ("generate_request", "GenerateRequest", {
            "input_ids": [0, 101, 128000], "sampling_params": {"max_new_tokens": 4}, "stream": False, "return_logprob": True,
            "top_logprobs_num": 2, "logprob_start_len": 0, "rid": "", "lora_path": "l", "routing_key": "k",
            "routed_dp_rank": 1, "trace_headers": {"traceparent": "00-1"}, "session_id": "s",
            "disaggregated_params": {"bootstrap_room": "-1"}, "priority": 1, "require_reasoning": True,
            "max_thinking_tokens": 8, "return_text": True, "image_data": ["i"], "video_data": ["v"], "audio_data": ["a"]}),
        ("text_generate_first", "TextGenerateResponse", {"text": " a", "meta_info": {"finish_reason": "null"}}),
        ("text_generate_middle", "TextGenerateResponse", {"text": " a b", "meta_info": {"finish_reason": "null"}},
         "the text so far, not what is new"),
        ("text_generate_last", "TextGenerateResponse", {"text": " a b c", "finished": True, "meta_info": {
            "finish_reason": "{\"type\": \"length\", \"length\": 3}"}}),
        ("generate_chunk", "GenerateResponse", {"output_ids": [0, 7], "text": "", "meta_info": {"completion_tokens": "2"}},
         "text is present and empty"),
        ("generate_last", "GenerateResponse", {"output_ids": [0, 7, 2], "finished": True, "meta_info": {
            "finish_reason": "{\"type\": \"stop\", \"matched\": 2}"}}),
        ("embed_request", "EmbedRequest", {"input_ids": [1, 2], "rid": "r", "routing_key": "k"}),
        ("embed_response", "EmbedResponse", {"embedding": [0.5, -0.25], "meta_info": {"prompt_tokens": "2"}}),
        ("classify_request", "ClassifyRequest", {"text": "a", "input_ids": [1]}),
        ("tokenize_response", "TokenizeResponse", {"tokens": [1, 2], "count": 2, "max_model_len": 64, "input_text": "ab"}),
        ("list_models_response", "ListModelsResponse", {"models": [{"id": "m", "root": "m", "max_model_len": 64},
                                                                   {"id": "l", "parent": "m"}]}),
        ("engine_state", "EngineStateSnapshot", {"instance_id": "1", "revision": "2", "healthy": True,
                                                 "model_info": {"model_path": "p"}, "server_info": {"json_info": "{}"}}),
        ("abort_request", "AbortRequest", {"rid": "r1", "abort_all": True}),
        ("openai_request", "OpenAIRequest", {"json_body": "e30=", "trace_headers": {"traceparent": "00-1"}}),
        ("openai_chunk", "OpenAIStreamChunk", {"json_chunk": "eyJhIjoxfQ=="}),
        ("openai_chunk_last", "OpenAIStreamChunk", {"finished": True}),
        ("openai_error", "OpenAIResponse", {"json_body": "eyJlcnJvciI6e319", "status_code": 400},
         "an error in the body of a call that is OK"),
    ],
    "openengine_v1": [
        ("generate_request", "GenerateRequest", {
            "request_id": "r1", "model": "m", "prompt": "Hé",
            "sampling": {"temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.125, "frequency_penalty": -0.5,
                         "presence_penalty": 0.25, "repetition_penalty": 1.5, "seed": "0", "num_sequences": 2},
            "stopping": {"max_tokens": 16, "min_tokens": 0, "conditions": [{"stop_text": "\n\n"}, {"stop_token_id": 0}],
                         "ignore_eos": False, "include_stop_in_output": True},
            "response": {"return_prompt_logprobs": True, "prompt_candidates": {"top_n": 0}, "return_output_logprobs": False,
                         "output_candidates": {"token_ids": {"ids": [1, 2]}}, "prompt_logprob_start": 0},
            "kv": {"session": {"session_id": "s", "endpoints": [{"host": "h", "port": 1, "protocol": "tcp"}], "dp_rank": 1,
                               "transfer_backend": "nixl", "attributes_struct": {"a": True}},
                   "bypass_prefix_cache": False, "cache_salt": ""},
            "guided": {"json_schema": "{}", "backend": "xgrammar"},
            "media": [{"modality": "MODALITY_VIDEO", "url": "https://example.com/a"}, {"data_uri": "data:,a", "uuid": "u"},
                      {"raw_bytes": "AP8=", "mime_type": "image/png"}],
            "lora_name": "l", "extra": {"a": [1, None, "b"]}}),
        ("generate_request_ids", "GenerateRequest", {"token_ids": {"ids": [0, 101, 128000]},
                                                     "response": {"output_candidates": {"all": {}}}}),
        *((f"generate_request_{k}", "GenerateRequest", {"prompt": "a", "guided": {k: v}})
          for k, v in OPEN_ENGINE_GUIDES.items()),
        ("generate_prompt", "GenerateResponse", {"request_id": "r1", "prompt": {"tokens": [
            {"token_id": 101, "token": "a"}, {"token_id": 0, "logprob": 0, "rank": 0, "candidates": [
                {"token_id": 5, "logprob": -0.5, "token": "b", "rank": 1}]}]}}),
        ("generate_token", "GenerateResponse", {"request_id": "r1", "token": {
            "output_index": 0, "tokens": [{"token_id": 7, "token": " é", "logprob": -0.25}], "text": " é"}},
         "what is new; output_index 0 is present"),
        ("generate_prefill_ready", "GenerateResponse", {"prefill_ready": {"kv_session": {"session_id": "s"}}}),
        ("generate_finished_stop", "GenerateResponse", {"request_id": "r1", "usage": USAGE, "finished": {
            "output_index": 1, "reason": "FINISH_REASON_STOP", "stop_match": {"stop_token_id": 0}}}),
        ("generate_finished_text", "GenerateResponse", {"finished": {
            "output_index": 0, "reason": "FINISH_REASON_STOP", "stop_match": {"stop_text": "\n"}}}),
        ("generate_finished_eos", "GenerateResponse", {"finished": {"stop_match": {"eos_token_id": 2}}}),
        ("generate_finished_length", "GenerateResponse", {"finished": {
            "output_index": 0, "reason": "FINISH_REASON_LENGTH", "message": "m"}}),
        ("generate_error", "GenerateResponse", {"request_id": "r1", "error": {
            "code": "ERROR_CODE_OVERLOADED", "message": "busy", "retryable": True}},
         "an error as the last event of a call that is OK"),
        ("abort_request_id", "AbortRequest", {"request_id": "r1"}),
        ("abort_request_session", "AbortRequest", {"kv_session": {"session_id": "s"}}),
        ("abort_request_all", "AbortRequest", {"all_requests": {}}),
        ("abort_response", "AbortResponse", {"status": "ABORT_STATUS_ALREADY_FINISHED", "message": "m"}),
        ("health_response", "HealthResponse", {"state": "HEALTH_STATE_DEGRADED", "checks": [
            {"name": "c", "state": "HEALTH_STATE_NOT_READY", "message": "m"}]}),
        ("model_info", "ModelInfo", {
            "model_id": "m", "max_context_length": 0, "supports_text_input": False, "supports_lora": True,
            "generation": {"prompt_logprobs": {"supported": True, "max_top_n": 5, "candidate_selection_modes": [
                "CANDIDATE_TOKEN_SELECTION_MODE_TOP_N", "CANDIDATE_TOKEN_SELECTION_MODE_ALL"]},
                           "guided_decoding": {"modes": ["GUIDED_DECODING_MODE_REGEX"]}}, "extra": {"a": 1}}),
        ("load_info", "LoadInfo", {"instance_id": "i", "timestamp_unix_nanos": "1", "running_requests": 0,
                                   "ranks": [{"data_parallel_rank": 0, "used_kv_blocks": "3"}]}),
        ("kv_events_error", "SubscribeKvEventsResponse", {"error": {"code": "ERROR_CODE_INTERNAL"}}),
    ],
    "trtllm_service": [
        ("generate_request", "GenerateRequest", {
            "request_id": "r1", "tokenized": {"original_text": "Hé", "input_token_ids": [0, 101], "query_token_ids": [5]},
            "sampling_config": {
                "beam_width": 1, "num_return_sequences": 2, "top_k": 0, "top_p": 0.5, "top_p_min": 0.125,
                "top_p_reset_ids": -1, "top_p_decay": 0.25, "seed": "0", "temperature": 0, "min_tokens": 0,
                "beam_search_diversity_rate": 0.5, "repetition_penalty": 1.5, "presence_penalty": 0.25,
                "frequency_penalty": -0.5, "prompt_ignore_length": 0, "length_penalty": 1, "early_stopping": 1,
                "no_repeat_ngram_size": 3, "min_p": 0.125, "beam_width_array": [1, 2]},
            "output_config": {"logprobs": 0, "prompt_logprobs": 1, "exclude_input_from_output": True,
                              "return_perf_metrics": True},
            "max_tokens": 16, "streaming": True, "guided_decoding": {"guide_type": "GUIDE_TYPE_JSON_SCHEMA", "guide": "{}"},
            "embedding_bias": [0.5], "lora_config": {"task_id": "1", "weights": "", "config_json": "{}"},
            "kv_cache_retention": {"policy": "p"}, "lookahead_config": {"max_window_size": 1, "max_ngram_size": 2},
            "disaggregated_params": {"request_type": "REQUEST_TYPE_GENERATION_ONLY", "ctx_request_id": "c",
                                     "context_phase_params": {"first_gen_token_id": 7, "kv_cache_blocks": "AP8="}},
            "cache_salt_id": "0", "arrival_time": 0, "stop": ["\n\n"], "stop_token_ids": [0, 2], "ignore_eos": True,
            "bad": ["b"], "bad_token_ids": [9], "include_stop_token_in_output": True}),
        ("generate_chunk", "GenerateResponse", {"request_id": "r1", "chunk": {
            "token_ids": [0, 7], "sequence_index": 1, "prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1,
            "logprobs": [{"token_id": 7, "logprob": -0.25, "top_logprobs": [{"token_id": 8, "logprob": -2.5}]}]}}),
        ("generate_complete_length", "GenerateResponse", {"request_id": "r1", "complete": {
            "output_token_ids": [0, 7], "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 2,
            "prompt_logprobs": [{"token_id": 101}], "perf_metrics": {"arrival_time": 0.5, "kv_cache_size": "1"},
            "context_logits": "", "spec_accepted_tokens": 1, "spec_draft_tokens": 2}}),
        ("generate_complete_token", "GenerateResponse", {"complete": {"finish_reason": "stop", "matched_token_id": 0}},
         "stopped at token 0, which is present"),
        ("generate_complete_string", "GenerateResponse", {"complete": {"finish_reason": "stop", "matched_stop_str": "\n"}}),
        ("embed_response", "EmbedResponse", {"request_id": "r1", "embedding": [0.5, -0.25], "prompt_tokens": 3}),
        ("abort_request", "AbortRequest", {"request_id": "r1"}),
        ("abort_response", "AbortResponse", {"success": True, "message": "m"}),
        ("model_info", "GetModelInfoResponse", {"model_id": "m", "max_seq_len": 4096, "supported_features": ["a"]}),
        ("kv_events", "smg.grpc.common.KvEventBatch", {"sequence_number": "1", "timestamp": 0.5, "dp_rank": 0, "events": [
            {"event_id": "1", "stored": {"parent_block_hash": "0", "tier": "KV_CACHE_TIER_HOST", "blocks": [
                {"block_hash": "-1", "token_ids": [1, 2], "block_size": 2, "extra_keys": [
                    {"text": ""}, {"number": "0"}, {"blob": "AP8="}, {"multimodal": {"identifier": "i", "offset": "1"}}]}]}},
            {"removed": {"block_hashes": ["-1", "2"], "locality": "KV_CACHE_LOCALITY_LOCAL"}}, {"cleared": {}}],
            "load": {"running_requests": 1, "active_token_usage": 0, "cache_hit_rate": 0.5, "queues": {"waiting": 1}}}),
    ],
    "xai": [
        ("completion_request", "GetCompletionsRequest", {
            "messages": [{"role": "ROLE_SYSTEM", "content": [{"text": "Be brief."}]},
                         {"role": "ROLE_USER", "name": "n", "content": [
                             {"text": "Hé"}, {"image_url": {"image_url": "https://example.com/a.png", "detail": "DETAIL_LOW"}},
                             {"image_url": {"file_id": "f"}}, {"file": {"data": "AP8=", "filename": "a", "mime_type": "m"}}]},
                         {"role": "ROLE_ASSISTANT", "tool_calls": [XAI_TOOL_CALL], "reasoning_content": ""},
                         {"role": "ROLE_TOOL", "content": [{"text": "mild"}], "tool_call_id": "call_1"}],
            "model": "grok", "user": "u", "n": 1, "max_tokens": 0, "seed": 0, "stop": ["\n\n"], "temperature": 0,
            "top_p": 0.5, "logprobs": True, "top_logprobs": 2, "frequency_penalty": -0.5, "presence_penalty": 0.25,
            "tools": [{"function": {"name": "weather", "description": "d", "parameters": "{}", "strict": True}},
                      {"web_search": {"allowed_domains": ["example.com"], "user_location": {"country": "NO"}}},
                      {"x_search": {"from_date": "2026-01-02T03:04:05Z", "enable_video_understanding": False}},
                      {"code_execution": {}}, {"attachment_search": {"limit": 0}}, {"image_generation": {"action": "a"}},
                      {"mcp": {"server_label": "l", "authorization": "", "extra_headers": {"a": "b"}}},
                      {"collections_search": {"collection_ids": ["c"], "hybrid_retrieval": {
                          "search_multiplier": 2, "reciprocal_rank_fusion": {"k": 0, "text_weight": 0.5}}}}],
            "tool_choice": {"function_name": "weather"},
            "response_format": {"format_type": "FORMAT_TYPE_JSON_SCHEMA", "schema": "{}"},
            "reasoning_effort": "INVALID_EFFORT", "parallel_tool_calls": False, "previous_response_id": "",
            "search_parameters": {"mode": "AUTO_SEARCH_MODE", "max_search_results": 0, "sources": [
                {"web": {"safe_search": True}}, {"news": {"country": ""}}, {"x": {"post_view_count": 0}},
                {"rss": {"links": ["https://example.com/"]}}]},
            "store_messages": True, "use_encrypted_content": True, "max_turns": 3, "agent_count": "AGENT_COUNT_4",
            "include": ["INCLUDE_OPTION_INLINE_CITATIONS", "INCLUDE_OPTION_VERBOSE_STREAMING"],
            "service_tier": "SERVICE_TIER_PRIORITY", "safety_identifier": "i",
            "guidelines": [{"policy": {"category": "GUIDELINE_CATEGORY_PROFANITY", "behavior": "GUIDELINE_BEHAVIOR_DECLINE"}}]}),
        ("completion_request_mode", "GetCompletionsRequest", {"tool_choice": {"mode": "TOOL_MODE_REQUIRED"}}),
        ("completion_response", "GetChatCompletionResponse", XAI_RESPONSE),
        ("completion_response_debug", "GetChatCompletionResponse", {"id": "c1", "debug_output": {"attempts": 1, "chunks": ["a"]}},
         "what is for debugging need not be declared, but it is kept"),
        ("chunk_first", "GetChatCompletionChunk", {"id": "c1", "model": "grok", "outputs": [
            {"index": 0, "delta": {"role": "ROLE_ASSISTANT", "reasoning_content": "hm"}}]}),
        ("chunk_middle", "GetChatCompletionChunk", {"id": "c1", "created": "2026-01-02T03:04:05Z", "outputs": [
            {"index": 1, "delta": {"content": " é"}, "logprobs": XAI_LOGPROBS}], "usage": {"completion_tokens": 1}}),
        ("chunk_last", "GetChatCompletionChunk", {"id": "c1", "outputs": [
            {"finish_reason": "REASON_TOOL_CALLS", "delta": {"tool_calls": [XAI_TOOL_CALL], "citations": [
                {"id": "1", "start_index": 1, "end_index": 2, "web_citation": {"url": "https://example.com/"}},
                {"collections_citation": {"file_id": "f", "score": 0.5}}]}}],
            "usage": {"completion_tokens": 2, "total_tokens": 5, "server_side_tools_used": [
                "SERVER_SIDE_TOOL_WEB_SEARCH", "SERVER_SIDE_TOOL_MCP"], "cost_in_usd_ticks": "7"},
            "citations": ["https://example.com/"], "output_files": [{"file_id": "f", "name": "n"}]}),
        ("deferred_started", "StartDeferredResponse", {"request_id": "d1"}),
        ("deferred_request", "GetDeferredRequest", {"request_id": "d1"}),
        ("deferred_pending", "GetDeferredCompletionResponse", {"status": "PENDING"}),
        ("deferred_done", "GetDeferredCompletionResponse", {"status": "DONE", "response": XAI_RESPONSE}),
        ("deferred_failed", "GetDeferredCompletionResponse", {"status": "FAILED"}),
        ("language_models", "ListLanguageModelsResponse", {"models": [{
            "name": "grok", "aliases": ["g"], "version": "1", "input_modalities": ["TEXT", "IMAGE"],
            "output_modalities": ["TEXT"], "prompt_text_token_price": "2000", "created": "2026-01-02T03:04:05Z",
            "max_prompt_length": 256, "cached_prompt_token_price": "7", "search_price": "9"}]}),
        ("embedding_model", "EmbeddingModel", {"name": "e", "output_modalities": ["EMBEDDING"]}),
        ("tokenize_response", "TokenizeTextResponse", {"model": "grok", "tokens": [
            {"token_id": 0, "string_token": "é", "token_bytes": "w6k="}]}),
        ("embed_request", "EmbedRequest", {"model": "e", "encoding_format": "FORMAT_FLOAT", "user": "u", "input": [
            {"string": "a"}, {"image_url": {"image_url": "https://example.com/a.png"}}]}),
        ("embed_response", "EmbedResponse", {"id": "e1", "model": "e", "usage": {"num_text_embeddings": 1}, "embeddings": [
            {"index": 0, "embeddings": [{"float_array": [0.5, -0.25]}, {"base64_array": "AAAAPw=="}]}]}),
    ],
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, vectors in VECTORS.items():
        table = json.loads((pathlib.Path(__file__).parent / "tables" / f"{name}.json").read_text(encoding="utf-8"))
        make(table, vectors, pathlib.Path(sys.argv[1]) / name)


if __name__ == "__main__":
    main()
