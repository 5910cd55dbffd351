"""What `process` does beside the network: nothing that can wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import STFT
from tests.runtime.cpp.builds import ROOT
from tests.runtime.cpp.test_streams import MIRRORED
from tests.streaming_bundles import Core, write_streaming_bundle

# Counts what libfrcrn itself asks for, by the address that it is asked from.
COUNTER = """
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <atomic>
#include <new>

extern "C" void *__libc_malloc(size_t);
extern "C" void *__libc_calloc(size_t, size_t);
extern "C" void *__libc_realloc(void *, size_t);
static uintptr_t first, last;
static std::atomic<int> counted{0};

static int find(dl_phdr_info *info, size_t, void *) {
    if (!strstr(info->dlpi_name, "libfrcrn.so")) return 0;
    first = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto &part = info->dlpi_phdr[i];
        const uintptr_t end = info->dlpi_addr + part.p_vaddr + part.p_memsz;
        if (part.p_type == PT_LOAD && end > last) last = end;
    }
    return 1;
}
extern "C" int watch(void) { dl_iterate_phdr(find, nullptr); counted = 0; return first != 0; }
extern "C" int seen(void) { return counted; }

#define COUNT() \\
    do { \\
        const auto from = (uintptr_t)__builtin_return_address(0); \\
        if (from >= first && from < last) ++counted; \\
    } while (0)
#define NEXT(NAME) ((decltype(&NAME))dlsym(RTLD_NEXT, #NAME))

void *operator new(size_t n) { COUNT(); return __libc_malloc(n ? n : 1); }
void *operator new[](size_t n) { COUNT(); return __libc_malloc(n ? n : 1); }
void operator delete(void *p) noexcept { COUNT(); free(p); }
void operator delete[](void *p) noexcept { COUNT(); free(p); }
void operator delete(void *p, size_t) noexcept { COUNT(); free(p); }
void operator delete[](void *p, size_t) noexcept { COUNT(); free(p); }
extern "C" void *malloc(size_t n) { COUNT(); return __libc_malloc(n); }
extern "C" void *calloc(size_t n, size_t m) { COUNT(); return __libc_calloc(n, m); }
extern "C" void *realloc(void *p, size_t n) { COUNT(); return __libc_realloc(p, n); }
extern "C" int pthread_mutex_lock(pthread_mutex_t *m) {
    COUNT();
    return NEXT(pthread_mutex_lock)(m);
}
extern "C" ssize_t write(int f, const void *p, size_t n) { COUNT(); return NEXT(write)(f, p, n); }
"""

PROGRAM = """
import ctypes, sys
from ctypes import byref, c_size_t
from pathlib import Path
import numpy as np
from tests.runtime.cpp.library import Error, Library, _Floats, _pointer
counter = ctypes.CDLL(sys.argv[3])
library = Library(Path(sys.argv[1]))
model = library.open(Path(sys.argv[2]))
assert counter.watch()
stream, batch = model.stream(attenuation_limit_db=12.0), model.batch(3)
assert counter.seen() > 0  # it counts at all
rng = np.random.default_rng(0)
buffer, written, error = np.empty(20_000, np.float32), c_size_t(), Error()
most = 0
for block in (1, 160, 0, 441, 5_000) * 3:
    buffer[:block] = rng.standard_normal(block)
    counter.watch()
    status = library.c.frcrn_stream_process(
        stream.handle, _pointer(buffer), block, _pointer(buffer), buffer.size, byref(written),
        byref(error))
    most = max(most, counter.seen())
    assert status == 0, error.text
for who in ((1, 1, 1), (1, 0, 1), (0, 1, 0), (1, 1, 1)):
    rows = [np.ones(400 * one, np.float32) for one in who]
    outs = [np.empty(9_000, np.float32) for _ in who]
    sizes = c_size_t * 3
    arguments = ((_Floats * 3)(*map(_pointer, rows)), sizes(*map(len, rows)),
                 (_Floats * 3)(*map(_pointer, outs)), sizes(9_000, 9_000, 9_000), sizes())
    counter.watch()
    status = library.c.frcrn_batch_process(batch.handle, *arguments, byref(error))
    most = max(most, counter.seen())
    assert status == 0, error.text
print(most)
"""


@pytest.mark.parametrize("stft", [None, STFT, MIRRORED], ids=["wave", "spectrum", "mirrored"])
def test_process_neither_allocates_nor_locks_nor_writes(
    stft: object, cpp_build: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    source, counter = tmp_path / "counter.cpp", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(
        ["c++", "-shared", "-fPIC", "-O1", str(source), "-o", str(counter), "-ldl"], check=True
    )
    core = Core("halved_end" if stft else "delay", 2, 3)
    bundle = write_streaming_bundle(tmp_path / "bundle", core, stft, "active_rms")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, cpp_build / "libfrcrn.so", bundle, counter],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(counter),
            "FRCRN_ONNXRUNTIME": str(onnxruntime_library),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["0"]
