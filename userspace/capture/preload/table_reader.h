// One process's table, read into a Snapshot: who owns what by which call path, how old it is, what was
// missed.
//
// The process may run meanwhile and is not stopped. What refers is read before what it refers to (cells, then
// counters, nodes, modules, strings), so every index that the shim published leads to something complete; any
// other is the work of a program that wrote over the table, is skipped, and is counted.
#pragma once
#include <cstdint>

#include "userspace/capture/backend.h"
#include "userspace/capture/preload/table_file.h"
#include "userspace/snapshot/snapshot.h"

namespace unfreed {

// A Snapshot with the functions and domains that tables speak of, and nothing else.
Snapshot empty_preload_snapshot();

// Appends to `into`, which empty_preload_snapshot() began, for its process `process`. `now_seconds`: since
// recording began, or when the process ended.
void append_table(const TableFile& table, ProcessIndex process, std::uint64_t now_seconds, Snapshot& into);

// The live blocks of a table one by one.
void visit_table(const TableFile& table, const Backend::VisitBlock& visit);

// Adds to the count of a cause; one entry per cause.
void count_loss(Snapshot& snapshot, const std::string& cause, std::uint64_t count);

}  // namespace unfreed
