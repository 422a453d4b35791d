// The C interface of the CPU trainer, as instantft_ros/core/native.py calls it through ctypes.
#pragma once

#include <stdint.h>

#define INSTANTFT_ABI 5
#define INSTANTFT_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum { INSTANTFT_SGD = 0, INSTANTFT_MOMENTUM = 1, INSTANTFT_ADAM = 2 };

enum {
  INSTANTFT_OK = 0,
  INSTANTFT_CANCELLED = 1,   // on_epoch gave 0, or *stop is not 0
  INSTANTFT_UNKNOWN = 2,     // there is no such variant, or this processor lacks it
  INSTANTFT_NO_MEMORY = 3,
};

// Called after each epoch, from 1, with its mean loss in nats; 0 stops the training.
typedef int (*instantft_on_epoch)(int32_t epoch, double loss);

// One fine-tuning. Everything has been checked by the caller; nothing is kept afterwards.
typedef struct {
  int32_t taps, classes, rank;
  const int32_t *tap_sizes;        // (K)
  const uint8_t *codes;            // (capacity, row_bytes): NF4, the even value in the low half
  int64_t row_bytes;               // ceil(D / 2)
  const float *scales;             // (capacity, K)
  const float *logits;             // (capacity, C)
  const int64_t *labels;           // (capacity)
  const float *codebook;           // (16)
  const int64_t *order;            // (samples): slots, visited in this order in each epoch
  int64_t samples;
  int32_t epochs, batch_size, optimizer;
  const float *rates;              // (epochs * ceil(samples / batch_size)): each step's
  float beta1, beta2, epsilon;     // momentum uses beta1 alone
  float weight_decay;              // of Adam: weights lose rate * weight_decay of themselves a step
  float logit_scale;               // what the frozen logits are multiplied by
  const float *class_offsets;      // (C): added to them while training; null: nothing
  int32_t threads;                 // the result does not depend on it
  float *a;                        // (r, D), in and out
  float *b;                        // (C, K, r), in and out
  double *losses;                  // (epochs), out
  instantft_on_epoch on_epoch;     // may be null
  const int32_t *stop;             // looked at after each epoch, may be set meanwhile; may be null
} instantft_job;

INSTANTFT_EXPORT int32_t instantft_abi(void);

// The instruction sets that this processor runs, best first, with spaces between.
INSTANTFT_EXPORT const char *instantft_variants(void);

INSTANTFT_EXPORT int instantft_train(const instantft_job *job, const char *variant);

// Gives the adapted logits s z0 + sum_k B_k A_k x_k, (samples, C), of the samples in job->order; the
// schedule is not looked at.
INSTANTFT_EXPORT int instantft_apply(const instantft_job *job, const char *variant, float *logits);

// Quantizes one frame: x (D) to codes (ceil(D / 2)) and scales (K). `midpoints` (15) lie between
// the levels. Gives -1, or the first tap that holds NaN or infinity.
INSTANTFT_EXPORT int32_t instantft_quantize(const float *x, const int32_t *tap_sizes,
                                            int32_t taps, const float *midpoints,
                                            uint8_t *codes, float *scales);

#ifdef __cplusplus
}
#endif
