// Sends the trained weights to memory, one burst per word of A and per group of B, in the layout
// of loader.sv.
module storer
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                                         clk,
    input  logic                                         rst_n,
    input  logic                                         start,
    input  logic                                         stop,  // after the burst under way
    input  config_t                                      cfg,
    input  logic    [              WORD_INDEX:0]         words,
    output logic                                         busy,

    output logic    [            WORD_INDEX-1:0]         a_word,
    output logic    [$clog2(RANK*LANES/8)-1:0]           a_beat,
    input  logic    [              BUS_BITS-1:0]         a_data,
    output logic    [             TAP_INDEX-1:0]         b_tap,
    output logic    [           GROUP_INDEX-1:0]         b_group,
    output logic    [$clog2(RANK*CLASS_LANES/8)-1:0]     b_beat,
    input  logic    [              BUS_BITS-1:0]         b_data,

    output logic                                         burst_valid,
    input  logic                                         burst_ready,
    output logic    [          ADDRESS_BITS-1:0]         burst_address,
    output logic    [                       7:0]         burst_beats,
    output logic                                         data_valid,
    input  logic                                         data_ready,
    output logic    [              BUS_BITS-1:0]         data
);

  localparam int A_BEATS = RANK * LANES / 8;
  localparam int B_BEATS = RANK * CLASS_LANES / 8;

  // the weights are there two cycles after their address
  typedef enum logic [2:0] {NOTHING, READ_1, READ_2, REQUEST, SEND} state_t;
  state_t state;
  logic in_b;
  logic [7:0] beat;

  assign busy = state != NOTHING;
  assign burst_valid = state == REQUEST && !stop;
  assign burst_beats = in_b ? 8'(B_BEATS) : 8'(A_BEATS);
  assign data_valid = state == SEND;
  assign data = in_b ? b_data : a_data;
  assign a_beat = $bits(a_beat)'(beat);
  assign b_beat = $bits(b_beat)'(beat);

  always_ff @(posedge clk) begin
    case (state)
      READ_1: state <= READ_2;
      READ_2: state <= REQUEST;
      REQUEST: begin
        beat <= '0;
        if (stop) state <= NOTHING;
        else if (burst_ready) state <= SEND;
      end
      SEND:
      if (data_ready) begin
        beat <= beat + 1'b1;
        if (beat == burst_beats - 1) begin
          state <= READ_1;
          burst_address <= burst_address + ADDRESS_BITS'(32'(burst_beats) * BUS_BYTES);
          if (!in_b) begin
            a_word <= a_word + 1'b1;
            if ((WORD_INDEX+1)'(a_word) == words - 1) in_b <= 1'b1;
          end else begin
            b_group <= 32'(b_group) == GROUPS - 1 ? '0 : b_group + 1'b1;
            if (32'(b_group) == GROUPS - 1) begin
              b_tap <= b_tap + 1'b1;
              if (8'(b_tap) == cfg.taps - 1) state <= NOTHING;
            end
          end
        end
      end
      default: ;
    endcase
    if (start) begin
      state <= READ_1;
      in_b <= 1'b0;
      a_word <= '0;
      b_tap <= '0;
      b_group <= '0;
      burst_address <= cfg.result_address;
    end
    if (!rst_n) state <= NOTHING;
  end

  logic unused;
  assign unused = &cfg;

endmodule
