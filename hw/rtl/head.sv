// B_k and its two passes over the taps of a sample.
//
// Forward, as soon as h_k is there and the sample before has updated B:
//   F0 read B_k, h_k, frozen logits    F1 multiply    F2 sum over the rank, round
//   F3 add to the logits z; after the last tap they go to softmax.sv
// Backward, when its g = rate * (softmax(z) - onehot) is there:
//   G0 read B_k, h_k, g    G1 multiply B_k g and g h_k
//   G2 to G4 sum over the classes; B_k less g h_k, written in G3
//   G5 round    G6 times the scale's mantissa    G7 shift by its exponent: u_k, to lanes.sv
// Both take CLASS_LANES classes of one tap a cycle, so one or two cycles a tap.
module head
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                                       clk,
    input  logic                                       rst_n,
    input  logic                                       clear,  // forget the sample under way
    input  logic   [      TAP_INDEX-1:0]               last_tap,
    input  logic   [    GROUP_INDEX-1:0]               last_group,
    // h_k from lanes.sv
    input  logic                                       h_valid,
    input  logic                                       h_sample,
    input  logic   [      TAP_INDEX-1:0]               h_tap,
    input  h_t     [           RANK-1:0]               h,
    // frozen logits, kept by side_fetch.sv
    output logic                                       logit_sample,
    output logic   [    GROUP_INDEX-1:0]               logit_group,
    input  logic   [    CLASS_LANES-1:0][LOGIT_BITS-1:0] frozen_logits,
    // softmax
    output logic                                       z_valid,
    output logic                                       z_sample,
    output z_t     [    MAX_CLASSES-1:0]               z,
    input  logic                                       g_valid,
    input  g_t     [    MAX_CLASSES-1:0]               g,
    // scale of the tap
    output logic   [                1:0]               scale_sample,
    output logic   [      TAP_INDEX-1:0]               scale_tap,
    input  scale_t                                     scale,
    // u_k to lanes.sv; u_early announces it as long before as a word takes to its update
    output logic                                       u_early,
    output logic                                       u_write,
    output logic                                       u_sample,
    output logic   [      TAP_INDEX-1:0]               u_tap,
    output u_t     [           RANK-1:0]               u,
    output logic                                       busy,
    // loading and storing
    input  logic   [           RANK-1:0]               load,
    input  logic   [$clog2(CLASS_LANES/8)-1:0]         load_part,
    input  logic   [      TAP_INDEX-1:0]               load_tap,
    input  logic   [    GROUP_INDEX-1:0]               load_group,
    input  logic   [       BUS_BITS-1:0]               load_data,
    input  logic                                       store,
    input  logic   [      TAP_INDEX-1:0]               store_tap,
    input  logic   [    GROUP_INDEX-1:0]               store_group,
    input  logic   [$clog2(RANK*CLASS_LANES/8)-1:0]    store_beat,
    output logic   [       BUS_BITS-1:0]               store_data
);

  localparam int F_BITS = B_BITS + H_BITS;
  localparam int F_SUM_BITS = F_BITS + $clog2(RANK);
  localparam int F_SHIFT = B_FRACTION + H_FRACTION - Z_FRACTION;
  localparam int GB_BITS = B_BITS + G_BITS;
  localparam int GB_SUM_BITS = GB_BITS + CLASS_INDEX;
  localparam int GB_SHIFT = B_FRACTION + G_FRACTION - GH_FRACTION;
  localparam int CHANGE_BITS = G_BITS + H_BITS;
  localparam int CHANGE_SHIFT = G_FRACTION + H_FRACTION - B_FRACTION;
  localparam int WIDE = CHANGE_BITS - CHANGE_SHIFT + 2;
  localparam int SCALED_BITS = GH_BITS + SCALE_MANTISSA + 1;
  localparam int U_SHIFT = GH_FRACTION + SCALE_BIAS - U_FRACTION;
  localparam int BEATS = RANK * CLASS_LANES / 8;

  typedef struct packed {
    logic valid;
    logic first;  // of the sample going forward, of the tap going backward
    logic last;  // of the sample going forward, of the tap going backward
    logic [TAP_INDEX-1:0] tap;
    logic [GROUP_INDEX-1:0] group;
    logic [1:0] sample;
  } item_t;

  // ---- h_k of the last two samples ----
  (* ram_style = "distributed" *) h_t [RANK-1:0] h_memory[2*MAX_TAPS];
  always_ff @(posedge clk) if (h_valid) h_memory[{h_sample, h_tap}] <= h;

  // ---- which tap and group goes forward, and which backward ----
  logic [TAP_INDEX-1:0] f_tap, g_tap;
  logic [GROUP_INDEX-1:0] f_group, g_group;
  logic [1:0] sample;  // modulo 4, of the sample that is in the head
  logic forward_allowed, backward;
  logic [TAP_INDEX+1:0] h_waiting;  // taps whose h is there and not yet used
  logic f_go, f_last_group, f_last, g_last_group, g_last;
  item_t f0, f1, f2, f3, g0, g1, g2, g3, g4, g5, g6, g7;

  assign f_go = forward_allowed && h_waiting != 0;
  assign f_last_group = f_group == last_group;
  assign f_last = f_last_group && f_tap == last_tap;
  assign g_last_group = g_group == last_group;
  assign g_last = g_last_group && g_tap == last_tap;

  always_comb begin
    f0 = '{valid: f_go, first: f_tap == 0, last: f_last, tap: f_tap, group: f_group,
           sample: sample};
    g0 = '{valid: backward, first: g_group == 0, last: g_last_group, tap: g_tap, group: g_group,
           sample: sample};
  end

  always_ff @(posedge clk) begin
    h_waiting <= h_waiting + (TAP_INDEX+2)'(h_valid) - (TAP_INDEX+2)'(f_go && f_last_group);
    if (f_go) begin
      f_group <= f_last_group ? '0 : f_group + 1'b1;
      if (f_last_group) f_tap <= f_last ? '0 : f_tap + 1'b1;
      if (f_last) forward_allowed <= 1'b0;
    end
    if (g_valid) backward <= 1'b1;
    if (backward) begin
      g_group <= g_last_group ? '0 : g_group + 1'b1;
      if (g_last_group) g_tap <= g_last ? '0 : g_tap + 1'b1;
      if (g_last) backward <= 1'b0;
    end
    // B_k of the last tap is written in G3; the next sample may read it from then on
    if (g3.valid && g3.last && g3.tap == last_tap) begin
      forward_allowed <= 1'b1;
      sample <= sample + 1'b1;
    end
    if (!rst_n || clear) begin
      h_waiting <= '0;
      f_tap <= '0;
      f_group <= '0;
      g_tap <= '0;
      g_group <= '0;
      sample <= '0;
      forward_allowed <= 1'b1;
      backward <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    {f3, f2, f1} <= {f2, f1, f0};
    {g7, g6, g5, g4, g3, g2, g1} <= {g6, g5, g4, g3, g2, g1, g0};
    if (!rst_n || clear) begin
      {f1.valid, f2.valid, f3.valid} <= '0;
      {g1.valid, g2.valid, g3.valid, g4.valid, g5.valid, g6.valid, g7.valid} <= '0;
    end
  end

  assign busy = h_valid || h_waiting != 0 || !forward_allowed || backward || f1.valid || f2.valid
                || f3.valid || g1.valid || g2.valid || g3.valid || g4.valid || g5.valid
                || g6.valid || g7.valid;

  // ---- B: one memory per class lane and rank ----
  logic [TAP_INDEX+GROUP_INDEX-1:0] f_read, g_read;
  b_t [CLASS_LANES-1:0][RANK-1:0] f_b, g_b;
  h_t [RANK-1:0] f_h, g_h;
  logic [CLASS_LANES-1:0][RANK-1:0][GB_BITS-1:0] gb_products;

  assign f_read = store ? {store_tap, store_group} : {f_tap, f_group};
  assign g_read = {g_tap, g_group};
  assign logit_sample = sample[0];
  assign logit_group = f_group;

  logic [CLASS_LANES-1:0][LOGIT_BITS-1:0] logits_1, logits_2, logits_3;
  g_t [CLASS_LANES-1:0] g_group_1;

  always_ff @(posedge clk) begin
    f_h <= h_memory[{sample[0], f_tap}];
    g_h <= h_memory[{sample[0], g_tap}];
    logits_1 <= frozen_logits;
    logits_2 <= logits_1;
    logits_3 <= logits_2;
    g_group_1 <= g[CLASS_LANES*32'(g_group)+:CLASS_LANES];
  end

  for (genvar c = 0; c < CLASS_LANES; c++) begin : g_class
    logic [RANK-1:0][F_BITS-1:0] f_products;
    logic signed [F_SUM_BITS-1:0] f_sum;
    z_t f_part;

    for (genvar i = 0; i < RANK; i++) begin : g_rank
      (* ram_style = "distributed" *) b_t memory[MAX_TAPS*GROUPS];
      b_t weight_2, weight_3;
      logic signed [CHANGE_BITS-1:0] change;
      logic signed [WIDE-1:0] updated;
      logic signed [F_BITS-1:0] f_product;
      logic signed [GB_BITS-1:0] gb_product;
      logic load_this;

      assign load_this = load[i] && 32'(load_part) == c / 8;
      assign updated = WIDE'(weight_2)
          - WIDE'((change + CHANGE_BITS'(1 << (CHANGE_SHIFT - 1))) >>> CHANGE_SHIFT);
      assign f_products[i] = f_product;
      assign gb_products[c][i] = gb_product;

      always_ff @(posedge clk) begin
        if (load_this || g3.valid)
          memory[load_this ? {load_tap, load_group} : {g3.tap, g3.group}]
              <= load_this ? load_data[16*(c%8)+:16] : weight_3;
        f_b[c][i] <= memory[f_read];
        g_b[c][i] <= memory[g_read];
        f_product <= f_b[c][i] * f_h[i];
        gb_product <= g_b[c][i] * g_group_1[c];
        change <= g_group_1[c] * g_h[i];
        weight_2 <= g_b[c][i];
        if (updated > WIDE'(signed'({1'b0, {(B_BITS - 1) {1'b1}}})))
          weight_3 <= {1'b0, {(B_BITS - 1) {1'b1}}};
        else if (updated < WIDE'(signed'({1'b1, {(B_BITS - 1) {1'b0}}})))
          weight_3 <= {1'b1, {(B_BITS - 1) {1'b0}}};
        else weight_3 <= b_t'(updated);
      end
    end

    always_comb begin
      f_sum = F_SUM_BITS'(1 << (F_SHIFT - 1));
      for (int i = 0; i < RANK; i++) f_sum += F_SUM_BITS'(signed'(f_products[i]));
    end
    always_ff @(posedge clk) f_part <= z_t'(f_sum >>> F_SHIFT);

    for (genvar q = 0; q < GROUPS; q++) begin : g_group
      always_ff @(posedge clk) begin
        if (f3.valid && f3.group == q)
          z[q*CLASS_LANES+c] <= f_part + (f3.first
              ? z_t'(signed'(logits_3[c])) <<< (Z_FRACTION - LOGIT_FRACTION)
              : z[q*CLASS_LANES+c]);
      end
    end
  end

  always_ff @(posedge clk) begin
    z_valid <= f3.valid && f3.last && rst_n && !clear;
    z_sample <= f3.sample[0];
  end

  // a beat holds the weights of one rank of eight neighbouring classes
  logic [BEATS-1:0][BUS_BITS-1:0] beats;
  for (genvar n = 0; n < BEATS; n++) begin : g_beat
    for (genvar v = 0; v < 8; v++) begin : g_value
      assign beats[n][16*v+:16] = f_b[(n%(CLASS_LANES/8))*8+v][n/(CLASS_LANES/8)];
    end
  end
  assign store_data = beats[store_beat];

  // ---- backward, from G2 on: u_k ----
  logic [SCALE_MANTISSA-1:0] mantissa;
  logic [SCALE_EXPONENT-1:0] exponent_6, exponent_7;

  assign scale_sample = g5.sample;
  assign scale_tap = g5.tap;
  assign u_early = g3.valid && g3.last;
  assign u_write = g7.valid && g7.last;
  assign u_sample = g7.sample[0];
  assign u_tap = g7.tap;

  always_ff @(posedge clk) begin
    {exponent_6, mantissa} <= scale;
    exponent_7 <= exponent_6;
  end

  for (genvar i = 0; i < RANK; i++) begin : g_u
    logic signed [CLASS_LANES/4-1:0][GB_BITS+1:0] sums_3;
    logic signed [GB_SUM_BITS-1:0] tree, sum_4, sum_5, rounded_5;
    logic signed [GH_BITS-1:0] gh_6;
    logic signed [SCALED_BITS-1:0] scaled_7, shifted_7;

    always_comb begin
      tree = '0;
      for (int n = 0; n < CLASS_LANES / 4; n++) tree += GB_SUM_BITS'(signed'(sums_3[n]));
      rounded_5 = (sum_5 + GB_SUM_BITS'(1 << (GB_SHIFT - 1))) >>> GB_SHIFT;
      shifted_7 = (scaled_7 + (SCALED_BITS'(1) << (U_SHIFT - 1 - 32'(exponent_7))))
                  >>> (U_SHIFT - 32'(exponent_7));
      if (shifted_7 > SCALED_BITS'(signed'({1'b0, {(U_BITS - 1) {1'b1}}})))
        u[i] = {1'b0, {(U_BITS - 1) {1'b1}}};
      else if (shifted_7 < SCALED_BITS'(signed'({1'b1, {(U_BITS - 1) {1'b0}}})))
        u[i] = {1'b1, {(U_BITS - 1) {1'b0}}};
      else u[i] = u_t'(shifted_7);
    end

    always_ff @(posedge clk) begin
      for (int n = 0; n < CLASS_LANES / 4; n++)
        sums_3[n] <= (GB_BITS+2)'(signed'(gb_products[4*n][i]))
                     + (GB_BITS+2)'(signed'(gb_products[4*n+1][i]))
                     + (GB_BITS+2)'(signed'(gb_products[4*n+2][i]))
                     + (GB_BITS+2)'(signed'(gb_products[4*n+3][i]));
      sum_4 <= tree;
      if (g4.valid) sum_5 <= (g4.first ? '0 : sum_5) + sum_4;
      if (rounded_5 > GB_SUM_BITS'(signed'({1'b0, {(GH_BITS - 1) {1'b1}}})))
        gh_6 <= {1'b0, {(GH_BITS - 1) {1'b1}}};
      else if (rounded_5 < GB_SUM_BITS'(signed'({1'b1, {(GH_BITS - 1) {1'b0}}})))
        gh_6 <= {1'b1, {(GH_BITS - 1) {1'b0}}};
      else gh_6 <= GH_BITS'(rounded_5);
      scaled_7 <= SCALED_BITS'(gh_6) * SCALED_BITS'(signed'({1'b0, mantissa}));
    end
  end

  logic unused;
  assign unused = &{f1, f2, f3.sample[1], f3.tap, g1, g2, g6, g7};

endmodule
