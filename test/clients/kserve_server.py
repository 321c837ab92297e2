"""KServe's own model server, with a model that gives its inputs back: kserve_server.py PORT"""

import sys

from kserve import InferOutput, InferResponse, Model, ModelServer


class Echo(Model):
    def load(self):
        self.ready = True

    async def get_input_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    async def get_output_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    async def predict(self, payload, headers=None, response_headers=None):
        outputs = []
        for tensor in payload.inputs:
            output = InferOutput(name=tensor.name, shape=list(tensor.shape), datatype=tensor.datatype)
            output.set_data_from_numpy(tensor.as_numpy(), binary_data=bool(payload.use_binary_outputs))
            outputs.append(output)
        return InferResponse(
            response_id=payload.id or "none",
            model_name=self.name,
            infer_outputs=outputs,
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )


if __name__ == "__main__":
    echo = Echo("echo")
    echo.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([echo])
