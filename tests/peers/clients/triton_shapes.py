"""What both variants of tritonclient share: tensors in, and one plain form of what comes out."""

from typing import Any

import numpy as np

DTYPES = {"FP64": np.float64, "INT64": np.int64, "BYTES": np.object_, "FP32": np.float32}


def arrays(case: dict[str, Any], rows: slice) -> dict[str, tuple[str, np.ndarray]]:
    """Each input's datatype and values [n] for these rows."""
    return {
        given["name"]: (given["datatype"], np.array(given["data"][rows], DTYPES[given["datatype"]]))
        for given in case["inputs"]
    }


def tensors(library: Any, case: dict[str, Any], rows: slice, *, binary: bool) -> list[Any]:
    """The case's rows as the library's InferInput objects."""
    made = []
    for name, (datatype, values) in arrays(case, rows).items():
        tensor = library.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        made.append(tensor)
    return made


def outputs(library: Any, names: list[str], *, binary: bool) -> list[Any]:
    return [library.InferRequestedOutput(name, binary_data=binary) for name in names]


def plain(result: Any) -> dict[str, Any]:
    """The answer without the library: outputs become {name: {datatype, shape, data}}."""
    answer = dict(result.get_response())
    named = {}
    for output in answer.pop("outputs"):
        values = result.as_numpy(output["name"])
        data = [v.decode() if isinstance(v, bytes) else v for v in values.ravel().tolist()]
        named[output["name"]] = {
            "datatype": output["datatype"],
            "shape": output["shape"],
            "data": data,
            "binary": "binary_data_size" in output.get("parameters", {}),
        }
    return answer | {"outputs": named}
