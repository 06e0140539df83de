// Registers at the pins of an ECP5, as FPGA-TN-02032 describes them: enable always 1, preset never.
module OFS1P3BX (input D, input SCLK, input SP, input PD, output reg Q);
  initial Q = 1'b1;
  always @(posedge SCLK) Q <= D;
endmodule
module IFS1P3BX (input D, input SCLK, input SP, input PD, output reg Q);
  initial Q = 1'b1;
  always @(posedge SCLK) Q <= D;
endmodule
