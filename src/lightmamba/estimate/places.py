"""Where the numbers of a running model lie: one array of tables, one of rings and lists.

The loops of this folder pass two arrays of int64 from hand to hand: ``a`` holds scalars and tables
of fixed size, ``t`` the queues' times, requests, commands and lists. Plain numbers, so that the
compiled loops have them as constants.
"""

NEVER = 1 << 60  # later than everything

# Queues: those that carry data, in the order of a token; those of the readers' beats follow.
(
    EMBED, RESIDUAL, SUM_IN, RMS_IN, QUANT_IN, WORDS_IN, PARTS, ROWS, DT, CONV, OUT, LOGIT, Z,
    HEADS, CONVOLVED, X, BC, BC_READY, AHEAD, BEHIND, Y, GATED, SUM_OUT, RMS_OUT, MIXED, QUANT_OUT,
    WORDS_OUT, CONV_STATE, LOGITS, BEATS,
) = range(30)  # fmt: skip
READERS = 72  # most that a machine has: 64 lanes, and six others
QUEUES = BEATS + READERS
# Columns of a queue: its ring in ``t`` and the ring's mask; entries; who puts in and takes out.
Q_RING, Q_MASK, Q_HEAD, Q_COUNT, Q_ROOM, Q_FROM, Q_TO = range(7)
Q_SIZE = 7

# Units, in the order in which they act within a cycle: who gives before who takes.
(
    U_SEQUENCER, U_UNPACKER, U_EMBED, U_LANES, U_EPILOGUE, U_ROUTER, U_RESIDUAL, U_RMS_IN,
    U_QUANT_IN, U_WORDS_IN, U_DISCRETIZE, U_CONV, U_BLOCKS, U_BC, U_SSM, U_GATE, U_RMS_OUT,
    U_HADAMARD, U_QUANT_OUT, U_WORDS_OUT, U_HEAD, U_PACKER, U_CONV_WRITER, U_LOGIT_WRITER,
    U_CHANNEL,
) = range(25)  # fmt: skip
# Then as many channels as there are; then for each port a unit that reads, and one that writes.
CHANNELS, PORTS = 68, 68
UNITS = U_CHANNEL + CHANNELS + 2 * PORTS

# Columns of a reader. Words are of 64 bits, of the streams that have them.
(
    R_PORT, R_FREE, R_BURST, R_LEFT, R_READY, R_COMMANDS, R_FIRST, R_CREDIT, R_HAVE, R_PER_BEAT,
    R_WORDS, R_COUNT, R_DELAY, R_SEGMENT, R_COPY,
) = range(15)  # fmt: skip
R_SIZE = 15
COMMAND_RING = 128  # commands that may wait
COMMAND = 3  # words of one: beats, earliest cycle, which copy of the state

# Columns of a port: its channel, and that of the state's other copy; of reading (whose turn, when
# its last beat came, its last channel) and of writing.
(
    P_CHANNEL, P_OTHER, P_BYTES, P_STEP, P_LAST, P_TURN, P_ASK, P_OPEN, P_MOST, P_FROM, P_WRITER,
    P_BEATS, P_FINISH, P_WRITE_TURN, P_INTO,
) = range(15)  # fmt: skip
P_SIZE = 15
FINE = 1024  # parts of a cycle in which a port keeps time

# Columns of a channel: credit as in sim/memory.hpp, a ring of requests (client, beats, eligible).
(
    C_RATE, C_COST, C_LATENCY, C_EVERY, C_PAUSE, C_PHASE, C_CREDIT, C_LIMIT, C_TIME, C_RING, C_HEAD,
    C_COUNT, C_TURN, C_WRITING, C_TURNED,
) = range(15)  # fmt: skip
C_SIZE = 15
REQUEST_RING = 8192
REQUEST = 3  # words of one

# Columns of a writer.
(
    W_PORT, W_STORED, W_DEPTH, W_BURST, W_LEFT, W_COMMAND, W_OPEN, W_DONE, W_READER, W_PER_BEAT,
    W_PART, W_WORDS, W_COUNT, W_DUE, W_MOST, W_LAYER, W_COPY,
) = range(17)  # fmt: skip
W_SIZE = 17
STATE_WRITER, CONV_WRITER, LOGIT_WRITER = range(3)  # their units stand in this order too
WRITERS = 3

