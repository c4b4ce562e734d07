"""What botocore makes of what AWS sends, by the model that comes with it, without session and network."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser
from botocore.validate import ParamValidator

SERVICES = {"DescribeInstances": "ec2"}


@cache
def _model(service: str) -> ServiceModel:
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(service, "service-2"))


def _operation(name: str) -> tuple[str, OperationModel]:
    model = _model(SERVICES.get(name, "autoscaling"))
    return model.metadata["protocol"], model.operation_model(name)


def parsed(operation: str, body: str, *, status: int = 200) -> dict[str, Any]:
    """Return what botocore makes of the body of an answer."""
    protocol, model = _operation(operation)
    answer = {"body": body.encode(), "status_code": status, "headers": {}}
    result: dict[str, Any] = create_parser(protocol).parse(answer, model.output_shape)
    return result


def complaints(operation: str, keys: dict[str, Any]) -> str:
    """Return what botocore has against the keys of a question."""
    _, model = _operation(operation)
    return str(ParamValidator().validate(keys, model.input_shape).generate_report())
