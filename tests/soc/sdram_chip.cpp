// The chip's model alone, for ctypes.

#include "sdram_chip.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

using lightmamba::SdramChip, lightmamba::SdramLimits, lightmamba::SdramPins;

EXPORT SdramChip* chip_new(const SdramLimits* limits) { return new SdramChip(*limits); }
EXPORT void chip_delete(SdramChip* chip) { delete chip; }
EXPORT uint8_t* chip_bytes(SdramChip* chip) { return chip->bytes(); }
EXPORT const char* chip_text(const SdramChip* chip) { return chip->violations().c_str(); }
EXPORT uint64_t chip_count(const SdramChip* chip) { return chip->count(); }
EXPORT int chip_dq(const SdramChip* chip, int64_t now) { return chip->dq(now); }
EXPORT int chip_drives(const SdramChip* chip) { return chip->drives(); }
EXPORT void chip_tick(SdramChip* chip, int64_t now, int command, int bank,
                      int address, int dqm, int dq, int oe) {
    SdramPins p;
    p.cke = (command & 16) == 0, p.cs_n = (command & 8) != 0;
    p.ras_n = command >> 2 & 1, p.cas_n = command >> 1 & 1, p.we_n = command & 1;
    p.ba = bank, p.a = address, p.dqm = dqm, p.dq = dq, p.dq_oe = oe;
    chip->tick(p, now);
}
