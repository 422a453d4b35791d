// Runs a job: check the configuration, load, train, store. Whatever goes wrong, it first lets
// the bus transfers under way come to their end and then says what it was.
module controller
  import instantft_pkg::*, instantft_types_pkg::*;
#(
    parameter int BEATS_BITS = 18
) (
    input  logic                             clk,
    input  logic                             rst_n,
    input  config_t                          cfg,
    input  logic                             start,
    input  logic                             abort,
    output phase_t                           phase,
    output logic                             busy,
    output logic                             done,
    output logic                             failed,
    output logic                             aborted,
    output logic                             ended,  // one cycle
    output error_t                           error,
    output logic    [          15:0]         error_detail,
    output logic    [          31:0]         cycles_load,
    output logic    [          31:0]         cycles_train,
    output logic    [          31:0]         cycles_store,
    output logic    [          31:0]         cycles_total,
    output logic    [  WORD_INDEX:0]         words,

    output logic                             read_start,
    output logic    [ADDRESS_BITS-1:0]       read_address,
    output logic    [BEATS_BITS-1:0]         read_beats,
    input  logic                             read_idle,
    input  logic                             read_error,
    input  logic                             load_failed,
    input  error_t                           load_error,
    input  logic    [          15:0]         load_error_detail,
    output logic                             train_start,
    input  logic                             train_done,
    output logic                             store_start,
    input  logic                             store_busy,
    input  logic                             write_idle,
    input  logic                             write_error,
    output logic                             stop  // everything but the transfers under way
);

  localparam int A_WORD_BEATS = RANK * LANES / 8;
  localparam int B_TAP_BEATS = GROUPS * RANK * CLASS_LANES / 8;
  localparam int PAGE_BITS = 12;

  logic [7:0] tap;
  logic [15:0] total;
  logic [1:0] check_step;
  logic [31:0] used;
  logic [15:0] record_beats;
  logic started;  // the phase's start has been given

  // ---- the configuration, all but the words ----
  error_t config_error;
  logic [15:0] config_detail;

  function automatic logic unaligned(input logic [PAGE_BITS-1:0] address);
    unaligned = address != 0;
  endfunction

  always_comb begin
    config_error = ERROR_NONE;
    config_detail = '0;
    if (cfg.taps == 0 || cfg.taps > 8'(MAX_TAPS)) config_error = ERROR_TAPS;
    else if (cfg.classes < 2 || cfg.classes > 8'(MAX_CLASSES)) config_error = ERROR_CLASSES;
    else if (cfg.slots == 0 || cfg.slots > 16'(MAX_SAMPLES)) config_error = ERROR_SLOTS;
    else if (cfg.records > cfg.slots) config_error = ERROR_RECORDS;
    else if (cfg.samples == 0 || cfg.samples > 16'(MAX_SAMPLES)) config_error = ERROR_SAMPLES;
    else if (cfg.epochs == 0 || cfg.epochs > 16'(MAX_EPOCHS)) config_error = ERROR_EPOCHS;
    else if (cfg.records != 0 && unaligned(cfg.record_address[PAGE_BITS-1:0])) config_error = ERROR_ADDRESS;
    else if (unaligned(cfg.order_address[PAGE_BITS-1:0])) begin
      config_error = ERROR_ADDRESS;
      config_detail = 16'd1;
    end else if (unaligned(cfg.start_address[PAGE_BITS-1:0])) begin
      config_error = ERROR_ADDRESS;
      config_detail = 16'd2;
    end else if (unaligned(cfg.result_address[PAGE_BITS-1:0])) begin
      config_error = ERROR_ADDRESS;
      config_detail = 16'd3;
    end
  end

  assign words = (WORD_INDEX+1)'(total);
  assign busy = phase != IDLE;
  assign stop = phase == DRAIN;

  always_comb begin
    case (phase)
      LOAD_RECORDS: begin
        read_address = cfg.record_address;
        read_beats = BEATS_BITS'(cfg.records) * BEATS_BITS'(record_beats);
      end
      LOAD_ORDER: begin
        read_address = cfg.order_address;
        read_beats = BEATS_BITS'((32'(cfg.samples) + BEAT_VALUES - 1) / BEAT_VALUES);
      end
      default: begin
        read_address = cfg.start_address;
        read_beats = BEATS_BITS'(32'(total) * A_WORD_BEATS + 32'(cfg.taps) * B_TAP_BEATS);
      end
    endcase
    read_start = !started
        && (phase == LOAD_RECORDS || phase == LOAD_ORDER || phase == LOAD_WEIGHTS);
    train_start = !started && phase == TRAIN;
    store_start = !started && phase == STORE;
  end

  task automatic fail(input error_t code, input logic [15:0] detail);
    error <= code;
    error_detail <= detail;
    failed <= 1'b1;
    phase <= DRAIN;
  endtask

  always_ff @(posedge clk) begin
    ended <= 1'b0;
    started <= 1'b1;
    case (phase)
      IDLE:
      if (start) begin
        phase <= CHECK;
        check_step <= '0;
        tap <= '0;
        total <= '0;
        done <= 1'b0;
        failed <= 1'b0;
        aborted <= 1'b0;
        error <= ERROR_NONE;
        error_detail <= '0;
        cycles_load <= '0;
        cycles_train <= '0;
        cycles_store <= '0;
        cycles_total <= '0;
      end
      CHECK:
      case (check_step)
        2'd0:
        if (config_error != ERROR_NONE) fail(config_error, config_detail);
        else check_step <= 2'd1;
        2'd1: begin
          total <= total + 16'(cfg.tap_words[TAP_INDEX'(tap)]);
          tap <= tap + 1'b1;
          if (cfg.tap_words[TAP_INDEX'(tap)] == 0) fail(ERROR_WORDS, 16'(tap));
          if (tap == cfg.taps - 1) check_step <= 2'd2;
        end
        2'd2: begin
          used <= cfg.slots * total;
          record_beats <= 16'd1
              + 16'((32'(cfg.taps) + BEAT_VALUES - 1) / BEAT_VALUES)
              + 16'((32'(cfg.classes) + BEAT_VALUES - 1) / BEAT_VALUES)
              + 16'(32'(total) * (CODE_BITS / BUS_BITS));
          if (total > 16'(MAX_WORDS)) fail(ERROR_WORDS, 16'(cfg.taps - 1));
          check_step <= 2'd3;
        end
        default:
        if (used > CODE_WORDS) fail(ERROR_CAPACITY, '0);
        else begin
          phase <= cfg.records != 0 ? LOAD_RECORDS : LOAD_ORDER;
          started <= 1'b0;
        end
      endcase
      LOAD_RECORDS, LOAD_ORDER, LOAD_WEIGHTS:
      if (read_error) fail(ERROR_READ, '0);
      else if (load_failed && started) fail(load_error, load_error_detail);
      else if (started && read_idle) begin
        phase <= phase_t'(phase + 1'b1);
        started <= 1'b0;
      end
      TRAIN:
      if (train_done) begin
        phase <= STORE;
        started <= 1'b0;
      end
      STORE:
      if (write_error) fail(ERROR_WRITE, '0);
      else if (started && !store_busy && write_idle) begin
        phase <= IDLE;
        done <= 1'b1;
        ended <= 1'b1;
      end
      DRAIN:
      if (read_idle && write_idle && !store_busy) begin
        phase <= IDLE;
        ended <= 1'b1;
      end
      default: phase <= IDLE;
    endcase

    if (busy) begin
      cycles_total <= cycles_total + 1'b1;
      if (phase == TRAIN) cycles_train <= cycles_train + 1'b1;
      else if (phase == STORE) cycles_store <= cycles_store + 1'b1;
      else if (phase != DRAIN) cycles_load <= cycles_load + 1'b1;
    end

    if (abort && busy && phase != DRAIN) begin
      phase <= DRAIN;
      aborted <= 1'b1;
      failed <= 1'b0;
      error <= ERROR_NONE;
      done <= 1'b0;
      ended <= 1'b0;
    end
    if (!rst_n) begin
      phase <= IDLE;
      done <= 1'b0;
      failed <= 1'b0;
      aborted <= 1'b0;
      error <= ERROR_NONE;
      error_detail <= '0;
      ended <= 1'b0;
    end
  end

  logic unused;
  assign unused = &cfg;

endmodule
