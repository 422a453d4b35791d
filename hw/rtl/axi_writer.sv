// Writes bursts to memory. A burst that was accepted is always carried to its end.
module axi_writer
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                    clk,
    input  logic                    rst_n,
    input  logic                    burst_valid,
    output logic                    burst_ready,
    input  logic [ADDRESS_BITS-1:0] burst_address,
    input  logic [             7:0] burst_beats,
    input  logic                    data_valid,
    output logic                    data_ready,
    input  logic [    BUS_BITS-1:0] data,
    output logic                    idle,
    output logic                    error,

    output logic [ADDRESS_BITS-1:0] m_axi_awaddr,
    output logic [             7:0] m_axi_awlen,
    output logic                    m_axi_awvalid,
    input  logic                    m_axi_awready,
    output logic [    BUS_BITS-1:0] m_axi_wdata,
    output logic                    m_axi_wlast,
    output logic                    m_axi_wvalid,
    input  logic                    m_axi_wready,
    input  logic [             1:0] m_axi_bresp,
    input  logic                    m_axi_bvalid,
    output logic                    m_axi_bready
);

  logic [7:0] left;  // beats of the burst still to send
  logic [2:0] pending;  // bursts without a response
  logic accept;

  assign burst_ready = left == 0 && !m_axi_awvalid && pending != '1;
  assign accept = burst_valid && burst_ready;
  assign m_axi_wdata = data;
  assign m_axi_wvalid = data_valid && left != 0;
  assign m_axi_wlast = left == 1;
  assign data_ready = m_axi_wready && left != 0;
  assign m_axi_bready = 1'b1;
  assign idle = left == 0 && !m_axi_awvalid && pending == 0;

  always_ff @(posedge clk) begin
    if (m_axi_awready) m_axi_awvalid <= 1'b0;
    if (m_axi_wvalid && m_axi_wready) left <= left - 1;
    if (accept) begin
      m_axi_awvalid <= 1'b1;
      m_axi_awaddr <= burst_address;
      m_axi_awlen <= burst_beats - 1;
      left <= burst_beats;
    end
    pending <= pending + 3'(accept) - 3'(m_axi_bvalid);
    error <= m_axi_bvalid && m_axi_bresp[1];
    if (!rst_n) begin
      m_axi_awvalid <= 1'b0;
      left <= '0;
      pending <= '0;
      error <= 1'b0;
    end
  end

  logic unused;
  assign unused = m_axi_bresp[0];

endmodule
