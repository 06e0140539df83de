// Delays of cells for which yosys has none, in ps, on the scale of those that it has (Artix-7, slowest
// grade, no routing). All are choices but those of the LUT RAMs, which are RAM64M's in yosys.

// A DSP without its registers: yosys leaves them outside, a vendor's tool takes them in. A product
// between two registers fits into 3 ns, one with logic before or behind it does not.
(* blackbox *)
module DSP48E2 (
  input [29:0] A, input [17:0] B, input [47:0] C, input [26:0] D, input [47:0] PCIN,
  output [47:0] P, output [47:0] PCOUT
);
  parameter ACASCREG = 0, ADREG = 0, ALUMODEREG = 0, AMULTSEL = 0, AREG = 0, AUTORESET_PATDET = 0,
    AUTORESET_PRIORITY = 0, A_INPUT = 0, BCASCREG = 0, BMULTSEL = 0, BREG = 0, B_INPUT = 0,
    CARRYINREG = 0, CARRYINSELREG = 0, CREG = 0, DREG = 0, INMODEREG = 0, IS_ALUMODE_INVERTED = 0,
    IS_CARRYIN_INVERTED = 0, IS_CLK_INVERTED = 0, IS_INMODE_INVERTED = 0, IS_OPMODE_INVERTED = 0,
    IS_RSTALLCARRYIN_INVERTED = 0, IS_RSTALUMODE_INVERTED = 0, IS_RSTA_INVERTED = 0,
    IS_RSTB_INVERTED = 0, IS_RSTCTRL_INVERTED = 0, IS_RSTC_INVERTED = 0, IS_RSTD_INVERTED = 0,
    IS_RSTINMODE_INVERTED = 0, IS_RSTM_INVERTED = 0, IS_RSTP_INVERTED = 0, MASK = 0, MREG = 0,
    OPMODEREG = 0, PATTERN = 0, PREADDINSEL = 0, PREG = 0, RND = 0, SEL_MASK = 0, SEL_PATTERN = 0,
    USE_MULT = 0, USE_PATTERN_DETECT = 0, USE_SIMD = 0, USE_WIDEXOR = 0, XORSIMD = 0;
  specify
    (A *> P) = 2300;
    (B *> P) = 2300;
    (D *> P) = 2300;
    (C *> P) = 1300;
    (PCIN *> P) = 1300;
    (A *> PCOUT) = 2300;
    (B *> PCOUT) = 2300;
    (D *> PCOUT) = 2300;
    (C *> PCOUT) = 1300;
    (PCIN *> PCOUT) = 1300;
  endspecify
endmodule

