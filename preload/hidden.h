// For variables of the shim that hot code of several files reads: the compiler then knows that they are in
// this library, and reads them without the detour of an address. (-fvisibility=hidden is for definitions
// alone.)
#pragma once
#define UF_HIDDEN __attribute__((visibility("hidden")))
