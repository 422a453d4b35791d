// What the library exports: the choice of a variant, and the quantizer.

#include "instantft_native.h"
#include "train.hpp"

#include <float.h>
#include <math.h>
#include <string.h>

namespace {

struct Variant {
  const char *name;
  int (*train)(const instantft_job *, float *);
  bool runs_here;
};

// Best first.
const Variant *variants(int &count) {
#if defined(__x86_64__)
  static const Variant all[] = {
      {"avx512", instantft_train_avx512, __builtin_cpu_supports("avx512f") != 0},
      {"avx2", instantft_train_avx2,
       __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
      {"plain", instantft_train_plain, true}};
#elif defined(__aarch64__)
  static const Variant all[] = {{"neon", instantft_train_neon, true}};
#else
  static const Variant all[] = {{"plain", instantft_train_plain, true}};
#endif
  count = sizeof all / sizeof *all;
  return all;
}

}  // namespace

int32_t instantft_abi(void) { return INSTANTFT_ABI; }

const char *instantft_variants(void) {
  static char names[64] = "";
  if (!*names) {
    int count;
    const Variant *all = variants(count);
    for (int i = 0; i < count; ++i)
      if (all[i].runs_here) {
        if (*names) strcat(names, " ");
        strcat(names, all[i].name);
      }
  }
  return names;
}

static int run(const instantft_job *job, const char *variant, float *logits) {
  int count;
  const Variant *all = variants(count);
  for (int i = 0; i < count; ++i)
    if (all[i].runs_here && strcmp(all[i].name, variant) == 0) return all[i].train(job, logits);
  return INSTANTFT_UNKNOWN;
}

int instantft_train(const instantft_job *job, const char *variant) {
  return run(job, variant, nullptr);
}

int instantft_apply(const instantft_job *job, const char *variant, float *logits) {
  return run(job, variant, logits);
}

int32_t instantft_quantize(const float *x, const int32_t *tap_sizes, int32_t taps,
                           const float *midpoints, uint8_t *codes, float *scales) {
  int64_t d = 0;
  for (int32_t k = 0; k < taps; ++k) {
    const int64_t size = tap_sizes[k];
    float most = 0;
    bool finite = true;
    for (int64_t i = 0; i < size; ++i) {
      const float magnitude = fabsf(x[i]);
      finite &= magnitude <= FLT_MAX;
      most = magnitude > most ? magnitude : most;
    }
    if (!finite) return k;
    scales[k] = most;
    const float divisor = most > 0 ? most : 1;
    for (int64_t i = 0; i < size; ++i, ++d) {
      const float value = x[i] / divisor;  // divided, as NumPy does: the same codes to the bit
      int code = 0;
      for (int level = 0; level < 15; ++level) code += value > midpoints[level];
      codes[d / 2] = uint8_t(d % 2 ? (codes[d / 2] & 15) | code << 4 : 0x70 | code);
    }
    x += size;
  }
  return -1;
}