# Readers behind the lanes' own, which come first.
STATE, EMBEDDING, CONV_PARAMS, HEAD_PARAMS, GATE_PARAMS, CONV_READ = range(6)

# Scalars: sizes of model and machine, then latencies, then what changes.
(
    LAYERS, TOKENS, LANE_READERS, LANES, PER_CYCLE, PERIOD, TWICE, D_MODEL, IN_CHANNELS,
    OUT_CHANNELS, IN_WORDS, OUT_WORDS, PRODUCTS, IN_ROWS, VOCAB, GROUPS, GROUP_DIM, PAD, ORDER,
    HEADDIM, N_HEADS, CONV_DIM, BC_COUNT, ROW_WORDS, STATE_WORDS, WORD_BEATS, BEAT_WORDS, BLOCK,
    GROUP, KINDS, MARKS, RECORDS, PLAN, HEAD_BEATS, LAYERS_BEATS, U_READ, U_WRITE, U_END,
    STATE_FIFO,
) = range(39)  # fmt: skip
(
    T_EMBED, T_RESIDUAL, T_RESIDUAL_SUM, T_RMS, T_QUANTIZER, T_WORD, T_LANES, T_EPILOGUE, T_QUEUE,
    T_DISCRETIZE, T_CONV, T_CONV_STATE, T_BLOCKS, T_SSM, T_Y, T_GATE, T_GATE_SUM, T_HADAMARD,
    T_HEAD, T_FETCH, T_READ, T_COMMAND, T_WRITE, T_DRAIN,
) = range(39, 63)  # fmt: skip
(
    TOKEN, BEGUN, HEADED, RUNNING, L_JOB, L_WORKING, L_SLOT, L_PART, L_WORD, L_PERIOD, L_SECOND,
    L_REASON, L_SINCE, E_JOB, E_WORKING, E_TAKING, E_SLOT, E_PART, E_PAIR, O_JOB, O_ROW, O_PASSED,
    RES_JOB, RES_COUNT, QI_COUNT, QO_COUNT, WI_PLACE, WO_PLACE, EM_COUNT, V_COUNT, V_HEADED,
    B_COUNT, B_SIZE, BC_SEEN, S_STATE, S_WORD, S_ROW, S_HEAD, G_COUNT, H_PLACE, H_GROUP, H_EARLY,
    H_FLUSH, HD_COUNT, UN_HAVE, UN_PERIOD, UN_PART, UN_WORDS, PK_FILL, PK_BEATS, PK_GROUPED,
    PK_HELD, PK_SENDING, PK_WORDS, PK_NEXT, EARLY, COPY,
) = range(63, 120)  # fmt: skip
STALLS = 120  # cycles by what the lanes did, as in arch.counters.CYCLES
MULTIPLYING, SCALE, WAIT_ACTIVATION, WAIT_MEMORY, WAIT_EPILOGUE, IDLE = range(6)
SCALARS = 126

WAITING, BUSY, ENDING, OVER = range(4)  # what RUNNING says of the token
RECORD = 7  # words of a record: the cycle, and the stalls up to it

QUEUE_TABLE = SCALARS
WAKE = QUEUE_TABLE + QUEUES * Q_SIZE
READER_TABLE = WAKE + UNITS
PORT_TABLE = READER_TABLE + READERS * R_SIZE
CHANNEL_TABLE = PORT_TABLE + PORTS * P_SIZE
WRITER_TABLE = CHANNEL_TABLE + CHANNELS * C_SIZE
TABLES = WRITER_TABLE + WRITERS * W_SIZE

# In ``t``: commands of readers, the ports' lists of clients (how many, then which); rings of the
# queues and channels and the lists of rows and records come behind.
COMMANDS = 0
CLIENTS = COMMANDS + READERS * COMMAND_RING * COMMAND
FREE = CLIENTS + PORTS * (READERS + 1)

__all__ = sorted(name for name in globals() if name.isupper())
