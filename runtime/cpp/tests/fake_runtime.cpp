#include "fake_runtime.h"

extern "C" const OrtApiBase *OrtGetApiBase() noexcept { return frcrn::samples::fake_runtime<17>(); }
