// The whole fine-tuning of an adapter on NF4 features, compiled once per instruction set.
//
// For a sample with codes c_k and scales s_k (x_k = s_k c_k): h_k = s_k A_k c_k,
// z = s z0 + sum_k B_k h_k, g = softmax(z) - onehot(y), dB_k = g h_k^T, dA_k = s_k (B_k^T g) c_k^T
// (InstantFT, arXiv 2506.06505, section III).
//
// A chunk of samples is decoded at a time and then passes A twice: for the products, and for the
// gradient, whose sums stay in registers until the optimizer's step has been taken on them. So each
// weight is loaded twice and stored once per chunk.
//
// With batch 1, too. Its samples learn one after the other, but what sample i does to A changes the
// products of a later sample j by very little work: (A + u_i x_i^T) x_j = A x_j + (x_i . x_j) u_i. The
// products x_i . x_j within a run of samples are computed once, as the order stays the same.
//
// Inside, everything is padded: taps to what is decoded at once, the rank to 4, classes to kLanes.
// The padding is zero in A, B and x, and so are its gradients.

#include "instantft_native.h"
#include "train.hpp"
#include "vectors.hpp"

#include <math.h>
#include <stdlib.h>

namespace {

constexpr int kGroup = 4;          // ranks that are worked on together
constexpr int kBlock = 2 * kLanes; // features whose weights lie together
constexpr int kChunk = 32;         // samples of a batch that are held as floats at a time
constexpr int kTogether = 3;       // samples that each vector of A serves
constexpr int kStretch = 16;       // blocks whose weights take their step together
constexpr int kRun = 8;            // samples of batch 1 that pass A together
constexpr int kPairs = kRun * (kRun - 1) / 2;
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
  int64_t x;        // its first feature in a padded sample
  int64_t weight;   // its first weight in A as laid out here
};

// The sizes that everything is laid out by.
struct Shape {
  explicit Shape(const instantft_job &job)
      : taps(job.taps), groups((job.rank + kGroup - 1) / kGroup), rank(job.rank),
        classes(job.classes), class_width(padded(job.classes, kLanes)),
        heads(int64_t{job.taps} * groups * kGroup) {}

