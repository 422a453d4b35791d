// The whole fine-tuning of an adapter on NF4 features, compiled once per instruction set.
//
// For a sample with codes c_k and scales s_k (x_k = s_k c_k): h_k = s_k A_k c_k,
// z = s z0 + sum_k B_k h_k, g = softmax(z) - onehot(y), dB_k = g h_k^T, dA_k = s_k (B_k^T g) c_k^T
// (InstantFT, arXiv 2506.06505, section III). Codes are decoded in registers, each time they are
// needed: one sample is 1 kB of codes or 8 kB of floats, and its way through the caches costs more
// than the look-up. The scales stay out of the inner loops.
//
// Batch 1 makes one pass over A per sample: the update that the last sample asks for and the
// products with this one, block by block, so that each weight is loaded and stored once. A of
// LeNet-5 at rank 4 is 34 kB: in the first-level cache of a big core; on one with 32 kB (Cortex-A53)
// it streams, in the order of addresses, from the second.
//
// Inside, everything is padded: taps to 2 kLanes features, the rank to 4, classes to kLanes. The
// padding is zero in A, B and x, and so are its gradients.

#include "instantft_native.h"
#include "train.hpp"
#include "vectors.hpp"

#include <math.h>
#include <stdlib.h>

namespace {

constexpr int kGroup = 4;          // ranks that are worked on together
constexpr int kBlock = 2 * kLanes; // features that kLanes bytes hold
constexpr int kChunk = 32;         // samples of a batch that are held as floats at a time
constexpr uint8_t kZeroCodes = 0x77;

int64_t padded(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Zeroed memory, aligned to 64 bytes.
class Memory {
 public:
  explicit Memory(int64_t floats)
      : bytes_(padded(4 * (floats ? floats : 1), 64)),
        data_(static_cast<float *>(aligned_alloc(64, bytes_))) {
    if (data_) memset(data_, 0, bytes_);
  }
  ~Memory() { free(data_); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  operator float *() const { return data_; }

 private:
  size_t bytes_;
  float *data_;
};

struct Tap {
  int64_t size, blocks;
  int64_t feature;  // its first feature among all
  int64_t code;     // its first byte in a padded row of codes
  int64_t weight;   // its first weight in A as laid out here
};

// The sizes that everything is laid out by.
struct Shape {
  explicit Shape(const instantft_job &job)
      : taps(job.taps), groups((job.rank + kGroup - 1) / kGroup), rank(job.rank),
        classes(job.classes), class_width(padded(job.classes, kLanes)),
        used_heads(int64_t{job.taps} * groups * kGroup), heads(padded(used_heads, kLanes)) {}

  int64_t taps, groups, rank, classes, class_width;
  int64_t used_heads;    // values h of one sample: taps x groups x kGroup
  int64_t heads;         // the same, padded
  int64_t row = 0;       // bytes of one sample's padded codes
  int64_t weights = 0;   // floats of A
  int64_t features = 0;  // D

  int64_t head(int64_t tap, int64_t group) const { return (tap * groups + group) * kGroup; }
};

// Sums up the cross-entropies log(sum_c exp(z_c - max)) - (z_y - max), with one logarithm for many.
class Loss {
 public:
  void add(float sum, float right) {
    product_ *= sum;  // from 1 to the number of classes
    total_ -= right;
    if (++factors_ == kFactors) fold();
  }
  double total() {
    fold();
    return total_;
  }

 private:
  void fold() {
    total_ += log(product_);
    product_ = 1;
    factors_ = 0;
  }
  static constexpr int kFactors = 16;  // 2^32 classes would still fit
  double product_ = 1, total_ = 0;
  int factors_ = 0;
};

// What a sample adds to the loss.
struct Entropy {
  float sum, right;
};

class Trainer {
 public:
  explicit Trainer(const instantft_job &job)
      : job_(job), shape_(job), book_(job.codebook),
        taps_(static_cast<Tap *>(calloc(job.taps, sizeof(Tap)))), measured_(measure()),
        adam_(job.optimizer == INSTANTFT_ADAM), batched_(job.batch_size > 1 ||
                                                         job.optimizer != INSTANTFT_SGD),
        codes_((job.samples * shape_.row + 3) / 4),
        frozen_(job.samples * shape_.class_width), a_(shape_.weights),
        b_(shape_.heads * shape_.class_width), b_turned_(shape_.class_width * shape_.heads),
        z_(chunk() * shape_.class_width), h_(chunk() * shape_.heads),
        u_(chunk() * shape_.heads), real_(shape_.class_width),
        x_(batched_ ? chunk() * 2 * shape_.row : 0), grad_a_(batched_ ? shape_.weights : 0),
        grad_b_(batched_ ? shape_.heads * shape_.class_width : 0),
        mean_a_(state(1, shape_.weights)), mean_b_(state(1, shape_.heads * shape_.class_width)),
        square_a_(state(2, shape_.weights)),
        square_b_(state(2, shape_.heads * shape_.class_width)) {}
  ~Trainer() { free(taps_); }
  Trainer(const Trainer &) = delete;
  Trainer &operator=(const Trainer &) = delete;

  int run() {
    if (!start()) return INSTANTFT_NO_MEMORY;
    const float *rates = job_.rates;
    for (int32_t epoch = 0; epoch < job_.epochs; ++epoch) {
      double loss = (batched_ ? batches(rates) : singles(rates)) / double(job_.samples);
      job_.losses[epoch] = loss;
      if (!job_.on_epoch(epoch + 1, loss)) return INSTANTFT_CANCELLED;
    }
    write_weights();
    return INSTANTFT_OK;
  }

  // Needs a batch_size above 1: samples are decoded into the memory of a batch.
  int apply(float *logits) {
    if (!start()) return INSTANTFT_NO_MEMORY;
    for (int64_t i = 0; i < job_.samples; i += chunk()) {
      const int64_t count = job_.samples - i < chunk() ? job_.samples - i : chunk();
      for (int64_t s = 0; s < count; ++s) decode(i + s, x_ + s * 2 * shape_.row);
      project(0, count);
      for (int64_t s = 0; s < count; ++s, logits += shape_.classes) {
        score(i + s, h_ + s * shape_.heads, z_);
        memcpy(logits, z_, 4 * shape_.classes);
      }
    }
    return INSTANTFT_OK;
  }

 private:
  bool start() {
    const Memory *all[] = {&codes_,  &frozen_, &a_,      &b_,      &b_turned_, &z_,       &h_,
                           &u_,      &real_,   &x_,      &grad_a_,   &grad_b_,  &mean_a_,
                           &mean_b_, &square_a_, &square_b_};
    for (const Memory *memory : all)
      if (!*memory || !measured_) return false;
    read_samples();
    read_weights();
    for (int64_t c = 0; c < shape_.classes; ++c) real_[c] = 1.0f;
    return true;
  }

  bool measure() {
    if (!taps_) return false;
    for (int64_t k = 0; k < shape_.taps; ++k) {
      Tap &tap = taps_[k];
      tap.size = job_.tap_sizes[k];
      tap.blocks = (tap.size + kBlock - 1) / kBlock;
      tap.feature = shape_.features;
      tap.code = shape_.row;
      tap.weight = shape_.weights;
      shape_.features += tap.size;
      shape_.row += tap.blocks * kLanes;
      shape_.weights += tap.blocks * shape_.groups * kGroup * kBlock;
    }
    return true;
  }

  int64_t chunk() const {
    return !batched_ ? 1 : job_.batch_size < kChunk ? job_.batch_size : kChunk;
  }
  // memory of an optimizer: momentum needs one value a weight, Adam two
  int64_t state(int needed, int64_t size) const { return job_.optimizer >= needed ? size : 0; }

  const float *scales(int64_t sample) const {
    return job_.scales + job_.order[sample] * shape_.taps;
  }
  const uint8_t *codes(int64_t sample) const {
    return reinterpret_cast<const uint8_t *>(static_cast<float *>(codes_)) + sample * shape_.row;
  }

  // Gathers the samples in their order, each tap at a whole number of blocks, and s z0.
  void read_samples() {
    uint8_t *to = reinterpret_cast<uint8_t *>(static_cast<float *>(codes_));
    memset(to, kZeroCodes, job_.samples * shape_.row);
    for (int64_t i = 0; i < job_.samples; ++i, to += shape_.row) {
      for (int64_t c = 0; c < shape_.classes; ++c)
        frozen_[i * shape_.class_width + c] =
            job_.logit_scale * job_.logits[job_.order[i] * shape_.classes + c];
      const uint8_t *from = job_.codes + job_.order[i] * job_.row_bytes;
      for (int64_t k = 0; k < shape_.taps; ++k) {
        const Tap &tap = taps_[k];
        const uint8_t *first = from + tap.feature / 2;
        uint8_t *row = to + tap.code;
        if (tap.feature % 2 == 0) {
          memcpy(row, first, tap.size / 2);
          if (tap.size % 2) row[tap.size / 2] = 0x70 | (first[tap.size / 2] & 15);
        } else {
          for (int64_t d = 0; d < tap.size; ++d) {
            uint8_t code = (d % 2 ? first[(d + 1) / 2] : first[d / 2] >> 4) & 15;
            row[d / 2] = d % 2 ? (row[d / 2] & 15) | code << 4 : 0x70 | code;
          }
        }
      }
    }
  }

  // A block holds, for each rank of a group, the weights of its even and of its odd features.
  float *weight(int64_t k, int64_t rank, int64_t d) const {
    int64_t group = rank / kGroup, block = d / kBlock, within = d % kBlock;
    return a_ + taps_[k].weight +
           ((group * taps_[k].blocks + block) * kGroup + rank % kGroup) * kBlock +
           within % 2 * kLanes + within / 2;
  }

  void read_weights() {
    for (int64_t k = 0; k < shape_.taps; ++k)
      for (int64_t r = 0; r < shape_.rank; ++r) {
        const float *row = job_.a + r * shape_.features + taps_[k].feature;
        for (int64_t d = 0; d < taps_[k].size; ++d) *weight(k, r, d) = row[d];
        for (int64_t c = 0; c < shape_.classes; ++c)
          b_[(shape_.head(k, 0) + r) * shape_.class_width + c] =
              job_.b[(c * shape_.taps + k) * shape_.rank + r];
      }
    turn_b();
  }

  void write_weights() {
    for (int64_t k = 0; k < shape_.taps; ++k)
      for (int64_t r = 0; r < shape_.rank; ++r) {
        float *row = job_.a + r * shape_.features + taps_[k].feature;
        for (int64_t d = 0; d < taps_[k].size; ++d) row[d] = *weight(k, r, d);
        for (int64_t c = 0; c < shape_.classes; ++c)
          job_.b[(c * shape_.taps + k) * shape_.rank + r] =
              b_[(shape_.head(k, 0) + r) * shape_.class_width + c];
      }
  }

  // B is held twice: with classes side by side for z = B h, with heads side by side for B^T g.
  void turn_b() {
    for (int64_t c = 0; c < shape_.classes; ++c)
      for (int64_t j = 0; j < shape_.heads; ++j)
        b_turned_[c * shape_.heads + j] = b_[j * shape_.class_width + c];
  }

  // batch 1, plain SGD

  double singles(const float *&rates) {
    Loss loss;
    int64_t last = 0;
    memset(u_, 0, 4 * shape_.heads);
    for (int64_t i = 0; i < job_.samples; ++i) {
      update_and_project(last, i);
      last = i;
      const Entropy entropy = forward(i, h_, z_);
      loss.add(entropy.sum, entropy.right);
      backward(z_, u_);
      float rate = *rates++;
      learn_b(rate);
      for (int64_t k = 0; k < shape_.taps; ++k)
        for (int64_t j = shape_.head(k, 0); j < shape_.head(k + 1, 0); ++j)
          u_[j] *= -rate * scales(i)[k];
    }
    update_and_project(last, last);
    return loss.total();
  }

  // A += u c_last^T, then h = s A c_next, in one pass.
  void update_and_project(int64_t last, int64_t next) {
    for (int64_t k = 0; k < shape_.taps; ++k) {
      const Tap &tap = taps_[k];
      for (int64_t group = 0; group < shape_.groups; ++group) {
        const uint8_t *c_last = codes(last) + tap.code, *c_next = codes(next) + tap.code;
        float *a = a_ + tap.weight + group * tap.blocks * kGroup * kBlock;
        const float *u = u_ + shape_.head(k, group);
        const Vec step[kGroup] = {all(u[0]), all(u[1]), all(u[2]), all(u[3])};
        Vec low[kGroup] = {}, high[kGroup] = {};
        for (int64_t block = 0; block < tap.blocks; ++block) {
          Vec last_low, last_high, next_low, next_high;
          book_.decode(c_last + block * kLanes, last_low, last_high);
          book_.decode(c_next + block * kLanes, next_low, next_high);
          for (int r = 0; r < kGroup; ++r, a += kBlock) {
            Vec a_low = load(a) + step[r] * last_low;
            Vec a_high = load(a + kLanes) + step[r] * last_high;
            store(a, a_low);
            store(a + kLanes, a_high);
            low[r] += a_low * next_low;
            high[r] += a_high * next_high;
          }
        }
        for (int r = 0; r < kGroup; ++r) low[r] += high[r];
        float *h = h_ + shape_.head(k, group);
        four_totals(low, h);
        for (int r = 0; r < kGroup; ++r) h[r] *= scales(next)[k];
      }
    }
  }

  // B -= rate g h^T, in both layouts.
  void learn_b(float rate) {
    for (int64_t j = 0; j < shape_.used_heads; ++j)
      for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
        float *b = b_ + j * shape_.class_width + c;
        store(b, load(b) - load(z_ + c) * (rate * h_[j]));
      }
    for (int64_t c = 0; c < shape_.classes; ++c)
      for (int64_t j = 0; j < shape_.heads; j += kLanes) {
        float *b = b_turned_ + c * shape_.heads + j;
        store(b, load(b) - load(h_ + j) * (rate * z_[c]));
      }
  }

  // one sample's head

  // z = s z0 + B h
  void score(int64_t sample, const float *h, float *z) const {
    for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
      // kGroup sums side by side: each addition would have to wait for the one before
      Vec sums[kGroup] = {load(frozen_ + sample * shape_.class_width + c)};
      const float *b = b_ + c;
      for (int64_t j = 0; j < shape_.used_heads; j += kGroup)
        for (int i = 0; i < kGroup; ++i, b += shape_.class_width) sums[i] += load(b) * h[j + i];
      store(z + c, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
  }

  // z becomes g = softmax(s z0 + B h) - onehot(y).
  Entropy forward(int64_t sample, const float *h, float *z) const {
    const int64_t label = job_.labels[job_.order[sample]];
    score(sample, h, z);
    float most = z[0];
    for (int64_t c = 1; c < shape_.classes; ++c) most = z[c] > most ? z[c] : most;
    const float right = z[label] - most;
    Vec sums = {};
    for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
      Vec shifted = load(z + c) - most;
      shifted = shifted > all(0.0f) ? all(0.0f) : shifted;  // padding alone can be above
      Vec e = exp_of_negative(shifted) * load(real_ + c);
      store(z + c, e);
      sums += e;
    }
    const float sum = total(sums);
    for (int64_t c = 0; c < shape_.class_width; c += kLanes)
      store(z + c, load(z + c) * (1.0f / sum));
    z[label] -= 1.0f;
    return {sum, right};
  }

  // u = B^T g
  void backward(const float *g, float *u) const {
    for (int64_t j = 0; j < shape_.heads; j += kLanes) {
      Vec sums = {};
      for (int64_t c = 0; c < shape_.classes; ++c)
        sums += load(b_turned_ + c * shape_.heads + j) * g[c];
      store(u + j, sums);
    }
  }

  // mini-batches, momentum, Adam

  double batches(const float *&rates) {
    Loss loss;
    for (int64_t first = 0; first < job_.samples; first += job_.batch_size) {
      int64_t left = job_.samples - first;
      int64_t count = left < job_.batch_size ? left : job_.batch_size;
      memset(grad_a_, 0, 4 * shape_.weights);
      memset(grad_b_, 0, 4 * shape_.heads * shape_.class_width);
      for (int64_t done = 0; done < count; done += kChunk)
        gather(first + done, count - done < kChunk ? count - done : kChunk, 1.0f / float(count),
               loss);
      descend(*rates++);
    }
    return loss.total();
  }

  // Adds the gradients and the losses of up to kChunk samples. Each sample, and
  // then each block of A, is one thread's alone: the number of threads changes no sum.
  void gather(int64_t first, int64_t count, float share, Loss &loss) {
    Entropy entropies[kChunk];
    const int64_t width = 2 * shape_.row;
    const int64_t portion = (count + job_.threads - 1) / job_.threads;
#pragma omp parallel for num_threads(job_.threads) if (job_.threads > 1) schedule(static)
    for (int64_t begin = 0; begin < count; begin += portion) {
      const int64_t end = begin + portion < count ? begin + portion : count;
      for (int64_t s = begin; s < end; ++s) decode(first + s, x_ + s * width);
      project(begin, end);
      for (int64_t s = begin; s < end; ++s) {
        float *g = z_ + s * shape_.class_width;
        entropies[s] = forward(first + s, h_ + s * shape_.heads, g);
        for (int64_t c = 0; c < shape_.class_width; c += kLanes) store(g + c, load(g + c) * share);
        backward(g, u_ + s * shape_.heads);
      }
    }
    for (int64_t j = 0; j < shape_.heads; ++j)
      for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
        Vec sum = load(grad_b_ + j * shape_.class_width + c);
        for (int64_t s = 0; s < count; ++s)
          sum += load(z_ + s * shape_.class_width + c) * h_[s * shape_.heads + j];
        store(grad_b_ + j * shape_.class_width + c, sum);
      }
    for (int64_t k = 0; k < shape_.taps; ++k)
#pragma omp parallel for num_threads(job_.threads) if (job_.threads > 1) schedule(static)
      for (int64_t block = 0; block < taps_[k].blocks; ++block)
        for (int64_t group = 0; group < shape_.groups; ++group)
          add_gradient(taps_[k], k, group, block, count);
    for (int64_t s = 0; s < count; ++s) loss.add(entropies[s].sum, entropies[s].right);
  }

  void decode(int64_t sample, float *x) const {
    for (int64_t k = 0; k < shape_.taps; ++k) {
      const Vec scale = all(scales(sample)[k]);
      const uint8_t *bytes = codes(sample) + taps_[k].code;
      float *to = x + 2 * taps_[k].code;
      for (int64_t block = 0; block < taps_[k].blocks; ++block, to += kBlock) {
        Vec low, high;
        book_.decode(bytes + block * kLanes, low, high);
        store(to, low * scale);
        store(to + kLanes, high * scale);
      }
    }
  }

  // h = A x for samples [begin, end) of the chunk. The part of A for one group of ranks stays in
  // the first-level cache while all samples pass, and each of its vectors serves two of them.
  void project(int64_t begin, int64_t end) const {
    for (int64_t k = 0; k < shape_.taps; ++k)
      for (int64_t group = 0; group < shape_.groups; ++group) {
        int64_t s = begin;
        for (; s + 2 <= end; s += 2) project<2>(k, group, s);
        if (s < end) project<1>(k, group, s);
      }
  }

  template <int kSamples>
  void project(int64_t k, int64_t group, int64_t s) const {
    const float *x = x_ + s * 2 * shape_.row + 2 * taps_[k].code;
    const float *a = a_ + taps_[k].weight + group * taps_[k].blocks * kGroup * kBlock;
    Vec low[kSamples][kGroup] = {}, high[kSamples][kGroup] = {};
    for (int64_t block = 0; block < taps_[k].blocks; ++block, x += kBlock)
      for (int r = 0; r < kGroup; ++r, a += kBlock) {
        const Vec a_low = load(a), a_high = load(a + kLanes);
        for (int i = 0; i < kSamples; ++i) {
          low[i][r] += a_low * load(x + i * 2 * shape_.row);
          high[i][r] += a_high * load(x + i * 2 * shape_.row + kLanes);
        }
      }
    for (int i = 0; i < kSamples; ++i) {
      for (int r = 0; r < kGroup; ++r) low[i][r] += high[i][r];
      four_totals(low[i], h_ + (s + i) * shape_.heads + shape_.head(k, group));
    }
  }

  // dA += sum over the samples of u x^T, for one block of one group of ranks.
  void add_gradient(const Tap &tap, int64_t k, int64_t group, int64_t block, int64_t count) {
    const int64_t at = tap.weight + (group * tap.blocks + block) * kGroup * kBlock;
    const float *x = x_ + 2 * tap.code + block * kBlock;
    const float *u = u_ + shape_.head(k, group);
    float *to = grad_a_ + at;
    Vec low[kGroup], high[kGroup];
    for (int r = 0; r < kGroup; ++r) {
      low[r] = load(to + r * kBlock);
      high[r] = load(to + r * kBlock + kLanes);
    }
    for (int64_t s = 0; s < count; ++s, x += 2 * shape_.row, u += shape_.heads) {
      const Vec x_low = load(x), x_high = load(x + kLanes);
      for (int r = 0; r < kGroup; ++r) {
        low[r] += x_low * u[r];
        high[r] += x_high * u[r];
      }
    }
    for (int r = 0; r < kGroup; ++r) {
      store(to + r * kBlock, low[r]);
      store(to + r * kBlock + kLanes, high[r]);
    }
  }

  // One step of the optimizer on all weights.
  void descend(float rate) {
    ++step_;
    float first = 1, second = 1;
    if (adam_) {  // Kingma and Ba 2015, algorithm 1: both means start at zero, which is undone
      first = float(1 / (1 - pow(double(job_.beta1), double(step_))));
      second = float(1 / (1 - pow(double(job_.beta2), double(step_))));
    }
    descend(a_, grad_a_, mean_a_, square_a_, shape_.weights, rate, first, second);
    descend(b_, grad_b_, mean_b_, square_b_, shape_.heads * shape_.class_width, rate, first,
            second);
    turn_b();
  }

  void descend(float *weights, const float *gradient, float *mean, float *square, int64_t size,
               float rate, float first, float second) const {
    for (int64_t i = 0; i < size; i += kLanes) {
      Vec g = load(gradient + i), step = g;
      if (job_.optimizer == INSTANTFT_MOMENTUM) {
        step = load(mean + i) * job_.beta1 + g;
        store(mean + i, step);
      } else if (adam_) {
        Vec m = load(mean + i) * job_.beta1 + g * (1 - job_.beta1);
        Vec v = load(square + i) * job_.beta2 + g * g * (1 - job_.beta2);
        store(mean + i, m);
        store(square + i, v);
        step = m * first / (root(v * second) + job_.epsilon) +
               load(weights + i) * job_.weight_decay;
      }
      store(weights + i, load(weights + i) - step * rate);
    }
  }

  const instantft_job &job_;
  Shape shape_;
  const Codebook book_;
  Tap *taps_;
  const bool measured_, adam_, batched_;
  int64_t step_ = 0;
  // one row a sample (codes, frozen logits, x), a head (b) or a class (b turned); z, h and u of one chunk
  const Memory codes_, frozen_, a_, b_, b_turned_, z_, h_, u_, real_, x_, grad_a_, grad_b_,
      mean_a_, mean_b_, square_a_, square_b_;
};

}  // namespace

int INSTANTFT_TRAIN(const instantft_job *job, float *logits) {
  return logits ? Trainer(*job).apply(logits) : Trainer(*job).run();
}
