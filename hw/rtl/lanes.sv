// A_k and its passes: all lanes, the sum over them, and the scale of the tap.
//
//   stages 0 to 3   the lanes
//   stages 4 to 6   sum over the lanes, 4 to 1 each
//   stage  7        sum over the words of a tap
//   stages 8 to 10  round, times the scale's mantissa, shift by its exponent: h_k
//
// `token` accompanies a word; it arrives together with its read of the code memory and waits
// here until the codes are there. The codes of the last two samples are kept for their updates.
module lanes
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                                 clk,
    input  logic                                 rst_n,
    input  logic                                 clear,  // forget the words under way
    input  token_t                               token,
    input  logic   [CODE_BITS-1:0]               codes,  // three cycles after its token
    // u_k of the update to be applied
    input  logic                                 u_write,
    input  logic                                 u_sample,
    input  logic   [TAP_INDEX-1:0]               u_tap,
    input  u_t     [     RANK-1:0]               u_data,
    // the tap's scale
    output logic   [          1:0]               scale_sample,
    output logic   [TAP_INDEX-1:0]               scale_tap,
    input  scale_t                               scale,
    // result
    output logic                                 h_valid,
    output logic                                 h_sample,
    output logic   [TAP_INDEX-1:0]               h_tap,
    output h_t     [     RANK-1:0]               h,
    output logic                                 busy,
    // loading and storing
    input  logic   [     RANK-1:0]               load,
    input  logic   [$clog2(LANES/8)-1:0]         load_part,
    input  logic   [WORD_INDEX-1:0]              load_word,
    input  logic   [ BUS_BITS-1:0]               load_data,
    input  logic                                 store,
    input  logic   [WORD_INDEX-1:0]              store_word,
    input  logic   [$clog2(RANK*LANES/8)-1:0]    store_beat,
    output logic   [ BUS_BITS-1:0]               store_data
);

  localparam int PRODUCT_BITS = A_BITS + FEATURE_BITS;
  localparam int TREE_BITS = PRODUCT_BITS + $clog2(LANES);
  localparam int TAP_SUM_BITS = TREE_BITS + WORD_INDEX;
  localparam int SUM_SHIFT = A_FRACTION + FEATURE_FRACTION - SUM_FRACTION;
  localparam int H_SHIFT = SUM_FRACTION + SCALE_BIAS - H_FRACTION;
  localparam int SCALED_BITS = SUM_BITS + SCALE_MANTISSA + 1;
  localparam int CODE_LATENCY = 3;
  localparam int STAGES = CODE_LATENCY + 11;
  localparam int BEATS = RANK * LANES / 8;

  // words[s] is the token of the word in stage s - CODE_LATENCY
  token_t words[STAGES];
  token_t stage_0;

  always_comb begin
    words[0] = token;
    stage_0 = words[CODE_LATENCY];
  end
  for (genvar s = 1; s < STAGES; s++) begin : g_words
    always_ff @(posedge clk) begin
      words[s] <= words[s-1];
      if (clear || !rst_n) words[s].valid <= 1'b0;
    end
  end
  always_comb begin
    busy = token.valid;
    for (int s = 1; s < STAGES; s++) busy |= words[s].valid;
  end

  // ---- stage 0: the codes of the sample two passes ago, and its update ----
  (* ram_style = "distributed" *) logic [CODE_BITS-1:0] history[2*MAX_WORDS];
  (* ram_style = "distributed" *) u_t [RANK-1:0] u_memory[2*MAX_TAPS];
  logic [CODE_BITS-1:0] old_codes;
  u_t [RANK-1:0] u;

  assign old_codes = history[{stage_0.sample[0], stage_0.word}];

  always_ff @(posedge clk) begin
    if (stage_0.valid && stage_0.forward) history[{stage_0.sample[0], stage_0.word}] <= codes;
    if (u_write) u_memory[{u_sample, u_tap}] <= u_data;
    // before the first update the history holds nothing
    u <= stage_0.update ? u_memory[{stage_0.sample[0], stage_0.tap}] : '0;
  end

  // ---- stages 0 to 3 ----
  logic [WORD_INDEX-1:0] read_word;
  a_t [LANES-1:0][RANK-1:0] weights;
  logic [LANES-1:0][RANK-1:0][PRODUCT_BITS-1:0] products;

  assign read_word = store ? store_word : stage_0.word;

  for (genvar l = 0; l < LANES; l++) begin : g_lane
    lane lane_i (
        .clk,
        .load(32'(load_part) == l / 8 ? load : '0),
        .load_word,
        .load_data(load_data[16*(l%8)+:16]),
        .read_word,
        .old_code(old_codes[4*l+:4]),
        .new_code(codes[4*l+:4]),
        .u,
        .write(words[CODE_LATENCY+3].valid),
        .write_word(words[CODE_LATENCY+3].word),
        .weights(weights[l]),
        .products(products[l])
    );
  end

  // a beat holds the weights of one rank in eight neighbouring lanes
  logic [BEATS-1:0][BUS_BITS-1:0] beats;
  for (genvar n = 0; n < BEATS; n++) begin : g_beat
    for (genvar v = 0; v < 8; v++) begin : g_value
      assign beats[n][16*v+:16] = weights[(n%(LANES/8))*8+v][n/(LANES/8)];
    end
  end
  assign store_data = beats[store_beat];

  // ---- stages 4 to 10, one copy per rank ----
  token_t stage_7, stage_8, stage_9, stage_10;
  logic [SCALE_MANTISSA-1:0] mantissa;
  logic [SCALE_EXPONENT-1:0] exponent_9, exponent_10;

  always_comb begin
    stage_7 = words[CODE_LATENCY+7];
    stage_8 = words[CODE_LATENCY+8];
    stage_9 = words[CODE_LATENCY+9];
    stage_10 = words[CODE_LATENCY+10];
    scale_sample = stage_8.sample;
    scale_tap = stage_8.tap;
    h_valid = stage_10.valid && stage_10.forward && stage_10.last;
    h_sample = stage_10.sample[0];
    h_tap = stage_10.tap;
  end

  always_ff @(posedge clk) begin
    {exponent_9, mantissa} <= scale;
    exponent_10 <= exponent_9;
  end

  for (genvar i = 0; i < RANK; i++) begin : g_rank
    logic signed [LANES/4-1:0][PRODUCT_BITS+1:0] sums_4;
    logic signed [LANES/16-1:0][PRODUCT_BITS+3:0] sums_5;
    logic signed [TREE_BITS-1:0] sum_6, tree;
    logic signed [TAP_SUM_BITS-1:0] sum_7, rounded_8;
    logic signed [SUM_BITS-1:0] sum_8;
    logic signed [SCALED_BITS-1:0] scaled_9, shifted_10;

    always_comb begin
      tree = '0;
      for (int n = 0; n < LANES / 16; n++) tree += TREE_BITS'(signed'(sums_5[n]));
      rounded_8 = (sum_7 + TAP_SUM_BITS'(1 << (SUM_SHIFT - 1))) >>> SUM_SHIFT;
      shifted_10 = (scaled_9 + (SCALED_BITS'(1) << (H_SHIFT - 1 - 32'(exponent_10))))
                   >>> (H_SHIFT - 32'(exponent_10));
      if (shifted_10 > SCALED_BITS'(signed'({1'b0, {(H_BITS - 1) {1'b1}}})))
        h[i] = {1'b0, {(H_BITS - 1) {1'b1}}};
      else if (shifted_10 < SCALED_BITS'(signed'({1'b1, {(H_BITS - 1) {1'b0}}})))
        h[i] = {1'b1, {(H_BITS - 1) {1'b0}}};
      else h[i] = h_t'(shifted_10);
    end

    always_ff @(posedge clk) begin
      for (int n = 0; n < LANES / 4; n++)
        sums_4[n] <= (PRODUCT_BITS+2)'(signed'(products[4*n][i]))
                     + (PRODUCT_BITS+2)'(signed'(products[4*n+1][i]))
                     + (PRODUCT_BITS+2)'(signed'(products[4*n+2][i]))
                     + (PRODUCT_BITS+2)'(signed'(products[4*n+3][i]));
      for (int n = 0; n < LANES / 16; n++)
        sums_5[n] <= (PRODUCT_BITS+4)'(signed'(sums_4[4*n]))
                     + (PRODUCT_BITS+4)'(signed'(sums_4[4*n+1]))
                     + (PRODUCT_BITS+4)'(signed'(sums_4[4*n+2]))
                     + (PRODUCT_BITS+4)'(signed'(sums_4[4*n+3]));
      sum_6 <= tree;
      if (stage_7.valid)
        sum_7 <= (stage_7.first ? '0 : sum_7) + TAP_SUM_BITS'(sum_6);
      if (rounded_8 > TAP_SUM_BITS'(signed'({1'b0, {(SUM_BITS - 1) {1'b1}}})))
        sum_8 <= {1'b0, {(SUM_BITS - 1) {1'b1}}};
      else if (rounded_8 < TAP_SUM_BITS'(signed'({1'b1, {(SUM_BITS - 1) {1'b0}}})))
        sum_8 <= {1'b1, {(SUM_BITS - 1) {1'b0}}};
      else sum_8 <= SUM_BITS'(rounded_8);
      scaled_9 <= SCALED_BITS'(sum_8) * SCALED_BITS'(signed'({1'b0, mantissa}));
    end
  end

  logic unused;
  assign unused = &{stage_0, stage_7, stage_8, stage_9, stage_10};

endmodule
