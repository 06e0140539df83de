// Memories, products, sums and registers in the shapes that machines and boards have.
// Each output is a module of its own, so that a difference names one. Registers begin at 0 as ours
// do; without that, one would be the same as the register of a test frame before it.

module ram #(parameter D = 512, W = 36, B = W, OUT = 0, STYLE = "block") (
  input clk, rclk, input [W/B-1:0] we, input re, input [13:0] wa, ra, input [71:0] d, output [W-1:0] q
);
  localparam A = $clog2(D);
  (* ram_style = STYLE *) reg [W-1:0] mem[0:D-1];
  reg [W-1:0] first = 0, second = 0;
  integer n;
  always @(posedge clk)
    for (n = 0; n < W / B; n = n + 1) if (we[n]) mem[wa[A-1:0]][n*B+:B] <= d[n*B+:B];
  always @(posedge rclk) if (re) first <= mem[ra[A-1:0]];
  always @(posedge rclk) second <= first;
  assign q = OUT ? second : first;
endmodule

// One port, which gives the old value, the new one or nothing when it writes.
module port #(parameter W = 18, SHOWS = 0) (
  input clk, we, input [13:0] a, input [71:0] d, output reg [W-1:0] q
);
  (* ram_style = "block" *) reg [W-1:0] mem[0:1023];
  always @(posedge clk) begin
    if (we) mem[a[9:0]] <= d[W-1:0];
    if (!we || SHOWS == 2) q <= mem[a[9:0]];
    else if (SHOWS == 1) q <= d[W-1:0];
  end
endmodule

// Two ports that both write and read.
module dual #(parameter W = 18) (
  input clk, we_a, we_b, input [13:0] a, b, input [71:0] d, output reg [W-1:0] qa, qb
);
  (* ram_style = "block" *) reg [W-1:0] mem[0:1023];
  always @(posedge clk) begin
    if (we_a) mem[a[9:0]] <= d[W-1:0];
    if (!we_a) qa <= mem[a[9:0]];
  end
  always @(posedge clk) begin
    if (we_b) mem[b[9:0]] <= d[W+17:18];
    if (!we_b) qb <= mem[b[9:0]];
  end
endmodule

module rom #(parameter D = 1024, W = 18, OUT = 0) (input clk, input [13:0] ra, output [W-1:0] q);
  (* rom_style = "block" *) reg [W-1:0] mem[0:D-1];
  reg [W-1:0] first = 0, second = 0;
  integer n;
  initial for (n = 0; n < D; n = n + 1) mem[n] = (n * n * 40503 + n * 77) ^ (n << 7);
  always @(posedge clk) begin first <= mem[ra[$clog2(D)-1:0]]; second <= first; end
  assign q = OUT ? second : first;
endmodule

