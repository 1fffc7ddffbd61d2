"""A traced program as an ONNX model."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from caloman_cli.errors import UserError, shown
from caloman_cli.export.sampler import Sampler

_OPERATION = re.compile(r"(?:op='|OpOverload: )?(aten[.:\w]+)")


def translated(program: ExportedProgram, module: Sampler) -> Any:
    """The program as ``onnx.ModelProto``, without what the exporter says of the source code.

    Raises:
        UserError: An operation has no form in ONNX.
    """
    from torch.onnx.errors import OnnxExporterError

    try:
        with quiet():
            found: Any = torch.onnx.export(
                program,
                (),
                dynamo=True,
                optimize=True,
                verbose=False,
                input_names=[port.name for port in module.inputs],
                output_names=[port.name for port in module.outputs],
            )
    except OnnxExporterError as error:
        operation = _OPERATION.search(str(error))
        what = "an operation" if operation is None else shown(operation[1])
        raise UserError(
            f"{what} has no form in ONNX: give format=exported_program, which has all operations"
        ) from error
    model = found.model_proto
    for graph in (model.graph, *model.functions):
        del graph.value_info[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of its own inner life."""
    before = logging.root.manager.disable
    unread = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(unread),
        contextlib.redirect_stderr(unread),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
