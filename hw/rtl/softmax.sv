// rate * (softmax(z) - onehot(label)) and the cross-entropy, by tables.
//
//   stages 0 to 2   largest logit
//   stage  3        distance of each logit below it, in steps of the exp table
//   stage  4        exp
//   stages 5 to 7   sum, its leading one (shift) and the bits behind that (index)
//   stage  8        reciprocal and logarithm of the mantissa
//   stages 9, 10    reciprocal times the rate, shifted
//   stages 11, 12   times every exp, less the rate at the label
//
// One sample at a time: the next logits come only after this sample's g has been used.
module softmax
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                               clk,
    input  logic                               rst_n,
    input  logic                               clear,
    input  logic [            7:0]             classes,
    input  logic [  RATE_BITS-1:0]             rate,
    input  logic                               z_valid,
    input  z_t   [MAX_CLASSES-1:0]             z,
    input  logic [CLASS_INDEX-1:0]             label,
    output logic                               g_valid,  // g is there from the next cycle on
    output g_t   [MAX_CLASSES-1:0]             g,
    output logic [  LOSS_BITS-1:0]             loss  // with g_valid
);

  localparam int STAGES = 13;
  localparam int STEP_BITS = Z_FRACTION + EXP_STEP_LOG2;
  localparam int TOTAL_BITS = EXP_BITS + CLASS_INDEX;
  localparam int SHIFT_BITS = $clog2(CLASS_INDEX + 1);
  localparam int INDEX_BITS = $clog2(RECIPROCAL_ENTRIES);
  localparam int EXP_INDEX_BITS = $clog2(EXP_ENTRIES);
  localparam int SCALED_BITS = RECIPROCAL_BITS + RATE_BITS;
  localparam int G_SHIFT = EXP_FRACTION + RATE_FRACTION - G_FRACTION;
  localparam int G_PRODUCT_BITS = EXP_BITS + RATE_BITS;
  localparam z_t LOWEST = {1'b1, {(Z_BITS - 1) {1'b0}}};

  function automatic z_t larger(input z_t x, input z_t y);
    larger = x > y ? x : y;
  endfunction

  logic [STAGES-2:0] stage;  // stage[s]: the sample is in stage s + 1
  assign g_valid = stage[STAGES-2];

  logic [MAX_CLASSES-1:0] used;
  z_t [MAX_CLASSES/4-1:0] largest_1;
  z_t [MAX_CLASSES/16-1:0] largest_2;
  z_t largest_3, largest_23;
  logic [Z_BITS:0] label_below;
  logic [MAX_CLASSES-1:0][EXP_INDEX_BITS-1:0] index_4;
  logic [MAX_CLASSES-1:0][EXP_BITS-1:0] exps;
  logic [MAX_CLASSES/4-1:0][TOTAL_BITS-1:0] sums_6;
  logic [MAX_CLASSES/16-1:0][TOTAL_BITS-1:0] sums_7;
  logic [TOTAL_BITS-1:0] total_7;
  logic [SHIFT_BITS-1:0] shift_7, shift_8;
  logic [INDEX_BITS-1:0] index_8;
  logic [RECIPROCAL_BITS-1:0] reciprocal_9;
  logic [Z_FRACTION-1:0] logarithm_9;
  logic [SCALED_BITS-1:0] scaled_10;
  logic [RATE_BITS-1:0] scaled_11;
  logic [MAX_CLASSES-1:0][G_PRODUCT_BITS-1:0] products_12;
  logic [Z_BITS+1:0] loss_10;

  for (genvar c = 0; c < MAX_CLASSES; c++) begin : g_used
    assign used[c] = c < 32'(classes);
  end

  always_comb begin
    largest_23 = largest_2[0];
    for (int n = 1; n < MAX_CLASSES / 16; n++) largest_23 = larger(largest_23, largest_2[n]);
    total_7 = '0;
    for (int n = 0; n < MAX_CLASSES / 16; n++) total_7 += sums_7[n];
    shift_7 = '0;
    for (int n = 1; n <= CLASS_INDEX; n++)
      if (total_7[EXP_FRACTION+n]) shift_7 = SHIFT_BITS'(n);
  end

  always_ff @(posedge clk) begin
    stage <= {stage[STAGES-3:0], z_valid};
    if (!rst_n || clear) stage <= '0;
  end

  always_ff @(posedge clk) begin
    for (int n = 0; n < MAX_CLASSES / 4; n++)
      largest_1[n] <= larger(larger(used[4*n] ? z[4*n] : LOWEST,
                                    used[4*n+1] ? z[4*n+1] : LOWEST),
                             larger(used[4*n+2] ? z[4*n+2] : LOWEST,
                                    used[4*n+3] ? z[4*n+3] : LOWEST));
    for (int n = 0; n < MAX_CLASSES / 16; n++)
      largest_2[n] <= larger(larger(largest_1[4*n], largest_1[4*n+1]),
                             larger(largest_1[4*n+2], largest_1[4*n+3]));
    largest_3 <= largest_23;
    if (stage[2]) label_below <= (Z_BITS+1)'(largest_3) - (Z_BITS+1)'(z[label]);

    for (int n = 0; n < MAX_CLASSES / 4; n++)
      sums_6[n] <= TOTAL_BITS'(exps[4*n]) + TOTAL_BITS'(exps[4*n+1])
                   + TOTAL_BITS'(exps[4*n+2]) + TOTAL_BITS'(exps[4*n+3]);
    for (int n = 0; n < MAX_CLASSES / 16; n++)
      sums_7[n] <= sums_6[4*n] + sums_6[4*n+1] + sums_6[4*n+2] + sums_6[4*n+3];
    shift_8 <= shift_7;
    index_8 <= INDEX_BITS'(total_7 >> (EXP_FRACTION - INDEX_BITS + 32'(shift_7)));

    if (stage[7]) begin
      reciprocal_9 <= reciprocal(index_8);
      logarithm_9 <= logarithm(index_8);
    end
    scaled_10 <= reciprocal_9 * rate;
    scaled_11 <= RATE_BITS'((scaled_10 + (SCALED_BITS'(1) << (RECIPROCAL_FRACTION - 1
                                                              + 32'(shift_8))))
                            >> (RECIPROCAL_FRACTION + 32'(shift_8)));
    loss_10 <= (Z_BITS+2)'(label_below) + (Z_BITS+2)'(LN2) * (Z_BITS+2)'(shift_8)
               + (Z_BITS+2)'(logarithm_9);
    loss <= |loss_10[Z_BITS+1:LOSS_BITS] ? '1 : loss_10[LOSS_BITS-1:0];
  end

  for (genvar c = 0; c < MAX_CLASSES; c++) begin : g_class
    logic [Z_BITS:0] below, steps;

    assign below = (Z_BITS+1)'(largest_3) - (Z_BITS+1)'(z[c]);
    assign steps = (below + (Z_BITS+1)'(1 << (STEP_BITS - 1))) >> STEP_BITS;

    always_ff @(posedge clk) begin
      index_4[c] <= steps > (Z_BITS+1)'(EXP_ENTRIES - 1) ? '1 : EXP_INDEX_BITS'(steps);
      // the exps stay until the reciprocal of their sum is there
      if (stage[3]) exps[c] <= used[c] ? exponential(index_4[c]) : '0;
      products_12[c] <= exps[c] * scaled_11;
      if (stage[STAGES-2])
        g[c] <= G_BITS'((products_12[c] + G_PRODUCT_BITS'(1 << (G_SHIFT - 1))) >> G_SHIFT)
            - (label == c ? G_BITS'(((RATE_BITS+1)'(rate)
                + (RATE_BITS+1)'(1 << (RATE_FRACTION - G_FRACTION - 1)))
                >> (RATE_FRACTION - G_FRACTION)) : '0);
    end
  end

endmodule
