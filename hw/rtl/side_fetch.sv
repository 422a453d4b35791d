// Brings a sample's scales, label and frozen logits from the side memory to where they are used.
//
// Started with the first word of a sample's pass. The first scale is needed eleven cycles later,
// the logits after that. Scales of four samples are kept, as a sample's pass may begin while the
// backward pass of the sample two before still reads its own; labels and logits of two.
module side_fetch
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                                      clk,
    input  logic                                      rst_n,
    input  logic                                      clear,
    input  logic                                      start,
    input  logic   [ SLOT_INDEX-1:0]                  start_slot,
    input  logic   [            1:0]                  start_sample,
    output logic                                      idle,
    output logic   [ SLOT_INDEX+2:0]                  read_address,
    input  logic   [   BUS_BITS-1:0]                  read_data,  // two cycles later

    input  logic   [            1:0]                  f_sample,
    input  logic   [  TAP_INDEX-1:0]                  f_tap,
    output scale_t                                    f_scale,
    input  logic   [            1:0]                  g_sample,
    input  logic   [  TAP_INDEX-1:0]                  g_tap,
    output scale_t                                    g_scale,
    input  logic                                      logit_sample,
    input  logic   [GROUP_INDEX-1:0]                  logit_group,
    output logic   [CLASS_LANES-1:0][LOGIT_BITS-1:0]  logits,
    input  logic                                      label_sample,
    output logic   [CLASS_INDEX-1:0]                  label
);

  // beats of a sample: header, scales, logits
  localparam int SCALE_BEATS = MAX_TAPS / BEAT_VALUES;
  localparam int LOGIT_BEATS = MAX_CLASSES / BEAT_VALUES;
  localparam int FIRST_LOGIT = 1 + SCALE_BEATS;
  localparam int BEATS = FIRST_LOGIT + LOGIT_BEATS;

  logic [2:0] beat, beat_1, beat_2;
  logic running, running_1, running_2;
  logic [1:0] sample, sample_1, sample_2;
  logic [SLOT_INDEX-1:0] slot;

  assign idle = !running;
  assign read_address = {slot, beat};

  // the scales first, they are needed first; the header with the label last
  always_ff @(posedge clk) begin
    if (start) begin
      running <= 1'b1;
      beat <= 3'd1;
      slot <= start_slot;
      sample <= start_sample;
    end else if (running) begin
      if (beat == 0) running <= 1'b0;
      beat <= beat == 3'(BEATS - 1) ? 3'd0 : beat + 1'b1;
    end
    {running_2, running_1} <= {running_1, running};
    {beat_2, beat_1} <= {beat_1, beat};
    {sample_2, sample_1} <= {sample_1, sample};
    if (!rst_n || clear) begin
      running <= 1'b0;
      running_1 <= 1'b0;
      running_2 <= 1'b0;
    end
  end

  (* ram_style = "distributed" *) logic [BUS_BITS-1:0] scale_memory[4*SCALE_BEATS];
  logic [1:0][CLASS_INDEX-1:0] labels;
  logic scale_beat;

  assign scale_beat = running_2 && beat_2 >= 1 && beat_2 < 3'(FIRST_LOGIT);

  always_ff @(posedge clk) begin
    if (scale_beat) scale_memory[{sample_2, 1'(beat_2 - 3'd1)}] <= read_data;
    if (running_2 && beat_2 == 0) labels[sample_2[0]] <= read_data[16+:CLASS_INDEX];
  end

  localparam int PART = $clog2(BEAT_VALUES);
  logic [BUS_BITS-1:0] f_beat, g_beat;
  assign f_beat = scale_memory[{f_sample, f_tap[TAP_INDEX-1:PART]}];
  assign g_beat = scale_memory[{g_sample, g_tap[TAP_INDEX-1:PART]}];
  assign f_scale = f_beat[16*32'(f_tap[PART-1:0])+:16];
  assign g_scale = g_beat[16*32'(g_tap[PART-1:0])+:16];
  assign label = labels[label_sample];

  for (genvar n = 0; n < CLASS_LANES / BEAT_VALUES; n++) begin : g_part
    (* ram_style = "distributed" *) logic [BUS_BITS-1:0] memory[2*GROUPS];
    logic [2:0] number;
    assign number = beat_2 - 3'(FIRST_LOGIT);
    logic unused;
    assign unused = number[2];
    always_ff @(posedge clk)
      if (running_2 && beat_2 >= 3'(FIRST_LOGIT) && number[0] == n)
        memory[{sample_2[0], number[GROUP_INDEX:1]}] <= read_data;
    assign logits[BEAT_VALUES*n+:BEAT_VALUES] = memory[{logit_sample, logit_group}];
  end

endmodule