// A product with registers: 1 before it, 2 behind it, 4 a reset and 8 an enable of those before.
module product #(parameter A = 18, B = 18, SIGNED = 0, HOW = 3) (
  input clk, rst, ce, input [71:0] d, output [A+B-1:0] q
);
  reg [A-1:0] a = 0; reg [B-1:0] b = 0; reg [A+B-1:0] p = 0;
  always @(posedge clk) if (HOW & 4 && rst) begin a <= 0; b <= 0; end
    else if (!(HOW & 8) || ce) begin a <= d[A-1:0]; b <= d[71-:B]; end
  wire [A-1:0] x = HOW & 1 ? a : d[A-1:0];
  wire [B-1:0] y = HOW & 1 ? b : d[71-:B];
  wire [A+B-1:0] now;
  generate
    if (SIGNED == 2) assign now = $signed(x) * $signed(y);
    else if (SIGNED == 1) assign now = $signed({1'b0, x}) * $signed(y);
    else assign now = x * y;
  endgenerate
  always @(posedge clk) p <= now;
  assign q = HOW & 2 ? p : now;
endmodule

module kinds (input clk, rst, ce, input [71:0] d, output [23:0] q, output [31:0] sum);
  reg a = 0, b = 0, c = 0, e = 1, f = 0, g = 1, h = 0, i = 0, j = 1, k = 1, l = 1;
  always @(posedge clk) a <= d[0];
  always @(posedge clk) if (ce) b <= d[1];
  always @(posedge clk) if (rst) c <= 0; else c <= d[2];
  always @(posedge clk) if (rst) e <= 1; else if (ce) e <= d[3];
  always @(posedge clk or posedge rst) if (rst) f <= 0; else f <= d[4];
  always @(posedge clk or posedge rst) if (rst) g <= 1; else if (ce) g <= d[5];
  always @(negedge clk) h <= d[6];
  always @(posedge clk) if (!rst) i <= 0; else if (!ce) i <= d[7];
  always @(negedge clk or negedge rst) if (!rst) j <= 1; else j <= d[8];
  always @(posedge clk) if (ce) k <= d[9];
  always @(posedge clk) l <= d[10] ^ l;
  reg [31:0] total = 0;
  always @(posedge clk) if (rst) total <= 0; else total <= total + d[31:0] - d[63:32];
  assign sum = total;
  assign q = {d[23:0] < d[47:24], d[20:0] == total[20:0], a, b, c, e, f, g, h, i, j, k, l,
    d[11:0] > 12'd77 ? d[10:0] : d[31:21]};
endmodule

module shapes (
  input clk, clk2, rst, ce, input [3:0] we, input re, input [13:0] wa, ra, input [71:0] d,
  output [35:0] r36, r36out, r36out_held, r36bytes, r36clocks, output [17:0] r18, r18out, r18bytes,
  output [8:0] r9, output [3:0] r4, output [1:0] r2, output r1, output [71:0] r72,
  output [19:0] r600, output [39:0] lutram, output [3:0] lutram16,
  output [17:0] nothing, fresh, old, dual_a, dual_b, output [17:0] rom18, output [34:0] rom35,
  output [17:0] rom18out, output [8:0] rom9,
  output [35:0] p0, p1, p2, p3, p7, p11, output [31:0] p16, output [38:0] p24, p32, output [33:0] pm,
  output [23:0] q, output [31:0] sum, output [35:0] collide
);
  ram u36 (clk, clk, we[0], re, wa, ra, d, r36);
  ram #(.OUT(1)) u36out (clk, clk, we[0], 1'b1, wa, ra, d, r36out);
  ram #(.OUT(1)) u36held (clk, clk, we[0], re, wa, ra, d, r36out_held);
  ram #(.B(9)) u36bytes (clk, clk, we, 1'b1, wa, ra, d, r36bytes);
  ram u36clocks (clk, clk2, we[0], 1'b1, wa, ra, d, r36clocks);
  ram #(.D(1024), .W(18)) u18 (clk, clk, we[0], 1'b1, wa, ra, d, r18);
  ram #(.D(1024), .W(18), .OUT(1)) u18out (clk, clk, we[0], 1'b1, wa, ra, d, r18out);
  ram #(.D(1024), .W(18), .B(9)) u18bytes (clk, clk, we[1:0], 1'b1, wa, ra, d, r18bytes);
  ram #(.D(2048), .W(9)) u9 (clk, clk, we[0], 1'b1, wa, ra, d, r9);
  ram #(.D(4096), .W(4)) u4 (clk, clk, we[0], 1'b1, wa, ra, d, r4);
  ram #(.D(8192), .W(2)) u2 (clk, clk, we[0], 1'b1, wa, ra, d, r2);
  ram #(.D(16384), .W(1)) u1 (clk, clk, we[0], 1'b1, wa, ra, d, r1);
  ram #(.W(72)) u72 (clk, clk, we[0], 1'b1, wa, ra, d, r72);
  ram #(.D(1024), .W(20)) u600 (clk, clk, we[0], 1'b1, wa, ra, d, r600);
  ram #(.D(64), .W(40), .STYLE("auto")) ulut (clk, clk, we[0], 1'b1, wa, ra, d, lutram);
  ram #(.D(16), .W(4), .STYLE("auto")) ulut16 (clk, clk, we[0], 1'b1, wa, ra, d, lutram16);
  port uno (clk, we[0], wa, d, nothing);
  port #(.SHOWS(1)) unew (clk, we[0], wa, d, fresh);
  port #(.SHOWS(2)) uold (clk, we[0], wa, d, old);
  dual udual (clk, we[0], we[1], wa, ra, d, dual_a, dual_b);
  rom urom (clk, ra, rom18);
  rom #(.D(512), .W(35)) urom35 (clk, ra, rom35);
  rom #(.OUT(1)) uromout (clk, ra, rom18out);
  rom #(.D(2048), .W(9)) urom9 (clk, ra, rom9);
  product #(.HOW(0)) v0 (clk, rst, ce, d, p0);
  product #(.HOW(1), .SIGNED(2)) v1 (clk, rst, ce, d, p1);
  product #(.HOW(2)) v2 (clk, rst, ce, d, p2);
  product #(.HOW(3), .SIGNED(2)) v3 (clk, rst, ce, d, p3);
  product #(.HOW(7), .SIGNED(2)) v7 (clk, rst, ce, d, p7);
  product #(.HOW(11)) v11 (clk, rst, ce, d, p11);
  product #(.A(16), .B(16), .SIGNED(2)) v16 (clk, rst, ce, d, p16);
  product #(.A(24), .B(15), .SIGNED(2)) v24 (clk, rst, ce, d, p24);
  product #(.A(32), .B(7)) v32 (clk, rst, ce, d, p32);
  product #(.A(17), .B(17), .SIGNED(1)) vm (clk, rst, ce, d, pm);
  kinds uk (clk, rst, ce, d, q, sum);
  // Reads what it writes: the device promises nothing, and the model gives wrong bits.
  ram ucollide (clk, clk, we[0], 1'b1, wa, wa, d, collide);
endmodule
