// A C interface to the Verilated core: AXI4-Lite accesses, a memory behind the AXI4 master with
// latency, stalls and injected errors, and checks of the master's protocol.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

#include "Vinstantft.h"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

namespace {

struct Burst {
  uint64_t address;
  uint32_t beats;
  uint64_t ready_at;  // cycle from which it may be answered
};

class Shell {
 public:
  explicit Shell(uint64_t seed) : random_(seed | 1) {
    context_.randReset(2);  // registers and memories start with random contents
    context_.randSeed(static_cast<int>(seed % 0x7fffffff) + 1);
    top_ = new Vinstantft{&context_};
    top_->aclk = 0;
    idle_inputs();
    reset(8);
  }
  ~Shell() {
    top_->final();
#if VM_COVERAGE
    // one file per model; hw/coverage.py adds them up
    static int models = 0;
    if (const char *folder = std::getenv("INSTANTFT_COVERAGE_FOLDER"))
      context_.coveragep()->write(
          (std::string(folder) + "/" + std::to_string(++models) + ".dat").c_str());
#endif
    delete top_;
  }

  void reset(uint32_t cycles) {
    reads_.clear();
    writes_.clear();
    responses_.clear();
    idle_inputs();
    top_->aresetn = 0;
    top_->eval();
    for (uint32_t i = 0; i < cycles; ++i) {
      top_->aclk = 1;
      top_->eval();
      top_->aclk = 0;
      top_->eval();
      ++cycle_;
    }
    top_->aresetn = 1;
    top_->eval();
  }

  // One clock cycle: the memory's handshakes are those before the edge.
  void cycle() {
    const bool ar = top_->m_axi_arvalid && top_->m_axi_arready;
    const bool r = top_->m_axi_rvalid && top_->m_axi_rready;
    const bool aw = top_->m_axi_awvalid && top_->m_axi_awready;
    const bool w = top_->m_axi_wvalid && top_->m_axi_wready;
    const bool b = top_->m_axi_bvalid && top_->m_axi_bready;
    const bool ar_waits = top_->m_axi_arvalid && !ar;
    const bool aw_waits = top_->m_axi_awvalid && !aw;
    const bool w_waits = top_->m_axi_wvalid && !w;
    const uint64_t ar_address = top_->m_axi_araddr, aw_address = top_->m_axi_awaddr;
    uint32_t w_data[4];
    std::memcpy(w_data, top_->m_axi_wdata.data(), 16);

    if (ar) {
      check_burst(ar_address, top_->m_axi_arlen + 1u);
      reads_.push_back({ar_address, top_->m_axi_arlen + 1u, cycle_ + latency_});
    }
    if (aw) {
      check_burst(aw_address, top_->m_axi_awlen + 1u);
      writes_.push_back({aw_address, top_->m_axi_awlen + 1u, 0});
    }
    if (w) early_data_.push_back({{w_data[0], w_data[1], w_data[2], w_data[3]},
                                  static_cast<bool>(top_->m_axi_wlast)});
    while (!writes_.empty() && !early_data_.empty()) write_beat();

    top_->aclk = 1;
    top_->eval();
    ++cycle_;

    // inputs change only behind the edge
    if (r) {
      ++beats_read_;
      reads_.front().address += 16;
      if (--reads_.front().beats == 0) reads_.pop_front();
      top_->m_axi_rvalid = 0;
    }
    if (b) {
      responses_.pop_front();
      top_->m_axi_bvalid = 0;
    }

    // a valid that was not taken must stay, with the same address or data
    if (top_->aresetn) {
      if (ar_waits && (!top_->m_axi_arvalid || top_->m_axi_araddr != ar_address)) ++violations_;
      if (aw_waits && (!top_->m_axi_awvalid || top_->m_axi_awaddr != aw_address)) ++violations_;
    }
    answer();
    top_->aclk = 0;
    top_->eval();
    if (top_->aresetn && w_waits
        && (!top_->m_axi_wvalid || std::memcmp(w_data, top_->m_axi_wdata.data(), 16) != 0))
      ++violations_;
  }

