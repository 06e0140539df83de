// Cells of an ECP5 as yosys takes them apart for a simulation, where it has no model that fits.
// Block RAMs and multipliers are not among them: they stay instances.

// yosys' own is a tree of multiplexers, which makes a simulator of a whole system large.
module LUT4 (input A, B, C, D, output Z);
  parameter [15:0] INIT = 16'b0;
  \$lut #(.WIDTH(4), .LUT(INIT)) lut (.A({D, C, B, A}), .Y(Z));
endmodule

// yosys makes write ports of the assignments that give its own the first contents.
module TRELLIS_DPR16X4 (
  input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO
);
  parameter WREMUX = "WRE", WCKMUX = "WCK";
  parameter [63:0] INITVAL = 64'b0;
  reg [3:0] ram[0:15];
  integer n;
  initial for (n = 0; n < 16; n = n + 1) ram[n] = INITVAL >> 4 * n;
  wire clock = WCKMUX == "INV" ? ~WCK : WCK;
  wire write = WREMUX == "1" || (WREMUX == "INV" ? ~WRE : WREMUX == "0" ? 1'b0 : WRE);
  always @(posedge clock) if (write) ram[WAD] <= DI;
  assign DO = ram[RAD];
endmodule

module DCCA (input CLKI, CE, output CLKO);
  assign CLKO = CLKI;
endmodule

// After place and route: a LUT, half of a carry cell or a bit of RAM, and the multiplexer behind it.
// Sources: nextpnr ecp5/pack.cc and cells.cc. yosys' own drives no FCO, and has the contents of a RAM
// by its address; the parameter has them by the inputs A to D. Inputs that are not connected are 1.
module TRELLIS_COMB (
  input A = 1'b1, input B = 1'b1, input C = 1'b1, input D = 1'b1,
  input M, FCI, F1, FXA, FXB, WD, WAD0, WAD1, WAD2, WAD3, WRE, WCK,
  output F, FCO, OFX
);
  parameter MODE = "LOGIC", CCU2_INJECT1 = "NO", WREMUX = "WRE", WCKMUX = "WCK";
  parameter [15:0] INITVAL = 16'b0;
  parameter IS_Z1 = 0;  // the multiplexer is one of two FX, not of two LUTs

  wire lut;
  LUT4 #(.INIT(INITVAL)) lut4 (.A(A), .B(B), .C(C), .D(D), .Z(lut));
  generate
    if (MODE == "CCU2") begin
      wire half = CCU2_INJECT1 == "YES" ? 1'b0 : INITVAL[3:0] >> {B, A};
      assign F = CCU2_INJECT1 == "YES" ? lut : lut ^ FCI;
      assign FCO = lut ? FCI : half;
    end else if (MODE == "DPRAM") begin
      reg ram[0:15];
      integer n;
      initial for (n = 0; n < 16; n = n + 1)
        ram[n] = INITVAL >> ((n & 1) << 3 | (n >> 2 & 1) << 2 | (n >> 1 & 1) << 1 | n >> 3);
      wire clock = WCKMUX == "INV" ? ~WCK : WCK;
      wire write = WREMUX == "1" || (WREMUX == "INV" ? ~WRE : WREMUX == "0" ? 1'b0 : WRE);
      always @(posedge clock) if (write) ram[{WAD3, WAD2, WAD1, WAD0}] <= WD;
      assign F = ram[{A, C, B, D}];
    end else
      assign F = lut;
    assign OFX = M ? (IS_Z1 ? FXB : F1) : (IS_Z1 ? FXA : F);
  endgenerate
endmodule

// The write port of four RAM bits.
module TRELLIS_RAMW (
  input A0, B0, C0, D0, A1, B1, C1, D1,
  output WADO0, WADO1, WADO2, WADO3, WDO0, WDO1, WDO2, WDO3
);
  assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
  assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule

// Registers at a pin: of its output, of its direction, of what it reads.
module IOLOGIC (input CLK, CE, LSR, TXDATA0, TSDATA0, PADDI, output reg IOLDO, IOLTO, INFF);
  parameter \OUTREG.REGSET = "RESET", \TSREG.REGSET = "RESET", \FF.REGSET = "RESET";
  initial IOLDO = \OUTREG.REGSET == "SET";
  initial IOLTO = \TSREG.REGSET == "SET";
  initial INFF = \FF.REGSET == "SET";
  always @(posedge CLK) begin
    IOLDO <= TXDATA0;
    IOLTO <= TSDATA0;
    INFF <= PADDI;
  end
endmodule
