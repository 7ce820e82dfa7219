// What becomes of a snapshot's frames, paths and samples.
#include <dlfcn.h>
#include <link.h>

#include <catch2/catch.hpp>

#include "tests/unit/report/snapshot_maker.h"

using namespace unfreed;

namespace {

const std::string kGone = " [the file is not there any more]";

std::vector<std::string> paths(const Profile& profile) {
    std::vector<std::string> texts;
    for (const Profile::Sample& sample : profile.samples) {
        texts.push_back(path_text(profile, sample));
    }
    return texts;
}

}  // namespace

TEST_CASE("the leaf is the allocation function and has no address") {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/app", 0x400000);
    maker.sample(maker.path({maker.call(app, 0x1235), maker.function("malloc")}), 3, 48, 10);
    const Profile profile = maker.profile();
    CHECK(sample_texts(profile) ==
          std::vector<std::string>{"malloc < app+0x1234" + kGone + " | 6 96 3 48 | 100 app malloc 10"});
    const Profile::Location& leaf = profile.locations[profile.nodes[profile.samples[0].leaf].location];
    CHECK(leaf.address == 0);
    CHECK(leaf.mapping == Profile::kNoMapping);
}

TEST_CASE("a return address is looked up inside the call, an interrupted instruction where it is") {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/app", 0);
    const auto exact = maker.frame({Frame::Kind::kExact, app, 0x2000, 0});
    maker.sample(maker.path({maker.call(app, 0x2000), exact, maker.function("malloc")}), 1, 8);
    CHECK(paths(maker.profile()) ==
          std::vector<std::string>{"malloc < app+0x2000" + kGone + " < app+0x1fff" + kGone});
}

TEST_CASE("frames of the shim do not show, and paths that differ only in them are one") {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/app", 0);
    const auto shim = maker.module("/build/libunfreed_preload.so", 0x7000000);
    const auto malloc = maker.function("malloc");
    const auto main = maker.call(app, 0x11);
    maker.sample(maker.path({main, maker.call(shim, 0x20), malloc}), 1, 8);
    maker.sample(maker.path({main, maker.call(shim, 0x30), malloc}), 1, 8);
    const Profile profile = maker.profile();
    const std::string path = "malloc < app+0x10" + kGone;
    CHECK(paths(profile) == std::vector<std::string>{path, path});
    CHECK(profile.samples[0].leaf == profile.samples[1].leaf);
    CHECK(profile.mappings.size() == 1);
}

TEST_CASE("a module that two processes mapped is one mapping, and equal places in it are one location") {
    SnapshotMaker maker;
    maker.snapshot.processes.push_back({101, "child", "/nowhere/app", "exited with 0", true});
    const auto first = maker.module("/nowhere/lib.so", 0x10000, 0);
    const auto second = maker.module("/nowhere/lib.so", 0x90000, 1);
    const auto malloc = maker.function("malloc");
    maker.sample(maker.path({maker.call(first, 0x51), malloc}), 1, 8, 0, 0);
    maker.sample(maker.path({maker.call(second, 0x51), malloc}), 1, 8, 0, 1);
    const Profile profile = maker.profile();
    REQUIRE(profile.mappings.size() == 1);
    CHECK(profile.mappings[0].start == 0x10000);
    CHECK(profile.samples[0].leaf == profile.samples[1].leaf);
    CHECK(profile.samples[0].pid == 100);
    CHECK(profile.samples[1].pid == 101);
}

TEST_CASE("code outside every module is [unknown], anonymous code is called as its mapping") {
    SnapshotMaker maker;
    const auto jit = maker.module("[jit]", 0x5000);
    const auto unknown = maker.frame({Frame::Kind::kReturn, kNone, 0x1234, 0});
    maker.sample(maker.path({unknown, maker.call(jit, 0x10), maker.function("malloc")}), 1, 8);
    CHECK(paths(maker.profile()) == std::vector<std::string>{"malloc < [jit] < [unknown]"});
}

TEST_CASE("a sample without a call path is kept and says so") {
    SnapshotMaker maker;
    maker.sample(0, 2, 64);
    CHECK(paths(maker.profile()) == std::vector<std::string>{"[call path not recorded]"});
}

