"""Load an ONNX file with one engine and run it: part of where_files_run.py, in its environments.

    python load_elsewhere.py ENGINE FILE.onnx INPUTS.npz OUTPUTS.npz

The inputs are in the order of the file; the outputs are written in its order. Needs NumPy and the
engine alone.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def onnxruntime(file: Path, inputs: Arrays) -> list[Any]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def openvino(file: Path, inputs: Arrays) -> list[Any]:
    import openvino as ov

    core = ov.Core()
    # By default it computes in bfloat16 on processors that can.
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(inputs)
    return [result[output] for output in compiled.outputs]


def ncnn(file: Path, inputs: Arrays) -> list[Any]:
    """Through pnnx, which fixes the shapes; ncnn has no batch axis."""
    import ncnn as engine

    with tempfile.TemporaryDirectory() as folder:
        # pnnx writes beside the file.
        copy = Path(folder) / "model.onnx"
        copy.write_bytes(file.read_bytes())
        kinds = {"float32": "f32", "uint8": "u8"}
        shapes = ",".join(
            f"[{','.join(map(str, a.shape))}]{kinds[str(a.dtype)]}" for a in inputs.values()
        )
        _run("pnnx", str(copy), f"inputshape={shapes}", "fp16=0")
        net = engine.Net()
        net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
        net.opt.use_bf16_storage = False
        if net.load_param(f"{folder}/model.ncnn.param") or net.load_model(
            f"{folder}/model.ncnn.bin"
        ):
            raise RuntimeError("ncnn does not load what pnnx wrote")
        with net.create_extractor() as run:
            for index, array in enumerate(inputs.values()):
                run.input(f"in{index}", engine.Mat(np.ascontiguousarray(array[0])).clone())
            outputs = []
            for index in range(len(net.output_names())):
                status, found = run.extract(f"out{index}")
                if status:
                    raise RuntimeError(f"ncnn computes no output {index}")
                outputs.append(np.array(found)[None])
    return outputs


def mnn(file: Path, inputs: Arrays) -> list[Any]:
    """Through its converter; names of inputs and outputs stay."""
    import MNN

    names = sys.argv[5].split(",")
    with tempfile.TemporaryDirectory() as folder:
        converted = f"{folder}/model.mnn"
        _run("mnnconvert", "-f", "ONNX", "--modelFile", str(file), "--MNNModel", converted,
             "--bizCode", "frcrn")  # fmt: skip
        module = MNN.nn.load_module_from_file(converted, list(inputs), names)
        given = []
        for array in inputs.values():
            dtype = MNN.expr.uint8 if array.dtype == np.uint8 else MNN.expr.float
            value = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, dtype)
            value.write(array)
            given.append(value)
        found = module.forward(given)
        return [np.array(MNN.expr.convert(each, MNN.expr.NCHW).read()) for each in found]


def _run(tool: str, *words: str) -> None:
    path = Path(sys.executable).with_name(tool)
    done = subprocess.run([str(path), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise RuntimeError(f"{tool}: {' '.join(said[-2:]) or f'exit {done.returncode}'}")


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn, "mnn": mnn}


def main() -> None:
    engine, file, given, made = sys.argv[1:5]
    with np.load(given) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    outputs = ENGINES[engine](Path(file), inputs)
    np.savez(made, **{f"output{index:03}": np.asarray(o) for index, o in enumerate(outputs)})


if __name__ == "__main__":
    main()
