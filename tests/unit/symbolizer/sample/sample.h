#pragma once

namespace sample {
// Called from each place of the library with the place's name and line.
using Record = void (*)(const char* place, int line);
}  // namespace sample

extern "C" void sample_run(sample::Record record);
extern "C" void* sample_assembly_address();
