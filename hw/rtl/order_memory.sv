// The order: slots in the sequence in which every epoch visits them, eight to a beat.
module order_memory
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                              clk,
    input  logic                              write,
    input  logic [SLOT_INDEX-4:0]             write_address,
    input  logic [  BUS_BITS-1:0]             write_data,
    input  logic [SLOT_INDEX-1:0]             read_position,
    output logic [SLOT_INDEX-1:0]             read_slot  // same cycle
);

  localparam int PART = $clog2(BEAT_VALUES);
  (* ram_style = "distributed" *) logic [BUS_BITS-1:0] memory[MAX_SAMPLES/BEAT_VALUES];
  logic [BUS_BITS-1:0] beat;

  always_ff @(posedge clk) if (write) memory[write_address] <= write_data;

  assign beat = memory[read_position[SLOT_INDEX-1:PART]];
  assign read_slot = beat[16*32'(read_position[PART-1:0])+:SLOT_INDEX];

  logic unused;
  assign unused = &beat;

endmodule
