#include "symbolizer/demangle.h"

#include <catch2/catch.hpp>

using unfreed::symbolizer::demangle;
using unfreed::symbolizer::without_clone_suffix;

TEST_CASE("C++, Rust and D names become readable") {
    CHECK(demangle("_ZN2cv3Mat6createEiPKii") == "cv::Mat::create(int, int const*, int)");
    CHECK(demangle("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE") == "core::fmt::Formatter::pad");
    CHECK(demangle("_RNvC5crate4main") == "crate::main");
    CHECK(demangle("_D3std5stdio7writelnFZv") == "std.stdio.writeln()");
}

TEST_CASE("what is not mangled stays as it is") {
    for (const char* name :
         {"malloc", "_Z", "_ZN", "_D", "_R", "", "_Zfoo", "main.main", "_start", "__libc_malloc"})
        CHECK(demangle(name) == name);
}

TEST_CASE("a copy of a function says so, unless its mark is taken off") {
    CHECK(demangle("_Z1fi.constprop.0") == "f(int) [clone .constprop.0]");
    CHECK(without_clone_suffix("_Z1fi.constprop.0.cold") == "_Z1fi");
    CHECK(without_clone_suffix("f.cold") == "f.cold");
    const std::string rust = "_ZN4core9$LT$T..U$GT$4call17h0123456789abcdefE";
    CHECK(without_clone_suffix(rust) == rust);
    CHECK(without_clone_suffix(rust + ".llvm.1234567890") == rust);
}

TEST_CASE("a short name that would be written out to gigabytes is left alone") {
    // f(A<int, int>, A<that, that>, ...): S_ is A, S0_ the first parameter, and each refers twice to the one
    // before.
    std::string bomb = "_Z1f1AIiiE";
    for (char previous : std::string("0123456789ABCDEFGHIJKLMNOPQRSTU"))
        bomb += std::string("S_IS") + previous + "_S" + previous + "_E";
    CHECK(demangle("_Z1f1AIiiES_IS0_S0_E") == "f(A<int, int>, A<A<int, int>, A<int, int> >)");
    CHECK(demangle(bomb) == bomb);
}
