# SPDX-License-Identifier: Apache-2.0
"""Dynamo's KServe frontend over its own echo engine, as the model "tiny": FOLDER has a tokenizer and config.json.

It binds to every address: run it in a network namespace.
"""

import asyncio
import sys

from dynamo.llm import EngineType, EntrypointArgs, make_engine, run_input
from dynamo.runtime import DistributedRuntime


async def main():
    folder, port = sys.argv[1], int(sys.argv[2])
    runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
    arguments = EntrypointArgs(
        EngineType.Echo,
        model_path=folder,
        model_name="tiny",
        http_host="127.0.0.1",
        http_port=port,
        http_metrics_port=port + 1,
    )
    await run_input(runtime, "grpc", await make_engine(runtime, arguments))


asyncio.run(main())
