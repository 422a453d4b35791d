// Puts the beats that axi_reader.sv brings where they belong: records, order or start weights.
//
// A record: header (slot and label, 16 bit each), scales and logits (16 bit each, filled up to
// whole beats), codes (two beats a word). Weights: for each word, for each rank, LANES values
// of A; then for each tap, for each group of classes, for each rank, CLASS_LANES values of B.
// A record or an order that names what is not there is refused before anything of it is written.
module loader
  import instantft_pkg::*, instantft_types_pkg::*;
(
    input  logic                                     clk,
    input  logic                                     rst_n,
    input  logic                                     start,  // of each phase
    input  phase_t                                   phase,
    input  config_t                                  cfg,
    input  logic    [           WORD_INDEX:0]        words,
    input  logic                                     valid,
    input  logic    [           BUS_BITS-1:0]        data,
    output logic                                     failed,
    output error_t                                   error,
    output logic    [                   15:0]        error_detail,

    output logic                                     side_write,
    output logic    [         SLOT_INDEX+2:0]        side_address,
    output logic    [           BUS_BITS-1:0]        side_data,
    output logic                                     code_write,
    output logic    [         CODE_INDEX-1:0]        code_address,
    output logic    [          CODE_BITS-1:0]        code_data,
    output logic                                     order_write,
    output logic    [         SLOT_INDEX-4:0]        order_address,
    output logic    [           BUS_BITS-1:0]        order_data,
    output logic    [               RANK-1:0]        a_write,
    output logic    [     $clog2(LANES/8)-1:0]       a_part,
    output logic    [         WORD_INDEX-1:0]        a_word,
    output logic    [               RANK-1:0]        b_write,
    output logic    [$clog2(CLASS_LANES/8)-1:0]      b_part,
    output logic    [          TAP_INDEX-1:0]        b_tap,
    output logic    [        GROUP_INDEX-1:0]        b_group,
    output logic    [           BUS_BITS-1:0]        weight_data
);

  localparam int SCALE_BEATS = MAX_TAPS / BEAT_VALUES;
  localparam int WORD_BEATS = CODE_BITS / BUS_BITS;
  localparam int A_PARTS = LANES / 8;
  localparam int B_PARTS = CLASS_LANES / 8;
  localparam int RANK_INDEX = RANK > 1 ? $clog2(RANK) : 1;

  // ---- records ----
  typedef enum logic [1:0] {HEADER, SCALES, LOGITS, CODES} section_t;
  section_t section;
  logic [2:0] beat;  // within scales or logits
  logic [2:0] scale_beats, logit_beats;
  logic [SLOT_INDEX-1:0] slot;
  logic [CODE_INDEX-1:0] next_code;
  logic [WORD_INDEX:0] word;
  logic [$clog2(WORD_BEATS)-1:0] word_beat;
  logic [15:0] record;
  logic [15:0] header_slot, header_label;
  logic bad_slot, bad_label, take_record;

  assign scale_beats = 3'((cfg.taps + 8'(BEAT_VALUES - 1)) / 8'(BEAT_VALUES));
  assign logit_beats = 3'((cfg.classes + 8'(BEAT_VALUES - 1)) / 8'(BEAT_VALUES));
  assign header_slot = data[15:0];
  assign header_label = data[31:16];
  assign bad_slot = section == HEADER && header_slot >= cfg.slots;
  assign bad_label = section == HEADER && header_label >= 16'(cfg.classes);
  assign take_record = valid && phase == LOAD_RECORDS && !failed;

  always_ff @(posedge clk) begin
    side_write <= take_record && section != CODES && !bad_slot && !bad_label;
    side_data <= data;
    code_write <= take_record && section == CODES && 32'(word_beat) == WORD_BEATS - 1;
    code_data[BUS_BITS*32'(word_beat)+:BUS_BITS] <= data;
    code_address <= next_code;
    if (take_record) begin
      case (section)
        HEADER: begin
          slot <= SLOT_INDEX'(header_slot);
          next_code <= CODE_INDEX'(header_slot) * CODE_INDEX'(words);
          side_address <= {SLOT_INDEX'(header_slot), 3'd0};
          section <= SCALES;
          beat <= '0;
        end
        SCALES: begin
          side_address <= {slot, 3'd1 + beat};
          beat <= beat + 1'b1;
          if (beat == scale_beats - 1) begin
            section <= LOGITS;
            beat <= '0;
          end
        end
        LOGITS: begin
          side_address <= {slot, 3'(1 + SCALE_BEATS) + beat};
          beat <= beat + 1'b1;
          word <= '0;
          word_beat <= '0;
          if (beat == logit_beats - 1) section <= CODES;
        end
        CODES: begin
          word_beat <= word_beat + 1'b1;
          if (32'(word_beat) == WORD_BEATS - 1) begin
            next_code <= next_code + 1'b1;
            word <= word + 1'b1;
            if (word == words - 1) begin
              section <= HEADER;
              record <= record + 1'b1;
            end
          end
        end
      endcase
    end
    if (!rst_n || start) begin
      section <= HEADER;
      record <= '0;
    end
  end

  // ---- order ----
  logic take_order;
  logic [15:0] position;  // of the beat's first value
  logic [BEAT_VALUES-1:0] bad;
  logic [2:0] first_bad;

  assign take_order = valid && phase == LOAD_ORDER && !failed;
  for (genvar n = 0; n < BEAT_VALUES; n++) begin : g_bad
    assign bad[n] = data[16*n+:16] >= cfg.slots && position + n < cfg.samples;
  end
  always_comb begin
    first_bad = '0;
    for (int n = BEAT_VALUES - 1; n >= 0; n--) if (bad[n]) first_bad = 3'(n);
  end

  always_ff @(posedge clk) begin
    order_write <= take_order && bad == 0;
    order_address <= (SLOT_INDEX-3)'(position >> 3);
    order_data <= data;
    if (take_order) position <= position + 16'(BEAT_VALUES);
    if (!rst_n || start) position <= '0;
  end

  // ---- errors ----
  always_ff @(posedge clk) begin
    if (take_record && (bad_slot || bad_label)) begin
      failed <= 1'b1;
      error <= bad_slot ? ERROR_RECORD_SLOT : ERROR_RECORD_LABEL;
      error_detail <= record;
    end
    if (take_order && bad != 0) begin
      failed <= 1'b1;
      error <= ERROR_ORDER_SLOT;
      error_detail <= position + 16'(first_bad);
    end
    if (!rst_n || start) failed <= 1'b0;
  end

  // ---- weights ----
  logic take_weights, in_b;
  logic [$clog2(A_PARTS)-1:0] next_a_part;
  logic [$clog2(B_PARTS)-1:0] next_b_part;
  logic [RANK_INDEX-1:0] next_rank;
  logic [WORD_INDEX-1:0] next_word;
  logic [TAP_INDEX-1:0] next_tap;
  logic [GROUP_INDEX-1:0] next_group;
  logic part_last, rank_last;

  assign take_weights = valid && phase == LOAD_WEIGHTS;
  assign part_last = in_b ? 32'(next_b_part) == B_PARTS - 1 : 32'(next_a_part) == A_PARTS - 1;
  assign rank_last = part_last && 32'(next_rank) == RANK - 1;

  always_ff @(posedge clk) begin
    for (int i = 0; i < RANK; i++) begin
      a_write[i] <= take_weights && !in_b && 32'(next_rank) == i;
      b_write[i] <= take_weights && in_b && 32'(next_rank) == i;
    end
    a_part <= next_a_part;
    a_word <= next_word;
    b_part <= next_b_part;
    b_tap <= next_tap;
    b_group <= next_group;
    weight_data <= data;
    if (take_weights) begin
      if (in_b) next_b_part <= part_last ? '0 : next_b_part + 1'b1;
      else next_a_part <= part_last ? '0 : next_a_part + 1'b1;
      if (part_last) next_rank <= rank_last ? '0 : next_rank + 1'b1;
      if (rank_last && !in_b) begin
        next_word <= next_word + 1'b1;
        if ((WORD_INDEX+1)'(next_word) == words - 1) in_b <= 1'b1;
      end
      if (rank_last && in_b) begin
        next_group <= 32'(next_group) == GROUPS - 1 ? '0 : next_group + 1'b1;
        if (32'(next_group) == GROUPS - 1) next_tap <= next_tap + 1'b1;
      end
    end
    if (!rst_n || start) begin
      next_a_part <= '0;
      next_b_part <= '0;
      next_rank <= '0;
      next_word <= '0;
      next_tap <= '0;
      next_group <= '0;
      in_b <= 1'b0;
    end
  end

  logic unused;
  assign unused = &cfg;

endmodule
