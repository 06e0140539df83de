// Multiplier of an ECP5: 18 x 18 bits, each operand signed or not, registers before and behind.
//
// Sources: Lattice FPGA-TN-02205 (sysDSP usage guide), nextpnr ecp5/bitstream.cc (defaults).
// The registers are of one clock, enable and reset here; lightmamba.hardware.synth.primitives refuses others.
// The reset is one in the cycle of the clock edge, as yosys' and nextpnr's default RESETMODE says.

module MULT18X18D (
  input CLK0, CE0, RST0, SIGNEDA, SIGNEDB,
  input [17:0] A, B,
  output [35:0] P
);
  parameter integer INPUT_A = 0, INPUT_B = 0, PIPELINE = 0, OUTPUT = 0;  // 1: in a register

  reg [17:0] a_in = 0, b_in = 0;
  reg [35:0] between = 0, p_out = 0;
  wire [17:0] a = INPUT_A ? a_in : A;
  wire [17:0] b = INPUT_B ? b_in : B;
  wire signed [36:0] product =
    $signed({{19{SIGNEDA & a[17]}}, a}) * $signed({{19{SIGNEDB & b[17]}}, b});
  wire [35:0] inner = PIPELINE ? between : product[35:0];
  assign P = OUTPUT ? p_out : inner;

  always @(posedge CLK0)
    if (RST0) begin
      a_in <= 0;
      b_in <= 0;
      between <= 0;
      p_out <= 0;
    end else if (CE0) begin
      a_in <= A;
      b_in <= B;
      between <= product[35:0];
      p_out <= inner;
    end
endmodule
