// Reads a region of memory as bursts and hands out its beats in order.
//
// The receiver takes every beat at once, so RREADY is always high and nothing needs a buffer.
// After `stop` no new burst is requested; `idle` tells when the last requested beat has come.
module axi_reader
  import instantft_pkg::*, instantft_types_pkg::*;
#(
    parameter int BEATS_BITS = 18
) (
    input  logic                    clk,
    input  logic                    rst_n,
    input  logic                    start,
    input  logic [ADDRESS_BITS-1:0] start_address,  // aligned to a burst
    input  logic [  BEATS_BITS-1:0] start_beats,
    input  logic                    stop,
    output logic                    idle,
    output logic                    valid,
    output logic [    BUS_BITS-1:0] data,
    output logic                    error,

    output logic [ADDRESS_BITS-1:0] m_axi_araddr,
    output logic [             7:0] m_axi_arlen,
    output logic                    m_axi_arvalid,
    input  logic                    m_axi_arready,
    input  logic [    BUS_BITS-1:0] m_axi_rdata,
    input  logic [             1:0] m_axi_rresp,
    input  logic                    m_axi_rlast,
    input  logic                    m_axi_rvalid,
    output logic                    m_axi_rready
);

  localparam int COUNT_BITS = $clog2(OUTSTANDING + 1);

  logic [ADDRESS_BITS-1:0] address;
  logic [BEATS_BITS-1:0] remaining;  // beats not yet requested
  logic [COUNT_BITS-1:0] outstanding;  // bursts requested and not yet complete
  logic [BEATS_BITS-1:0] burst;
  logic request, complete;

  assign burst = remaining > BEATS_BITS'(BURST) ? BEATS_BITS'(BURST) : remaining;
  assign request = remaining != 0 && !stop && outstanding != COUNT_BITS'(OUTSTANDING)
                   && (!m_axi_arvalid || m_axi_arready);
  assign complete = m_axi_rvalid && m_axi_rlast;
  assign m_axi_rready = 1'b1;
  assign idle = remaining == 0 && !m_axi_arvalid && outstanding == 0 && !valid;

  always_ff @(posedge clk) begin
    if (m_axi_arready) m_axi_arvalid <= 1'b0;
    if (request) begin
      m_axi_arvalid <= 1'b1;
      m_axi_araddr <= address;
      m_axi_arlen <= 8'(burst - 1);
      address <= address + ADDRESS_BITS'(BURST * BUS_BYTES);
      remaining <= remaining - burst;
    end
    if (stop) remaining <= '0;
    if (start) begin
      address <= start_address;
      remaining <= start_beats;
    end
    outstanding <= outstanding + COUNT_BITS'(request) - COUNT_BITS'(complete);
    valid <= m_axi_rvalid && !stop;
    error <= m_axi_rvalid && m_axi_rresp[1];
    data <= m_axi_rdata;
    if (!rst_n) begin
      m_axi_arvalid <= 1'b0;
      remaining <= '0;
      outstanding <= '0;
      valid <= 1'b0;
      error <= 1'b0;
    end
  end

  logic unused;
  assign unused = m_axi_rresp[0];

endmodule
