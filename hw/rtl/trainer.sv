// Sends the samples through the lanes in their order, epoch after epoch.
//
// Pass p carries sample p and applies the update of sample p - 2 to each word on its way; two
// passes without a sample at the end apply the last updates. A word of an update waits until
// the head has the u_k of its tap (`credit` counts taps that are ready and not yet used), which
// is all the synchronization there is: the results do not depend on any latency.
module trainer
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                               clk,
    input  logic                               rst_n,
    input  logic                               job_start,  // before anything is loaded
    input  logic                               start,
    input  logic                               clear,
    input  config_t                            cfg,
    input  logic    [WORD_INDEX:0]             words,  // of a sample
    output logic                               done,
    // order
    output logic    [SLOT_INDEX-1:0]           order_position,
    input  logic    [SLOT_INDEX-1:0]           order_slot,
    // to the lanes and memories
    output token_t                             token,
    output logic    [CODE_INDEX-1:0]           code_address,
    output logic                               fetch_start,
    output logic    [SLOT_INDEX-1:0]           fetch_slot,
    output logic    [           1:0]           fetch_sample,
    input  logic                               fetch_idle,
    input  logic                               u_early,
    input  logic                               lanes_busy,
    input  logic                               head_busy,
    // learning rate and losses
    input  logic                               g_valid,
    input  logic    [ LOSS_BITS-1:0]           loss,
    output logic    [ RATE_BITS-1:0]           rate,
    output logic                               loss_write,
    output logic    [          31:0]           loss_sum,
    output logic    [          15:0]           epoch  // complete ones
);

  // ---- the next sample: its slot, then where its codes start ----
  logic running;
  logic [15:0] position, pass_epoch;
  logic samples_left;
  logic [1:0] next_state;  // 0 look up, 1 multiply, 2 ready
  logic [SLOT_INDEX-1:0] next_slot;
  logic [CODE_INDEX-1:0] next_base;
  logic take_sample;

  assign order_position = SLOT_INDEX'(position);

  always_ff @(posedge clk) begin
    if (running && samples_left) begin
      if (next_state == 0) begin
        next_slot <= order_slot;
        next_state <= 2'd1;
      end
      if (next_state == 1) begin
        next_base <= CODE_INDEX'(next_slot) * CODE_INDEX'(words);
        next_state <= 2'd2;
      end
    end
    if (take_sample) begin
      next_state <= 2'd0;
      if (position == cfg.samples - 1) begin
        position <= '0;
        pass_epoch <= pass_epoch + 1'b1;
        if (pass_epoch == cfg.epochs - 1) samples_left <= 1'b0;
      end else position <= position + 1'b1;
    end
    if (start) begin
      running <= 1'b1;
      position <= '0;
      pass_epoch <= '0;
      samples_left <= 1'b1;
      next_state <= 2'd0;
    end
    if (!rst_n || clear || done) running <= 1'b0;
  end

  // ---- passes ----
  logic pass, forward, update;
  logic [1:0] passes_begun;  // at most 2
  logic [1:0] flushes;
  logic [1:0] sample;
  logic [SLOT_INDEX-1:0] slot;
  logic [CODE_INDEX-1:0] address;
  logic [WORD_INDEX-1:0] word;
  logic [7:0] tap_word;  // within its tap
  logic [TAP_INDEX-1:0] tap;
  logic [TAP_INDEX+1:0] credit;
  logic first, last, pass_first, pass_last, go, take, use_credit;

  assign first = tap_word == 0;
  assign last = tap_word == cfg.tap_words[tap] - 1;
  assign pass_first = word == 0;
  assign pass_last = last && 8'(tap) == cfg.taps - 1;
  assign use_credit = update && first;
  assign go = pass && !(use_credit && credit == 0) && !(pass_first && forward && !fetch_idle);
  assign take = running && (!pass || (go && pass_last))
                && (samples_left ? next_state == 2 : flushes != 2);
  assign take_sample = take && samples_left;
  assign fetch_start = go && pass_first && forward;
  assign fetch_slot = slot;
  assign fetch_sample = sample;

  always_ff @(posedge clk) begin
    token <= '{valid: go, forward: forward, update: update, first: first, last: last, tap: tap,
               word: word, sample: sample};
    code_address <= address;
    credit <= credit + (TAP_INDEX+2)'(u_early) - (TAP_INDEX+2)'(go && use_credit);
    if (go) begin
      address <= address + 1'b1;
      word <= word + 1'b1;
      tap_word <= last ? '0 : tap_word + 1'b1;
      if (last) tap <= tap + 1'b1;
      if (pass_last) pass <= 1'b0;
    end
    if (take) begin
      pass <= 1'b1;
      forward <= samples_left;
      update <= passes_begun == 2;
      if (passes_begun != 2) passes_begun <= passes_begun + 1'b1;
      if (!samples_left) flushes <= flushes + 1'b1;
      sample <= sample + 1'b1;
      slot <= next_slot;
      address <= next_base;
      word <= '0;
      tap_word <= '0;
      tap <= '0;
    end
    if (start) begin
      passes_begun <= '0;
      flushes <= '0;
      sample <= '1;  // the first pass is number 0
      credit <= '0;
    end
    if (!rst_n || clear) begin
      token.valid <= 1'b0;
      pass <= 1'b0;
      credit <= '0;
    end
  end

  assign done = running && !samples_left && flushes == 2 && !pass && !lanes_busy && !head_busy;

  // ---- learning rate and loss, once per sample ----
  logic [31:0] rate_exact, sum;
  logic [15:0] counted;

  assign rate = rate_exact[31-:RATE_BITS];
  assign loss_sum = sum + 32'(loss);
  assign loss_write = g_valid && counted == cfg.samples - 1;

  always_ff @(posedge clk) begin
    if (g_valid) begin
      rate_exact <= rate_exact > cfg.rate_step ? rate_exact - cfg.rate_step : '0;
      counted <= loss_write ? '0 : counted + 1'b1;
      sum <= loss_write ? '0 : loss_sum;
      if (loss_write) epoch <= epoch + 1'b1;
    end
    if (start) begin
      rate_exact <= cfg.rate_start;
      counted <= '0;
      sum <= '0;
    end
    // whoever watches a job must not see the epochs of the one before
    if (job_start || !rst_n) epoch <= '0;
  end

  logic unused;
  assign unused = &{cfg, rate_exact};

endmodule
