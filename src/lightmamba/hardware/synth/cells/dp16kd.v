// Block RAM of an ECP5 as our netlists use it: 18 kbit, two ports, each with a clock and a width.
//
// Sources: Lattice FPGA-TN-02204 (memory usage guide), yosys techlibs/ecp5/brams.txt and brams_map.v
// (pins of each width, what a write leaves at the output), nextpnr ecp5/pack.cc and bitstream.cc
// (36 bits: half words at A and B; an output register for each half).
//
// The array is 1,024 words of 18 bits, each two bytes of nine. AD[13:4] is the word; below it, as
// wide as the port needs: AD[3] the byte, AD[2:0] a bit of its first eight. With 18 bits AD[1:0]
// are byte enables; with 36 bits, where A writes and B reads, AD[3:0] are.
// The reset of the outputs is not modelled: lightmamba.hardware.synth.primitives refuses netlists that use it.
//
// COLLIDE: both ports have one clock. Then a read of a word that the other port writes in the same
// cycle gives every bit of it wrong; the device promises nothing there.

module DP16KD (
  input CLKA, CEA, OCEA, WEA, CLKB, CEB, OCEB, WEB,
  input [13:0] ADA, ADB,
  input [17:0] DIA, DIB,
  output [17:0] DOA, DOB
);
  parameter integer DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter integer OUTREG_A = 0, OUTREG_B = 0;
  parameter integer WRITE_A = 0, WRITE_B = 0;  // at the output: 0 nothing, 1 new, 2 old
  parameter integer INVERT_A = 0, INVERT_B = 0;  // clocks
  parameter integer COLLIDE = 0;
  parameter [18431:0] INIT = 18432'b0;

  localparam WIDE = DATA_WIDTH_A == 36;
  localparam COUNT = WIDE ? 512 : 1024;
  localparam BITS = WIDE ? 36 : 18;
  reg [BITS-1:0] mem[0:COUNT-1];
  integer n;
  initial for (n = 0; n < COUNT; n = n + 1) mem[n] = INIT[n*BITS+:BITS];

  wire clka = INVERT_A ? ~CLKA : CLKA;
  wire clkb = INVERT_B ? ~CLKB : CLKB;
  reg [BITS-1:0] a = 0, b = 0, a_out = 0, b_out = 0;

  generate
    if (WIDE) begin : wide
      wire [35:0] mask = {{9{ADA[3]}}, {9{ADA[2]}}, {9{ADA[1]}}, {9{ADA[0]}}};
      wire [35:0] given = {DIB, DIA};
      wire hit = COLLIDE != 0 && CEA && ADA[13:5] == ADB[13:5];
      wire [35:0] found = mem[ADB[13:5]] ^ (hit ? mask : 36'b0);
      wire [35:0] seen;
      narrow #(.WIDTH(DATA_WIDTH_B), .BITS(36)) read (.word(found), .at(ADB[4:0]), .o(seen));
      always @(posedge clka) if (CEA)
        mem[ADA[13:5]] <= mem[ADA[13:5]] & ~mask | given & mask;
      always @(posedge clkb) if (CEB) b <= seen;
      always @(posedge clkb) if (OCEB) b_out <= b;
      wire [35:0] whole = OUTREG_B ? b_out : b;
      // A read of 36 bits has its lower half at A, a narrower one all of it at B.
      assign DOA = whole[17:0];
      assign DOB = DATA_WIDTH_B == 36 ? whole[35:18] : whole[17:0];
    end else begin : dual
      wire [17:0] mask_a, mask_b, given_a, given_b, seen_a, seen_b, new_a, new_b;
      wire wrong_a = COLLIDE != 0 && CEB && WEB && ADA[13:4] == ADB[13:4];
      wire wrong_b = COLLIDE != 0 && CEA && WEA && ADA[13:4] == ADB[13:4];
      wire [17:0] old_a = mem[ADA[13:4]], old_b = mem[ADB[13:4]];
      spot #(.WIDTH(DATA_WIDTH_A)) at_a (.at(ADA[3:0]), .i(DIA), .mask(mask_a), .o(given_a));
      spot #(.WIDTH(DATA_WIDTH_B)) at_b (.at(ADB[3:0]), .i(DIB), .mask(mask_b), .o(given_b));
      wire [17:0] next_a = old_a & ~mask_a | given_a & mask_a;
      wire [17:0] next_b = old_b & ~mask_b | given_b & mask_b;
      wire [17:0] shown_a = (WEA && WRITE_A == 1 ? next_a : old_a) ^ (wrong_a ? mask_b : 18'b0);
      wire [17:0] shown_b = (WEB && WRITE_B == 1 ? next_b : old_b) ^ (wrong_b ? mask_a : 18'b0);
      narrow #(.WIDTH(DATA_WIDTH_A), .BITS(18)) read_a (.word(shown_a), .at({1'b0, ADA[3:0]}), .o(seen_a));
      narrow #(.WIDTH(DATA_WIDTH_B), .BITS(18)) read_b (.word(shown_b), .at({1'b0, ADB[3:0]}), .o(seen_b));
      always @(posedge clka) if (CEA && WEA) mem[ADA[13:4]] <= next_a;
      always @(posedge clkb) if (CEB && WEB) mem[ADB[13:4]] <= next_b;
      always @(posedge clka) if (CEA && (!WEA || WRITE_A != 0)) a <= seen_a;
      always @(posedge clkb) if (CEB && (!WEB || WRITE_B != 0)) b <= seen_b;
      always @(posedge clka) if (OCEA) a_out <= a;
      always @(posedge clkb) if (OCEB) b_out <= b;
      assign DOA = OUTREG_A ? a_out : a;
      assign DOB = OUTREG_B ? b_out : b;
    end
  endgenerate
endmodule

// Bits of a word that a port of WIDTH reads, at the bottom of the output.
module narrow #(parameter integer WIDTH = 18, BITS = 18) (
  input [BITS-1:0] word, input [4:0] at, output [BITS-1:0] o
);
  wire [17:0] half = BITS == 36 && at[4] ? word[BITS-1-:18] : word[17:0];
  wire [8:0] byte9 = at[3] ? half[17:9] : half[8:0];
  wire [7:0] below = byte9[7:0] >> (at[2:0] & (WIDTH == 4 ? 3'd4 : WIDTH == 2 ? 3'd6 : 3'd7));
  wire [35:0] bits = WIDTH == 36 ? {{36 - BITS{1'b0}}, word} : WIDTH == 18 ? {18'b0, half} :
    WIDTH == 9 ? {27'b0, byte9} : {28'b0, below & ((8'd1 << WIDTH) - 8'd1)};
  assign o = bits[BITS-1:0];
endmodule

// Place of a port's data within a word of 18 bits, and which bits of it a write changes.
module spot #(parameter integer WIDTH = 18) (
  input [3:0] at, input [17:0] i, output [17:0] mask, o
);
  wire [2:0] low = at[2:0] & (WIDTH == 4 ? 3'd4 : WIDTH == 2 ? 3'd6 : WIDTH == 1 ? 3'd7 : 3'd0);
  wire [4:0] by = (at[3] ? 5'd9 : 5'd0) + {2'b0, low};
  wire [17:0] ones = WIDTH == 18 ? 18'd0 : (18'd1 << WIDTH) - 18'd1;
  assign mask = WIDTH == 18 ? {{9{at[1]}}, {9{at[0]}}} : ones << by;
  assign o = WIDTH == 18 ? i : (i & ones) << by;
endmodule
