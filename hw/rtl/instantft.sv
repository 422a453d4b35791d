// The accelerator: AXI4-Lite for control, a 128-bit AXI4 master for cache, order and weights.
module instantft
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic         aclk,
    input  logic         aresetn,
    output logic         irq,

    input  logic [ 12:0] s_axi_awaddr,
    input  logic [  2:0] s_axi_awprot,
    input  logic         s_axi_awvalid,
    output logic         s_axi_awready,
    input  logic [ 31:0] s_axi_wdata,
    input  logic [  3:0] s_axi_wstrb,
    input  logic         s_axi_wvalid,
    output logic         s_axi_wready,
    output logic [  1:0] s_axi_bresp,
    output logic         s_axi_bvalid,
    input  logic         s_axi_bready,
    input  logic [ 12:0] s_axi_araddr,
    input  logic [  2:0] s_axi_arprot,
    input  logic         s_axi_arvalid,
    output logic         s_axi_arready,
    output logic [ 31:0] s_axi_rdata,
    output logic [  1:0] s_axi_rresp,
    output logic         s_axi_rvalid,
    input  logic         s_axi_rready,

    output logic [  0:0] m_axi_awid,
    output logic [ 39:0] m_axi_awaddr,
    output logic [  7:0] m_axi_awlen,
    output logic [  2:0] m_axi_awsize,
    output logic [  1:0] m_axi_awburst,
    output logic         m_axi_awlock,
    output logic [  3:0] m_axi_awcache,
    output logic [  2:0] m_axi_awprot,
    output logic [  3:0] m_axi_awqos,
    output logic         m_axi_awvalid,
    input  logic         m_axi_awready,
    output logic [127:0] m_axi_wdata,
    output logic [ 15:0] m_axi_wstrb,
    output logic         m_axi_wlast,
    output logic         m_axi_wvalid,
    input  logic         m_axi_wready,
    input  logic [  0:0] m_axi_bid,
    input  logic [  1:0] m_axi_bresp,
    input  logic         m_axi_bvalid,
    output logic         m_axi_bready,
    output logic [  0:0] m_axi_arid,
    output logic [ 39:0] m_axi_araddr,
    output logic [  7:0] m_axi_arlen,
    output logic [  2:0] m_axi_arsize,
    output logic [  1:0] m_axi_arburst,
    output logic         m_axi_arlock,
    output logic [  3:0] m_axi_arcache,
    output logic [  2:0] m_axi_arprot,
    output logic [  3:0] m_axi_arqos,
    output logic         m_axi_arvalid,
    input  logic         m_axi_arready,
    input  logic [  0:0] m_axi_rid,
    input  logic [127:0] m_axi_rdata,
    input  logic [  1:0] m_axi_rresp,
    input  logic         m_axi_rlast,
    input  logic         m_axi_rvalid,
    output logic         m_axi_rready
);

  localparam int BEATS_BITS = 18;

  // incrementing bursts of whole beats; normal, non-cacheable, bufferable memory
  assign m_axi_awid = '0;
  assign m_axi_awsize = 3'd4;
  assign m_axi_awburst = 2'b01;
  assign m_axi_awlock = 1'b0;
  assign m_axi_awcache = 4'b0011;
  assign m_axi_awprot = 3'b000;
  assign m_axi_awqos = '0;
  assign m_axi_wstrb = '1;
  assign m_axi_arid = '0;
  assign m_axi_arsize = 3'd4;
  assign m_axi_arburst = 2'b01;
  assign m_axi_arlock = 1'b0;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot = 3'b000;
  assign m_axi_arqos = '0;

  // ---- control ----
  config_t cfg;
  phase_t phase;
  error_t error, load_error;
  logic start, abort, busy, done, failed, aborted, ended, stop;
  logic [15:0] error_detail, load_error_detail, epoch;
  logic [31:0] cycles_load, cycles_train, cycles_store, cycles_total, loss_sum;
  logic loss_write;
  logic [WORD_INDEX:0] words;

  axi_lite_registers registers_i (
      .clk(aclk),
      .rst_n(aresetn),
      .*
  );

  logic read_start, read_idle, read_error, load_failed, train_start, train_done;
  logic store_start, store_busy, write_idle, write_error;
  logic [ADDRESS_BITS-1:0] read_address;
  logic [BEATS_BITS-1:0] read_beats;

  controller #(
      .BEATS_BITS(BEATS_BITS)
  ) controller_i (
      .clk(aclk),
      .rst_n(aresetn),
      .*
  );

  // ---- loading ----
  logic load_valid;
  logic [BUS_BITS-1:0] load_data;

  axi_reader #(
      .BEATS_BITS(BEATS_BITS)
  ) reader_i (
      .clk(aclk),
      .rst_n(aresetn),
      .start(read_start),
      .start_address(read_address),
      .start_beats(read_beats),
      .stop,
      .idle(read_idle),
      .valid(load_valid),
      .data(load_data),
      .error(read_error),
      .*
  );

  logic side_write, code_write, order_write;
  logic [SLOT_INDEX+2:0] side_address, side_read_address;
  logic [BUS_BITS-1:0] side_data, side_read_data, order_data, weight_data;
  logic [CODE_INDEX-1:0] code_address, code_read_address;
  logic [CODE_BITS-1:0] code_data, codes;
  logic [SLOT_INDEX-4:0] order_address;
  logic [RANK-1:0] a_write, b_write;
  logic [$clog2(LANES/8)-1:0] a_part;
  logic [WORD_INDEX-1:0] a_word, store_word;
  logic [$clog2(CLASS_LANES/8)-1:0] b_part;
  logic [TAP_INDEX-1:0] b_tap, store_tap;
  logic [GROUP_INDEX-1:0] b_group, store_group;

  loader loader_i (
      .clk(aclk),
      .rst_n(aresetn),
      .start(read_start),
      .valid(load_valid && !read_error),
      .data(load_data),
      .failed(load_failed),
      .error(load_error),
      .error_detail(load_error_detail),
      .*
  );

  code_memory code_memory_i (
      .clk(aclk),
      .write(code_write),
      .write_address(code_address),
      .write_data(code_data),
      .read_address(code_read_address),
      .read_data(codes)
  );

  side_memory side_memory_i (
      .clk(aclk),
      .write(side_write),
      .write_address(side_address),
      .write_data(side_data),
      .read_address(side_read_address),
      .read_data(side_read_data)
  );

  logic [SLOT_INDEX-1:0] order_position, order_slot;

  order_memory order_memory_i (
      .clk(aclk),
      .write(order_write),
      .write_address(order_address),
      .write_data(order_data),
      .read_position(order_position),
      .read_slot(order_slot)
  );

  // ---- training ----
  // the pipelines are empty after a reset, after a job, and after it was stopped
  token_t token;
  logic fetch_start, fetch_idle, u_early, lanes_busy, head_busy;
  logic [SLOT_INDEX-1:0] fetch_slot;
  logic [1:0] fetch_sample;
  logic z_valid, z_sample, g_valid;
  logic [LOSS_BITS-1:0] loss;
  logic [RATE_BITS-1:0] rate;

  trainer trainer_i (
      .clk(aclk),
      .rst_n(aresetn),
      .job_start(start),
      .start(train_start),
      .clear(stop),
      .done(train_done),
      .code_address(code_read_address),
      .*
  );

  logic [1:0] f_scale_sample, g_scale_sample;
  logic [TAP_INDEX-1:0] f_scale_tap, g_scale_tap;
  scale_t f_scale, g_scale;
  logic logit_sample;
  logic [GROUP_INDEX-1:0] logit_group;
  logic [CLASS_LANES-1:0][LOGIT_BITS-1:0] frozen_logits;
  logic [CLASS_INDEX-1:0] label;

  side_fetch side_fetch_i (
      .clk(aclk),
      .rst_n(aresetn),
      .clear(stop),
      .start(fetch_start),
      .start_slot(fetch_slot),
      .start_sample(fetch_sample),
      .idle(fetch_idle),
      .read_address(side_read_address),
      .read_data(side_read_data),
      .f_sample(f_scale_sample),
      .f_tap(f_scale_tap),
      .g_sample(g_scale_sample),
      .g_tap(g_scale_tap),
      .logits(frozen_logits),
      .label_sample(z_sample),
      .*
  );

  logic u_write, u_sample, h_valid, h_sample;
  logic [TAP_INDEX-1:0] u_tap, h_tap;
  u_t [RANK-1:0] u;
  h_t [RANK-1:0] h;
  logic [$clog2(RANK*LANES/8)-1:0] a_beat;
  logic [$clog2(RANK*CLASS_LANES/8)-1:0] b_beat;
  logic [BUS_BITS-1:0] a_data, b_data;

  lanes lanes_i (
      .clk(aclk),
      .rst_n(aresetn),
      .clear(stop),
      .u_data(u),
      .scale_sample(f_scale_sample),
      .scale_tap(f_scale_tap),
      .scale(f_scale),
      .busy(lanes_busy),
      .load(a_write),
      .load_part(a_part),
      .load_word(a_word),
      .load_data(weight_data),
      .store(phase == STORE),
      .store_word,
      .store_beat(a_beat),
      .store_data(a_data),
      .*
  );

  z_t [MAX_CLASSES-1:0] z;
  g_t [MAX_CLASSES-1:0] g;

  head head_i (
      .clk(aclk),
      .rst_n(aresetn),
      .clear(stop || train_start),
      .last_tap(TAP_INDEX'(cfg.taps - 1)),
      .last_group(GROUP_INDEX'((32'(cfg.classes) - 1) / CLASS_LANES)),
      .scale_sample(g_scale_sample),
      .scale_tap(g_scale_tap),
      .scale(g_scale),
      .busy(head_busy),
      .load(b_write),
      .load_part(b_part),
      .load_tap(b_tap),
      .load_group(b_group),
      .load_data(weight_data),
      .store(phase == STORE),
      .store_tap,
      .store_group,
      .store_beat(b_beat),
      .store_data(b_data),
      .*
  );

  softmax softmax_i (
      .clk(aclk),
      .rst_n(aresetn),
      .clear(stop),
      .classes(cfg.classes),
      .*
  );

  // ---- storing ----
  logic burst_valid, burst_ready, data_valid, data_ready;
  logic [ADDRESS_BITS-1:0] burst_address;
  logic [7:0] burst_beats;
  logic [BUS_BITS-1:0] data;

  storer storer_i (
      .clk(aclk),
      .rst_n(aresetn),
      .start(store_start),
      .busy(store_busy),
      .a_word(store_word),
      .b_tap(store_tap),
      .b_group(store_group),
      .*
  );

  axi_writer writer_i (
      .clk(aclk),
      .rst_n(aresetn),
      .idle(write_idle),
      .error(write_error),
      .*
  );

  logic unused;
  assign unused = &{s_axi_awprot, s_axi_arprot, m_axi_bid, m_axi_rid};

endmodule
