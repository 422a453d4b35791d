// The forward cache's codes in UltraRAM: one write port, one read port, read latency 3.
module code_memory
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                  clk,
    input  logic                  write,
    input  logic [CODE_INDEX-1:0] write_address,
    input  logic [ CODE_BITS-1:0] write_data,
    input  logic [CODE_INDEX-1:0] read_address,
    output logic [ CODE_BITS-1:0] read_data
);

  (* ram_style = "ultra" *) logic [CODE_BITS-1:0] memory[CODE_WORDS];
  // two registers behind the array: its own output register and one for the cascade
  logic [CODE_BITS-1:0] array_data, output_data;

  always_ff @(posedge clk) begin
    if (write) memory[write_address] <= write_data;
    array_data <= memory[read_address];
    output_data <= array_data;
    read_data <= output_data;
  end

endmodule
