"""Asks a server everything tritonclient.http (gevent) can ask. Run in a process of its own."""

from typing import Any

import numpy as np
import tritonclient.http as library
from reporting import case, check
from triton_shapes import outputs, plain, tensors

CASE = case()
MODEL, PIN, PARAMETERS = CASE["model"], CASE["pin"], CASE["parameters"]
ALL = slice(None)
BOTH = ["class", "probabilities"]
CONNECTIONS, REQUESTS = 8, 200


def infer(client: Any, rows: slice = ALL, *, binary: bool = False, **options: Any) -> Any:
    options.setdefault("outputs", outputs(library, BOTH, binary=False))
    options.setdefault("parameters", PARAMETERS)
    inputs = options.pop("inputs", None) or tensors(library, CASE, rows, binary=binary)
    return plain(client.infer(options.pop("model", MODEL), inputs, **options))


def health(client: Any) -> None:
    check("live", client.is_server_live)
    check("ready", client.is_server_ready)
    check("server_metadata", client.get_server_metadata)
    check("model_metadata", lambda: client.get_model_metadata(MODEL))
    check("pinned_metadata", lambda: client.get_model_metadata(MODEL, PIN))
    check("model_ready", lambda: client.is_model_ready(MODEL))
    check("pinned_ready", lambda: client.is_model_ready(MODEL, PIN))
    check("unknown_ready", lambda: client.is_model_ready("nope"))
    check("unknown_version_ready", lambda: client.is_model_ready(MODEL, "nope"))
    check("unknown_metadata", lambda: client.get_model_metadata("nope"))


def answers(client: Any) -> None:
    in_binary = outputs(library, BOTH, binary=True)
    check("json", lambda: infer(client))
    check("binary", lambda: infer(client, binary=True, outputs=None))
    check("binary_to_json", lambda: infer(client, binary=True))
    check("json_to_binary", lambda: infer(client, outputs=in_binary))
    gzip: dict[str, Any] = {
        "request_compression_algorithm": "gzip",
        "response_compression_algorithm": "gzip",
    }
    check("gzip_json", lambda: infer(client, **gzip))
    check("gzip_binary", lambda: infer(client, binary=True, outputs=in_binary, **gzip))
    check("one_output", lambda: infer(client, outputs=outputs(library, ["class"], binary=False)))
    check("one_row", lambda: infer(client, slice(0, 1)))
    check("pinned", lambda: infer(client, model_version=PIN))
    check("id", lambda: infer(client, request_id="r-17"))
    check("query_string", lambda: infer(client, query_params={"trace": "1"}))


def errors(client: Any) -> None:
    check("unknown_model", lambda: infer(client, model="nope"))
    check("unknown_version", lambda: infer(client, model_version="nope"))
    unknown = outputs(library, ["logits"], binary=False)
    check("unknown_output", lambda: infer(client, outputs=unknown))
    few = tensors(library, CASE, ALL, binary=False)[1:]
    check("missing_input", lambda: infer(client, inputs=few))
    wrong = library.InferInput(CASE["inputs"][0]["name"], [CASE["rows"]], "BYTES")
    wrong.set_data_from_numpy(np.array(["x"] * CASE["rows"], np.object_), binary_data=True)
    check("wrong_datatype", lambda: infer(client, inputs=[wrong, *few]))
    ragged = tensors(library, CASE, slice(0, 1), binary=True)[:1]
    check("ragged_rows", lambda: infer(client, inputs=[*ragged, *few]))


def concurrent() -> dict[str, Any]:
    """Many requests over few kept connections: every answer must be of its own question."""
    with library.InferenceServerClient(CASE["authority"], concurrency=CONNECTIONS) as client:
        asked = []
        for number in range(REQUESTS):
            row = number % CASE["rows"]
            inputs = tensors(library, CASE, slice(row, row + 1), binary=number % 2 == 0)
            asked.append(
                client.async_infer(
                    MODEL,
                    inputs,
                    model_version=PIN,
                    request_id=f"r-{number}",
                    parameters=PARAMETERS,
                )
            )
        got = [plain(answer.get_result()) for answer in asked]
    wrong = [
        number
        for number, answer in enumerate(got)
        if answer["id"] != f"r-{number}"
        or answer["outputs"]["class"]["data"] != [CASE["expected_classes"][number % CASE["rows"]]]
    ]
    return {"answers": len(got), "wrong": wrong}


def main() -> None:
    with library.InferenceServerClient(CASE["authority"]) as client:
        health(client)
        answers(client)
        errors(client)
    check("concurrent", concurrent)


if __name__ == "__main__":
    main()
