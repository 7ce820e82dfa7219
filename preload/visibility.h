// What of the shim is seen from outside: the hooks alone.
//
// UF_HOOK: a function that stands in front of the one of that name. UF_HIDDEN: for variables that hot code of
// several files reads: the compiler then knows that they are in this library, and reads them without the
// detour of an address. (-fvisibility=hidden is for definitions alone.)
#pragma once
#define UF_HOOK extern "C" __attribute__((visibility("default")))
#define UF_HIDDEN __attribute__((visibility("hidden")))
