// Structs that Python fills: native/structs.py takes names, types and order of their fields from the text of the
// headers, and refuses a library that was compiled from another text.
#pragma once

// Declarations, and their text as `shared::name`. Only structs and enumerations; no directives inside.
#define SHARED(name, ...)                              \
    __VA_ARGS__                                        \
    namespace shared {                                 \
    inline constexpr const char* name = #__VA_ARGS__;  \
    }

// Kinds of saturation of a kind of mixers, by the engine's names: native/found.py reads them.
#define LOSSES(...)
