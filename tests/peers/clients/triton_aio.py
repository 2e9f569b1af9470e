"""Asks a server what tritonclient.http.aio (aiohttp) can ask. Run in a process of its own.

This variant sends JSON as `application/octet-stream` and without the header that says where the
JSON ends, so the server has to take a body without that header for JSON whatever its type.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import tritonclient.http.aio as library
from reporting import case, check
from triton_shapes import outputs, plain, tensors

CASE = case()
MODEL, PIN, PARAMETERS = CASE["model"], CASE["pin"], CASE["parameters"]
ALL = slice(None)
BOTH = ["class", "probabilities"]
CONNECTIONS, REQUESTS = 8, 200

Asking = Callable[[Any], Awaitable[Any]]


async def infer(client: Any, rows: slice = ALL, *, binary: bool = False, **options: Any) -> Any:
    options.setdefault("outputs", outputs(library, BOTH, binary=False))
    options.setdefault("parameters", PARAMETERS)
    inputs = options.pop("inputs", None) or tensors(library, CASE, rows, binary=binary)
    return plain(await client.infer(options.pop("model", MODEL), inputs, **options))


def checks() -> dict[str, Asking]:
    in_binary = outputs(library, BOTH, binary=True)
    gzip: dict[str, Any] = {
        "request_compression_algorithm": "gzip",
        "response_compression_algorithm": "gzip",
    }
    few = tensors(library, CASE, ALL, binary=False)[1:]
    return {
        "live": lambda client: client.is_server_live(),
        "ready": lambda client: client.is_server_ready(),
        "server_metadata": lambda client: client.get_server_metadata(),
        "model_metadata": lambda client: client.get_model_metadata(MODEL),
        "model_ready": lambda client: client.is_model_ready(MODEL),
        "unknown_ready": lambda client: client.is_model_ready("nope"),
        "json": infer,
        "binary": lambda client: infer(client, binary=True, outputs=None),
        "json_to_binary": lambda client: infer(client, outputs=in_binary),
        "gzip_json": lambda client: infer(client, **gzip),
        "gzip_binary": lambda client: infer(client, binary=True, outputs=in_binary, **gzip),
        "pinned": lambda client: infer(client, model_version=PIN),
        "id": lambda client: infer(client, request_id="r-17"),
        "unknown_model": lambda client: infer(client, model="nope"),
        "missing_input": lambda client: infer(client, inputs=few),
        "concurrent": concurrent,
    }


async def concurrent(client: Any) -> dict[str, Any]:
    """Many requests at once over kept connections: every answer must be of its own question."""
    gate = asyncio.Semaphore(CONNECTIONS)

    async def one(number: int) -> bool:
        row = number % CASE["rows"]
        async with gate:
            answer = await infer(
                client,
                slice(row, row + 1),
                binary=number % 2 == 0,
                model_version=PIN,
                request_id=f"r-{number}",
            )
        mine = answer["outputs"]["class"]["data"] == [CASE["expected_classes"][row]]
        return mine and answer["id"] == f"r-{number}"

    right = await asyncio.gather(*(one(number) for number in range(REQUESTS)))
    return {
        "answers": len(right),
        "wrong": [number for number, fits in enumerate(right) if not fits],
    }


def main() -> None:
    loop = asyncio.new_event_loop()

    async def connect() -> Any:
        return library.InferenceServerClient(CASE["authority"], conn_limit=CONNECTIONS)

    client = loop.run_until_complete(connect())
    for name, ask in checks().items():
        check(name, lambda ask=ask: loop.run_until_complete(_awaited(ask, client)))  # type: ignore[misc] # bound now
    loop.run_until_complete(client.close())
    loop.close()


async def _awaited(ask: Asking, client: Any) -> Any:
    return await ask(client)


if __name__ == "__main__":
    main()
