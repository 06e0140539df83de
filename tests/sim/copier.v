// A machine for the tests of the simulator: its run copies beats from port lane0 to port aux.
//
// It has the registers of the real one at their offsets, which copier.py fills in. A run adds
// `token` to every 32-bit word on its way; `next` is the xor of all words, low 20 bits. The bits of
// `layers` choose: 0 write (else only read), 1 ignore 4 KiB borders, 2 WLAST a beat early, 3 never
// finish, 4 take data and responses every other cycle, 5 write bytes 4 to 11 of each beat only.

module top(
    input clk, input rst, output interrupt,

    input [11:0] host__awaddr, input host__awvalid, output host__awready,
    input [31:0] host__wdata, input [3:0] host__wstrb, input host__wvalid, output host__wready,
    output [1:0] host__bresp, output reg host__bvalid, input host__bready,
    input [11:0] host__araddr, input host__arvalid, output host__arready,
    output reg [31:0] host__rdata, output [1:0] host__rresp, output reg host__rvalid,
    input host__rready,

    output reg [39:0] lane0__araddr, output reg [7:0] lane0__arlen, output [2:0] lane0__arsize,
    output [1:0] lane0__arburst, output [5:0] lane0__arid, output reg lane0__arvalid,
    input lane0__arready, input [127:0] lane0__rdata, input [1:0] lane0__rresp,
    input lane0__rlast, input [5:0] lane0__rid, input lane0__rvalid, output lane0__rready,

    output reg [39:0] aux__awaddr, output reg [7:0] aux__awlen, output [2:0] aux__awsize,
    output [1:0] aux__awburst, output [5:0] aux__awid, output reg aux__awvalid,
    input aux__awready, output [127:0] aux__wdata, output [15:0] aux__wstrb, output aux__wlast,
    output aux__wvalid, input aux__wready, input [1:0] aux__bresp, input [5:0] aux__bid,
    input aux__bvalid, output aux__bready,

    output probe_beat__valid, output [191:0] probe_beat__value,
    output probe_done__valid, output [15:0] probe_done__value
);
    localparam BURST = 16, DEPTH = 512;

    // Registers of the host port.
    reg [31:0] regs[0:255];
    reg [31:0] program_memory[0:63];
    reg [11:0] address;
    reg [31:0] data;
    reg have_address, have_data, start;
    wire write = have_address & have_data & ~host__bvalid;
    assign host__awready = ~have_address, host__wready = ~have_data;
    assign host__arready = ~host__rvalid, host__bresp = 0;
    assign host__rresp = host__araddr >= 12'h800 ? 2 : 0;

    reg busy, done, failed;
    reg [31:0] finished, words_xor, cycles;
    wire [31:0] token = regs[@token@ / 4], mode = regs[@layers@ / 4];
    wire illegal = program_memory[0] == 32'hbad;
    assign interrupt = done & regs[@interrupt@ / 4][0];

    always @(posedge clk) begin
        start <= 0;
        if (host__awvalid & host__awready) begin address <= host__awaddr; have_address <= 1; end
        if (host__wvalid & host__wready) begin data <= host__wdata; have_data <= 1; end
        if (host__bvalid & host__bready) host__bvalid <= 0;
        if (write) begin
            have_address <= 0; have_data <= 0; host__bvalid <= 1;
            if (address == @program_data@) begin
                program_memory[regs[@program_index@ / 4][5:0]] <= data;
                regs[@program_index@ / 4] <= regs[@program_index@ / 4] + 1;
            end else begin
                start <= address == @start@;
                regs[address[9:2]] <= data;
            end
        end
        if (host__rvalid & host__rready) host__rvalid <= 0;
        if (host__arvalid & host__arready) begin
            host__rvalid <= 1;
            case (host__araddr)
                @magic@: host__rdata <= 32'h4c4d4231;
                @hash@: host__rdata <= @build_hash@;
                @version@: host__rdata <= @interface@;
                @status@: host__rdata <= {27'b0, illegal, failed, ~busy, done, busy};
                @next@: host__rdata <= words_xor & 32'hfffff;
                @finished@: host__rdata <= finished;
                @cycles@: host__rdata <= cycles;
                @cycles@ + 4: host__rdata <= 0;
                @counter_value@: host__rdata <= regs[@counter_index@ / 4] == 0 ? cycles : 0;
                @counter_value@ + 4: host__rdata <= 0;
                default: host__rdata <= regs[host__araddr[9:2]];
            endcase
        end
        if (rst) begin
            have_address <= 0; have_data <= 0; host__bvalid <= 0; host__rvalid <= 0; start <= 0;
            regs[@interrupt@ / 4] <= 0;
        end
    end

    // Reads: bursts while the queue has room for all of them.
    reg [39:0] to_ask;
    reg [31:0] ask_left, take_left;
    reg [15:0] room;
    wire [39:0] border = (40'h1000 - (to_ask & 40'hfff)) >> 4;
    wire [31:0] wanted = ask_left < BURST ? ask_left : BURST;
    wire [31:0] asked = ~mode[1] & (border < wanted) ? border : wanted;
    wire ask = (ask_left != 0) & (room >= BURST) & (~lane0__arvalid | lane0__arready);
    wire taken = lane0__rvalid & lane0__rready;
    reg turn, held, held_response;
    assign lane0__arsize = 4, lane0__arburst = 1, lane0__arid = 5;
    assign lane0__rready = ~mode[4] | turn;

    // Queue, and writes of whole bursts that are in it.
    reg [127:0] queue[0:DEPTH - 1];
    reg [8:0] head, tail;
    reg [15:0] promised;  // beats in the queue without a write address
    reg [39:0] to_write;
    reg [31:0] write_left, beats_left, answers;
    reg [7:0] beat;
    reg [7:0] lengths[0:63];
    reg [5:0] lengths_in, lengths_out;
    wire [31:0] burst = write_left < BURST ? write_left : BURST;
    wire open = (write_left != 0) & (promised >= burst) & (~aux__awvalid | aux__awready);
    wire sent = aux__wvalid & aux__wready;
    assign aux__awsize = 4, aux__awburst = 1, aux__awid = 3, aux__wstrb = mode[5] ? 16'h0ff0 : 16'hffff;
    assign aux__bready = ~mode[4] | turn;
    assign aux__wvalid = lengths_in != lengths_out;
    assign aux__wdata = queue[head];
    assign aux__wlast = beat + (mode[2] ? 1 : 0) == lengths[lengths_out];

    wire [127:0] sum = {lane0__rdata[127:96] + token, lane0__rdata[95:64] + token,
                        lane0__rdata[63:32] + token, lane0__rdata[31:0] + token};
    assign probe_beat__valid = taken;
    assign probe_beat__value = {lane0__rid, 26'b0, take_left, sum};
    wire idle = (take_left == 0) & (~mode[0] | ((write_left == 0) & (answers == 0)));
    assign probe_done__valid = busy & idle & ~mode[3];
    assign probe_done__value = finished[15:0] + 1;

    always @(posedge clk) begin
        turn <= ~turn;
        if (busy) cycles <= cycles + 1;
        if (start) begin
            busy <= 1; words_xor <= 0;
            to_ask <= {regs[@lane_base@ / 4 + 1][7:0], regs[@lane_base@ / 4]};
            to_write <= {regs[@logits_base@ / 4 + 1][7:0], regs[@logits_base@ / 4]};
            ask_left <= regs[@layers_beats@ / 4]; take_left <= regs[@layers_beats@ / 4];
            write_left <= mode[0] ? regs[@layers_beats@ / 4] : 0;
        end
        if (probe_done__valid) begin busy <= 0; done <= 1; finished <= 1; end
        if (write & (address == @interrupt@) & data[1]) done <= 0;

        held <= lane0__rvalid & ~lane0__rready;
        held_response <= aux__bvalid & ~aux__bready;
        if ((held & ~lane0__rvalid) | (held_response & ~aux__bvalid)) failed <= 1;  // withdrawn

        if (lane0__arready) lane0__arvalid <= 0;
        if (ask) begin
            lane0__arvalid <= 1; lane0__araddr <= to_ask; lane0__arlen <= asked - 1;
            to_ask <= to_ask + asked * 16; ask_left <= ask_left - asked;
        end
        room <= room - (ask ? asked : 0) + (mode[0] ? sent : taken);
        if (taken) begin
            take_left <= take_left - 1;
            words_xor <= words_xor ^ sum[127:96] ^ sum[95:64] ^ sum[63:32] ^ sum[31:0];
            if (mode[0]) begin queue[tail] <= sum; tail <= tail + 1; end
            if (lane0__rresp != 0) failed <= 1;
        end
        promised <= promised + (mode[0] & taken) - (open ? burst : 0);

        if (aux__awready) aux__awvalid <= 0;
        if (open) begin
            aux__awvalid <= 1; aux__awaddr <= to_write; aux__awlen <= burst - 1;
            to_write <= to_write + burst * 16; write_left <= write_left - burst;
            lengths[lengths_in] <= burst - 1; lengths_in <= lengths_in + 1;
        end
        answers <= answers + open - (aux__bvalid & aux__bready);
        if (aux__bvalid & (aux__bresp != 0)) failed <= 1;
        if (sent) begin
            head <= head + 1;
            beat <= beat == lengths[lengths_out] ? 0 : beat + 1;
            if (beat == lengths[lengths_out]) lengths_out <= lengths_out + 1;
        end
        if (rst) begin
            busy <= 0; done <= 0; failed <= 0; held <= 0; held_response <= 0; finished <= 0; cycles <= 0; turn <= 0;
            ask_left <= 0; take_left <= 0; write_left <= 0; answers <= 0; promised <= 0;
            room <= DEPTH; head <= 0; tail <= 0; beat <= 0; lengths_in <= 0; lengths_out <= 0;
            lane0__arvalid <= 0; aux__awvalid <= 0;
        end
    end
endmodule
