"""What an engine is built for: one GPU, several, or a family and every later one."""

from dataclasses import dataclass

from frcrn_export.engines.detection import detect_gpu
from frcrn_export.engines.gpus import FAMILIES, GPUS, TargetGpu, find_gpu, gpu_of_sm
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.sessions.tensorrt_backends import SERVED_SMS, sm_text, sms_text

_LONGEST_NAME = 255  # in a manifest


@dataclass(frozen=True)
class Targets:
    """The GPUs of one engine. `name` is what --gpu takes, `title` the same for people.

    `left_out` are the SMs of a family that TensorRT-RTX, which alone builds for several, does not
    serve.
    """

    name: str
    title: str
    gpus: tuple[TargetGpu, ...]
    left_out: tuple[int, ...] = ()

    @property
    def sms(self) -> tuple[int, ...]:
        """Their compute capabilities, each once, in ascending order."""
        return tuple(sorted({gpu.sm for gpu in self.gpus}))

    @property
    def backends(self) -> tuple[TensorrtBackend, ...]:
        """The backends that build one engine for all of them."""
        several = len(self.sms) > 1
        return tuple(
            backend
            for backend, served in SERVED_SMS.items()
            if set(self.sms) <= set(served) and not (several and backend == "tensorrt")
        )

    @property
    def tightest(self) -> tuple[TargetGpu, int]:
        """The GPU with the least memory, and that memory in GiB."""
        return min(((gpu, _memory_gib(gpu)) for gpu in self.gpus), key=lambda found: found[1])


def only(gpu: TargetGpu) -> Targets:
    """One GPU as a target."""
    return Targets(gpu.name, gpu.title, (gpu,))


def find_targets(text: str) -> Targets:
    """The GPUs in a list with commas: names and SMs as `find_gpu` takes them, `auto`, families.

    A family (`ampere`) or a GPU with "+" behind it stands for all SMs from there on. Raises
    UserError for what is unknown, and for a family that TensorRT-RTX does not serve.
    """
    found = [_find(part.strip()) for part in text.split(",")]
    if len(found) == 1:
        return found[0]
    gpus = {gpu.name: gpu for each in found for gpu in each.gpus}
    names, titles = ({getattr(each, of): None for each in found} for of in ("name", "title"))
    name = ",".join(names)
    if len(name) > _LONGEST_NAME:
        name = ",".join(f"sm{sm}" for sm in sorted({gpu.sm for gpu in gpus.values()}))
    left_out = tuple(sorted({sm for each in found for sm in each.left_out}))
    return Targets(name, _joined(list(titles)), tuple(gpus.values()), left_out)


def _find(name: str) -> Targets:
    key, later = name.lower().removesuffix("+").strip(), name.endswith("+")
    if key in FAMILIES:
        sms = FAMILIES[key]
        title = key.capitalize()
    else:
        gpu = detect_gpu() if key == "auto" else find_gpu(key if later else name)
        if not later:
            return only(gpu)
        key, sms, title = gpu.name, (gpu.sm,), gpu.title
    if later:
        sms += tuple(sm for sm in SERVED_SMS["tensorrt"] if sm > sms[-1])
        key, title = f"{key}+", f"{title} and later"
    return _family(key, title, sms)


def _family(name: str, title: str, sms: tuple[int, ...]) -> Targets:
    if len(sms) == 1:  # classic TensorRT builds for it, too
        return Targets(name, title, (gpu_of_sm(sms[0]),))
    served = tuple(sm for sm in sms if sm in SERVED_SMS["tensorrt-rtx"])
    if not served or (name.endswith("+") and sms[0] not in served):
        serves = sms_text(SERVED_SMS["tensorrt-rtx"])
        raise UserError(
            f"--gpu {name}: tensorrt-rtx, which alone builds for several SMs, does not serve "
            f"SM {sm_text(sms[0])}, only {serves}; name the GPUs, or with --backend tensorrt one"
        )
    left_out = tuple(sm for sm in sms if sm not in served)
    return Targets(name, title, tuple(map(gpu_of_sm, served)), left_out)


def _joined(titles: list[str]) -> str:
    *rest, last = titles
    return f"{', '.join(rest)} and {last}" if rest else last


def _memory_gib(gpu: TargetGpu) -> int:
    """Memory of a GPU, or of the largest one of its SM where the entry stands for all of them."""
    if gpu.memory_gb is not None:
        return gpu.memory_gb
    known = [each.memory_gb for each in GPUS.values() if each.memory_gb is not None]
    same = [each.memory_gb for each in GPUS.values() if each.memory_gb and each.sm == gpu.sm]
    return max(same or known)
