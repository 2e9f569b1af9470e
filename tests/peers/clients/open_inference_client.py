"""Asks a server everything the client generated from the protocol's OpenAPI document can ask.

It validates every answer with pydantic. Run in a process of its own.
"""

from typing import Any

import httpx
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput
from reporting import case, check

CASE = case()
MODEL, PIN, PARAMETERS = CASE["model"], CASE["pin"], CASE["parameters"]
ALL = slice(None)


def request(rows: slice = ALL, **options: Any) -> InferenceRequest:
    inputs = [
        RequestInput(
            name=given["name"],
            shape=[len(given["data"][rows])],
            datatype=given["datatype"],
            data=given["data"][rows],
        )
        for given in options.pop("inputs", CASE["inputs"])
    ]
    return InferenceRequest(inputs=inputs, parameters=PARAMETERS, **options)


def plain(answer: Any) -> dict[str, Any]:
    """The answer without the library: outputs become {name: {datatype, shape, data}}."""
    fields: dict[str, Any] = answer.dict()
    outputs = {output.pop("name"): output for output in fields.pop("outputs")}
    return fields | {"outputs": outputs}


def main() -> None:
    # The client's own, but for a keep-alive pool we can read.
    with httpx.Client(timeout=60) as connections:
        client = OpenInferenceClient(
            base_url=f"http://{CASE['authority']}", httpx_client=connections
        )
        check("live", client.check_server_liveness)
        check("ready", client.check_server_readiness)
        check("server_metadata", lambda: client.read_server_metadata().dict())
        check("model_metadata", lambda: client.read_model_metadata(MODEL).dict())
        check("pinned_metadata", lambda: client.read_model_version_metadata(MODEL, PIN).dict())
        check("model_ready", lambda: client.check_model_readiness(MODEL))
        check("pinned_ready", lambda: client.check_model_version_readiness(MODEL, PIN))
        check("unknown_ready", lambda: client.check_model_readiness("nope"))
        check("unknown_metadata", lambda: client.read_model_metadata("nope").dict())
        check("json", lambda: plain(client.model_infer(MODEL, request=request())))
        check("pinned", lambda: plain(client.model_version_infer(MODEL, PIN, request=request())))
        check("id", lambda: plain(client.model_infer(MODEL, request=request(id="r-17"))))
        only_class = request(outputs=[RequestOutput(name="class")])
        check("one_output", lambda: plain(client.model_infer(MODEL, request=only_class)))
        few = request(inputs=CASE["inputs"][1:])
        check("missing_input", lambda: plain(client.model_infer(MODEL, request=few)))
        check("unknown_model", lambda: plain(client.model_infer("nope", request=request())))


if __name__ == "__main__":
    main()