  int64_t taps, groups, rank, classes, class_width;
  int64_t heads;         // values h of one sample: taps x groups x kGroup
  int64_t width = 0;     // features of one sample, padded
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

// A step of the optimizer. For Adam (Kingma and Ba 2015, algorithm 1, with decoupled decay) all
// constant factors are here, so that a weight costs as little as can be: with the gradient times
// 1 - beta1 as g, m <- beta1 m + g, v <- beta2 v + g^2, w <- keep w - rate m / (sqrt(v) + epsilon).
struct Step {
  float rate, keep = 1, beta1 = 0, beta2 = 0, epsilon = 0;
};

class Trainer {
 public:
  explicit Trainer(const instantft_job &job)
      : job_(job), shape_(job), book_(job.codebook),
        taps_(static_cast<Tap *>(calloc(job.taps, sizeof(Tap)))), measured_(measure()),
        single_(job.batch_size == 1 && job.optimizer == INSTANTFT_SGD),
        chunk_(single_ ? kRun : job.batch_size < kChunk ? job.batch_size : kChunk),
        codes_((job.samples * shape_.width / 2 + 3) / 4),
        frozen_(job.samples * shape_.class_width), a_(shape_.weights),
        b_(shape_.heads * shape_.class_width), z_(chunk_ * shape_.class_width),
        h_(chunk_ * shape_.heads), u_(chunk_ * shape_.heads), real_(shape_.class_width),
        x_(chunk_ * shape_.width),
        dots_(single_ ? (job.samples + kRun - 1) / kRun * kPairs * job.taps : 0),
        grad_a_(job.batch_size > kChunk ? shape_.weights : 0),
        grad_b_(single_ ? 0 : shape_.heads * shape_.class_width),
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
      const double loss = pass_all(rates, epoch == 0) / double(job_.samples);
      job_.losses[epoch] = loss;
      if (job_.on_epoch && !job_.on_epoch(epoch + 1, loss)) return INSTANTFT_CANCELLED;
      if (job_.stop && __atomic_load_n(job_.stop, __ATOMIC_RELAXED)) return INSTANTFT_CANCELLED;
    }
    write_weights();
    return INSTANTFT_OK;
  }

  int apply(float *logits) {
    if (!start()) return INSTANTFT_NO_MEMORY;
    for (int64_t i = 0; i < job_.samples; i += chunk_) {
      const int64_t count = job_.samples - i < chunk_ ? job_.samples - i : chunk_;
      for (int64_t s = 0; s < count; ++s) decode(i + s, x_ + s * shape_.width);
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
    const Memory *all[] = {&codes_, &frozen_, &a_,      &b_,      &z_,      &h_,        &u_, &real_,
                           &x_,     &dots_,   &grad_a_, &grad_b_, &mean_a_, &mean_b_, &square_a_,
                           &square_b_};
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
      tap.blocks = padded(tap.size, Codebook::kFeatures) / kBlock;
      tap.feature = shape_.features;
      tap.x = shape_.width;
      tap.weight = shape_.weights;
      shape_.features += tap.size;
      shape_.width += tap.blocks * kBlock;
      shape_.weights += tap.blocks * shape_.groups * kGroup * kBlock;
    }
    return true;
  }

  // memory of an optimizer: momentum needs one value a weight, Adam two
  int64_t state(int needed, int64_t size) const { return job_.optimizer >= needed ? size : 0; }

  const float *scales(int64_t sample) const {
    return job_.scales + job_.order[sample] * shape_.taps;
  }
  const uint8_t *codes(int64_t sample) const {
    return reinterpret_cast<const uint8_t *>(static_cast<float *>(codes_)) +
           sample * shape_.width / 2;
  }

  // Gathers the samples in their order, each tap padded, and s z0 with the class offsets.
  void read_samples() {
    uint8_t *to = reinterpret_cast<uint8_t *>(static_cast<float *>(codes_));
    memset(to, kZeroCodes, job_.samples * shape_.width / 2);
    for (int64_t i = 0; i < job_.samples; ++i, to += shape_.width / 2) {
      for (int64_t c = 0; c < shape_.classes; ++c)
        frozen_[i * shape_.class_width + c] =
            job_.logit_scale * job_.logits[job_.order[i] * shape_.classes + c] +
            (job_.class_offsets ? job_.class_offsets[c] : 0.0f);
      const uint8_t *from = job_.codes + job_.order[i] * job_.row_bytes;
      for (int64_t k = 0; k < shape_.taps; ++k) {
        const Tap &tap = taps_[k];
        const uint8_t *first = from + tap.feature / 2;
        uint8_t *row = to + tap.x / 2;
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

  // A block holds the weights of kBlock features, as they are decoded, for each rank of a group.
  // Calls `visit` with each weight as it is laid out here and as the caller has it.
  template <typename Visit>
  void each_weight(Visit visit) const {
    constexpr int64_t stride = kGroup * kBlock;
    for (int64_t k = 0; k < shape_.taps; ++k) {
      const Tap &tap = taps_[k];
      for (int64_t r = 0; r < shape_.rank; ++r) {
        float *outer = job_.a + r * shape_.features + tap.feature;
        float *inner = a_ + tap.weight + r / kGroup * tap.blocks * stride + r % kGroup * kBlock;
        for (int64_t d = 0; d < tap.size; d += Codebook::kFeatures) {
          const int64_t left = tap.size - d;
          for (int64_t i = 0; i < (left < Codebook::kFeatures ? left : Codebook::kFeatures); ++i) {
            const uint64_t at = Codebook::position(i);
            visit(inner[d / kBlock * stride + at / kBlock * stride + at % kBlock], outer[d + i]);
          }
        }
        for (int64_t c = 0; c < shape_.classes; ++c)
          visit(b_[(shape_.head(k, 0) + r) * shape_.class_width + c],
                job_.b[(c * shape_.taps + k) * shape_.rank + r]);
      }
    }
  }

  void read_weights() {
    each_weight([](float &inner, float &outer) { inner = outer; });
  }

  void write_weights() {
    each_weight([](float &inner, float &outer) { outer = inner; });
  }

  // One epoch; gives the sum of the losses.
  double pass_all(const float *&rates, bool first_epoch) {
    if (single_) return singles(rates, first_epoch);
    if (job_.optimizer == INSTANTFT_SGD) return batches<INSTANTFT_SGD>(rates);
    if (job_.optimizer == INSTANTFT_MOMENTUM) return batches<INSTANTFT_MOMENTUM>(rates);
    return batches<INSTANTFT_ADAM>(rates);
  }

  // batch 1, plain SGD

  double singles(const float *&rates, bool first_epoch) {
    Loss loss;
    float *dots = dots_;
    for (int64_t i = 0; i < job_.samples; i += kRun, dots += kPairs * shape_.taps) {
      const int64_t count = job_.samples - i < kRun ? job_.samples - i : kRun;
      for (int64_t s = 0; s < count; ++s) decode(i + s, x_ + s * shape_.width);
      if (first_epoch) multiply_pairs(count, dots);
      project(0, count);
      const float *of_pair = dots;
      for (int64_t s = 0; s < count; of_pair += s++ * shape_.taps) {
        float *h = h_ + s * shape_.heads, *u = u_ + s * shape_.heads;
        catch_up(s, of_pair);
        const Entropy entropy = forward(i + s, h, z_);
        loss.add(entropy.sum, entropy.right);
        backward(z_, u);
        const float rate = *rates++;
        learn_b(h, rate);
        for (int64_t j = 0; j < shape_.heads; ++j) u[j] *= rate;
      }
      learn_a<INSTANTFT_SGD>(count, true, true, {1.0f}, 0, 1);
    }
    return loss.total();
  }

  // x_i . x_j of each tap, for all i < j of a run: those of one j side by side.
  void multiply_pairs(int64_t count, float *dots) const {
    for (int64_t j = 1; j < count; ++j)
      for (int64_t i = 0; i < j; ++i)
        for (int64_t k = 0; k < shape_.taps; ++k) {
          const float *x = x_ + i * shape_.width + taps_[k].x;
          const float *y = x_ + j * shape_.width + taps_[k].x;
          Vec sums[2] = {};
          for (int64_t block = 0; block < taps_[k].blocks; ++block, x += kBlock, y += kBlock) {
            sums[0] += load(x) * load(y);
            sums[1] += load(x + kLanes) * load(y + kLanes);
          }
          *dots++ = total(sums[0] + sums[1]);
        }
  }

  // Takes into sample s's products what the samples of the run before it have learned since.
  void catch_up(int64_t s, const float *dots) const {
    for (int64_t k = 0; k < shape_.taps; ++k)
      for (int64_t j = shape_.head(k, 0); j < shape_.head(k + 1, 0); j += kGroup) {
        float sums[kGroup] = {};
        for (int64_t i = 0; i < s; ++i)
          for (int r = 0; r < kGroup; ++r)
            sums[r] += u_[i * shape_.heads + j + r] * dots[i * shape_.taps + k];
        for (int r = 0; r < kGroup; ++r) h_[s * shape_.heads + j + r] -= sums[r];
      }
  }

  // B -= rate g h^T
  void learn_b(const float *h, float rate) {
    for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
      const Vec step = load(z_ + c) * rate;
      float *b = b_ + c;
      for (int64_t j = 0; j < shape_.heads; ++j, b += shape_.class_width)
        store(b, load(b) - step * h[j]);
    }
  }

  // one sample's head

  // z = s z0 + B h
  void score(int64_t sample, const float *h, float *z) const {
    for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
      // kGroup sums side by side: each addition would have to wait for the one before
      Vec sums[kGroup] = {load(frozen_ + sample * shape_.class_width + c)};
      const float *b = b_ + c;
      for (int64_t j = 0; j < shape_.heads; j += kGroup)
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
    const float *b = b_;
    for (int64_t j = 0; j < shape_.heads; j += kGroup, b += kGroup * shape_.class_width) {
      Vec sums[kGroup] = {};
      for (int64_t c = 0; c < shape_.class_width; c += kLanes)
        for (int i = 0; i < kGroup; ++i)
          sums[i] += load(b + i * shape_.class_width + c) * load(g + c);
      four_totals(sums, u + j);
    }
  }

  // mini-batches, momentum, Adam

  template <int kOptimizer>
  double batches(const float *&rates) {
    Loss loss;
    const float share = kOptimizer == INSTANTFT_ADAM ? 1 - job_.beta1 : 1;  // as Step has it
    for (int64_t first = 0; first < job_.samples; first += job_.batch_size) {
      int64_t left = job_.samples - first;
      int64_t count = left < job_.batch_size ? left : job_.batch_size;
      Step step = next_step(*rates++);
      memset(grad_b_, 0, 4 * shape_.heads * shape_.class_width);
      for (int64_t done = 0; done < count; done += kChunk) {
        const int64_t part = count - done < kChunk ? count - done : kChunk;
        pass(first + done, part, share / float(count), loss);
#pragma omp parallel for num_threads(job_.threads) if (job_.threads > 1) schedule(static)
        for (int32_t thread = 0; thread < job_.threads; ++thread)
          learn_a<kOptimizer>(part, done == 0, done + part == count, step, thread, job_.threads);
      }
      for (int64_t i = 0; i < shape_.heads * shape_.class_width; i += kLanes)
        descend<kOptimizer>(b_, mean_b_, square_b_, i, load(grad_b_ + i), step);
    }
    return loss.total();
  }

  // Both ways through the heads of up to kChunk samples; adds up the gradient of B and the losses.
  // Each sample, and then each block of A, is one thread's alone: the number of threads changes no
  // sum.
  void pass(int64_t first, int64_t count, float share, Loss &loss) {
    Entropy entropies[kChunk];
    const int64_t portion = (count + job_.threads - 1) / job_.threads;
#pragma omp parallel for num_threads(job_.threads) if (job_.threads > 1) schedule(static)
    for (int64_t begin = 0; begin < count; begin += portion) {
      const int64_t end = begin + portion < count ? begin + portion : count;
      for (int64_t s = begin; s < end; ++s) decode(first + s, x_ + s * shape_.width);
      project(begin, end);
      for (int64_t s = begin; s < end; ++s) {
        float *g = z_ + s * shape_.class_width;
        entropies[s] = forward(first + s, h_ + s * shape_.heads, g);
        for (int64_t c = 0; c < shape_.class_width; c += kLanes) store(g + c, load(g + c) * share);
        backward(g, u_ + s * shape_.heads);
      }
    }
    for (int64_t j = 0; j < shape_.heads; j += kGroup)
      for (int64_t c = 0; c < shape_.class_width; c += kLanes) {
        float *to = grad_b_ + j * shape_.class_width + c;
        Vec sums[kGroup];
        for (int i = 0; i < kGroup; ++i) sums[i] = load(to + i * shape_.class_width);
        for (int64_t s = 0; s < count; ++s) {
          const Vec g = load(z_ + s * shape_.class_width + c);
          for (int i = 0; i < kGroup; ++i) sums[i] += g * h_[s * shape_.heads + j + i];
        }
        for (int i = 0; i < kGroup; ++i) store(to + i * shape_.class_width, sums[i]);
      }
    for (int64_t s = 0; s < count; ++s) loss.add(entropies[s].sum, entropies[s].right);
  }

  // one chunk and A

  void decode(int64_t sample, float *x) const {
    for (int64_t k = 0; k < shape_.taps; ++k) {
      const float scale = scales(sample)[k];
      const uint8_t *bytes = codes(sample) + taps_[k].x / 2;
      const int64_t end = taps_[k].x + taps_[k].blocks * kBlock;
      for (int64_t d = taps_[k].x; d < end;
           d += Codebook::kFeatures, bytes += Codebook::kFeatures / 2)
        book_.decode(bytes, scale, x + d);
    }
  }

  // h = A x for samples [begin, end) of the chunk. The part of A for one group of ranks stays in
  // the first-level cache while all samples pass, and each of its vectors serves two of them.
  void project(int64_t begin, int64_t end) const {
    for (int64_t k = 0; k < shape_.taps; ++k)
      for (int64_t group = 0; group < shape_.groups; ++group) {
        int64_t s = begin;
        for (; s + kTogether <= end; s += kTogether) project<kTogether>(k, group, s);
        for (; s + 2 <= end; s += 2) project<2>(k, group, s);
        if (s < end) project<1>(k, group, s);
      }
  }

  template <int kSamples>
  void project(int64_t k, int64_t group, int64_t s) const {
    const float *x = x_ + s * shape_.width + taps_[k].x;
    const float *a = a_ + taps_[k].weight + group * taps_[k].blocks * kGroup * kBlock;
    Vec sums[kSamples][kGroup] = {};
    for (int64_t block = 0; block < taps_[k].blocks; ++block, x += kBlock, a += kGroup * kBlock)
      for (int half = 0; half < kBlock; half += kLanes)
        for (int r = 0; r < kGroup; ++r) {
          const Vec weights = load(a + r * kBlock + half);
          for (int i = 0; i < kSamples; ++i)
            sums[i][r] += weights * load(x + i * shape_.width + half);
        }
    for (int i = 0; i < kSamples; ++i)
      four_totals(sums[i], h_ + (s + i) * shape_.heads + shape_.head(k, group));
  }

  // Adds u x^T of a chunk's samples to the gradient of A, and after the last chunk takes the step:
  // for one of so many equal parts of A.
  template <int kOptimizer>
  void learn_a(int64_t count, bool first, bool last, const Step &step, int64_t part,
               int64_t parts) {
    for (int64_t k = 0; k < shape_.taps; ++k) {
      const int64_t blocks = taps_[k].blocks, end = blocks * (part + 1) / parts;
      for (int64_t block = blocks * part / parts; block < end; block += kStretch) {
        const int64_t left = end - block, stretch = left < kStretch ? left : kStretch;
        for (int64_t group = 0; group < shape_.groups; ++group)
          learn_stretch<kOptimizer>(x_ + taps_[k].x + block * kBlock, u_ + shape_.head(k, group),
                                    taps_[k].weight + (group * blocks + block) * kGroup * kBlock,
                                    stretch, count, first, last, step);
      }
    }
  }

  // Some blocks of a group. What takes longer than a subtraction waits for the gradients of all, as
  // the steps of many weights then run side by side.
  template <int kOptimizer>
  void learn_stretch(const float *x, const float *u, int64_t at, int64_t blocks, int64_t count,
                     bool first, bool last, const Step step) {
    constexpr int kWeights = kGroup * kBlock;
    auto descend_at = [&](int64_t i, Vec sum) {
      descend<kOptimizer>(a_, mean_a_, square_a_, i, sum, step);
    };
    if (kOptimizer == INSTANTFT_SGD && first && last) {
      for (int64_t i = 0; i < blocks; ++i, x += kBlock, at += kWeights)
        outer_products(x, u, count, [&](int64_t w, Vec sum) { descend_at(at + w, sum); });
      return;
    }
    alignas(64) float gradient[kStretch * kWeights];
    for (int64_t i = 0; i < blocks; ++i, x += kBlock)
      outer_products(x, u, count,
                     [&](int64_t w, Vec sum) { store(gradient + i * kWeights + w, sum); });
    if (!first)
      for (int64_t w = 0; w < blocks * kWeights; w += kLanes)
        store(gradient + w, load(gradient + w) + load(grad_a_ + at + w));
    if (!last)
      memcpy(grad_a_ + at, gradient, 4 * blocks * kWeights);
    else
      for (int64_t w = 0; w < blocks * kWeights; w += kLanes)
        descend_at(at + w, load(gradient + w));
  }

  // Calls `take` with the sums of u x^T over a chunk's samples, for one block and group.
  template <typename Take>
  void outer_products(const float *x, const float *u, int64_t count, Take take) const {
    Vec low[kGroup], high[kGroup];
    for (int r = 0; r < kGroup; ++r) {
      low[r] = load(x) * u[r];
      high[r] = load(x + kLanes) * u[r];
    }
#pragma GCC unroll 8  // or half of the instructions would only count
    for (int64_t s = 1; s < count; ++s) {
      x += shape_.width;
      u += shape_.heads;
      const Vec x_low = load(x), x_high = load(x + kLanes);
      for (int r = 0; r < kGroup; ++r) {
        low[r] += x_low * u[r];
        high[r] += x_high * u[r];
      }
    }
    for (int r = 0; r < kGroup; ++r) {
      take(r * kBlock, low[r]);
      take(r * kBlock + kLanes, high[r]);
    }
  }

  // Adam's two means start at zero, which is undone.
  Step next_step(float rate) {
    ++steps_;
    if (job_.optimizer != INSTANTFT_ADAM) return {rate, 1, job_.beta1};
    const double beta1 = job_.beta1, beta2 = job_.beta2;
    // times sqrt(v), the root of Adam's unbiased second moment
    const double root = sqrt((1 - beta2) / (1 - pow(beta2, double(steps_)))) / (1 - beta1);
    return {float(rate / (1 - pow(beta1, double(steps_))) / root), 1 - rate * job_.weight_decay,
            job_.beta1, job_.beta2, float(job_.epsilon / root)};
  }

  // One step of kLanes weights, the first of them number i.
  template <int kOptimizer>
  static void descend(float *weights, float *mean, float *square, int64_t i, Vec gradient,
                      const Step &by) {
    Vec w = load(weights + i);
    if (kOptimizer != INSTANTFT_SGD) {
      const Vec m = load(mean + i) * by.beta1 + gradient;
      store(mean + i, m);
      if (kOptimizer == INSTANTFT_ADAM) {
        const Vec v = load(square + i) * by.beta2 + gradient * gradient;
        store(square + i, v);
        w *= by.keep;
        gradient = over_root(m, v, by.epsilon);
      } else {
        gradient = m;
      }
    }
    store(weights + i, w - gradient * by.rate);
  }

  const instantft_job &job_;
  Shape shape_;
  const Codebook book_;
  Tap *taps_;
  const bool measured_, single_;
  const int64_t chunk_;  // samples that pass A together
  int64_t steps_ = 0;
  // one row a sample (codes, frozen logits, x) or a head (b); z, h, u and x of one chunk
  const Memory codes_, frozen_, a_, b_, z_, h_, u_, real_, x_, dots_, grad_a_, grad_b_,
      mean_a_, mean_b_, square_a_, square_b_;
};

}  // namespace

int INSTANTFT_TRAIN(const instantft_job *job, float *logits) {
  return logits ? Trainer(*job).apply(logits) : Trainer(*job).run();
}
