"""Asks a server what KServe's REST client (protocol v2) can ask. Run in a process of its own.

Its httpx asks for gzip on every request, so every answer here may come compressed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import kserve
import numpy as np
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput
from reporting import case, check

CASE = case()
BASE = f"http://{CASE['authority']}"
MODEL, PARAMETERS = CASE["model"], CASE["parameters"]
DTYPES = {"FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}
ALL = slice(None)
CONNECTIONS, REQUESTS = 8, 200


def request(rows: slice = ALL, *, binary: bool = False, **options: Any) -> InferRequest:
    inputs = []
    for given in options.pop("inputs", CASE["inputs"]):
        values = np.array(given["data"][rows], DTYPES[given["datatype"]])
        tensor = InferInput(given["name"], list(values.shape), given["datatype"])
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    options.setdefault("parameters", dict(PARAMETERS))
    return InferRequest(MODEL, inputs, **options)


async def infer(client: Any, asked: InferRequest, model: str = MODEL) -> dict[str, Any]:
    headers: dict[str, str] = {}
    answer = await client.infer(BASE, asked, model_name=model, response_headers=headers)
    outputs = {}
    for output in answer.outputs:
        values = output.as_numpy().ravel().tolist()
        data = [value.decode() if isinstance(value, bytes) else value for value in values]
        outputs[output.name] = {
            "datatype": output.datatype,
            "shape": list(output.shape),
            "data": data,
        }
    return {
        "model_name": answer.model_name,
        "model_version": answer.model_version,
        "id": answer.id,
        "parameters": dict(answer.parameters or {}),
        "outputs": outputs,
        "content_type": headers["content-type"],
        "decision": headers.get("x-decision-id"),
    }


async def concurrent(client: Any) -> dict[str, Any]:
    """Many requests at once over kept connections: every answer must be of its own question."""
    gate = asyncio.Semaphore(CONNECTIONS)

    async def one(number: int) -> bool:
        row = number % CASE["rows"]
        asked = request(
            slice(row, row + 1),
            binary=number % 2 == 0,
            request_id=f"r-{number}",
            parameters={**PARAMETERS, "variant": CASE["pin"]},
        )
        async with gate:
            answer = await infer(client, asked)
        mine = answer["outputs"]["class"]["data"] == [CASE["expected_classes"][row]]
        return mine and answer["id"] == f"r-{number}"

    right = await asyncio.gather(*(one(number) for number in range(REQUESTS)))
    return {
        "answers": len(right),
        "wrong": [number for number, fits in enumerate(right) if not fits],
    }


def checks() -> dict[str, Callable[[Any], Awaitable[Any]]]:
    binary_outputs = [
        RequestedOutput("class", {"binary_data": True}),
        RequestedOutput("probabilities", {"binary_data": True}),
    ]
    all_binary = {**PARAMETERS, "binary_data_output": True}
    pinned = {**PARAMETERS, "variant": CASE["pin"]}
    few = CASE["inputs"][1:]
    return {
        "live": lambda client: client.is_server_live(BASE),
        "ready": lambda client: client.is_server_ready(BASE),
        "model_ready": lambda client: client.is_model_ready(BASE, MODEL),
        "unknown_ready": lambda client: client.is_model_ready(BASE, "nope"),
        "json": lambda client: infer(client, request()),
        "binary": lambda client: infer(client, request(binary=True, parameters=all_binary)),
        "binary_to_json": lambda client: infer(client, request(binary=True)),
        "json_to_binary": lambda client: infer(client, request(request_outputs=binary_outputs)),
        "pinned": lambda client: infer(client, request(parameters=pinned)),
        "id": lambda client: infer(client, request(request_id="r-17")),
        "unknown_model": lambda client: infer(client, request(), model="nope"),
        "missing_input": lambda client: infer(client, request(inputs=few)),
        "concurrent": concurrent,
    }


def main() -> None:
    loop = asyncio.new_event_loop()
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    for name, ask in checks().items():
        check(name, lambda ask=ask: loop.run_until_complete(_awaited(ask, client)))  # type: ignore[misc] # bound now
    loop.run_until_complete(client.close())
    loop.close()


async def _awaited(ask: Callable[[Any], Awaitable[Any]], client: Any) -> Any:
    return await ask(client)


if __name__ == "__main__":
    main()
