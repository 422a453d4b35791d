// Header, scales and logits of every sample in block RAM, as beats; read latency 2.
module side_memory
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                  clk,
    input  logic                  write,
    input  logic [SLOT_INDEX+2:0] write_address,
    input  logic [  BUS_BITS-1:0] write_data,
    input  logic [SLOT_INDEX+2:0] read_address,
    output logic [  BUS_BITS-1:0] read_data
);

  (* ram_style = "block" *) logic [BUS_BITS-1:0] memory[MAX_SAMPLES*8];
  logic [BUS_BITS-1:0] array_data;

  always_ff @(posedge clk) begin
    if (write) memory[write_address] <= write_data;
    array_data <= memory[read_address];
    read_data <= array_data;
  end

endmodule
