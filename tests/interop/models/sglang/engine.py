# SPDX-License-Identifier: Apache-2.0
"""SGLang's own gRPC server, the extension of its wheel, over a scripted engine in place of a model.

usage: engine.py PORT FOLDER, where the extension lies. A prompt's answer is as many tokens " t0 t1 ..." as it may have, 5
by default, 20 ms apart. The engine tells all so far each time, as SGLang's does.
"""

import json
import signal
import sys
import threading
import time
import types

sys.path.insert(0, sys.argv[2])
import _grpc  # noqa: E402


class Engine:
    def __init__(self):
        self.server_args = types.SimpleNamespace(
            tokenizer_path="", tokenizer_mode="auto", model_path="scripted", context_length=128, api_key=None
        )
        self.tokenizer_manager = types.SimpleNamespace(
            model_config=types.SimpleNamespace(context_len=128), server_args=self.server_args
        )
        self.template_manager = None
        self.scheduler_info = {}
        self.aborted = set()

    def set_engine_state_changed_callback(self, callback):
        self.changed = callback

    def get_model_info(self):
        return json.dumps({"model_path": "scripted", "is_generation": True})

    def get_server_info(self):
        return json.dumps({"model_path": "scripted"})

    def health_check(self):
        return True

    def is_pause(self):
        return False

    def list_models(self):
        return json.dumps([{"id": "scripted", "root": "scripted", "max_model_len": 128}])

    def tokenize(self, text, add_special_tokens=True):
        tokens = [ord(letter) for letter in text]
        return json.dumps({"tokens": tokens, "count": len(tokens), "max_model_len": 128, "input_text": text})

    def detokenize(self, tokens):
        return json.dumps({"text": "".join(map(chr, tokens))})

    def abort(self, rid="", abort_all=False):
        print("aborted", rid, flush=True)
        self.aborted.add(rid)

    def submit_request(self, *, req_type, req_dict, chunk_callback, is_disconnected_fn=None):
        def answer():
            if req_type == "embed":
                chunk_callback({"embedding": [0.5, 0.25], "meta_info": {"prompt_tokens": 3}}, finished=True)
                return
            most = (req_dict.get("sampling_params") or {}).get("max_new_tokens") or 5
            for made in range(1, most + 1):
                if req_dict.get("rid") in self.aborted:
                    return
                chunk = {
                    "text": "".join(f" t{i}" for i in range(made)),
                    "output_ids": list(range(made)),
                    "meta_info": {
                        "id": req_dict.get("rid"),
                        "finish_reason": {"type": "length", "length": most} if made == most else None,
                        "prompt_tokens": 3,
                        "completion_tokens": made,
                    },
                }
                chunk_callback(chunk, finished=made == most)
                time.sleep(0.02)

        threading.Thread(target=answer, daemon=True).start()


ends = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ends)
server = _grpc.start_server("127.0.0.1", int(sys.argv[1]), Engine(), 1, 64, 30)
print("listening", flush=True)
signal.sigwait(ends)
server.shutdown()
