// DSP48E2 of UltraScale+ as far as rtl/dsp.py uses it, for a simulator: a product, registered at the
// factors, behind the multiplier and behind the adder, with the cascade, a constant or the last
// result added. Written from AMD's UG579; compared with AMD's own model by tests/rtl/test_dsp.py.
module DSP48E2 #(
  parameter AMULTSEL = "A",  // "AD": the sum of A and D is multiplied
  parameter integer AREG = 1, ACASCREG = 1, ADREG = 1, DREG = 1, BREG = 1, BCASCREG = 1, MREG = 1,
  parameter integer PREG = 1, OPMODEREG = 1,
  parameter integer ALUMODEREG = 0, CREG = 0, CARRYINREG = 0, CARRYINSELREG = 0, INMODEREG = 0,
  parameter [47:0] RND = 0
) (
  input CLK,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input [29:0] A, input [17:0] B, input [47:0] C, input [26:0] D,
  input [4:0] INMODE, input [3:0] ALUMODE, input [2:0] CARRYINSEL, input CARRYIN,
  input [8:0] OPMODE, input [47:0] PCIN,
  output reg [47:0] P, output [47:0] PCOUT
);
  reg signed [26:0] a, d, ad;
  reg signed [17:0] b1, b2;
  reg signed [44:0] m;
  reg [8:0] opmode;
  wire signed [26:0] x = AMULTSEL == "AD" ? ad : a;
  wire [47:0] w = opmode[8] ? RND : opmode[7] ? P : 48'd0;
  wire [47:0] z = opmode[4] ? PCIN : 48'd0;
  assign PCOUT = P;
  always @(posedge CLK) begin
    a <= A[26:0];
    d <= D;
    ad <= a + d;
    b1 <= B;
    b2 <= BREG == 2 ? b1 : B;
    m <= x * b2;
    opmode <= OPMODE;
    P <= z + w + {{3{m[44]}}, m};
  end
endmodule
