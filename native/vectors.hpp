// Vectors of floats for the instruction set that this file is compiled for.
//
// Arithmetic is the compiler's own (GCC and Clang vector extensions); only what these lack is
// written per architecture: the codebook look-up, the sums over lanes, the square root.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// No name of this file may leave its translation unit: the linker would keep one copy, of any
// instruction set, for all.
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// These may alias their elements, as arrays may, and nothing else: so a store to weights makes no one
// load a pointer or a size again.
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVec __attribute__((vector_size(4 * kLanes)));

inline Vec load(const float *p) { return *reinterpret_cast<const Vec *>(p); }
inline void store(float *p, Vec v) { *reinterpret_cast<Vec *>(p) = v; }
inline Vec all(float x) { return Vec{} + x; }

inline float total(Vec v) {
  float lanes[kLanes];
  memcpy(lanes, &v, sizeof lanes);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// exp(x) for x <= 0, to 2 units in the last place: 2^n exp(f), |f| <= ln(2) / 2, by a polynomial
// (the coefficients are Taylor's, the remainder f^8 / 8! is below 6e-9). NaN stays NaN.
inline Vec exp_of_negative(Vec x) {
  x = x < all(-87.0f) ? all(-87.0f) : x;
  const Vec magic = all(12582912.0f);  // adding it rounds to an integer in the low bits
  Vec shifted = x * 1.44269504f + magic;
  Vec n = shifted - magic;
  Vec f = x - n * 0.693145752f - n * 1.42860677e-6f;
  Vec p = all(1.0f / 5040);
  const float factors[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (float factor : factors) p = p * f + factor;
  IntVec exponent = reinterpret_cast<IntVec>(shifted) << 23;
  return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(p) + exponent);
}

// Turns packed codes of kFeatures features (two a byte, the even one low) into scaled floats: the
// d-th feature's comes to position(d).
class Codebook {
 public:
#if defined(__AVX2__) && !defined(__AVX512F__)
  static constexpr int kFeatures = 32;
  static constexpr int64_t position(int64_t d) {
    return d / 8 * 8 + d % 2 * 4 + d % 8 / 2;
  }
  explicit Codebook(const float *levels) {
    for (int byte = 0; byte < 4; ++byte) {
      uint8_t plane[32];
      for (int i = 0; i < 32; ++i)
        plane[i] = reinterpret_cast<const uint8_t *>(levels + i % 16)[byte];
      planes_[byte] = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(plane));
    }
  }
  // Looks up the four bytes of a float one by one: a table of 16 bytes is one instruction for 32
  // codes; one of 16 floats takes five for 8.
  void decode(const uint8_t *bytes, float scale, float *to) const {
    const __m256i twice = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
    const __m256i codes = _mm256_and_si256(
        _mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
    __m256i part[4];
    for (int i = 0; i < 4; ++i) part[i] = _mm256_shuffle_epi8(planes_[i], codes);
    const __m256i low[2] = {_mm256_unpacklo_epi8(part[0], part[1]),
                            _mm256_unpackhi_epi8(part[0], part[1])};
    const __m256i high[2] = {_mm256_unpacklo_epi8(part[2], part[3]),
                             _mm256_unpackhi_epi8(part[2], part[3])};
    for (int i = 0; i < 2; ++i, to += 2 * kLanes) {
      store(to, reinterpret_cast<Vec>(_mm256_unpacklo_epi16(low[i], high[i])) * scale);
      store(to + kLanes, reinterpret_cast<Vec>(_mm256_unpackhi_epi16(low[i], high[i])) * scale);
    }
  }

 private:
  __m256i planes_[4];
#else
  static constexpr int kFeatures = 2 * kLanes;
  static constexpr int64_t position(int64_t d) { return d % 2 * kLanes + d / 2; }
#if defined(__AVX512F__)
  explicit Codebook(const float *levels) : levels_(_mm512_loadu_ps(levels)) {}
  void decode(const uint8_t *bytes, float scale, float *to) const {
    __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes)));
    store(to, Vec(_mm512_permutexvar_ps(codes, levels_)) * scale);  // looks at 4 bits only
    store(to + kLanes,
          Vec(_mm512_permutexvar_ps(_mm512_srli_epi32(codes, 4), levels_)) * scale);
  }

 private:
  __m512 levels_;
