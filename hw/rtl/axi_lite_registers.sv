// The registers of registers.yaml on AXI4-Lite, one access at a time.
//
// Unknown offsets, partial strobes, and writes to the configuration while a job runs are
// answered with SLVERR and change nothing.
module axi_lite_registers
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic               clk,
    input  logic               rst_n,

    input  logic        [12:0] s_axi_awaddr,
    input  logic               s_axi_awvalid,
    output logic               s_axi_awready,
    input  logic        [31:0] s_axi_wdata,
    input  logic        [ 3:0] s_axi_wstrb,
    input  logic               s_axi_wvalid,
    output logic               s_axi_wready,
    output logic        [ 1:0] s_axi_bresp,
    output logic               s_axi_bvalid,
    input  logic               s_axi_bready,
    input  logic        [12:0] s_axi_araddr,
    input  logic               s_axi_arvalid,
    output logic               s_axi_arready,
    output logic        [31:0] s_axi_rdata,
    output logic        [ 1:0] s_axi_rresp,
    output logic               s_axi_rvalid,
    input  logic               s_axi_rready,

    output config_t            cfg,
    output logic               start,
    output logic               abort,
    output logic               irq,
    input  phase_t             phase,
    input  logic               busy,
    input  logic               done,
    input  logic               failed,
    input  logic               aborted,
    input  logic               ended,
    input  error_t             error,
    input  logic        [15:0] error_detail,
    input  logic        [15:0] epoch,
    input  logic        [31:0] cycles_load,
    input  logic        [31:0] cycles_train,
    input  logic        [31:0] cycles_store,
    input  logic        [31:0] cycles_total,
    input  logic               loss_write,
    input  logic        [31:0] loss_sum
);

  localparam logic [1:0] OKAY = 2'b00;
  localparam logic [1:0] SLVERR = 2'b10;
  localparam logic [31:0] BUILD_VALUE =
      {8'd1, 6'(MAX_CLASSES), 6'(MAX_TAPS), 4'(RANK), 8'(LANES)};

  logic [12:0] read_offset;

  // ---- losses of the epochs ----
  localparam int EPOCH_INDEX = $clog2(MAX_EPOCHS);
  (* ram_style = "block" *) logic [31:0] losses[MAX_EPOCHS];
  logic [31:0] loss;
  always_ff @(posedge clk) begin
    if (loss_write) losses[EPOCH_INDEX'(epoch)] <= loss_sum;
    loss <= losses[read_offset[2+:EPOCH_INDEX]];
  end

  // ---- writes ----
  logic irq_enable, irq_status;
  logic write, write_config, config_known;
  logic [12:0] offset;

  assign offset = {s_axi_awaddr[12:2], 2'b00};
  assign write = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
  assign s_axi_awready = write;
  assign s_axi_wready = write;
  assign config_known = offset >= REG_TAPS && offset <= REG_RESULT_ADDRESS_HIGH
      || offset >= REG_TAP_WORDS && offset < REG_TAP_WORDS + 13'(4 * MAX_TAPS);
  assign write_config = write && config_known && !busy && s_axi_wstrb == '1;
  assign irq = irq_enable && irq_status;

  always_ff @(posedge clk) begin
    start <= 1'b0;
    abort <= 1'b0;
    if (s_axi_bready) s_axi_bvalid <= 1'b0;
    if (ended) irq_status <= 1'b1;
    if (write) begin
      s_axi_bvalid <= 1'b1;
      s_axi_bresp <= OKAY;
      if (s_axi_wstrb != '1) s_axi_bresp <= SLVERR;
      else if (config_known) s_axi_bresp <= busy ? SLVERR : OKAY;
      else
        case (offset)
          REG_CONTROL: begin
            if (s_axi_wdata[CONTROL_START_LOW] && (busy || start)) s_axi_bresp <= SLVERR;
            else start <= s_axi_wdata[CONTROL_START_LOW];
            abort <= s_axi_wdata[CONTROL_ABORT_LOW];
          end
          REG_IRQ_ENABLE: irq_enable <= s_axi_wdata[0];
          REG_IRQ_STATUS: if (s_axi_wdata[0]) irq_status <= 1'b0;
          default: s_axi_bresp <= SLVERR;
        endcase
    end
    if (!rst_n) begin
      start <= 1'b0;
      abort <= 1'b0;
      irq_enable <= 1'b0;
      irq_status <= 1'b0;
      s_axi_bvalid <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (write_config) begin
      case (offset)
        REG_TAPS: cfg.taps <= s_axi_wdata[7:0];
        REG_CLASSES: cfg.classes <= s_axi_wdata[7:0];
        REG_SLOTS: cfg.slots <= s_axi_wdata[15:0];
        REG_RECORDS: cfg.records <= s_axi_wdata[15:0];
        REG_SAMPLES: cfg.samples <= s_axi_wdata[15:0];
        REG_EPOCHS: cfg.epochs <= s_axi_wdata[15:0];
        REG_RATE_START: cfg.rate_start <= s_axi_wdata;
        REG_RATE_STEP: cfg.rate_step <= s_axi_wdata;
        REG_RECORD_ADDRESS: cfg.record_address[31:0] <= s_axi_wdata;
        REG_RECORD_ADDRESS_HIGH: cfg.record_address[39:32] <= s_axi_wdata[7:0];
        REG_ORDER_ADDRESS: cfg.order_address[31:0] <= s_axi_wdata;
        REG_ORDER_ADDRESS_HIGH: cfg.order_address[39:32] <= s_axi_wdata[7:0];
        REG_START_ADDRESS: cfg.start_address[31:0] <= s_axi_wdata;
        REG_START_ADDRESS_HIGH: cfg.start_address[39:32] <= s_axi_wdata[7:0];
        REG_RESULT_ADDRESS: cfg.result_address[31:0] <= s_axi_wdata;
        REG_RESULT_ADDRESS_HIGH: cfg.result_address[39:32] <= s_axi_wdata[7:0];
        default: ;
      endcase
      for (int k = 0; k < MAX_TAPS; k++)
        if (offset == REG_TAP_WORDS + 13'(4 * k)) cfg.tap_words[k] <= s_axi_wdata[7:0];
    end
    if (!rst_n) cfg <= '0;
  end

  // ---- reads: take the address, look up, answer ----
  logic [1:0] reading;
  logic [31:0] value;
  logic known;

  assign s_axi_arready = reading == 0 && !s_axi_rvalid;

  always_comb begin
    known = 1'b1;
    value = '0;
    case (read_offset)
      REG_ID: value = "IFT1";
      REG_BUILD: value = BUILD_VALUE;
      REG_CONTROL: value = '0;
      REG_STATUS: value = {24'd0, phase, aborted, failed, done, busy};
      REG_ERROR: value = {error_detail, 8'd0, error};
      REG_IRQ_ENABLE: value[0] = irq_enable;
      REG_IRQ_STATUS: value[0] = irq_status;
      REG_EPOCH: value = 32'(epoch);
      REG_TAPS: value = 32'(cfg.taps);
      REG_CLASSES: value = 32'(cfg.classes);
      REG_SLOTS: value = 32'(cfg.slots);
      REG_RECORDS: value = 32'(cfg.records);
      REG_SAMPLES: value = 32'(cfg.samples);
      REG_EPOCHS: value = 32'(cfg.epochs);
      REG_RATE_START: value = cfg.rate_start;
      REG_RATE_STEP: value = cfg.rate_step;
      REG_RECORD_ADDRESS: value = cfg.record_address[31:0];
      REG_RECORD_ADDRESS_HIGH: value = 32'(cfg.record_address[39:32]);
      REG_ORDER_ADDRESS: value = cfg.order_address[31:0];
      REG_ORDER_ADDRESS_HIGH: value = 32'(cfg.order_address[39:32]);
      REG_START_ADDRESS: value = cfg.start_address[31:0];
      REG_START_ADDRESS_HIGH: value = 32'(cfg.start_address[39:32]);
      REG_RESULT_ADDRESS: value = cfg.result_address[31:0];
      REG_RESULT_ADDRESS_HIGH: value = 32'(cfg.result_address[39:32]);
      REG_CYCLES_LOAD: value = cycles_load;
      REG_CYCLES_TRAIN: value = cycles_train;
      REG_CYCLES_STORE: value = cycles_store;
      REG_CYCLES_TOTAL: value = cycles_total;
      default: begin
        known = 1'b0;
        for (int k = 0; k < MAX_TAPS; k++)
          if (read_offset == REG_TAP_WORDS + 13'(4 * k)) begin
            known = 1'b1;
            value = 32'(cfg.tap_words[k]);
          end
        if (read_offset[12]) begin
          known = 1'b1;
          value = loss;
        end
      end
    endcase
  end

  always_ff @(posedge clk) begin
    if (s_axi_rready) s_axi_rvalid <= 1'b0;
    reading <= {reading[0], s_axi_arvalid && s_axi_arready};
    if (s_axi_arvalid && s_axi_arready) read_offset <= {s_axi_araddr[12:2], 2'b00};
    if (reading[1]) begin
      s_axi_rvalid <= 1'b1;
      s_axi_rdata <= known ? value : '0;
      s_axi_rresp <= known ? OKAY : SLVERR;
    end
    if (!rst_n) begin
      reading <= '0;
      s_axi_rvalid <= 1'b0;
    end
  end

  logic unused;
  assign unused = &{s_axi_awaddr[1:0], s_axi_araddr[1:0]};

endmodule
