// Records that pass between the modules.
package instantft_types_pkg;
  import instantft_pkg::*;

  localparam int ADDRESS_BITS = 40;
  localparam int BUS_BITS = 128;
  localparam int BUS_BYTES = BUS_BITS / 8;
  // 16-bit values of one beat
  localparam int BEAT_VALUES = BUS_BITS / 16;
  localparam int CODE_BITS = 4 * LANES;
  localparam int GROUPS = MAX_CLASSES / CLASS_LANES;

  localparam int TAP_INDEX = $clog2(MAX_TAPS);
  localparam int WORD_INDEX = $clog2(MAX_WORDS);
  localparam int CLASS_INDEX = $clog2(MAX_CLASSES);
  localparam int GROUP_INDEX = $clog2(GROUPS);
  localparam int SLOT_INDEX = $clog2(MAX_SAMPLES);
  localparam int CODE_INDEX = $clog2(CODE_WORDS);

  // What the registers configure; constant while a job runs.
  typedef struct packed {
    logic [7:0] taps;
    logic [7:0] classes;
    logic [15:0] slots;
    logic [15:0] records;
    logic [15:0] samples;
    logic [15:0] epochs;
    logic [31:0] rate_start;
    logic [31:0] rate_step;
    logic [ADDRESS_BITS-1:0] record_address;
    logic [ADDRESS_BITS-1:0] order_address;
    logic [ADDRESS_BITS-1:0] start_address;
    logic [ADDRESS_BITS-1:0] result_address;
    logic [MAX_TAPS-1:0][7:0] tap_words;
  } config_t;

  // One word of one pass on its way through the lanes.
  typedef struct packed {
    logic valid;
    logic forward;  // the pass carries a sample
    logic update;  // the pass applies the update of the sample two passes ago
    logic first;  // first word of its tap
    logic last;  // last word of its tap
    logic [TAP_INDEX-1:0] tap;
    logic [WORD_INDEX-1:0] word;
    logic [1:0] sample;  // pass number modulo 4
  } token_t;

  typedef enum logic [3:0] {
    IDLE, CHECK, LOAD_RECORDS, LOAD_ORDER, LOAD_WEIGHTS, TRAIN, STORE, DRAIN
  } phase_t;

  typedef logic signed [A_BITS-1:0] a_t;
  typedef logic signed [B_BITS-1:0] b_t;
  typedef logic signed [H_BITS-1:0] h_t;
  typedef logic signed [U_BITS-1:0] u_t;
  typedef logic signed [G_BITS-1:0] g_t;
  typedef logic signed [Z_BITS-1:0] z_t;
  typedef logic signed [FEATURE_BITS-1:0] feature_t;
  typedef logic [15:0] scale_t;

endpackage