  int write(uint32_t address, uint32_t value, uint32_t strobes) {
    top_->s_axi_awaddr = address;
    top_->s_axi_awvalid = 1;
    top_->s_axi_wdata = value;
    top_->s_axi_wstrb = strobes;
    top_->s_axi_wvalid = 1;
    top_->s_axi_bready = 1;
    top_->eval();
    for (int i = 0; i < 100; ++i) {
      const bool taken = top_->s_axi_awvalid && top_->s_axi_awready;
      const bool answered = top_->s_axi_bvalid;
      const int response = top_->s_axi_bresp;
      cycle();
      if (taken) {
        top_->s_axi_awvalid = 0;
        top_->s_axi_wvalid = 0;
        top_->eval();
      }
      if (answered) {
        top_->s_axi_bready = 0;
        top_->eval();
        return response;
      }
    }
    return -1;
  }

  int read(uint32_t address, uint32_t *value) {
    top_->s_axi_araddr = address;
    top_->s_axi_arvalid = 1;
    top_->s_axi_rready = 1;
    top_->eval();
    for (int i = 0; i < 100; ++i) {
      const bool taken = top_->s_axi_arvalid && top_->s_axi_arready;
      const bool answered = top_->s_axi_rvalid;
      const int response = top_->s_axi_rresp;
      *value = top_->s_axi_rdata;
      cycle();
      if (taken) {
        top_->s_axi_arvalid = 0;
        top_->eval();
      }
      if (answered) {
        top_->s_axi_rready = 0;
        top_->eval();
        return response;
      }
    }
    return -1;
  }

  // Step until the interrupt is up; returns the cycles taken.
  uint64_t run(uint64_t most) {
    uint64_t n = 0;
    while (n < most && !top_->irq) {
      cycle();
      ++n;
    }
    return n;
  }

  uint8_t *memory_ = nullptr;
  uint64_t base_ = 0, size_ = 0;
  uint64_t latency_ = 40;
  uint32_t stall_percent_ = 0;
  int64_t read_errors_after_ = -1, write_errors_after_ = -1;  // beats, bursts; -1 never
  uint64_t violations_ = 0, beats_read_ = 0, beats_written_ = 0, cycle_ = 0;
  uint64_t written_from_ = ~0ull, written_to_ = 0;
  Vinstantft *top_;

 private:
  struct Beat {
    uint32_t data[4];
    bool last;
  };

  bool stalled() {
    if (stall_percent_ == 0) return false;
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ >> 20) % 100 < stall_percent_;
  }

  void check_burst(uint64_t address, uint32_t beats) {
    if ((address & 15) != 0 || (address >> 12) != ((address + beats * 16 - 1) >> 12))
      ++violations_;
  }

  bool inside(uint64_t address) const {
    return address >= base_ && address + 16 <= base_ + size_;
  }

  void write_beat() {
    Burst &burst = writes_.front();
    const Beat beat = early_data_.front();
    early_data_.pop_front();
    if (inside(burst.address)) {
      std::memcpy(memory_ + (burst.address - base_), beat.data, 16);
    } else {
      write_failed_ = true;
    }
    if (burst.address < written_from_) written_from_ = burst.address;
    if (burst.address + 16 > written_to_) written_to_ = burst.address + 16;
    ++beats_written_;
    burst.address += 16;
    if (beat.last != (burst.beats == 1)) ++violations_;
    if (--burst.beats == 0) {
      bool failed = write_failed_;
      if (write_errors_after_ == 0) failed = true;
      else if (write_errors_after_ > 0) --write_errors_after_;
      responses_.push_back({failed ? 2ull : 0ull, 0, cycle_ + latency_});
      write_failed_ = false;
      writes_.pop_front();
    }
  }

