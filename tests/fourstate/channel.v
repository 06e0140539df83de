// A channel of memory in a four-state simulation: bytes are unknown, or random, until they are
// written.
//
// One master reads and one writes, or one does both. Answers come in order and stall at random.
// What a master must not leave unknown is reported: valid and ready, an address and all that goes
// with it, and bytes whose strobe is set.
module channel #(
    parameter NAME = "", parameter BYTES = 16, parameter SIZE = 4096, parameter RANDOM = 0
) (
    input clk, input rst, input watching, input [31:0] stall,

    input [43:0] araddr, input [7:0] arlen, input [2:0] arsize, input [1:0] arburst,
    input [5:0] arid, input arvalid, output reg arready,
    output reg [8*BYTES-1:0] rdata, output reg [1:0] rresp, output reg rlast, output reg [5:0] rid,
    output reg rvalid, input rready,

    input [43:0] awaddr, input [7:0] awlen, input [2:0] awsize, input [1:0] awburst,
    input [5:0] awid, input awvalid, output reg awready,
    input [8*BYTES-1:0] wdata, input [BYTES-1:0] wstrb, input wlast, input wvalid,
    output reg wready,
    output reg [1:0] bresp, output reg [5:0] bid, output reg bvalid, input bready
);
    localparam DEEP = 64;  // bursts under way
    reg [7:0] bytes[0:SIZE-1];
    integer unknown = 0;  // reports
    integer n;
    initial if (RANDOM) for (n = 0; n < SIZE; n = n + 1) bytes[n] = $urandom;

    task report(input [8*20-1:0] what);
        begin
            unknown = unknown + 1;
            if (unknown < 10) $display("unknown: %0s of %0s", what, NAME);
        end
    endtask

    function moves(input unused);  // whether something happens in this cycle
        moves = $urandom >= stall;
    endfunction

    // Bursts that are read, and the beat of the first.
    reg [43:0] from[0:DEEP-1], here;
    reg [7:0] last[0:DEEP-1];  // beat
    reg [5:0] id[0:DEEP-1];
    integer asked = 0, served = 0, beat = 0;

    always @(posedge clk) if (rst) begin
        asked = 0; served = 0; beat = 0;
        arready <= 0; rvalid <= 0;
    end else if (watching) begin
        if (^{arvalid, rready} === 1'bx) report("a read handshake");
        if (arvalid && ^{araddr, arlen, arsize, arburst, arid} === 1'bx) report("a read address");
        if (arvalid && arready) begin
            from[asked % DEEP] = araddr; last[asked % DEEP] = arlen; id[asked % DEEP] = arid;
            asked = asked + 1;
        end
        if (!rvalid || rready) begin
            rvalid <= 0;
            if (asked != served && moves(0)) begin
                here = from[served % DEEP] + beat * BYTES;
                for (n = 0; n < BYTES; n = n + 1) rdata[8*n +: 8] <= bytes[here + n];
                rvalid <= 1; rresp <= here < SIZE ? 0 : 2; rid <= id[served % DEEP];
                rlast <= beat == last[served % DEEP];
                beat = beat + 1;
                if (beat > last[served % DEEP]) begin beat = 0; served = served + 1; end
            end
        end
        arready <= asked - served < DEEP - 2 && moves(0);
    end

    // Bursts that are written, and the beat of the first; data are taken behind their address only.
    reg [43:0] to[0:DEEP-1], there;
    reg [7:0] ends[0:DEEP-1];
    reg [5:0] name[0:DEEP-1];
    integer opened = 0, written = 0, answered = 0, part = 0, b;

    always @(posedge clk) if (rst) begin
        opened = 0; written = 0; answered = 0; part = 0;
        awready <= 0; wready <= 0; bvalid <= 0;
    end else if (watching) begin
        if (^{awvalid, wvalid, bready} === 1'bx) report("a write handshake");
        if (awvalid && ^{awaddr, awlen, awsize, awburst, awid} === 1'bx) report("a write address");
        if (wvalid && ^{wstrb, wlast} === 1'bx) report("write strobes");
        if (awvalid && awready) begin
            to[opened % DEEP] = awaddr; ends[opened % DEEP] = awlen; name[opened % DEEP] = awid;
            opened = opened + 1;
        end
        if (wvalid && wready) begin
            there = to[written % DEEP] + part * BYTES;
            for (b = 0; b < BYTES; b = b + 1) if (wstrb[b]) begin
                if (^wdata[8*b +: 8] === 1'bx) report("a written byte");
                bytes[there + b] = wdata[8*b +: 8];
            end
            part = part + 1;
            if (part > ends[written % DEEP]) begin part = 0; written = written + 1; end
        end
        if (!bvalid || bready) begin
            bvalid <= 0;
            if (written != answered && moves(0)) begin
                bvalid <= 1; bresp <= 0; bid <= name[answered % DEEP];
                answered = answered + 1;
            end
        end
        wready <= opened != written && moves(0);
        awready <= opened - answered < DEEP - 2 && moves(0);
    end
endmodule