TEST_CASE("depth keeps the leaf's side of a path, and what is cut is counted once per path") {
    SnapshotMaker maker;
    maker.snapshot.depth = 3;
    const auto app = maker.module("/nowhere/app", 0);
    const auto malloc = maker.function("malloc");
    const auto a = maker.call(app, 0x11);
    const auto b = maker.call(app, 0x21);
    const auto c = maker.call(app, 0x31);
    const auto deep = maker.path({a, b, c, malloc});
    maker.sample(deep, 1, 8, 0);
    maker.sample(deep, 1, 8, 10);
    maker.sample(maker.path({a, b, malloc}), 1, 8);
    const Profile profile = maker.profile();
    CHECK(paths(profile)[0] == "malloc < app+0x30" + kGone + " < app+0x20" + kGone);
    CHECK(paths(profile)[2] == "malloc < app+0x20" + kGone + " < app+0x10" + kGone);
    CHECK(*profile.losses ==
          std::vector<std::string>{
              "1 call paths cut short: their outermost frames are beyond the 3 that --depth keeps"});
}

TEST_CASE("malloc under the C++ library's operator new is that operator") {
    SnapshotMaker maker;
    void* const library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD);
    REQUIRE(library != nullptr);
    link_map* map = nullptr;
    REQUIRE(dlinfo(library, RTLD_DI_LINKMAP, &map) == 0);
    const auto operator_new = reinterpret_cast<std::uint64_t>(dlsym(library, "_Znwm"));
    const auto libstdcxx = maker.module(map->l_name, map->l_addr);
    maker.snapshot.modules[libstdcxx].end = map->l_addr + 0x10000000;
    const auto app = maker.module("/nowhere/app", 0);
    const auto in_new = maker.call(libstdcxx, operator_new - map->l_addr + 2);
    const auto main = maker.call(app, 0x11);
    maker.sample(maker.path({main, in_new, maker.function("malloc")}), 1, 8);
    maker.sample(maker.path({main, in_new, maker.function("mmap")}), 1, 8);
    const Profile profile = maker.profile();
    dlclose(library);
    CHECK(paths(profile)[0] == "operator new(unsigned long) < app+0x10" + kGone);
    CHECK(paths(profile)[1] == "mmap < operator new(unsigned long) < app+0x10" + kGone);
}

TEST_CASE("the loss statement and the run's facts are taken over") {
    SnapshotMaker maker;
    maker.snapshot.losses.push_back({"blocks not recorded: the live table is full", 12});
    maker.snapshot.notes.emplace_back("process 7 was not traced");
    maker.snapshot.sample_bytes = 4096;
    const Profile profile = maker.profile();
    CHECK(profile.command == "app --flag");
    CHECK(profile.backend == "preload");
    CHECK(profile.sample_bytes == 4096);
    CHECK(profile.time_nanos == 1'700'000'002'500'000'000);
    CHECK(profile.duration_nanos == 2'500'000'000);
    CHECK(profile.processes == std::vector<std::string>{"100 app: exited with 0"});
    CHECK(*profile.losses == std::vector<std::string>{"12 blocks not recorded: the live table is full"});
    CHECK(profile.notes == std::vector<std::string>{"process 7 was not traced"});
}

TEST_CASE("where a goroutine was created is a frame of its own, beside calls at the same address") {
    SnapshotMaker maker;
    const auto app = maker.module("/nowhere/app", 0x400000);
    const auto call = maker.call(app, 0x11);
    Frame creation = maker.snapshot.frames[call];
    creation.kind = Frame::Kind::kCreation;
    maker.sample(maker.path({maker.frame(creation), call, maker.function("malloc")}), 1, 8);
    const Profile profile = maker.profile();
    REQUIRE(profile.samples.size() == 1);
    CHECK(path_text(profile, profile.samples[0]) ==
          "malloc < app+0x10" + kGone + " < created by app+0x10" + kGone);
}

TEST_CASE("samples have the shape of the matrix that their blocks serve") {
    SnapshotMaker maker;
    maker.snapshot.shapes.emplace_back("480x640 CV_32FC1");
    maker.sample(maker.path({maker.function("malloc")}), 1, 8);
    maker.snapshot.samples[0].shape = 1;
    const Profile profile = maker.profile();
    CHECK(profile.strings[profile.samples[0].shape] == "480x640 CV_32FC1");
}
