// Small pieces that Swift cannot express: the processor's CRC-32C instruction and byte-wise SIMD masks.
// Everything else stays in Swift.
#ifndef APUS_CKERNELS_H
#define APUS_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4) of `length` bytes,
/// continuing from `crc`, the value an earlier call returned (0 to begin).
uint32_t apus_crc32c(uint32_t crc, const void *bytes, size_t length);

/// 10^n for n in 0...22, the powers that a double holds exactly. A constant table costs one load here; in Swift it would
/// be an object behind a once-token.
static inline double apus_power_of_ten(int n) {
  static const double powers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  return powers[n];
}

#if defined(__x86_64__)
#include <emmintrin.h>

/// One bit for each of the 16 bytes at `bytes` that equals `wanted`, lowest address in the lowest bit.
static inline uint32_t apus_mask16_equal(const void *bytes, uint8_t wanted) {
  __m128i chunk = _mm_loadu_si128((const __m128i *)bytes);
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(chunk, _mm_set1_epi8((char)wanted)));
}
#else
/// One bit for each of the 16 bytes at `bytes` that equals `wanted`, lowest address in the lowest bit.
static inline uint32_t apus_mask16_equal(const void *bytes, uint8_t wanted) {
  const uint8_t *p = (const uint8_t *)bytes;
  uint32_t mask = 0;
  for (int i = 0; i < 16; i++) mask |= (uint32_t)(p[i] == wanted) << i;
  return mask;
}
#endif

#endif
