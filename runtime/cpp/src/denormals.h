// Denormal numbers as zero while this object lives: they are inaudible, and slow on many processors.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace frcrn {

class DenormalsAsZero {
public:
    DenormalsAsZero() : before_(mode()) { set(before_ | kBits); }
    ~DenormalsAsZero() { set(before_); }
    DenormalsAsZero(const DenormalsAsZero &) = delete;
    DenormalsAsZero &operator=(const DenormalsAsZero &) = delete;

private:
#if defined(__SSE__)
    static constexpr uint64_t kBits = 0x8040;  // flush to zero, denormals are zero
    static uint64_t mode() { return _mm_getcsr(); }
    static void set(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
    static constexpr uint64_t kBits = uint64_t{1} << 24;
    static uint64_t mode() {
        uint64_t read = 0;
        __asm__ volatile("mrs %0, fpcr" : "=r"(read));
        return read;
    }
    static void set(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
    static constexpr uint64_t kBits = 0;
    static uint64_t mode() { return 0; }
    static void set(uint64_t) {}
#endif

    uint64_t before_;
};

}  // namespace frcrn
