// Each variant of the trainer, one per instruction set: it trains, or applies the adapter and
// writes logits where these are not null.
#pragma once

#include "instantft_native.h"

int instantft_train_avx512(const instantft_job *job, float *logits);
int instantft_train_avx2(const instantft_job *job, float *logits);
int instantft_train_neon(const instantft_job *job, float *logits);
int instantft_train_plain(const instantft_job *job, float *logits);
