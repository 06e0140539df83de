// Cells whose delays yosys does not have, for `sta`. Delays in ps, on the scale of the cells that
// it has (Artix-7, slowest grade, without routing). They are choices.

// A DSP without its registers: yosys leaves them outside, a vendor's tool takes them in. A product
// between two registers fits into 3 ns, one with logic before or behind it does not.
(* blackbox *)
module DSP48E2 (
  input [29:0] A, input [17:0] B, input [47:0] C, input [26:0] D, input [47:0] PCIN,
  output [47:0] P, output [47:0] PCOUT
);
  specify
    (A *> P) = 2300;
    (B *> P) = 2300;
    (D *> P) = 2300;
    (C *> P) = 1300;
    (PCIN *> P) = 1300;
    (A *> PCOUT) = 2300;
    (B *> PCOUT) = 2300;
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
    if (1) (posedge C => (Q : 1'b0)) = 1104;
  endspecify
endmodule
