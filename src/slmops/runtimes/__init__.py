"""Runs models: one protocol (`types.Runtime`: generate, score) over several engines. Works on token ids.

`RUNTIMES` names them without importing any.
"""

RUNTIMES = {"torch": "slmops.runtimes.torch_lm:TorchRuntime", "onnx": "slmops.runtimes.onnx_genai:OnnxRuntime"}
