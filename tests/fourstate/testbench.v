// A machine with memory, and a host that obeys commands on stdin and answers on stdout.
//
// machine.vh is made for each machine: its signals, its channels of memory, `found` (the sum of
// their reports), and `access`, which stores a byte of a channel or loads it.
`define STDIN 32'h80000000

module testbench;
    localparam RESET = 16, SETTLE = 8;  // cycles; for SETTLE a reset may lag behind its input
    reg clk = 0, rst = 1, watching = 0;
    reg [31:0] stall = 0;
    reg [8*8-1:0] command;
    reg [63:0] at;
    reg [31:0] value;
    integer unknown = 0, settled = 0, code, count, n, channel;

    `include "machine.vh"

    always #5 clk = !clk;

    always @(posedge clk) begin
        settled = rst ? 0 : settled + 1;
        watching <= settled > SETTLE;
        if (watching && ^{interrupt, host__awready, host__wready, host__bvalid, host__arready,
                          host__rvalid} === 1'bx) begin
            unknown = unknown + 1;
            if (unknown < 10) $display("unknown: a handshake of the host, or the interrupt");
        end
    end

    task reset;
        begin
            rst <= 1; host__awvalid <= 0; host__wvalid <= 0; host__arvalid <= 0;
            host__bready <= 0; host__rready <= 0; host__wstrb <= 15;
            repeat (RESET) @(posedge clk);
            rst <= 0;
            repeat (2 * SETTLE) @(posedge clk);
        end
    endtask

    task write;
        begin
            host__awaddr <= at; host__awvalid <= 1; host__bready <= 1;
            host__wdata <= value; host__wvalid <= 1;
            @(posedge clk);
            while (host__bvalid !== 1) begin
                if (host__awready === 1) host__awvalid <= 0;
                if (host__wready === 1) host__wvalid <= 0;
                @(posedge clk);
            end
            host__bready <= 0;
        end
    endtask

    task read;
        begin
            host__araddr <= at; host__arvalid <= 1; host__rready <= 1;
            @(posedge clk);
            while (host__rvalid !== 1) begin
                if (host__arready === 1) host__arvalid <= 0;
                @(posedge clk);
            end
            $display("%h", host__rdata);
            host__rready <= 0;
        end
    endtask

    initial forever begin
        code = $fscanf(`STDIN, "%s", command);
        if (code != 1) $finish;
        case (command)
            "reset": reset;
            "stall": code = $fscanf(`STDIN, "%h", stall);
            "write": begin
                code = $fscanf(`STDIN, "%h %h", at, value);
                write;
            end
            "read": begin
                code = $fscanf(`STDIN, "%h", at);
                read;
            end
            "cycles": begin
                code = $fscanf(`STDIN, "%d", count);
                repeat (count) @(posedge clk);
            end
            "wait": begin
                code = $fscanf(`STDIN, "%d", count);
                for (n = 0; n < count && interrupt !== 1; n = n + 1) @(posedge clk);
                $display("%0d", interrupt);
            end
            "store": begin
                code = $fscanf(`STDIN, "%d %h %d", channel, at, count);
                for (n = 0; n < count; n = n + 1) begin
                    code = $fscanf(`STDIN, "%h", value);
                    access(1);
                end
            end
            "load": begin
                code = $fscanf(`STDIN, "%d %h %d", channel, at, count);
                for (n = 0; n < count; n = n + 1) begin
                    access(0);
                    $write("%h", value[7:0]);
                end
                $display("");
            end
            "unknown": $display("%0d", unknown + found(0));
        endcase
        $display("done");
        $fflush;
    end
endmodule
