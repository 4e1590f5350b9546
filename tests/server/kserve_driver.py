"""Checks with KServe's SDK, run by ``test_kserve.py`` in its environment: ``manifest FILE``, ``client ADDRESS MODEL``."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import kserve
import yaml
from kubernetes import client as kubernetes

SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def check(value: Any, kind: str, where: str) -> None:
    """Check a value against a type of the SDK, which is generated from the schema. Unknown fields are errors."""
    if match := re.fullmatch(r"[Ll]ist\[(.*)\]", kind):
        assert isinstance(value, list), f"{where}: expected a list"
        for index, item in enumerate(value):
            check(item, match[1], f"{where}[{index}]")
    elif match := re.fullmatch(r"[Dd]ict[(\[]str, (.*)[)\]]", kind):
        for key, item in value.items():
            check(item, match[1], f"{where}.{key}")
    elif kind in SCALARS:
        assert isinstance(value, SCALARS[kind]), f"{where}: expected {kind}, got {value!r}"
    else:
        model = getattr(kserve, kind, None) or getattr(kubernetes, kind)
        names = {given: name for name, given in model.attribute_map.items()}
        unknown = set(value) - set(names)
        assert not unknown, f"{where}: unknown {', '.join(sorted(unknown))}"
        for key, item in value.items():
            check(item, model.openapi_types[names[key]], f"{where}.{key}")
        model(**{names[key]: item for key, item in value.items()})  # raises if a required field is missing


async def check_client(address: str, model: str) -> None:
    url = f"http://{address}"
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    assert await client.is_model_ready(url, model) is True
    assert await client.is_model_ready(url, "no_such_model") is False
    tensor = kserve.InferInput("x", [1, 8], "FP32", data=[9.0] * 8)
    for step in range(2):
        parameters = {"sequence_id": "kserve", "sequence_start": step == 0, "sequence_step": step}
        request = kserve.InferRequest(model, [tensor], parameters=parameters)
        answer = await client.infer(url, request, model_name=model)
        assert answer.parameters["sequence_step"] == step + 1, answer
        assert [output.name for output in answer.outputs] == ["s"], answer
    await client.close()


if __name__ == "__main__":
    if sys.argv[1] == "manifest":
        given = yaml.safe_load(Path(sys.argv[2]).read_text())
        check(given, "V1beta1InferenceService", "")
    else:
        asyncio.run(check_client(*sys.argv[2:]))
