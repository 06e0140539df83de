// Products of yosys' mul2dsp.v on the multipliers of a GW5A. Both kinds multiply signed numbers; an
// unsigned factor is one bit narrower and begins with 0. No register of theirs is used.

(* techmap_celltype = "$__MUL12X12" *)
module gowin_mult12x12 (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  wire [23:0] product;

  MULT12X12 _TECHMAP_REPLACE_ (
    .A(A), .B(B), .DOUT(product), .CLK(2'b0), .CE(2'b0), .RESET(2'b0)
  );
  assign Y = product;
endmodule

(* techmap_celltype = "$__MUL27X18" *)
module gowin_mult27x18 (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  wire [47:0] product;

  // A * B + C, with C = 0 and not selected; neither the pre-adder (D) nor a cascade takes part.
  MULTALU27X18 #(.C_SEL(1'b0)) _TECHMAP_REPLACE_ (
    .A(A), .B(B), .C(48'b0), .D(26'b0), .DOUT(product),
    .SIA(27'b0), .CASI(48'b0), .ASEL(1'b0), .PSEL(1'b0), .CSEL(1'b0), .CASISEL(1'b0),
    .ACCSEL(1'b0), .PADDSUB(1'b0), .ADDSUB(2'b0), .CLK(2'b0), .CE(2'b0), .RESET(2'b0)
  );
  assign Y = product;
endmodule