// A DSP with all its registers: rtl/dsp.py instantiates them.
(* blackbox *)
module DSP48E2_registered (
  input CLK,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input [29:0] A, input [17:0] B, input [47:0] C, input [26:0] D, input [47:0] PCIN,
  input [4:0] INMODE, input [3:0] ALUMODE, input [2:0] CARRYINSEL, input CARRYIN,
  input [8:0] OPMODE,
  output [47:0] P, output [47:0] PCOUT
);
  parameter ACASCREG = 0, ADREG = 0, ALUMODEREG = 0, AMULTSEL = 0, AREG = 0, BCASCREG = 0, BREG = 0,
    CARRYINREG = 0, CARRYINSELREG = 0, CREG = 0, DREG = 0, INMODEREG = 0, MREG = 0, OPMODEREG = 0,
    PREG = 0, RND = 0;
  specify
    $setup(A, posedge CLK, 400);
    $setup(B, posedge CLK, 400);
    $setup(D, posedge CLK, 400);
    $setup(OPMODE, posedge CLK, 400);
    $setup(PCIN, posedge CLK, 1300);
    (posedge CLK *> (P : 48'b0)) = 500;
    (posedge CLK *> (PCOUT : 48'b0)) = 500;
  endspecify
endmodule

// A bit of a block RAM or UltraRAM, as it is written and as it is read.
(* blackbox *)
module memory_input (input C, input D);
  specify
    $setup(D, posedge C, 400);
  endspecify
endmodule

(* blackbox *)
module memory_output (input C, output Q);
  specify
    (posedge C => (Q : 1'b0)) = 1200;
  endspecify
endmodule

(* blackbox *)
module RAM64M8 (
  output [0:0] DOA, output [0:0] DOB, output [0:0] DOC, output [0:0] DOD,
  output [0:0] DOE, output [0:0] DOF, output [0:0] DOG, output [0:0] DOH,
  input [5:0] ADDRA, input [5:0] ADDRB, input [5:0] ADDRC, input [5:0] ADDRD,
  input [5:0] ADDRE, input [5:0] ADDRF, input [5:0] ADDRG, input [5:0] ADDRH,
  input [0:0] DIA, input [0:0] DIB, input [0:0] DIC, input [0:0] DID,
  input [0:0] DIE, input [0:0] DIF, input [0:0] DIG, input [0:0] DIH,
  input WCLK, input WE
);
  parameter INIT_A = 0, INIT_B = 0, INIT_C = 0, INIT_D = 0, INIT_E = 0, INIT_F = 0, INIT_G = 0,
    INIT_H = 0, IS_WCLK_INVERTED = 0;
  specify
    (ADDRA *> DOA) = 642; (ADDRB *> DOB) = 642; (ADDRC *> DOC) = 642; (ADDRD *> DOD) = 642;
    (ADDRE *> DOE) = 642; (ADDRF *> DOF) = 642; (ADDRG *> DOG) = 642; (ADDRH *> DOH) = 642;
    if (WE) (posedge WCLK *> (DOA : DIA)) = 1190;
    if (WE) (posedge WCLK *> (DOB : DIB)) = 1190;
    if (WE) (posedge WCLK *> (DOC : DIC)) = 1190;
    if (WE) (posedge WCLK *> (DOD : DID)) = 1190;
    if (WE) (posedge WCLK *> (DOE : DIE)) = 1190;
    if (WE) (posedge WCLK *> (DOF : DIF)) = 1190;
    if (WE) (posedge WCLK *> (DOG : DIG)) = 1190;
    if (WE) (posedge WCLK *> (DOH : DIH)) = 1190;
    $setup(DIA, posedge WCLK &&& WE, 460);
    $setup(DIB, posedge WCLK &&& WE, 460);
    $setup(DIC, posedge WCLK &&& WE, 460);
    $setup(DID, posedge WCLK &&& WE, 460);
    $setup(DIE, posedge WCLK &&& WE, 460);
    $setup(DIF, posedge WCLK &&& WE, 460);
    $setup(DIG, posedge WCLK &&& WE, 460);
    $setup(DIH, posedge WCLK &&& WE, 460);
    $setup(ADDRH, posedge WCLK &&& WE, 362);
    $setup(WE, posedge WCLK, 654);
  endspecify
endmodule

(* blackbox *)
module RAM32M16 (
  output [1:0] DOA, output [1:0] DOB, output [1:0] DOC, output [1:0] DOD,
  output [1:0] DOE, output [1:0] DOF, output [1:0] DOG, output [1:0] DOH,
  input [4:0] ADDRA, input [4:0] ADDRB, input [4:0] ADDRC, input [4:0] ADDRD,
  input [4:0] ADDRE, input [4:0] ADDRF, input [4:0] ADDRG, input [4:0] ADDRH,
  input [1:0] DIA, input [1:0] DIB, input [1:0] DIC, input [1:0] DID,
  input [1:0] DIE, input [1:0] DIF, input [1:0] DIG, input [1:0] DIH,
  input WCLK, input WE
);
  parameter INIT_A = 0, INIT_B = 0, INIT_C = 0, INIT_D = 0, INIT_E = 0, INIT_F = 0, INIT_G = 0,
    INIT_H = 0, IS_WCLK_INVERTED = 0;
  specify
    (ADDRA *> DOA) = 642; (ADDRB *> DOB) = 642; (ADDRC *> DOC) = 642; (ADDRD *> DOD) = 642;
    (ADDRE *> DOE) = 642; (ADDRF *> DOF) = 642; (ADDRG *> DOG) = 642; (ADDRH *> DOH) = 642;
    if (WE) (posedge WCLK *> (DOA : DIA)) = 1190;
    if (WE) (posedge WCLK *> (DOB : DIB)) = 1190;
    if (WE) (posedge WCLK *> (DOC : DIC)) = 1190;
    if (WE) (posedge WCLK *> (DOD : DID)) = 1190;
    if (WE) (posedge WCLK *> (DOE : DIE)) = 1190;
    if (WE) (posedge WCLK *> (DOF : DIF)) = 1190;
    if (WE) (posedge WCLK *> (DOG : DIG)) = 1190;
    if (WE) (posedge WCLK *> (DOH : DIH)) = 1190;
    $setup(DIA, posedge WCLK &&& WE, 460);
    $setup(DIB, posedge WCLK &&& WE, 460);
    $setup(DIC, posedge WCLK &&& WE, 460);
    $setup(DID, posedge WCLK &&& WE, 460);
    $setup(DIE, posedge WCLK &&& WE, 460);
    $setup(DIF, posedge WCLK &&& WE, 460);
    $setup(DIG, posedge WCLK &&& WE, 460);
    $setup(DIH, posedge WCLK &&& WE, 460);
    $setup(ADDRH, posedge WCLK &&& WE, 362);
    $setup(WE, posedge WCLK, 654);
  endspecify
endmodule
