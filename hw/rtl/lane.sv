// One feature of a word and its RANK weights: apply the waiting update, then multiply.
//
//   stage 0  read weights and decode both features
//   stage 1  update u times the old sample's feature
//   stage 2  weight less that, rounded and saturated
//   stage 3  new weight times the new sample's feature; write the weight back
//
// The sum over lanes continues in lanes.sv.
module lane
  import instantft_pkg::*, instantft_types_pkg::*;
#(
    localparam int PRODUCT_BITS = A_BITS + FEATURE_BITS
) (
    input  logic                                       clk,
    // loading, never during training
    input  logic [      RANK-1:0]                      load,
    input  logic [WORD_INDEX-1:0]                      load_word,
    input  a_t                                         load_data,
    // stage 0
    input  logic [WORD_INDEX-1:0]                      read_word,
    input  logic [           3:0]                      old_code,
    input  logic [           3:0]                      new_code,
    // stage 1
    input  u_t   [      RANK-1:0]                      u,
    // stage 3
    input  logic                                       write,
    input  logic [WORD_INDEX-1:0]                      write_word,
    output a_t   [      RANK-1:0]                      weights,  // after stage 0
    output logic [      RANK-1:0][   PRODUCT_BITS-1:0] products  // after stage 3
);

  localparam int SHIFT = U_FRACTION + FEATURE_FRACTION - A_FRACTION;
  localparam int CHANGE_BITS = U_BITS + FEATURE_BITS;
  localparam int WIDE = CHANGE_BITS - SHIFT + 2;

  feature_t old_feature, new_feature_0, new_feature_1, new_feature_2;

  always_ff @(posedge clk) begin
    old_feature <= feature(old_code);
    new_feature_0 <= feature(new_code);
    new_feature_1 <= new_feature_0;
    new_feature_2 <= new_feature_1;
  end

  for (genvar i = 0; i < RANK; i++) begin : g_rank
    (* ram_style = "distributed" *) a_t memory[MAX_WORDS];
    a_t weight_1, weight_2;
    logic signed [CHANGE_BITS-1:0] change;
    logic signed [WIDE-1:0] updated;
    logic signed [PRODUCT_BITS-1:0] product;

    assign updated = WIDE'(weight_1)
        - WIDE'((change + CHANGE_BITS'(1 << (SHIFT - 1))) >>> SHIFT);
    assign products[i] = product;

    always_ff @(posedge clk) begin
      if (load[i] || write)
        memory[load[i] ? load_word : write_word] <= load[i] ? load_data : weight_2;
      weights[i] <= memory[read_word];
      weight_1 <= weights[i];
      change <= u[i] * old_feature;
      if (updated > WIDE'(signed'({1'b0, {(A_BITS - 1) {1'b1}}})))
        weight_2 <= {1'b0, {(A_BITS - 1) {1'b1}}};
      else if (updated < WIDE'(signed'({1'b1, {(A_BITS - 1) {1'b0}}})))
        weight_2 <= {1'b1, {(A_BITS - 1) {1'b0}}};
      else weight_2 <= a_t'(updated);
      product <= weight_2 * new_feature_2;
    end
  end

endmodule