  void answer() {
    top_->m_axi_arready = !stalled() && reads_.size() < 16;
    top_->m_axi_awready = !stalled() && writes_.size() < 4;
    top_->m_axi_wready = !stalled() && early_data_.size() < 64;
    if (!top_->m_axi_rvalid && !reads_.empty() && reads_.front().ready_at <= cycle_
        && !stalled()) {
      const Burst &burst = reads_.front();
      const bool good = inside(burst.address);
      if (good) std::memcpy(top_->m_axi_rdata.data(), memory_ + (burst.address - base_), 16);
      else std::memset(top_->m_axi_rdata.data(), 0xa5, 16);
      bool failed = !good;
      if (read_errors_after_ == 0) failed = true;
      else if (read_errors_after_ > 0) --read_errors_after_;
      top_->m_axi_rresp = failed ? 2 : 0;
      top_->m_axi_rlast = burst.beats == 1;
      top_->m_axi_rvalid = 1;
    }
    if (!top_->m_axi_bvalid && !responses_.empty() && responses_.front().ready_at <= cycle_
        && !stalled()) {
      top_->m_axi_bresp = static_cast<uint8_t>(responses_.front().address);
      top_->m_axi_bvalid = 1;
    }
  }

  void idle_inputs() {
    early_data_.clear();
    write_failed_ = false;
    top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_bready = 0;
    top_->s_axi_arvalid = top_->s_axi_rready = 0;
    top_->s_axi_awprot = top_->s_axi_arprot = 0;
    top_->m_axi_awready = top_->m_axi_wready = top_->m_axi_bvalid = 0;
    top_->m_axi_arready = top_->m_axi_rvalid = top_->m_axi_rlast = 0;
    top_->m_axi_bid = top_->m_axi_rid = 0;
    top_->m_axi_bresp = top_->m_axi_rresp = 0;
  }

  VerilatedContext context_;
  uint64_t random_;
  std::deque<Burst> reads_, writes_, responses_;  // a response's address is its code
  std::deque<Beat> early_data_;
  bool write_failed_ = false;
};

Shell *shell(void *handle) { return static_cast<Shell *>(handle); }

}  // namespace

extern "C" {

void *model_new(uint64_t seed) { return new Shell(seed); }
void model_free(void *handle) { delete shell(handle); }

void model_memory(void *handle, void *data, uint64_t base, uint64_t size) {
  shell(handle)->memory_ = static_cast<uint8_t *>(data);
  shell(handle)->base_ = base;
  shell(handle)->size_ = size;
}

void model_bus(void *handle, uint64_t latency, uint32_t stall_percent, int64_t read_errors_after,
               int64_t write_errors_after) {
  shell(handle)->latency_ = latency;
  shell(handle)->stall_percent_ = stall_percent;
  shell(handle)->read_errors_after_ = read_errors_after;
  shell(handle)->write_errors_after_ = write_errors_after;
}

void model_reset(void *handle, uint32_t cycles) { shell(handle)->reset(cycles); }
void model_step(void *handle, uint64_t cycles) {
  for (uint64_t i = 0; i < cycles; ++i) shell(handle)->cycle();
}
uint64_t model_run(void *handle, uint64_t most) { return shell(handle)->run(most); }
int model_write(void *handle, uint32_t address, uint32_t value, uint32_t strobes) {
  return shell(handle)->write(address, value, strobes);
}
int model_read(void *handle, uint32_t address, uint32_t *value) {
  return shell(handle)->read(address, value);
}
int model_irq(void *handle) { return shell(handle)->top_->irq; }

// cycles, violations, beats read, beats written, lowest and highest address written
void model_counts(void *handle, uint64_t counts[6]) {
  const Shell *s = shell(handle);
  counts[0] = s->cycle_;
  counts[1] = s->violations_;
  counts[2] = s->beats_read_;
  counts[3] = s->beats_written_;
  counts[4] = s->written_from_;
  counts[5] = s->written_to_;
}

}  // extern "C"
