module blink(input clk_a, input clk_b, input rst_n, input [3:0] key, output reg [7:0] led);
  // Reset of each clock: released in step with it.
  reg [1:0] hold_a = 3, hold_b = 3;
  always @(posedge clk_a) hold_a <= {hold_a[0], ~rst_n};
  always @(posedge clk_b) hold_b <= {hold_b[0], ~rst_n};
  wire rst_a = hold_a[1], rst_b = hold_b[1];
  reg [17:0] count_a; reg [8:0] sum;
  reg [17:0] x, y; reg [35:0] p;
  always @(posedge clk_a) begin
    x <= count_a; y <= {count_a[8:0], key, 5'd1}; p <= x * y;
    count_a <= rst_a ? 0 : count_a + 1;
  end
  // A counter in Gray code goes over.
  wire [17:0] gray = count_a ^ (count_a >> 1);
  reg [17:0] gray_a, gray_1, gray_2;
  always @(posedge clk_a) gray_a <= gray;
  always @(posedge clk_b) begin gray_1 <= gray_a; gray_2 <= gray_1; end
  reg [35:0] mem[0:511]; reg [35:0] read; reg [35:0] read2;
  always @(posedge clk_a) if (key[0]) mem[p[8:0]] <= {p[17:0], p[35:18]};
  always @(posedge clk_b) begin read <= mem[gray_2[8:0]]; read2 <= read; end
  always @(posedge clk_b) led <= rst_b ? 0 : ^key ? read2[7:0] ^ read2[35:28] : gray_2[17:10];
endmodule