#elif defined(__aarch64__)
  explicit Codebook(const float *levels) {
    for (int i = 0; i < 4; ++i) bytes_.val[i] = vreinterpretq_u8_f32(vld1q_f32(levels + 4 * i));
  }
  void decode(const uint8_t *bytes, float scale, float *to) const {
    uint32_t four;
    memcpy(&four, bytes, 4);
    // each byte four times, times four, plus 0 to 3: the bytes of a float in the table
    uint8x16_t codes = vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), uint8x16_t{
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3});
    uint8x16_t place = vreinterpretq_u8_u32(vdupq_n_u32(0x03020100));
    store(to, reinterpret_cast<Vec>(vqtbl4q_u8(
        bytes_, vorrq_u8(vshlq_n_u8(vandq_u8(codes, vdupq_n_u8(15)), 2), place))) * scale);
    store(to + kLanes, reinterpret_cast<Vec>(vqtbl4q_u8(
        bytes_, vorrq_u8(vshlq_n_u8(vshrq_n_u8(codes, 4), 2), place))) * scale);
  }

 private:
  uint8x16x4_t bytes_;
#else
  explicit Codebook(const float *levels) { memcpy(levels_, levels, sizeof levels_); }
  void decode(const uint8_t *bytes, float scale, float *to) const {
    for (int i = 0; i < kLanes; ++i) {
      to[i] = levels_[bytes[i] & 15] * scale;
      to[kLanes + i] = levels_[bytes[i] >> 4] * scale;
    }
  }

 private:
  float levels_[16];
#endif
#endif
};

// Writes the sums over the lanes of four vectors to out[0..3].
inline void four_totals(const Vec *v, float *out) {
#if defined(__AVX512F__) || defined(__AVX2__)
  __m128 quarters[4];
  for (int i = 0; i < 4; ++i) {
#if defined(__AVX512F__)
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm256_castpd_ps(
        _mm512_extractf64x4_pd(_mm512_castps_pd(v[i]), 1)));
#else
    __m256 half = v[i];
#endif
    quarters[i] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  _MM_TRANSPOSE4_PS(quarters[0], quarters[1], quarters[2], quarters[3]);
  _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(quarters[0], quarters[1]),
                                _mm_add_ps(quarters[2], quarters[3])));
#elif defined(__aarch64__)
  float32x4_t q[4];
  memcpy(q, v, sizeof q);
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(q[0], q[1]), vpaddq_f32(q[2], q[3])));
#else
  for (int i = 0; i < 4; ++i) out[i] = total(v[i]);
#endif
}

// a / (sqrt(v) + epsilon) for v >= 0. Where roots and divisions are slow, by the processor's
// estimates and a step of Newton's for each, to some units in the last place.
inline Vec over_root(Vec a, Vec v, float epsilon) {
#if defined(__AVX512F__)
  return a / (Vec(_mm512_sqrt_ps(v)) + epsilon);
#elif defined(__AVX2__)
  v = v < all(1e-30f) ? all(1e-30f) : v;
  const Vec estimate = _mm256_rsqrt_ps(v);
  const Vec root = v * estimate;
  const Vec twice = root * (3.0f - root * estimate) + 2 * epsilon;
  const Vec inverse = _mm256_rcp_ps(twice);
  return a * (inverse + inverse) * (2.0f - twice * inverse);
#elif defined(__aarch64__)
  return a / (reinterpret_cast<Vec>(vsqrtq_f32(reinterpret_cast<float32x4_t>(v))) + epsilon);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return a / (v + epsilon);
#endif
}

}  // namespace
